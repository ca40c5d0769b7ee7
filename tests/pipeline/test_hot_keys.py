"""Keys that have far too much, through the real plan: the caps hold, the choice is that of the hashes, in any order.

Sizes are small here; `benchmarks/hot_keys.py` does it with a million and measures memory.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from filters.long_form.sentences import duplicate_key
from pipeline import gathered as gathered_module
from pipeline import plan as plan_module
from pipeline.settings import TextConfig
from pipeline.sketch import Sketch, merge_sketches
from tests.pipeline.mining import mine, report

pytestmark = pytest.mark.slow

COMMENTS, MEMBERS, PLAYLISTS = 20_000, 2_000, 5_000
CAPS = TextConfig()


def comment(number: int) -> str:
    # Letters that never repeat: those that are held for emphasis ("soooo") make duplicates.
    name = "".join("abcdefghij"[int(digit)] + "klmno"[place] for place, digit in enumerate(f"{number:05d}"))
    return f"The guitar of {name.capitalize()} has a warm sound that I like."


def tables() -> dict[str, list[dict[str, Any]]]:
    recordings = ["hot", *(f"rec-{number}" for number in range(MEMBERS - 1))]
    wide = {"playlist_id": "wide", "title": "Everything that I have", "recording_ids": recordings}
    narrow = [
        {"playlist_id": f"p{number}", "title": f"Evening {number}", "recording_ids": ["hot"]}
        for number in range(PLAYLISTS)
    ]
    return {
        "catalog": [{"recording_id": name, "audio_uri": f"{name}.flac", "title": "A tune"} for name in recordings],
        "comments": [{"recording_id": "hot", "text": comment(number)} for number in range(COMMENTS)],
        "playlists": [wide, *narrow],
    }


def planned(folder: Path, output: Path, files: Mapping[str, Sequence[Sequence[dict[str, Any]]]]) -> None:
    """Write each table as so many files, plan, and take them away again."""
    folder.mkdir()
    for name, parts in files.items():
        for index, rows in enumerate(parts):
            (folder / f"{name}-{index}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = [
        option for name in ("comments", "playlists") for option in (f"--{name}", str(folder / f"{name}-*.jsonl"))
    ]
    assert mine(folder / "catalog-*.jsonl", output, "--dry_run", *options) == 0
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """The same tables in order in one file each, and shuffled over several; and the largest sketch that was merged."""
    folder = tmp_path_factory.mktemp("hot")
    largest = 0

    def watched(into: Sketch, other: Sketch, cap: int) -> Sketch:
        nonlocal largest
        largest = max(largest, len(into[0]), len(other[0]))
        return merge_sketches(into, other, cap)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathered_module, "merge_sketches", watched)
        planned(folder / "in", folder / "one", {name: [rows] for name, rows in tables().items()})
        shuffled = {}
        for name, rows in tables().items():
            random.Random(7).shuffle(rows)
            shuffled[name] = [rows[part::3] for part in range(3)]
        # Sketches go on long before a file is read, as they do where many recordings have many texts.
        patch.setattr(plan_module, "MAX_HELD", 700)
        planned(folder / "in", folder / "three", shuffled)
    return folder / "one", folder / "three", largest


def rows_of(output: Path) -> dict[str, dict[str, Any]]:
    paths = output.glob("plans/**/*.parquet")
    return {row["recording_id"]: row for path in paths for row in pq.read_table(path).to_pylist()}


def smallest(identities: Mapping[str, str], cap: int) -> list[str]:
    """Texts in the order of the hashes of their identities, as the documents define the choice."""

    def place(identity: str) -> int:
        return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big")

    return [identities[identity] for identity in sorted(identities, key=place)[:cap]]


def test_order_and_number_of_files_do_not_matter(runs: tuple[Path, Path, int]) -> None:
    one, three, _ = runs
    parts = {path.name: path.read_bytes() for path in one.glob("plans/**/*.parquet")}
    assert parts
    assert parts == {path.name: path.read_bytes() for path in three.glob("plans/**/*.parquet")}


def test_the_choice_is_that_of_the_smallest_hashes(runs: tuple[Path, Path, int]) -> None:
    hot = rows_of(runs[0])["hot"]
    comments = {duplicate_key(comment(number)): comment(number) for number in range(COMMENTS)}
    assert len(comments) == COMMENTS
    assert [entry["text"] for entry in hot["lf"]] == smallest(comments, CAPS.max_lf)
    titles = {f"p{number}": f"Evening {number}" for number in range(PLAYLISTS)} | {"wide": "Everything that I have"}
    assert hot["pl"] == smallest(titles, CAPS.max_pl)


def test_what_is_over_the_caps_is_counted(runs: tuple[Path, Path, int]) -> None:
    hot = rows_of(runs[0])["hot"]
    assert (hot["counts"]["lf_annotations"], hot["counts"]["pl_annotations"]) == (COMMENTS, PLAYLISTS + 1)
    accounts = report(runs[0])["annotations"]
    assert accounts["lf"] == {
        "read": COMMENTS, "kept": CAPS.max_lf, "dropped": {"over_cap": COMMENTS - CAPS.max_lf}
    }  # fmt: skip
    assert accounts["pl"]["read"] == PLAYLISTS + MEMBERS
    assert accounts["pl"]["dropped"] == {"over_cap": PLAYLISTS + 1 - CAPS.max_pl}


def test_a_wide_playlist_reaches_each_of_its_recordings(runs: tuple[Path, Path, int]) -> None:
    others = [row for name, row in rows_of(runs[0]).items() if name != "hot"]
    assert len(others) == MEMBERS - 1
    assert all(row["pl"] == ["Everything that I have"] for row in others)


def test_no_sketch_on_the_way_is_twice_as_large_as_the_cap(runs: tuple[Path, Path, int]) -> None:
    assert 0 < runs[2] < 2 * CAPS.max_lf
