"""docs/commands.md is what the parsers say."""

from pathlib import Path

import openmulan
from docs.site.commands_page import page

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_of_the_commands_is_that_of_the_parsers() -> None:
    text = page()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## mulan {name}" for name in openmulan._COMMANDS
    ]
    assert "| `--min_music_fraction" in text
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == text, (
        "run `python -m docs.site.commands_page` and commit docs/commands.md"
    )
