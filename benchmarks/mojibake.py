"""UTF-8 that was read as Latin-1 or Windows-1252: what `ftfy` mends and spoils, beside reading the whole text again.

    python -m benchmarks.mojibake
    python -m benchmarks.mojibake ../shared/data/text

Each sentence of many scripts is spoilt in the ways that the internet spoils text: all of it, all of it twice, or half
of a line whose other half is sound. With a folder, the sentences are the distinct texts of its `.jsonl` and `.csv`
files that are not plain ASCII, and what each way changes in the texts as they are is counted and shown. Mended is what
equals the sound text after the Unicode form and the spaces that both filters see to anyway.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from filters.characters import normalise_unicode, repair_mojibake

SENTENCES = [
    "Un été à Paris, où tout a commencé…",
    "Déjà vu: la chanson préférée de mon père",
    "¿Dónde está la canción que tocó el año pasado?",
    "Não é só uma canção, é o coração de São Paulo",
    "IRMÃ, NÃO É HORA DE CANÇÕES",
    "MANHÃ DE CARNAVAL",
    "Ein schöner, brummender Baß über leisen Flöten",
    "Þetta er besta lagið á plötunni, finnst mér",
    "Zażółć gęślą jaźń, najpiękniejszy walc Chopina",
    "Příliš žluťoučký kůň zpívá ďábelské ódy",
    "Bu şarkı çok güzel, ağlıyorum",
    "Bài hát này hay quá, tôi nghe mãi không chán",
    "Привет, какая красивая музыка!",
    "Ця пісня про їжака, дуже ніжна",
    "Τι ωραίο τραγούδι, μου θυμίζει καλοκαίρι",
    "أغنية جميلة جدا من الزمن القديم",
    "איזה שיר יפה, אני בוכה",
    "यह गाना बहुत सुंदर है",
    "เพลงนี้เพราะมาก",
    "この曲は静かなピアノで始まる。",
    "这首歌的鼓点很有力量",
    "이 노래는 정말 아름다워요",
    "Love this 😍🔥 best drop ever 🎶",
    "♪ la la la ♫ in F♯ minor",
    "It’s “the” song – don’t skip it…",
    "Beyoncé, Björk & Sigur Rós live at 20 °C for £5 • © 2009",
    "¯\\_(ツ)_/¯ what a naïve cliché",
]
SHOWN = 30


def whole_text(text: str) -> str:
    """What this project did until 2026-11: all bytes are read again, or none."""
    if text.isascii():
        return text
    for encoding in ("latin-1", "cp1252"):
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return text


WAYS: dict[str, Callable[[str], str]] = {"whole_text": whole_text, "ftfy": repair_mojibake}


def latin_1(text: str) -> str:
    return text.encode("utf-8").decode("latin-1")


def windows_1252(text: str) -> str:
    """As browsers read it: the five bytes that stand for nothing become control characters."""
    return "".join(bytes([byte]).decode("cp1252", "replace").replace("\ufffd", chr(byte)) for byte in text.encode())


def cases(sentences: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Kind of damage -> pairs of (damaged, sound)."""
    pairs = [(one, sentences[(place + 1) % len(sentences)]) for place, one in enumerate(sentences)]
    return {
        "sound": [(one, one) for one in sentences],
        "sound, in capitals": [(one.upper(), one.upper()) for one in sentences],
        "all, Latin-1": [(latin_1(one), one) for one in sentences],
        "all, Windows-1252": [(windows_1252(one), one) for one in sentences],
        "all, no-break spaces lost": [(" ".join(windows_1252(one).split()), one) for one in sentences],
        "all, twice": [(windows_1252(windows_1252(one)), one) for one in sentences],
        "sound, then damaged": [(f"{one} {windows_1252(other)}", f"{one} {other}") for one, other in pairs],
        "damaged, then sound": [(f"{windows_1252(one)} {other}", f"{one} {other}") for one, other in pairs],
        "sound, then damaged twice": [
            (f"{one} {windows_1252(windows_1252(other))}", f"{one} {other}") for one, other in pairs
        ],
    }


def seen(text: str) -> str:
    return " ".join(normalise_unicode(text).split())


def mended(sentences: list[str]) -> dict[str, dict[str, Any]]:
    """Share of each kind that comes back as it was."""
    return {
        kind: {"texts": len(pairs)}
        | {
            name: round(statistics.fmean(seen(way(damaged)) == seen(sound) for damaged, sound in pairs), 3)
            for name, way in WAYS.items()
        }
        for kind, pairs in cases(sentences).items()
    }


def texts_of(folder: Path) -> list[str]:
    """Every distinct text of a folder's tables."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            for one in value.values() if isinstance(value, dict) else value:
                yield from strings(one)

    found: dict[str, None] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".jsonl", ".csv"):
            with path.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream) if path.suffix == ".csv" else map(json.loads, stream):
                    found.update(dict.fromkeys(strings(row)))
    return list(found)


def as_they_are(texts: list[str]) -> dict[str, Any]:
    """What each way changes in texts that nobody spoilt on purpose; the texts on which they differ, for a look."""
    both = [(text, *(seen(way(text)) for way in WAYS.values())) for text in texts]
    differing = [
        dict(zip(("given", *WAYS), map(_excerpt, three, [three] * 3), strict=True))
        for three in both
        if three[1] != three[2]
    ]
    return {
        "texts": len(texts),
        "not_ascii": sum(not text.isascii() for text in texts),
        "changed": {name: sum(seen(three[0]) != three[at] for three in both) for at, name in enumerate(WAYS, start=1)},
        "differing": len(differing),
        "shown": differing[:SHOWN],
    }


def _excerpt(text: str, beside: tuple[str, ...]) -> str:
    first = next((at for at, signs in enumerate(zip(*beside[1:], strict=False)) if len(set(signs)) > 1), 0)
    return " ".join(text.split())[max(first - 20, 0) : first + 40]


def seconds(texts: list[str]) -> dict[str, float]:
    """Microseconds a text, the best of five rounds."""
    best = {}
    for name, way in WAYS.items():
        rounds = []
        for _ in range(5):
            start = time.perf_counter()
            for text in texts:
                way(text)
            rounds.append(time.perf_counter() - start)
        best[name] = round(min(rounds) / len(texts) * 1e6, 2)
    return best


def import_ms() -> float:
    """Of `import ftfy` in a fresh process that has what a mining worker has anyway; the best of nine."""
    program = (
        "import time, filters.characters, json, logging, dataclasses; start = time.perf_counter(); import ftfy; "
        "print(time.perf_counter() - start)"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in range(9)]
    return round(min(float(run.stdout) for run in runs) * 1000, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="also measure the texts of its .jsonl and .csv files")
    given = parser.parse_args()
    result: dict[str, Any] = {"sample": mended(SENTENCES), "import_ftfy_ms": import_ms()}
    timed = SENTENCES
    if given.folder is not None:
        timed = texts_of(given.folder)
        sound = [text for text in timed if not text.isascii() and all(way(text) == text for way in WAYS.values())]
        result["texts_as_they_are"] = as_they_are(timed)
        result["texts_spoilt"] = mended(sound)
    result["us_per_text"] = seconds(timed)
    command = "python -m benchmarks.mojibake" + (" ../shared/data/text" if given.folder is not None else "")
    write_result("mojibake", result, packages=("ftfy",), command=command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
