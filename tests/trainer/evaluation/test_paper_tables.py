"""The paper's tables 4 to 6: every figure that stands in the paper's own text, in its layout, with ours beside."""

import re

from tests.shared_files import SharedFolder
from trainer.evaluation.arguments import ROWS
from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.metrics import Value
from trainer.evaluation.page import to_html
from trainer.evaluation.paper_tables import paper_tables
from trainer.evaluation.published import published_figures
from trainer.evaluation.results import ModelResult, Results
from trainer.evaluation.tables import Table

# Of the paper's three tables: how many figures each has.
FIGURES = {4: 42, 5: 24, 6: 20}


def measured(name: str, metrics: dict[str, float], *, text_only: bool = False) -> ModelResult:
    """A model with the figures, each called `task/data set:metric`."""
    found = tuple(
        Measurement(
            task=key.partition("/")[0],
            dataset=key.partition("/")[2].rpartition(":")[0],
            split="test",
            metrics={key.rpartition(":")[2]: Value(value=value)},
            units={},
            settings={},
        )
        for key, value in metrics.items()
    )
    return ModelResult(model=name, digest=None, measurements=found, text_only=text_only)


def made(*models: ModelResult) -> dict[str, Table]:
    return {table.title[:7]: table for table in paper_tables(Results(openmulan_version="0", models=models))}


EVERYTHING = {
    "zero_shot/magnatagatune/top50:roc_auc": 0.111,
    "retrieval/playlists/title:mean_average_precision": 0.222,
    "text_triplets/audioset/mu141:accuracy": 0.333,
}


def test_each_of_the_86_figures_is_printed_once() -> None:
    printed = []
    for table in made(measured("mine", EVERYTHING)).values():
        theirs = [row for place, row in enumerate(table.rows) if place not in table.own_rows]
        printed += [cell for row in theirs for cell in row[1:] if re.fullmatch(r"\d\.\d{3}", cell)]
    figures = [figure for figure in published_figures() if figure.of_the_paper]
    assert sorted(printed) == sorted(f"{figure.value:.3f}" for figure in figures)
    assert len(printed) == sum(FIGURES.values()) == 86


def test_the_figures_are_those_of_the_papers_text(shared_folder: SharedFolder) -> None:
    text = shared_folder.need("seed/mulan_paper.txt").read_text(encoding="utf-8").replace("\xa0", " ")
    tables = made(measured("mine", EVERYTHING))
    # A row in the text: the label, a reference or none, and figures or dashes.
    where = {4: ("Model Gen-25", "Table 4:"), 5: ("Model AUC mAP", "Table 5:"), 6: ("Model Playlist", "Table 6:")}
    for number, (begin, end) in where.items():
        start = text.index(begin)
        lines = text[start : text.index(end, start)].splitlines()[1:]
        rows = [re.fullmatch(r"(.*?)(?: \[[\d, ]+\])?((?:\s+(?:\d\.\d{3}|-))+)", line.strip()) for line in lines]
        theirs = [(row[1].replace(" ", ""), row[2].split()) for row in rows if row]
        table = tables[f"Table {number}"]
        ours = [
            (row[0].replace(" ", ""), list(row[1:]))
            for place, row in enumerate(table.rows)
            if place not in table.own_rows and row[1]
        ]
        assert ours == theirs
        assert sum(cell != "-" for _, cells in theirs for cell in cells) == FIGURES[number]


def test_ours_stand_below_the_rows_that_they_compare_with() -> None:
    ablation = [measured(f"{row.label}, seed 3", EVERYTHING) for row in ROWS]
    encoder = measured("MiniLM (mean)", {"text_triplets/audioset/mu141:accuracy": 0.444}, text_only=True)
    tables = made(measured("mine", EVERYTHING), encoder, *ablation)
    four = [row[0] for row in tables["Table 4"].rows]
    assert four[four.index("(a) Zero-shot") : four.index("(c) Linear probe")] == [
        *("(a) Zero-shot", "M-AST", "M-Resnet-50", "→ ASET + SF + LF + PL, seed 3", "→ mine"),
        *("(b) Text ablation", "ASET + SF + LF", "→ ASET + SF + LF, seed 3", "ASET + SF", "→ ASET + SF, seed 3"),
        *("ASET", "→ ASET, seed 3", "SF/LF Unfiltered", "→ ASET + SF + LF + PL, unfiltered, seed 3"),
    ]
    assert tables["Table 4"].rows[four.index("→ mine")] == ("→ mine", "-", "-", "0.111", "-")
    six = [row[0] for row in tables["Table 6"].rows]
    assert six.index("→ mine") < six.index("Baselines") < six.index("→ MiniLM (mean)") == len(six) - 1
    assert {tables["Table 6"].rows[place][0][0] for place in tables["Table 6"].own_rows} == {"→"}


def test_only_tables_of_which_something_was_measured_are_made() -> None:
    assert list(made(measured("mine", {"text_triplets/playlists:accuracy": 0.5}))) == ["Table 6"]
    assert made(measured("mine", {"zero_shot/mined/aset:roc_auc": 0.5})) == {}


def test_the_page_keeps_the_papers_layout_and_folds_what_others_measured_elsewhere() -> None:
    results = Results(openmulan_version="0", models=(measured("mine", EVERYTHING),))
    (four, *_) = paper_tables(results)
    page = to_html(results, [four])
    assert "<details" not in page
    assert page.index("M-Resnet-50") < page.index("→ mine") < page.index("(b) Text ablation")
