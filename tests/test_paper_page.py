"""`docs/paper.md` says whose each choice is: its values are those of the code, its sections those of the paper."""

import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.table_2 import PAPER_TABLE_2

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
OF_THE_PAPER = {"3.1", "3.2", "3.3", "3.4", "4", "4.1.1", "4.1.2", "4.1.3", "4.1.4", "4.2.1"}
_SETTING = re.compile(r"^`--set ([a-z0-9_.]+)`$")
_NUMBER = r"sections? (\d(?:\.\d)*)"
_CITED = re.compile(rf"\b(?:paper|2022)[^.]{{0,80}}?{_NUMBER}|{_NUMBER}[^.]{{0,20}} of the paper")
_NAME = re.compile(r"^`([a-z0-9_/]+)\.py`: `([A-Za-z0-9_.]+)`$")


class Choice(NamedTuple):
    whose: str
    value: str
    section: str | None
    here: str


def choices() -> list[Choice]:
    """The rows of the page's tables."""
    found, whose = [], ""
    header: list[str] = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            whose = line.removeprefix("## ")
        elif not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif not line.startswith("|---"):
            row = dict(zip(header, cells, strict=True))
            found.append(Choice(whose, row["value"], row.get("§"), row["here"]))
    return found


def written(value: str) -> list[Any]:
    """`24 / 48 bins` to [24.0, 48.0]; what is no number is a word."""
    words = [part.split()[0].replace(",", "") for part in value.split(" / ")]
    return [float(word) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", word) else word for word in words]


def in_the_code(here: str) -> list[Any] | None:
    """What the code has for both recipes, or for all; None where the page names no one value."""
    if setting := _SETTING.match(here):
        from trainer.recipes import m_ast, m_resnet50

        return [_followed(recipe, setting[1]) for recipe in (m_resnet50(), m_ast())]
    if name := _NAME.match(here):
        return [_followed(importlib.import_module(name[1].replace("/", ".")), name[2])]
    return None


def _followed(start: Any, path: str) -> Any:
    for name in path.split("."):
        start = getattr(start, name)
    start = getattr(start, "text", start)  # of a mixture
    return len(start) if isinstance(start, tuple) else start


CHECKED = [choice for choice in choices() if choice.value]


@pytest.mark.parametrize("choice", CHECKED, ids=lambda choice: choice.here)
def test_a_value_of_the_page_is_the_code_s(choice: Choice) -> None:
    has = in_the_code(choice.here)
    assert has is not None, f"{choice.here}: names no place of the code for {choice.value}"
    says = written(choice.value)
    assert (says if len(says) == len(has) else says * len(has)) == has


def test_the_page_says_whose_each_choice_is() -> None:
    assert {choice.whose for choice in choices()} == {"The paper's", "Lost in our copy", "Ours"}
    places = [choice.here for choice in CHECKED]
    assert len(set(places)) == len(places) > 40
    ours = {choice.here for choice in CHECKED if choice.whose == "Ours"}
    for setting in ("optimizer.clip_norm", "loss.min_temperature", "audio.max_masked_bins", "audio.ghost_batch_size"):
        assert f"`--set {setting}`" in ours
    assert "`--set lanes`" in ours
    lost = {choice.here for choice in CHECKED if choice.whose == "Lost in our copy"}
    assert lost >= {f"`--set {s}`" for s in ("batch_size", "optimizer.learning_rate", "loss.initial_temperature")}
    for choice in choices():
        assert (choice.section is None) == (choice.whose == "Ours")
        assert set(re.findall(r"(?<![\w(])\d(?:\.\d)*", re.sub(r"table .*", "", choice.section or ""))) <= OF_THE_PAPER


def test_every_file_that_the_page_names_is_there() -> None:
    named = {path for choice in choices() for path in re.findall(r"`([a-z0-9_/]+(?:\.py|/))`", choice.here)}
    assert len(named) > 25
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_citations_in_the_code_are_of_sections_that_the_paper_has() -> None:
    sources = [path for top in ("filters", "pipeline", "schemas", "trainer") for path in (ROOT / top).rglob("*.py")]
    texts = [" ".join(path.read_text(encoding="utf-8").split()) for path in sources]
    cited = [section for text in texts for before, after in _CITED.findall(text) if (section := before or after)]
    assert len(cited) > 12
    assert set(cited) <= OF_THE_PAPER
    assert not [text for text in texts if "appendix" in text.casefold()]


def test_what_stands_beside_our_table_2_follows_from_the_paper_s() -> None:
    billions_and_annotations = {
        "SF, unfiltered": (31.2, 42.9),
        "SF": (5.4, 29.6),
        "LF, unfiltered": (30.7, 70.7),
        "LF": (0.2, 0.4),
        "PL": (2.5, 24.3),
    }
    assert list(PAPER_TABLE_2) == list(billions_and_annotations)
    for label, (billions, annotations) in billions_and_annotations.items():
        shown = PAPER_TABLE_2[label]
        assert shown["annotations_per_recording"] == annotations
        assert shown["tokens"] == pytest.approx(billions * 1e9)
        assert shown["tokens_per_recording"] == pytest.approx(billions * 1e9 / 44e6)
        if label != "LF":
            assert shown["tokens_per_annotation"] == pytest.approx(billions * 1e9 / 44e6 / annotations)
    for label in ("SF", "LF"):
        before = billions_and_annotations[f"{label}, unfiltered"][1]
        assert PAPER_TABLE_2[label]["share_kept"] == pytest.approx(billions_and_annotations[label][1] / before)
    coverage = {label: shown["coverage"] for label, shown in PAPER_TABLE_2.items() if "coverage" in shown}
    assert coverage == {"LF": pytest.approx(6.8 / 44), "PL": pytest.approx(18 / 44)}
    said = " ".join(PAGE.split())
    for figures in ("30.7 billion tokens and 70.7 sentences", "0.2 billion and 0.4", "18 million", "6.8 million"):
        assert figures in said
