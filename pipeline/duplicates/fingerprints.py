"""The fingerprints of a run: made shard by shard once it is built, joined, and read back as groups.

What is made of a shard is named by a record, which says of which shard and by which version; what is joined is named by
`joined.json`, which says of which fingerprints. So a job that was killed goes on from there, and one that finds all as
it is makes nothing. Pairs name audio, not recordings: what is a copy stays one, whatever is added or removed.
"""

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage, task_file
from pipeline.duplicates.fingerprint import VERSION, fingerprint
from pipeline.duplicates.join import COUNTS, PAIRS, PAIRS_SCHEMA, join
from pipeline.media.encode import decode_clip
from pipeline.run_folder import layout
from pipeline.run_folder.lock import Hold
from pipeline.shard_file import open_shard
from pipeline.storage import DamagedError
from pipeline.task_file import ReadTasks
from schemas.commit import FileEntry, ShardRecord, part_key
from schemas.digest import digest_json
from schemas.shard import AudioEncoding

GROUP_HEX_CHARS = 32  # of the hash of the decoded audio, which names a clip
SCHEMA = pa.schema(
    [
        pa.field("audio", pa.string(), nullable=False),
        pa.field("words", pa.binary(), nullable=False),
        pa.field("keys", pa.binary(), nullable=False),
        pa.field("places", pa.binary(), nullable=False),
    ]
)
CLIPS_A_FILE = 1_000_000  # of pairs
SMALL_CLIPS = 1_000  # fewer are joined sooner than a worker process has started
REMADE = "; delete the folder `fingerprints` of the run and give --fingerprint again"

log = logging.getLogger(__name__)


class RunPipeline(Protocol):
    """As that of `pipeline.mine`."""

    def __call__(self, name: str, steps: Any, *, small: bool = False) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Made:
    """The fingerprints of one shard."""

    shard_sha256: str
    version: int
    file: FileEntry

    @classmethod
    def read(cls, run_dir: str, record: ShardRecord) -> "Made | None":
        """Those of this very shard, where they are whole."""
        path = layout.fingerprint_record_path(run_dir, part_key(record.generation, record.index))
        try:
            value = storage.read_json(path)
            if value is None or record.shard is None:
                return None
            made = cls(**{**value, "file": FileEntry(**value["file"])})
        except (DamagedError, KeyError, TypeError) as error:
            # Made again of the same shard it says the same.
            log.warning("%s is not whole and is ignored: %s", path, error)
            return None
        is_this = (made.shard_sha256, made.version) == (record.shard.sha256, VERSION)
        return made if is_this and storage.is_whole(run_dir, made.file) else None


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Which fingerprints are joined, what came of it, and in numbers. After a removal `digest` is empty: what is left
    holds, and the next job joins anew."""

    digest: str
    pairs: tuple[FileEntry, ...]
    counts: dict[str, int]

    @classmethod
    def read(cls, run_dir: str) -> "Joined | None":
        """Raises DamagedError where it is not whole."""
        path = layout.joined_path(run_dir)
        value = storage.read_json(path)
        if value is None:
            return None
        try:
            return cls(**{**value, "pairs": tuple(FileEntry(**entry) for entry in value["pairs"])})
        except (KeyError, TypeError) as error:
            raise DamagedError(f"{path}: not a record of joined fingerprints ({error}){REMADE}") from error

    def write(self, run_dir: str, hold: Hold) -> None:
        hold.check()
        storage.failpoint("fingerprints_checked")
        storage.write_json(layout.joined_path(run_dir), dataclasses.asdict(self))
        storage.failpoint("fingerprints_joined")


def fingerprint_run(run_dir: str, records: Iterable[ShardRecord], hold: Hold, run: RunPipeline) -> Joined:
    """Make the fingerprints that are missing, and join all of them where they are not. Raises LostLockError."""
    shards = [record for record in records if record.shard is not None]
    read = partial(Made.read, run_dir)
    made = list(storage.side_by_side(run_dir, read, shards))
    missing = [record for record, found in zip(shards, made, strict=True) if found is None]
    if missing:
        log.info("fingerprints: %d of %d shards", len(missing), len(shards))
        with task_file.written(run_dir, (record.to_json() for record in missing)) as path:
            run(f"fingerprints of {len(missing)} shards", partial(make, records=path, hold=hold))
        new = storage.side_by_side(run_dir, read, missing)
        made = [next(new) if found is None else found for found in made]
    files = sorted(found.file.path for found in made if found is not None)
    if len(files) != len(shards):
        raise RuntimeError("fingerprints of a shard are missing; run the same command again to make them")
    digest = digest_json([VERSION, *files])
    joined = Joined.read(run_dir)
    if joined is None or joined.digest != digest or not all(storage.is_whole(run_dir, one) for one in joined.pairs):
        joined = _joined(run_dir, files, sum(found.file.rows for found in made if found is not None), digest, hold, run)
    counts = joined.counts
    log.info(
        "fingerprints: %s clips have %s copies; %s keys that many share, of %s clips, were asked of the first alone",
        *(f"{counts.get(name, 0):,}" for name in ("clips", "copies", "keys_bounded", "clips_bounded")),
    )
    return joined


def _joined(run_dir: str, files: list[str], clips: int, digest: str, hold: Hold, run: RunPipeline) -> Joined:
    folder = layout.joining_dir(run_dir, hold.attempt)
    parts = -(-max(clips, 1) // CLIPS_A_FILE)
    with task_file.written(run_dir, files) as path:
        step = partial(join, files=path, run_dir=run_dir, folder=folder, parts=parts)
        run(f"join of {clips:,} fingerprints", step, small=clips < SMALL_CLIPS)
    entries = [
        FileEntry(**storage.parse_json(info.path, storage.read_bytes(info.path)))
        for info in storage.list_folder(folder)
        if storage.name_of(info.path).startswith(f"{PAIRS}-")
    ]
    counts = storage.read_json(storage.join(folder, f"{COUNTS}.json")) or {}
    made = Joined(digest=digest, pairs=tuple(entries), counts=counts)
    made.write(run_dir, hold)
    storage.delete_folder(folder)
    return made


def make(begin: Any, *, records: str, hold: Hold) -> None:
    """Fingerprints of the shards that a file of tasks has the records of."""
    shards = begin | "shards" >> ReadTasks(records, ShardRecord.from_json)
    _ = shards | "fingerprint shard" >> beam.ParDo(_FingerprintShard(hold))


class _FingerprintShard(beam.DoFn):
    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    def process(self, record: ShardRecord) -> Iterator[str]:
        key = part_key(record.generation, record.index)
        if Made.read(self._hold.run_dir, record) is None:
            fingerprint_shard(self._hold, record)
        yield key


def fingerprint_shard(hold: Hold, record: ShardRecord) -> None:
    """Make and commit the fingerprints of a shard, of the audio that stands there: so they are the same whoever has
    built it. Raises LostLockError."""
    run_dir, key = hold.run_dir, part_key(record.generation, record.index)
    assert record.shard is not None
    shard = open_shard(run_dir, record.shard.path)
    rows = 0
    with storage.staged(run_dir) as staged:
        with pq.ParquetWriter(staged, SCHEMA, compression="zstd") as writer:
            for group in range(len(shard.groups())):
                table = shard.read(group, ["audio", "audio_encoding", "audio_sha256"])
                found = [_row(row) for row in table.to_pylist()]
                writer.write_table(pa.Table.from_pylist(found, SCHEMA))
                rows += len(found)
        entry = storage.file_entry(staged, layout.fingerprint_name_pattern(key), rows)
        hold.check()
        storage.publish(staged, storage.join(run_dir, entry.path))
    storage.failpoint("fingerprints_published")
    made = Made(shard_sha256=record.shard.sha256, version=VERSION, file=entry)
    storage.write_json(layout.fingerprint_record_path(run_dir, key), dataclasses.asdict(made))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    found = fingerprint(decode_clip(row["audio"], AudioEncoding(row["audio_encoding"])))
    return {
        "audio": row["audio_sha256"][:GROUP_HEX_CHARS],
        "words": found.words_N.astype("<u4").tobytes(),
        "keys": found.keys_K.astype("<u4").tobytes(),
        "places": found.places_K.astype("<i4").tobytes(),
    }


def leaders(run_dir: str) -> dict[str, str]:
    """Audio -> the smallest name among its copies, itself included, for audio that has a copy. Empty where no
    fingerprints are joined. Raises DamagedError.

    Copies of copies are one group. As many names are in memory as there are copies, as in a training's split.
    """
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := leader.setdefault(name, name)) != name:
            leader[name] = leader.setdefault(above, above)
            name = above
        return name

    joined = Joined.read(run_dir)
    for entry in joined.pairs if joined is not None else ():
        with storage.open_file(path := storage.join(run_dir, entry.path)) as stream:
            try:
                table = pq.read_table(stream, columns=["one", "other"])
            except (OSError, pa.ArrowException) as error:
                raise DamagedError(f"{path}: not a readable table of pairs{REMADE}") from error
        for one, other in zip(table["one"].to_pylist(), table["other"].to_pylist(), strict=True):
            first, second = sorted((find(one), find(other)))
            leader[second] = first
    return {name: find(name) for name in leader}


def forget(run_dir: str, audio: Iterable[str], hold: Hold) -> None:
    """Of what is joined keep what is said of `audio`, which is all that the run still has: copies of what is removed
    stay copies of one another. Raises LostLockError."""
    known = leaders(run_dir)
    if not known:
        return
    stays = {name for name in audio if name in known}
    if len(stays) == len(known):
        return
    groups: dict[str, list[str]] = {}
    for name, leader in sorted(known.items()):
        if name in stays:
            groups.setdefault(leader, []).append(name)
    rows = [
        {"one": first, "other": other, "offset": 0, "distance": 0.0}
        for first, *others in groups.values()
        for other in others
    ]
    with storage.staged(run_dir) as staged:
        pq.write_table(pa.Table.from_pylist(rows, PAIRS_SCHEMA), staged, compression="zstd")
        entry = storage.file_entry(staged, layout.PAIRS_NAME_PATTERN, len(rows))
        storage.publish(staged, storage.join(run_dir, entry.path))
    Joined(digest="", pairs=(entry,), counts={}).write(run_dir, hold)


def named_files(run_dir: str, records: Sequence[ShardRecord]) -> set[str]:
    """What of the folder of fingerprints is still meant, relative to the run."""
    joined = Joined.read(run_dir)
    named = {entry.path for entry in joined.pairs} if joined is not None else set()
    for record, made in zip(records, storage.side_by_side(run_dir, partial(Made.read, run_dir), records), strict=True):
        if made is not None:
            path = layout.fingerprint_record_path(run_dir, part_key(record.generation, record.index))
            named |= {made.file.path, path.removeprefix(f"{run_dir}/")}
    return named
