"""Removal is removal: nothing of a removed recording is in the run folder, and nothing brings it back."""

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from openmulan import main as mulan
from pipeline.media.fetch import Fetcher, FetchError
from pipeline.media.fetching.cache import MediaCache
from schemas.manifest import Manifest
from schemas.readers import ReaderRecord, ReaderState
from schemas.reasons import Reason
from schemas.run import Run
from schemas.suppression import SuppressionList
from tests.pipeline.catalogues.test_audioset import corpus as audioset_corpus  # noqa: F401 - a fixture
from tests.pipeline.catalogues.test_audioset import mine_audioset
from tests.pipeline.killing import PRUNE_POINTS, REMOVE_POINTS, die_at, mine_and_die_at
from tests.pipeline.mining import RATE_HZ, manifest, mine, report, row, shard_hashes, write_catalogue
from tests.pipeline.traces import traces

pytestmark = pytest.mark.slow

SHARDS = "--rows_per_shard=3"
COMPAT = Path(__file__).resolve().parents[2] / "compat" / "f40d036" / "mined"


def named(number: int, name: str) -> dict[str, Any]:
    """A row whose every text says whose it is."""
    return row(
        number,
        title=f"Ballad of {name} (Official Video)",
        artist=f"{name} and the others",
        tags=[f"{name} tag"],
        description=f"A ballad in which {name} plays three steady tones.",
        comments=[f"What a sound {name} has here!"],
    )


ROWS = [*(row(number) for number in range(7)), named(7, "Zyxgate")]
GONE = "rec-007"


def write_corpus(folder: Path) -> Path:
    """The catalogue of `ROWS`, in which no other recording sounds like the one that goes."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    noise_T = np.random.default_rng(7).normal(0, 0.05, 6 * RATE_HZ).astype(np.float32)
    soundfile.write(folder / "audio" / "007.flac", noise_T, RATE_HZ)
    return write_catalogue(folder, ROWS)


def write_lines(path: Path, *values: Any) -> Path:
    path.write_text(
        "".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in values), encoding="utf-8"
    )
    return path


def ids(folder: Path, *names: str) -> str:
    return str(write_lines(folder / "ids.txt", *names))


def remove(run: Path, *names: str, options: tuple[str, ...] = ()) -> int:
    return mulan(["remove", str(run), "--ids", ids(run.parent, *names), "--quiet", *options])


def prune(run: Path, *options: str) -> int:
    return mulan(["prune", str(run), "--quiet", *options])


def recordings(run: Path) -> list[str]:
    """Of every shard that lies there, whatever the manifest says."""
    indexes = list(run.glob("shards/*.tfrecord.index.parquet"))
    return sorted(
        name
        for path in (indexes or run.glob("shards/*.parquet"))
        for name in pq.read_table(path, columns=["recording_id"])["recording_id"].to_pylist()
    )


def needles(run: Path, name: str = GONE) -> list[str | bytes]:
    """Id, words, audio and hash of a recording that is in the run."""
    found = Run.open(run)
    rows = [value for group in found.row_groups() for value in found.read(group).to_pylist()]
    (value,) = [value for value in rows if value["recording_id"] == name]
    sha256 = value["audio_sha256"]
    return [name, "Zyxgate", f"{int(name[-3:]):03d}.flac", sha256, sha256[:32], value["audio"][1000:1100]]


def closes(account: dict[str, Any]) -> bool:
    left_out = sum(sum(account.get(name, {}).values()) for name in ("dropped", "failed_transient", "failed_permanent"))
    return bool(account["read"] == account["kept"] + left_out)


def size(run: Path) -> int:
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file())


def content(run: Path) -> dict[str, str]:
    """Every file but the lock, whose every use is a change."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def mined(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("mined") / "run"
    assert mine(corpus / "catalog.jsonl", output, SHARDS) == 0
    return output


@pytest.fixture
def run(mined: Path, tmp_path: Path) -> Path:
    """A run of one's own."""
    return Path(shutil.copytree(mined, tmp_path / "run"))


@pytest.mark.parametrize("shard_format", ["parquet", "tfrecord"])
def test_no_file_has_anything_of_a_removed_recording(tmp_path: Path, shard_format: str) -> None:
    """Bar 5, with all that stands around a recording: comments, playlists, and rows of it that cannot be used."""
    folder = tmp_path / "corpus"
    write_corpus(folder)
    bad = [{**named(7, "Zyxgate"), "duration_s": -1}, {**named(7, "Zyxgate"), "title": "Zyxgate once more"}]
    broken = '{"recording_id": "rec-007", "title": "Zyxgate'
    catalogue = write_lines(folder / "all.jsonl", *ROWS, *bad, broken)
    comments = write_lines(
        folder / "comments.jsonl",
        *({"recording_id": f"rec-{i:03d}", "text": f"Comment {i} likes the drums."} for i in range(7)),
        {"recording_id": GONE, "text": "Zyxgate plays the drums with such a warm sound."},
        {"recording_id": GONE, "text": ["Zyxgate"]},
    )
    playlists = write_lines(
        folder / "playlists.jsonl",
        {"playlist_id": "p1", "title": "Evening", "recording_ids": ["rec-001", GONE]},
        {"playlist_id": "p2", "title": "Zyxgate for ever", "recording_ids": [GONE]},
        {"playlist_id": "p3", "title": ["Zyxgate"], "recording_ids": [GONE]},
    )
    output = tmp_path / "run"
    options = (
        *(SHARDS, "--max_failure_rate=0.5", f"--format={shard_format}"),
        *("--comments", str(comments), "--playlists", str(playlists)),
    )
    assert mine(catalogue, output, *options) == 0
    sought = needles(output)
    assert {path.partition("/")[0] for path in traces(output, sought)} >= {"plans", "shards"}
    assert set().union(*traces(output, sought).values()) >= {
        needle if isinstance(needle, bytes) else needle.encode() for needle in sought
    }
    (groups,) = output.glob("groups-*")
    assert str(groups.relative_to(output)) in traces(output, sought)

    # Neither catalogue nor media are needed for it.
    folder.rename(tmp_path / "away")
    try:
        assert remove(output, GONE) == 0
        assert GONE not in [name for shard in manifest(output)["shards"] for name in _ids(output / shard["path"])]
        assert prune(output) == 0
    finally:
        (tmp_path / "away").rename(folder)
    assert traces(output, sought) == {}
    kept = [f"rec-{i:03d}" for i in range(7)]
    assert recordings(output) == kept
    assert report(output)["recordings"]["kept"] == 7
    assert closes(report(output)["recordings"])

    number = manifest(output)["number"]
    assert mine(catalogue, output, *options) == 0
    assert traces(output, sought) == {}
    assert manifest(output)["number"] == number
    # Read anew, since the file says that it has changed.
    os.utime(catalogue)
    assert mine(catalogue, output, *options) == 0
    assert traces(output, sought) == {}
    assert report(output)["recordings"]["dropped"]["removed"] == 2  # the row and its repetition
    number = manifest(output)["number"]
    os.utime(catalogue)
    assert mine(catalogue, output, *options) == 0
    assert manifest(output)["number"] == number
    # And grown, with the removed one still in it.
    grown = write_catalogue(folder, [*ROWS, row(8), row(9)], "grown.jsonl")
    write_lines(grown, *(json.loads(line) for line in grown.read_text().splitlines()), *bad, broken)
    assert mine(grown, output, *options) == 0
    assert traces(output, sought) == {}
    account = report(output)["recordings"]
    assert (account["read"], account["kept"]) == (13, 9)
    assert account["dropped"]["removed"] == 2  # the row and its repetition
    assert closes(account)
    assert all(closes(account) for account in report(output)["annotations"].values())
    assert manifest(output)["accounting"]["recordings"]["dropped"] == account["dropped"]
    assert prune(output) == 0
    assert recordings(output) == [*kept, "rec-008", "rec-009"]
    assert traces(output, sought) == {}
    assert mulan(["report", str(output), "--verify"]) == 0


def _ids(shard: Path) -> list[str]:
    path = shard if shard.suffix == ".parquet" else shard.with_name(f"{shard.name}.index.parquet")
    found: list[str] = pq.read_table(path, columns=["recording_id"])["recording_id"].to_pylist()
    return found


def test_a_tombstone_of_mine_is_as_final(run: Path, corpus: Path) -> None:
    sought = needles(run)
    smaller = write_catalogue(corpus, ROWS[:-1], "smaller.jsonl")
    assert mine(smaller, run, SHARDS, "--on_removed=tombstone") == 0
    assert prune(run) == 0
    assert traces(run, sought) == {}
    assert mine(corpus / "catalog.jsonl", run, SHARDS) == 0
    assert traces(run, sought) == {}
    assert report(run)["recordings"] == {"read": 8, "kept": 7, "dropped": {"removed": 1}, "pending": 0}


def test_the_same_catalogue_again_plans_nothing(run: Path, corpus: Path) -> None:
    assert remove(run, GONE) == 0
    number = manifest(run)["number"]
    os.utime(corpus / "catalog.jsonl")
    assert mine(corpus / "catalog.jsonl", run, SHARDS) == 0
    assert manifest(run)["number"] == number
    assert not (run / "plans" / "g0003" / "plan.json").exists()


def test_a_changed_row_is_not_removed(run: Path, corpus: Path) -> None:
    rows = [*ROWS[:-1], named(7, "Quaxley")]
    assert mine(write_catalogue(corpus, rows, "changed.jsonl"), run, SHARDS) == 0
    assert prune(run) == 0
    assert traces(run, ["Zyxgate"]) == {}
    assert recordings(run) == sorted(value["recording_id"] for value in rows)
    assert not (run / "suppressed.json").exists() or not json.loads((run / "suppressed.json").read_text())["hashes"]


def test_the_disk_of_six_generations_is_given_back(corpus: Path, tmp_path: Path) -> None:
    output, fresh = tmp_path / "run", tmp_path / "fresh"
    rows = [row(number) for number in range(16)]
    for generation in range(6):
        rows = [{**value, "title": f"Take {generation} of {value['recording_id']}"} for value in rows]
        assert mine(write_catalogue(corpus, rows, f"g{generation}.jsonl"), output, "--rows_per_shard=16") == 0
    assert manifest(output)["number"] == 6
    before = size(output)
    assert prune(output) == 0
    assert mine(corpus / "g5.jsonl", fresh, "--rows_per_shard=16") == 0
    assert before > 4 * size(fresh)
    assert size(output) <= 1.1 * size(fresh)
    assert recordings(output) == sorted(value["recording_id"] for value in rows)
    assert [path.name for path in output.glob("manifest-*.json")] == ["manifest-0006.json"]
    assert mine(corpus / "g5.jsonl", output, "--rows_per_shard=16") == 0
    assert manifest(output)["number"] == 6


def test_killed_at_every_commit_point(run: Path, tmp_path: Path) -> None:
    undisturbed = Path(shutil.copytree(run, tmp_path / "undisturbed"))
    sought = needles(run)
    assert remove(undisturbed, GONE, "rec-001") == 0
    assert prune(undisturbed) == 0
    command = ("remove", str(run), "--ids", ids(tmp_path, GONE, "rec-001"), "--quiet")
    # What rejects nothing publishes no rejects; a point that lies behind a finished step is not got to again.
    for point in REMOVE_POINTS:
        die_at(point, *command)
    assert mulan(list(command)) == 0
    for point in PRUNE_POINTS:
        die_at(point, "prune", str(run), "--quiet")
    assert prune(run) == 0
    assert traces(run, sought) == {}
    assert shard_hashes(run) == shard_hashes(undisturbed)
    assert manifest(run) == {**manifest(undisturbed), "number": manifest(run)["number"]}
    ours, theirs = ({name for name in content(path) if "manifest-" not in name} for path in (run, undisturbed))
    assert ours == theirs
    assert list((run / "tmp").iterdir()) == []


@pytest.mark.parametrize("point", ["suppression_written", "plan_committed", "shard_committed"])
def test_mine_goes_on_with_a_removal_that_was_killed(run: Path, corpus: Path, tmp_path: Path, point: str) -> None:
    sought = needles(run)
    die_at(point, "remove", str(run), "--ids", ids(tmp_path, GONE), "--quiet")
    assert mine(corpus / "catalog.jsonl", run, SHARDS) == 0
    assert report(run)["recordings"] == {"read": 8, "kept": 7, "dropped": {"removed": 1}, "pending": 0}
    assert prune(run) == 0
    assert traces(run, sought) == {}


def test_prune_goes_on_with_a_removal_that_was_killed(run: Path, tmp_path: Path) -> None:
    sought = needles(run)
    die_at("suppression_written", "remove", str(run), "--ids", ids(tmp_path, GONE), "--quiet")
    assert prune(run) == 0
    assert traces(run, sought) == {}
    assert len(recordings(run)) == 7


def test_a_run_that_is_not_built_to_its_end(corpus: Path, mined: Path, tmp_path: Path) -> None:
    sought = needles(mined)
    output = tmp_path / "run"
    mine_and_die_at("shard_committed", corpus / "catalog.jsonl", output, (SHARDS,))
    built = recordings(output)
    pending = sorted({value["recording_id"] for value in ROWS} - set(built))
    assert built
    assert pending
    assert remove(output, GONE, built[0], pending[0]) == 0
    assert not (output / "manifest.json").exists()
    assert prune(output) == 0
    assert traces(output, [built[0], pending[0], *sought]) == {}
    assert recordings(output) == [name for name in built if name not in (GONE, built[0])]
    assert mine(corpus / "catalog.jsonl", output, SHARDS) == 0
    assert traces(output, [built[0], pending[0], *sought]) == {}
    gone = {GONE, built[0], pending[0]}
    assert recordings(output) == sorted({value["recording_id"] for value in ROWS} - gone)
    assert report(output)["recordings"]["dropped"] == {"removed": len(gone)}


def test_a_generation_in_progress_stays_out_of_the_manifest(run: Path, corpus: Path) -> None:
    grown = write_catalogue(corpus, [*ROWS, *(row(number) for number in range(10, 16))], "progress.jsonl")
    mine_and_die_at("shard_committed", grown, run, (SHARDS,))
    assert remove(run, GONE) == 0
    assert manifest(run)["number"] == 2
    listed = [name for shard in manifest(run)["shards"] for name in _ids(run / shard["path"])]
    assert sorted(listed) == [f"rec-{i:03d}" for i in range(7)]
    assert mine(grown, run, SHARDS) == 0
    assert prune(run) == 0
    assert recordings(run) == sorted([*(f"rec-{i:03d}" for i in range(7)), *(f"rec-{i:03d}" for i in range(10, 16))])


def test_all_rows_of_a_shard_and_what_failed_for_now(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched for a removal, and what failed for now is tried again by the next mine."""
    output, fetch, asked = tmp_path / "run", Fetcher.fetch, []

    def flaky(self: Fetcher, audio_uri: str, *, base_uri: str) -> bytes:
        asked.append(audio_uri)
        if audio_uri.endswith("002.flac") and len(asked) <= 8:
            raise FetchError(Reason.READ_FAILED, "the disk hiccups")
        return fetch(self, audio_uri, base_uri=base_uri)

    monkeypatch.setattr(Fetcher, "fetch", flaky)
    assert mine(corpus / "catalog.jsonl", output, SHARDS, "--max_failure_rate=0.5") == 0
    assert len(asked) == 8
    shards = {shard: _ids(shard) for shard in output.glob("shards/*.parquet")}
    whole = min(shards.values(), key=len)
    assert remove(output, *whole) == 0
    assert len(asked) == 8
    assert len(manifest(output)["shards"]) == len(shards) - 1
    neighbour = next(name for name in recordings(output) if name not in whole)
    assert remove(output, neighbour) == 0
    assert report(output)["recordings"]["failed_transient"] == {"read_failed": 1}
    assert mine(corpus / "catalog.jsonl", output, SHARDS) == 0
    assert asked[8:] == ["audio/002.flac"]
    assert prune(output) == 0
    assert recordings(output) == sorted({value["recording_id"] for value in ROWS} - {*whole, neighbour})


class TestIds:
    def test_unknown_ones_are_listed_and_nothing_is_done(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = content(run)
        assert remove(run, GONE, "rec-999", "recording seven") == 2
        said = capsys.readouterr()
        assert said.out.splitlines() == ["rec-999", "recording seven"]
        (line,) = said.err.splitlines()
        assert line.startswith("mulan remove: ")
        assert "does not know 2 of 3 ids" in line
        assert content(run) == before

    def test_unknown_ones_can_be_kept_from_coming(self, run: Path, corpus: Path) -> None:
        assert remove(run, "rec-020", options=("--suppress_unknown",)) == 0
        grown = write_catalogue(corpus, [*ROWS, row(20), row(21)], "with-20.jsonl")
        assert mine(grown, run, SHARDS) == 0
        assert report(run)["recordings"] == {"read": 10, "kept": 9, "dropped": {"removed": 1}, "pending": 0}
        assert prune(run) == 0
        assert traces(run, ["rec-020"]) == {}

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("ids.jsonl", '{"recording_id": "rec-007", "why": "asked"}\n'),
            ("ids.csv", "why,recording_id\nasked,rec-007\n"),
            ("ids.list", "\ufeffrec-007\r\n\n"),
        ],
    )
    def test_files_of_any_kind(self, run: Path, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert mulan(["remove", str(run), "--ids", str(tmp_path / name), "--quiet"]) == 0
        assert report(run)["recordings"]["dropped"] == {"removed": 1}

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("ids.csv", "id\nrec-007\n", "ids.csv:2: recording_id is missing"),
            (
                "ids.jsonl",
                '{"recording_id": "rec-007"}\n{"recording_id": 7.5}\n',
                "ids.jsonl:2: recording_id is the number 7.5",
            ),
            ("ids.txt", "rec-007\n\ttab\n", "ids.txt:2: recording_id has control characters"),
            ("ids.txt", "\n", "has no ids"),
        ],
    )
    def test_a_line_that_is_no_id(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, said: str
    ) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        before = content(run)
        assert mulan(["remove", str(run), "--ids", str(tmp_path / name), "--quiet"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert content(run) == before

    def test_a_request_that_is_withdrawn(self, run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert remove(run, GONE) == 0
        assert remove(run, GONE, "rec-001", options=("--lift",)) == 0
        assert "1 of 2 ids were removed before" in capsys.readouterr().out
        assert mine(corpus / "catalog.jsonl", run, SHARDS) == 0
        assert prune(run) == 0
        assert GONE in recordings(run)
        assert report(run)["recordings"] == {"read": 8, "kept": 8, "pending": 0}

    def test_the_list_names_nobody_and_differs_from_run_to_run(self) -> None:
        one, other = (SuppressionList.new().with_ids([GONE]) for _ in range(2))
        assert GONE in one
        assert "rec-006" not in one
        assert one.hashes != other.hashes
        assert SuppressionList.from_json(json.loads(json.dumps(one.to_json()))) == one


class TestWhoElse:
    """The same audio under another id, and the trainings."""

    @pytest.fixture
    def twins(self, corpus: Path, tmp_path: Path) -> Path:
        shutil.copy(corpus / "audio" / "007.flac", corpus / "audio" / "107.flac")
        catalogue = write_catalogue(corpus, [*ROWS, row(107)], "twins.jsonl")
        assert mine(catalogue, tmp_path / "run", SHARDS) == 0
        return tmp_path / "run"

    def reader(self, run: Path, hours: float, state: ReaderState = ReaderState.RUNNING, name: str = "model") -> None:
        seen = datetime.now(UTC) - timedelta(hours=hours)
        record = ReaderRecord(
            output=f"/models/{name}",
            recipe="m_resnet50",
            manifest=manifest(run)["number"],
            manifest_digest=Manifest.from_json(manifest(run)).digest(),
            started=seen - timedelta(hours=1),
            last_seen=seen,
            state=state,
        )
        (run / "readers").mkdir(exist_ok=True)
        (run / "readers" / f"{record.id}.json").write_text(json.dumps(record.to_json()))

    def test_are_named(self, twins: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.reader(twins, 1.0, ReaderState.DONE, "first")
        capsys.readouterr()
        before = content(twins)
        assert remove(twins, GONE, options=("--dry_run",)) == 0
        assert "would remove" in capsys.readouterr().out
        assert content(twins) == before
        assert remove(twins, GONE) == 0
        said = capsys.readouterr().out
        assert "rec-107 has the audio of rec-007" in said
        assert "trained on   /models/first (m_resnet50, manifest 1, done, " in said
        self.reader(twins, 1.0, ReaderState.DONE, "second")  # of the manifest without it
        assert remove(twins, GONE) == 0
        again = capsys.readouterr().out
        assert "/models/first" in again
        assert "/models/second" not in again

    def test_a_training_keeps_what_it_reads_for_a_time(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        sought = needles(run)
        self.reader(run, 2.0)
        first = Run.open(run)
        assert remove(run, GONE) == 0
        capsys.readouterr()
        assert prune(run) == 3
        assert "waits for    /models/model (m_resnet50, manifest 1, running" in capsys.readouterr().out
        assert sum(first.read(group, ["recording_id"]).num_rows for group in first.row_groups()) == 8
        assert traces(run, sought) != {}
        assert prune(run, "--grace_hours=1") == 0
        assert traces(run, sought) == {}

    def test_nobody_is_waited_for_where_that_is_asked(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        sought = needles(run)
        self.reader(run, 0.0)
        assert remove(run, GONE) == 0
        assert prune(run, "--now") == 0
        assert "a training that reads an older manifest will stop" in capsys.readouterr().err
        assert traces(run, sought) == {}

    def test_a_training_that_is_done_is_not_waited_for(self, run: Path) -> None:
        self.reader(run, 0.0, ReaderState.DONE)
        assert remove(run, GONE) == 0
        assert prune(run) == 0

    def test_a_record_that_cannot_be_read_is_an_error(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (run / "readers").mkdir()
        (run / "readers" / "odd.json").write_text("{}")
        before = content(run)
        assert prune(run) == 2
        assert "readers/odd.json: not a reader's record" in capsys.readouterr().err
        assert content(run) == before


def test_older_manifests_can_be_kept(run: Path, corpus: Path) -> None:
    for last in (20, 21):
        grown = write_catalogue(corpus, [*ROWS, *(row(number) for number in range(20, last + 1))], f"to-{last}.jsonl")
        assert mine(grown, run, SHARDS) == 0
    assert prune(run, "--keep=2") == 0
    assert sorted(path.name for path in run.glob("manifest-*.json")) == ["manifest-0002.json", "manifest-0003.json"]
    older = Run.open(run, 2)
    assert sum(older.read(group, ["recording_id"]).num_rows for group in older.row_groups()) == 9


def test_the_media_cache_forgets_it_too(tmp_path: Path) -> None:
    write_catalogue(tmp_path, [row(0), row(7), row(8)])
    remote = {**named(7, "Zyxgate"), "audio_uri": "http://media.example/007.flac"}
    catalogue = write_lines(tmp_path / "remote.jsonl", row(0), remote)
    cache = MediaCache(str(tmp_path / "cache"), 1 << 30)
    gone, other = ((tmp_path / "audio" / name).read_bytes() for name in ("007.flac", "008.flac"))
    cache.put("http://media.example/007.flac", gone)
    cache.put("http://media.example/other.flac", other)
    run = tmp_path / "run"
    assert mine(catalogue, run, "--cache_dir", str(tmp_path / "cache")) == 0
    assert remove(run, GONE) == 0
    assert prune(run, "--cache_dir", str(tmp_path / "cache")) == 0
    assert cache.get("http://media.example/007.flac") is None
    assert cache.get("http://media.example/other.flac") == other
    assert traces(tmp_path / "cache", [gone[1000:1100], hashlib.sha256(gone).hexdigest()]) == {}


def test_an_audioset_run(audioset_corpus: Path, tmp_path: Path) -> None:  # noqa: F811
    run, options = tmp_path / "run", ("--audioset_audio", str(audioset_corpus / "audio"))
    assert mine_audioset(audioset_corpus, run, *options) == 0
    assert traces(run, ["cut_out_one"])
    assert traces(run, ["no_copy____"])
    assert remove(run, "cut_out_one", "no_copy____") == 0
    assert prune(run) == 0
    assert traces(run, ["cut_out_one", "no_copy____"]) == {}
    assert mine_audioset(audioset_corpus, run, *options) == 0
    assert traces(run, ["cut_out_one", "no_copy____"]) == {}
    segments = json.loads((run / "audioset" / "report.json").read_text())["segments"]
    assert (segments["read"], segments["kept"], segments["not_planned"]) == (11, 2, 0)
    assert segments["dropped"]["removed"] == 2
    assert recordings(run) == ["-dashed-id-", "whole_3.5__"]


class TestWhereNothingCanBeRemoved:
    """One line, exit code 2, and the folder as it was."""

    def test_a_run_without_its_plan(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (run / "run.json").unlink()
        shutil.rmtree(run / "plans")
        assert remove(run, GONE) == 2
        assert "remove from the run that was scored" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["remove", "prune"])
    def test_no_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
        given = ("--ids", ids(tmp_path, GONE)) if command == "remove" else ()
        assert mulan([command, str(tmp_path / "nothing"), *given]) == 2
        assert "there is no such folder" in capsys.readouterr().err
        assert not (tmp_path / "nothing").exists()

    def test_a_list_that_is_damaged(self, run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """It must not be taken for an empty one."""
        assert remove(run, GONE) == 0
        (run / "suppressed.json").write_text('{"format_version": 1, "hash')
        os.utime(corpus / "catalog.jsonl")
        assert mine(corpus / "catalog.jsonl", run, SHARDS) != 0
        assert "suppressed.json" in capsys.readouterr().err
        assert prune(run) == 2


@pytest.mark.skipif(not COMPAT.exists(), reason="the runs of an older version are not here")
@pytest.mark.parametrize("kind", ["parquet", "tfrecord", "interrupted", "planned"])
def test_a_run_of_an_older_version(tmp_path: Path, kind: str) -> None:
    run = Path(shutil.copytree(COMPAT / kind, tmp_path / "run"))
    assert traces(run, ["rec-002"])
    assert remove(run, "rec-002") == 0
    assert prune(run) == 0
    assert traces(run, ["rec-002"]) == {}
    assert len(set(recordings(run))) == len(recordings(run))
