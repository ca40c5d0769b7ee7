"""Some rows of a row group are those of the whole, in the order given, from near and from afar."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.formats.plain_values import plain_values
from schemas.run import Run
from schemas.shard_format import FORMATS, RecordError
from tests.trainer.fixture_runs import shard_row, write_run

SIZES = (0, 1, 300_000, 7, 900_000, 5, 1_200_000, 2, 70_000)
CLIPS = [np.random.default_rng(i).bytes(size) for i, size in enumerate(SIZES)]
ASKED = ([0], [8], [3, 1], list(range(9)), [8, 0, 8])


class Afar:
    """A file that is not known to be a local one."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path))
        self.read_bytes = 0

    def read_at(self, size: int, offset: int) -> bytes:
        content: bytes = self._file.read_at(size, offset)
        self.read_bytes += len(content)
        return content


def table(**column: Any) -> pa.Table:
    kind = pa.field("audio", pa.binary(), nullable=column.pop("nullable", False))
    return pa.table({"audio": pa.array(CLIPS, pa.binary())}, schema=pa.schema([kind]))


@pytest.mark.parametrize("shard_format", FORMATS)
@pytest.mark.parametrize("asked", ASKED)
def test_chosen_rows_are_those_of_the_whole(tmp_path: Path, shard_format: str, asked: list[int]) -> None:
    rows = [shard_row(f"r{i}", sf=["x"], audio=clip) for i, clip in enumerate(CLIPS)]
    run = Run.open(write_run(tmp_path / "run", rows, shards=1, shard_format=shard_format))
    (group,) = run.row_groups()
    for columns in (["audio"], ["recording_id"], ["recording_id", "audio", "lf"], None):
        assert run.read(group, columns, asked) == run.read(group, columns).take(asked)


@pytest.mark.parametrize("data_page_size", [100, 1 << 20, 1 << 30])
@pytest.mark.parametrize("asked", ASKED)
def test_plain_values_are_found_in_any_page(tmp_path: Path, asked: list[int], data_page_size: int) -> None:
    path = tmp_path / "one.parquet"
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False}
    pq.write_table(table(), path, data_page_size=data_page_size, write_batch_size=1, **options)
    near, afar = pa.OSFile(str(path)), Afar(path)
    for source in (near, afar):
        values = plain_values(pq.ParquetFile(path), source, 0, "audio", asked)
        assert values is not None
        assert values.to_pylist() == [CLIPS[i] for i in asked]
    assert afar.read_bytes <= sum(SIZES) * 1.1
    with pytest.raises(RecordError, match="has no row 9"):
        plain_values(pq.ParquetFile(path), near, 0, "audio", [0, 9])


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd", "use_dictionary": False},
        {"compression": "none", "use_dictionary": True},
        {"compression": "none", "use_dictionary": False, "column_encoding": {"audio": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"},
    ],
)
def test_other_columns_are_left_to_parquet(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "one.parquet"
    pq.write_table(table(), path, **options)
    assert plain_values(pq.ParquetFile(path), pa.OSFile(str(path)), 0, "audio", [1]) is None
    pq.write_table(table(nullable=True), path, compression="none", use_dictionary=False)
    assert plain_values(pq.ParquetFile(path), pa.OSFile(str(path)), 0, "audio", [1]) is None


def test_a_damaged_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    pq.write_table(table(), path, compression="none", use_dictionary=False)
    content = path.read_bytes()
    at = content.index(SIZES[2].to_bytes(4, "little") + CLIPS[2][:8])
    for length in (0xFFFFFFFF, 1 << 24):
        path.write_bytes(content[:at] + length.to_bytes(4, "little") + content[at + 4 :])
        with pytest.raises(RecordError, match="which its page does not have"):
            plain_values(pq.ParquetFile(path), pa.OSFile(str(path)), 0, "audio", [4])


def test_a_footer_is_read_once_for_texts_and_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(write_run(tmp_path / "run", [shard_row("r", sf=["x"], audio=b"clip")], shards=1))
    (group,) = run.row_groups()
    opened = []

    class Counted(pq.ParquetFile):
        def __init__(self, *given: Any, **named: Any) -> None:
            opened.append(given)
            super().__init__(*given, **named)

    monkeypatch.setattr(pq, "ParquetFile", Counted)
    run.read(group, ["sf"])
    run.read(group, ["audio"], [0])
    assert not opened
    Run(run.location, run.root, run.filesystem, run.manifest).read(group, ["sf"])
    assert len(opened) == 1
