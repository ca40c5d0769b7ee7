"""The worked examples of `docs/extending.md`, as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(section: str, language: str) -> list[str]:
    """The fenced blocks of one section."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    _, _, after = text.partition(f"\n## {section}\n")
    return re.findall(rf"^```{language}\n(.*?)^```$", after.partition("\n## ")[0], re.MULTILINE | re.DOTALL)


def run(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A `PYTHONPATH=. mulan …` of the page, in a folder."""
    path, command, *arguments = shlex.split(block.replace("\\\n", " "))
    assert (path, command) == ("PYTHONPATH=.", "mulan")
    environment = {**os.environ, "PYTHONPATH": f".{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, "-m", "openmulan", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
