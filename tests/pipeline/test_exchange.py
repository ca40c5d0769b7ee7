"""Text that meets through files of this machine gives the plan that a runner's shuffle gives, byte for byte."""

import contextlib
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import exchange as exchange_module
from pipeline import mine as mine_module
from pipeline import table_splits
from pipeline.batches import as_it_is
from pipeline.exchange import Exchange
from pipeline.settings import JobSettings
from pipeline.table_steps import Attempt
from tests.pipeline.mining import mine

pytestmark = pytest.mark.slow

IDS = (
    *("é", unicodedata.normalize("NFD", "é"), "A", "a", "ß", "SS", "ı", "I", "日本", "\U0001f600", "a b"),
    *("Z", "z", "10", "9"),
)
TEXTS = (
    "A nul \0 in a warm sound.",
    "Zwei gleiche Sätze. Zwei gleiche sätze!",
    "e\u0301tude and étude. Soooo slow it is.",
    "Right \u202e to left, and back.",
    "日本語の文です。とても静かな曲です。",
    "\ufeffA mark before it all.",
    "Line\u2028separator here it is",
)


def tables(folder: Path) -> list[str]:
    rows = [
        {"recording_id": name, "audio_uri": f"{number}.flac", "title": TEXTS[number % 7], "tags": [*TEXTS[:3], name]}
        for number, name in enumerate(IDS)
    ]
    rows += [{**rows[2], "title": "Another row of one id"}, rows[3], {"recording_id": "\ud800", "audio_uri": "x"}]
    comments = [{"recording_id": name, "text": text} for name in (*IDS, "nobody") for text in TEXTS]
    playlists: list[dict[str, Any]] = [
        {"playlist_id": f"p{number}", "title": text, "recording_ids": [*IDS[number:], "nobody", IDS[number]]}
        for number, text in enumerate((*TEXTS, " "))
    ]
    for name, values in (("catalog", rows), ("comments", comments), ("playlists", playlists)):
        escaped = (name == "catalog" or number % 2 == 0 for number in range(len(values)))
        lines = (f"{json.dumps(v, ensure_ascii=is_escaped)}\n" for v, is_escaped in zip(values, escaped, strict=True))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return [option for name in ("comments", "playlists") for option in (f"--{name}", str(folder / f"{name}.jsonl"))]


@contextlib.contextmanager
def shuffled(*_: Any) -> Iterator[Exchange]:
    yield Exchange()


def planned(output: Path) -> tuple[bytes, dict[str, bytes]]:
    """The plan with its accounts, and the files that it names."""
    files = [path for path in (output / "plans" / "g0001").iterdir() if path.suffix in (".parquet", ".jsonl")]
    return (output / "plans/g0001/plan.json").read_bytes(), {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("limit", [(), ("--limit=6",)], ids=["all", "limit"])
def test_files_and_a_shuffle_give_one_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, ...]
) -> None:
    options = [*tables(tmp_path), "--dry_run", "--rows_per_shard=4", *limit]
    monkeypatch.setattr(exchange_module, "BUFFER_BYTES", 700)
    monkeypatch.setattr(table_splits, "PIECE_BYTES", 400)
    assert mine(tmp_path / "catalog.jsonl", tmp_path / "files", *options, "--pass_bytes=900") == 0
    assert not list(tmp_path.glob("files/plans/g0001/attempt-*/exchange"))
    monkeypatch.setattr(table_splits, "PIECE_BYTES", 1 << 20)
    monkeypatch.setattr(mine_module, "_exchange", shuffled)
    assert mine(tmp_path / "catalog.jsonl", tmp_path / "shuffle", *options) == 0
    assert planned(tmp_path / "files") == planned(tmp_path / "shuffle")
    rows = [row for path in tmp_path.glob("files/plans/**/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert len(rows) == (6 if limit else len(IDS))
    assert all(len(row["lf"]) >= 5 and row["pl"] for row in rows)


def test_values_come_back_as_they_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "BUFFER_BYTES", 100)
    keys = ["", "\0", "\ud800", "é", unicodedata.normalize("NFD", "é"), "k" * 3_000]
    values = [["\udfff", None, 0.1, 2**63], {"-1": ["\0"]}, "", [], [-(2**70)]]
    spill = exchange_module._Spill(Exchange(folder=str(tmp_path / "exchange"), partitions=3), as_it_is)
    spill.setup()
    spill.start_bundle()
    segments = [segment for value in values for key in keys for segment in spill.process([(key, value)])]
    segments += [windowed.value for windowed in spill.finish_bundle()]
    assert len({path for _, (path, *_) in segments}) > 3
    meet = exchange_module._Meet(list)
    partitions = {partition: [at for to, at in segments if to == partition] for partition, _ in segments}
    met = [found for group in partitions.items() for found in meet.process(group)]
    assert len(partitions) > 1
    assert sorted((key, sorted(found, key=repr)) for key, found in met) == sorted(
        (key, sorted(values, key=repr)) for key in keys
    )


@pytest.mark.parametrize(("text_bytes", "partitions"), [(1 << 20, 1), (80 << 20, 64), (10 << 30, 320)])
def test_partitions_are_small_enough_and_enough_to_share(tmp_path: Path, text_bytes: int, partitions: int) -> None:
    job = JobSettings(output=str(tmp_path), catalogues=(), pass_bytes=32 << 20)
    attempt = Attempt(run_dir=str(tmp_path), generation=1, name="attempt-0001-00000000")
    with mine_module._exchange(job, attempt, text_bytes) as exchange:
        assert exchange.partitions == partitions
