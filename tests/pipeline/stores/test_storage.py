"""Files of a run: names are literal, absent is not unreadable, and two writers are kept apart; on a disk and in S3."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.storage import DamagedError
from pipeline.stores.store import AT_ONCE, StoreError
from tests.object_stores import gcs, s3

pytestmark = pytest.mark.slow

Bucket = tuple[str, tuple[str, ...]]  # its address, and the options of a job that uses it
ODD_NAMES = ("run*", "run[1]", "ru?", "**", "a b", "{x}", "Ünïcode", "run\\1")


@pytest.fixture(scope="module")
def s3_bucket() -> Iterator[Bucket]:
    with s3.server() as found:
        yield f"s3://{s3.BUCKET}", found.options()


@pytest.fixture(scope="module")
def gcs_bucket() -> Iterator[Bucket]:
    with gcs.server():
        yield f"gs://{gcs.BUCKET}", gcs.OPTIONS


@contextmanager
def options_of_a_job(given: tuple[str, ...]) -> Iterator[None]:
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    before = FileSystems._pipeline_options
    FileSystems.set_options(PipelineOptions([*given]))
    yield
    FileSystems._pipeline_options = before


@pytest.fixture(params=["disk", "s3", "gcs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "disk":
        yield str(tmp_path)
        return
    bucket, options = request.getfixturevalue(f"{request.param}_bucket")
    with options_of_a_job(options):
        yield f"{bucket}/{request.node.name.translate(str.maketrans('[]*?', '----'))}"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_is_a_name_and_never_a_pattern(folder: str, name: str) -> None:
    others = [storage.join(folder, other, "x.json") for other in ("run1", "run2", "rux", "1")]
    for path in others:
        storage.write_bytes(path, b"theirs")
    mine = storage.join(folder, name)
    assert storage.list_folder(mine) == []
    assert not storage.exists(storage.join(mine, "x.json"))
    storage.write_bytes(storage.join(mine, "x.json"), b"mine")
    assert [info.path for info in storage.list_folder(mine)] == [storage.join(mine, "x.json")]
    assert storage.read_bytes(storage.join(mine, "x.json")) == b"mine"
    with storage.open_file(storage.join(mine, "x.json")) as stream:
        stream.seek(1)
        assert stream.read() == b"ine"
    storage.delete([storage.join(mine, "x.json"), storage.join(mine, "*"), storage.join(mine, "never.json")])
    assert storage.list_folder(mine) == []
    assert [storage.read_bytes(path) for path in others] == [b"theirs"] * len(others)


def test_create_and_swap_keep_two_writers_apart(folder: str) -> None:
    path = storage.join(folder, "pointer.json")
    assert storage.swap(path, b"early", "1") is None
    first = storage.create(path, b"one")
    assert first is not None
    assert storage.create(path, b"two") is None
    assert storage.create(path, b"one") == first  # a request that was sent twice is not a second writer
    second = storage.swap(path, b"two", first)
    assert second is not None
    assert storage.swap(path, b"three", first) is None
    assert storage.read_version(path) == (b"two", second)
    assert storage.keeps_writers_apart(folder)
    assert [storage.name_of(info.path) for info in storage.list_folder(folder, deep=True)] in (
        ["pointer.json"],
        [".mutex", "pointer.json"],
    )


def test_folders_and_depth(folder: str) -> None:
    for name in ("a/1", "a/b/2", "c/3", "4"):
        storage.write_bytes(storage.join(folder, name), b"")
    assert storage.list_folders(folder) == ["a", "c"]
    assert [storage.name_of(info.path) for info in storage.list_folder(folder)] == ["4"]
    inside = [info.path.removeprefix(f"{folder}/") for info in storage.list_folder(folder, deep=True)]
    assert inside == ["4", "a/1", "a/b/2", "c/3"]
    storage.delete_folder(storage.join(folder, "a"))
    assert storage.list_folders(folder) == ["c"]


def test_what_is_not_whole_is_said_and_not_taken_for_absent(folder: str) -> None:
    path = storage.join(folder, "plan.json")
    assert storage.read_json(path) is None
    storage.write_bytes(path, b'{"generation": 1, ')
    with pytest.raises(DamagedError, match=r"plan\.json: not whole JSON"):
        storage.read_json(path)
    storage.write_bytes(path, b"[]")
    with pytest.raises(DamagedError, match="not a JSON object"):
        storage.read_json(path)
    with pytest.raises(DamagedError, match=r"gone\.json: there is no such file"):
        storage.read_bytes(storage.join(folder, "gone.json"))


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be listed"):
        storage.list_folder(str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be listed"):
        storage.list_folders(str(tmp_path / "file"))


def test_a_store_that_is_not_there_is_an_error(s3_bucket: Bucket) -> None:
    with options_of_a_job(s3_bucket[1]), pytest.raises(StoreError, match="s3://none/run: cannot be listed"):
        storage.list_folder("s3://none/run")


class TestFind:
    """The one function that takes a pattern."""

    def found(self, pattern: str, folder: str) -> list[str]:
        return [info.path.removeprefix(f"{folder}/") for info in storage.find(storage.join(folder, pattern))]

    def test_a_name_that_exists_wins(self, folder: str) -> None:
        for name in ("catalog[1].jsonl", "catalog1.jsonl", "star*.jsonl", "star2.jsonl"):
            storage.write_bytes(storage.join(folder, name), b"")
        assert self.found("catalog[1].jsonl", folder) == ["catalog[1].jsonl"]
        assert self.found("star*.jsonl", folder) == ["star*.jsonl"]
        assert self.found("catalog*.jsonl", folder) == ["catalog1.jsonl", "catalog[1].jsonl"]
        assert self.found("catalog?.jsonl", folder) == ["catalog1.jsonl"]
        assert self.found("none*.jsonl", folder) == []

    def test_folders(self, folder: str) -> None:
        for name in ("a.parquet/part-0", "b.parquet/day=1/part-0", "c.parquet", "more/d.parquet/part-0"):
            storage.write_bytes(storage.join(folder, name), b"")
        for pattern, names in (
            ("a.parquet", ["a.parquet"]),
            ("c.parquet", []),
            ("*.parquet", ["a.parquet", "b.parquet"]),
            ("*/*.parquet", ["more/d.parquet"]),
            ("b.parquet/*", ["b.parquet/day=1"]),
        ):
            found = storage.find_folders(storage.join(folder, pattern))
            assert found == [storage.join(folder, name) for name in names], pattern

    def test_a_folder_with_brackets(self, tmp_path: Path) -> None:
        folder = str(tmp_path)
        for name in ("Album [FLAC]/a.jsonl", "Album [FLAC]/b.jsonl", "Album F/c.jsonl"):
            storage.write_bytes(storage.join(folder, name), b"")
        assert self.found("Album [FLAC]/*.jsonl", folder) == ["Album [FLAC]/a.jsonl", "Album [FLAC]/b.jsonl"]
        assert self.found("Album [E-G]/*.jsonl", folder) == ["Album F/c.jsonl"]
        assert self.found("*/?.jsonl", folder) == ["Album F/c.jsonl", "Album [FLAC]/a.jsonl", "Album [FLAC]/b.jsonl"]

    def test_a_folder_that_cannot_be_read_is_an_error(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir()
        (closed / "a.jsonl").touch()
        closed.chmod(0)
        try:
            if os.access(closed, os.R_OK):
                pytest.skip("this user reads whatever it likes")
            with pytest.raises(StoreError, match="cannot be listed"):
                storage.find(f"{closed}/*.jsonl")
        finally:
            closed.chmod(0o700)


def test_a_writer_that_is_suspended_in_the_middle_of_a_swap_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stores.store.MUTEX_WAIT_S", 0.2)
    path = storage.join(str(tmp_path), "pointer.json")
    version = storage.create(path, b"one")
    assert version is not None
    script = (
        "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print('held', flush=True); time.sleep(60)"
    )
    (tmp_path / ".mutex").touch()
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / ".mutex")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=r"\.mutex: held by another process"):
            storage.swap(path, b"two", version)
        assert storage.read_bytes(path) == b"one"
    finally:
        holder.kill()
        holder.wait()
    assert storage.swap(path, b"two", version) is not None


def test_a_store_is_asked_side_by_side_and_the_answers_keep_their_order() -> None:
    together = threading.Barrier(AT_ONCE, timeout=30)  # that many wait for one another, or none comes through
    asked: list[int] = []

    def ask(number: int) -> int:
        asked.append(number)
        together.wait()
        return number

    count = 4 * AT_ONCE
    answers = storage.side_by_side("s3://music/run", ask, range(count))
    assert next(answers) == 0
    assert len(asked) < count  # what is not yet wanted is not held
    assert list(answers) == list(range(1, count))


def test_each_of_them_has_a_connection_of_its_own(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    paths = [storage.join(folder, f"{number}.json") for number in range(4 * AT_ONCE)]
    for _ in storage.side_by_side(folder, lambda path: storage.write_bytes(path, path.encode()), paths):
        pass
    assert list(storage.side_by_side(folder, storage.read_bytes, paths)) == [path.encode() for path in paths]
    storage.delete(paths)
    assert storage.list_folder(folder) == []
    assert not [record.getMessage() for record in caplog.records if "pool" in record.getMessage()]


@pytest.mark.parametrize("place", ["s3://music/run", "run"])
def test_the_first_of_many_that_fails_is_what_is_said(place: str) -> None:
    def ask(number: int) -> int:
        if number >= 40:
            raise StoreError(f"number {number} cannot be read")
        return number

    with pytest.raises(StoreError, match="number 40 cannot be read"):
        list(storage.side_by_side(place, ask, range(1_000)))
