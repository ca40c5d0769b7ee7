"""Result files say how each figure came about, are the same bytes twice, and make tables that stand alone."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.metrics import Bootstrap, ClassScore, Value, tagging_scores
from trainer.evaluation.page import to_html
from trainer.evaluation.published import PublishedFigure, published_figures
from trainer.evaluation.results import ModelResult, Results, read_results
from trainer.evaluation.tables import published_elsewhere, tables, to_markdown, to_terminal


@pytest.fixture
def results() -> Results:
    def measurement(auc: float) -> Measurement:
        return Measurement(
            task="zero_shot",
            dataset="magnatagatune/top50",
            split="test",
            metrics={"roc_auc": Value(value=auc, low=auc - 0.01, high=auc + 0.01), "d_prime": Value(value=math.inf)},
            units={"clips": 4332, "classes": 49},
            settings={"folder": Path("/home/somebody/mtat"), "seed": 0},
            sources={"annotations_final.csv": "abc"},
            notes={"propagation": "none"},
            skipped={"weird": "no positive"},
            classes=tuple(
                ClassScore(name=name, positives=3, roc_auc=auc, average_precision=0.5, prevalence=0.1)
                for name in ("<b>loud</b>", "quiet | soft")
            ),
        )

    return Results(
        openmulan_version="0.1.0",
        models=(
            ModelResult(model="mine <script>", digest="d" * 64, measurements=(measurement(0.71),), trained_on=("m",)),
            ModelResult(model="random (control)", digest=None, measurements=(measurement(0.5),)),
        ),
    )


def test_round_trip_and_same_bytes(tmp_path: Path, results: Results) -> None:
    for name in "ab":
        results.write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_results(tmp_path / "a")
    assert again.models[0].measurements[0].metrics["roc_auc"] == Value(value=0.71, low=0.71 - 0.01, high=0.71 + 0.01)
    assert again.models[0].measurements[0].classes == results.models[0].measurements[0].classes
    assert again.models[0].trained_on == ("m",)


def test_file_says_how_the_figure_came_about_and_names_no_machine(tmp_path: Path, results: Results) -> None:
    results.write(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    assert "/home/" not in text
    (model, _) = json.loads(text)["models"]
    (measured,) = model["measurements"]
    assert measured["skipped"] == {"weird": "no positive"}
    assert measured["sources"] == {"annotations_final.csv": "abc"}
    assert (measured["split"], measured["units"]["classes"], model["digest"]) == ("test", 49, "d" * 64)
    assert measured["metrics"]["d_prime"]["value"] is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format_version": 9}', '{"format_version": 1, "openmulan": "0"}']
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"r\.json: not a result file"):
        read_results(path)


def test_table_puts_published_figures_below_with_their_source(tmp_path: Path, results: Results) -> None:
    (table,) = tables(results)
    assert [row[0] for row in table.rows][:2] == ["mine <script>", "random (control)"]
    assert table.rows[0][1] == "0.710 [0.700, 0.720]"
    assert table.own_rows == {0, 1}
    beside = {row[0]: row[1] for row in table.rows[2:]}
    assert beside == {"MuQ-MuLan [1]": "0.793", "TTMR [2]": "0.784"}
    assert any("arXiv 2501.01108" in note for note in table.notes)
    assert any("1 left out (1 with no positive)" in note for note in table.notes)
    results.write(tmp_path / "r.json")
    (again,) = tables(read_results(tmp_path / "r.json"))
    assert again == table
    for text in (to_markdown([table]), to_terminal([table])):
        assert "4,332 clips" in text
        assert "0.710 [0.700, 0.720]" in text


def test_a_model_that_was_asked_otherwise_has_a_note_of_its_own(results: Results) -> None:
    mine, control = results.models
    (measured,) = control.measurements
    other = dataclasses.replace(
        measured, units={"clips": 4330, "classes": 49}, notes={"propagation": "none", "text_template": "a {} song"}
    )
    models = (mine, dataclasses.replace(control, measurements=(other,)))
    (table, *_) = tables(dataclasses.replace(results, models=models), ())
    assert table.notes[0] == "test split; 49 classes, 4,332 clips; propagation: none"
    assert table.notes[1] == "random (control): 4,330 clips; text template: a {} song"
    (table, *_) = tables(results, ())
    assert not any(note.startswith("random (control)") for note in table.notes)


def test_figures_on_other_sets_stand_in_a_table_of_their_own(results: Results) -> None:
    table = published_elsewhere(results)
    assert table is not None
    assert table.own_rows == frozenset()
    listed = {row[0].rpartition(" ")[0] for row in table.rows}
    assert {"TTMR", "MS-CLAP 2023", "LAION-CLAP", "MuQ-MuLan"} <= listed
    assert not any("paper" in model for model in listed)
    assert not any(row[1] == "zero_shot/magnatagatune/top50" for row in table.rows)
    for row in table.rows:
        assert any(note.startswith(row[0].rpartition(" ")[2]) for note in table.notes)
    figure = PublishedFigure(
        model="m", measurement="zero_shot/magnatagatune/top50", metric="roc_auc", value=0.5, source="s", reading="r"
    )
    assert published_elsewhere(results, [figure]) is None


def test_every_published_figure_has_a_source_and_says_how_it_was_read(tmp_path: Path) -> None:
    figures = published_figures()
    assert {(f.model, f.value) for f in figures if f.measurement == "text_triplets/audioset/mu141"} >= {
        ("BERT, mean-pooled (MuLan paper)", 0.847),
        ("SBERT (MuLan paper)", 0.889),
    }
    assert len({(f.model, f.measurement, f.metric) for f in figures}) == len(figures)
    assert all(re.search(r"arXiv \d{4}\.\d{5}", f.source) and f.reading for f in figures)
    bare = PublishedFigure(model="m", measurement="x", metric="y", value=1, source=" ", reading="r")
    (tmp_path / "p.json").write_text(json.dumps([vars(bare)]))
    with pytest.raises(ValueError, match="no source for m"):
        published_figures(tmp_path / "p.json")


class _Audit(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [  # what the page would fetch
            value or ""
            for name, value in attrs
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#")
        ]


def test_page_is_self_contained_and_escapes_what_it_shows(results: Results) -> None:
    page = to_html(results)
    audit = _Audit()
    audit.feed(page)
    assert audit.outside == []
    assert audit.tags.count("svg") == 2  # the models with their intervals, and the classes
    assert "script" not in audit.tags
    assert "b" not in audit.tags
    assert "&lt;b&gt;loud&lt;/b&gt;" in page
    assert page == to_html(results)


def test_models_on_the_same_clips_are_compared_resample_by_resample(results: Results) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((300, 4)) < 0.3
    common = rng.normal(size=labels.shape)
    names, bootstrap = [f"tag {i}" for i in range(4)], Bootstrap(resamples=200)

    def result(model: str, skill: float, **other: object) -> ModelResult:
        scores = tagging_scores((common + skill * labels).astype(np.float32), labels, names, bootstrap)
        (template,) = results.models[0].measurements
        changed = {"units": {"clips": 300}, "settings": {"bootstrap": {"confidence": 0.95}}, **other}
        measurement = dataclasses.replace(template, metrics=scores.metrics, classes=scores.classes, **changed)  # type: ignore[arg-type]
        return ModelResult(model=model, digest=None, measurements=(measurement,))

    good, better, elsewhere = result("good", 1.0), result("better", 1.1), result("elsewhere", 1.0, units={"clips": 9})
    shown = Results(openmulan_version="0", models=(good, better, elsewhere))
    (_, differences) = tables(shown, [])
    assert [row[0] for row in differences.rows] == ["better less good"]
    found = better.measurements[0].metrics["roc_auc"].less(good.measurements[0].metrics["roc_auc"], 0.95)
    alone = better.measurements[0].metrics["roc_auc"]
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert alone.low is not None
    assert alone.high is not None
    # What both have in common says nothing about which is better.
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < (alone.high - alone.low) / 3
    assert differences.rows[0][1].startswith(f"{found.value:+.3f} [+")
    assert "draws" not in json.dumps(shown.to_json())
