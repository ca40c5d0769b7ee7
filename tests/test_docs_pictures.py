"""Every picture that a page shows is there, and every picture that is there is shown by a page."""

import re
from pathlib import Path

from benchmarks import search_screens
from benchmarks.label_screens import PICTURES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+\.(?:png|jpg|svg))\)|<img[^>]*\ssrc=\"([^\":]+)\"")


def shown() -> set[Path]:
    return {
        (page.parent / (match[1] or match[2])).resolve()
        for page in PAGES
        for match in _PICTURE.finditer(page.read_text(encoding="utf-8"))
        if "://" not in match[0]
    }


def test_every_picture_that_is_shown_is_there() -> None:
    assert len(shown()) > len(PICTURES)
    assert [path for path in sorted(shown()) if not path.is_file()] == []


def test_every_picture_of_the_docs_is_shown() -> None:
    there = {path for path in (ROOT / "docs").rglob("*") if path.suffix in (".png", ".jpg", ".svg")}
    there |= set((ROOT / "benchmarks" / "results").rglob("*.png"))
    assert there - shown() == set()


def test_the_pictures_of_the_labelling_tool_are_those_that_its_script_takes() -> None:
    there = {path.stem for path in (ROOT / "docs" / "annotating").iterdir()}
    assert there == {f"{name}-{view}" for name, view in PICTURES}


def test_the_pictures_of_the_search_page_are_those_that_its_script_takes() -> None:
    there = {path.stem for path in (ROOT / "docs" / "search-page").iterdir()}
    assert there == {f"{name}-{view}" for name, view in search_screens.PICTURES}
