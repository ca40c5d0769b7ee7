"""The worked examples of `docs/extending.md`, as they stand there: beside the packages, or on a copy of them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "pipeline", "filters", "trainer")
FILES = ("openmulan.py", "beam_runner.py", "docs/text-sources.md")


def blocks(section: str, language: str) -> list[str]:
    """The fenced blocks of one section."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    _, _, after = text.partition(f"\n## {section}\n")
    return re.findall(rf"^```{language}\n(.*?)^```$", after.partition("\n## ")[0], re.MULTILINE | re.DOTALL)


def copy_packages(folder: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    return folder


def apply(diff: str, folder: Path) -> None:
    """A diff without line numbers, of one file: the lines that a hunk names have to be there exactly once."""
    head, *hunks = diff.split("@@\n")
    path = folder / head.rpartition("+++ ")[2].strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for hunk in hunks:
        lines = [line if line.strip() else f" {line}" for line in hunk.splitlines(keepends=True)]
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        assert not before or text.count(before) == 1, f"{path.name}: not there once:\n{before}"
        text = text.replace(before, after) if before else text + after
    path.write_text(text, encoding="utf-8")


def touched(folder: Path) -> dict[str, int]:
    """The files of a copy that differ from ours, and by how many lines they are longer."""
    differing = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".md", ".json")):
        name = str(path.relative_to(folder))
        mine = (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).exists() else ""
        if (text := path.read_text(encoding="utf-8")) != mine:
            differing[name] = len(text.splitlines()) - len(mine.splitlines())
    return differing


def python(folder: Path, *arguments: str) -> str:
    """What a command on the copy prints, which must end well."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_line(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
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
