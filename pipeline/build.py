"""Build: one plan part in, one shard out, in one fused step that ends with a commit record.

For each row: fetch, cut the clip, ask the detector, encode. What one recording does wrong is an outcome and never an
exception, so that its neighbours are unharmed, and so is what nobody foresaw (see `pipeline.workers.faults`); an
exception here means that the machine failed, and the runner tries the whole shard again. A row that an earlier attempt
has settled is taken from there (see `Donor`), also of one that was killed (see `pipeline.run_folder.pieces`).
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import apache_beam as beam
import numpy as np

from filters.music.detector import MusicDetector
from filters.music.gate import music_fraction
from filters.music.load import load_detector
from pipeline import storage
from pipeline.media.clip import ATTEMPTS as CLIP_ATTEMPTS
from pipeline.media.clip import ClipDecoder, ClipError, ClipSpec
from pipeline.media.encode import encode
from pipeline.media.fetch import FetchConfig, Fetcher, FetchError, shown
from pipeline.plan import read_part
from pipeline.progress.counters import count_recording, note_seconds
from pipeline.run_folder import exclusions, layout
from pipeline.run_folder.lock import Hold
from pipeline.run_folder.pieces import Pieces, keeping
from pipeline.run_folder.records import Donor, committed_shard, wants_retry
from pipeline.settings import MineConfig, ShardSettings
from pipeline.shard_file import RowWriter, open_shard
from pipeline.task_file import ReadTasks
from pipeline.workers.faults import is_fault_of_machine
from pipeline.workers.heartbeat import HEARTBEAT
from pipeline.workers.memory import give_back_large_blocks
from schemas.accounting import Account
from schemas.catalogue import MusicGate
from schemas.commit import HISTOGRAM_BINS, PartRecord, ShardRecord, TextTotals
from schemas.reasons import LeftOutError, Outcome, Reason, legible
from schemas.shard import SHARD_SCHEMA, TEXT_FIELDS
from schemas.shard_format import FORMATS, Shard, sidecars

# Of a worker process with its decoder and a detector; benchmarks/results/mine_memory.json has a third of it.
MIN_RAM = "1GB"
INT16_SCALE = 1 / 32768
TEXT_COLUMNS = frozenset(column.name for column in TEXT_FIELDS)
AUDIO_COLUMNS = [column.name for column in SHARD_SCHEMA if column.name not in TEXT_COLUMNS]
JUDGING_S = 120.0  # more than detector and encoder ever take for a clip
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BuildTask:
    """With `again`, what failed for now in the donor is tried again; without, it stays failed."""

    part: PartRecord
    donor: Donor | None = None
    again: bool = True

    def to_json(self) -> dict[str, Any]:
        """Without what the plan says of the part's annotations, which building has no use for."""
        return dataclasses.asdict(dataclasses.replace(self, part=self.part.bare()))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "BuildTask":
        donor = value["donor"]
        return cls(
            part=PartRecord.from_json(value["part"]),
            donor=Donor(**donor) if donor is not None else None,
            again=value["again"],
        )


class Rejected(LeftOutError):
    """A recording that is left out. `music_fraction` is set where the clip was judged."""

    def __init__(self, reason: Reason, detail: str, music_fraction: float | None = None) -> None:
        super().__init__(reason, legible(detail))
        self.music_fraction = music_fraction


@dataclass(kw_only=True)
class Stopwatch:
    """Wall seconds by stage; for the report, never for a decision."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        HEARTBEAT.at(stage)
        start = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + took_s
            note_seconds(stage, took_s)


class Maker(Protocol):
    """Makes what a donor does not have."""

    stopwatch: Stopwatch

    def make(self, row: dict[str, Any]) -> dict[str, Any]:
        """The audio columns of a row. Raises Rejected."""
        ...


class ClipMaker:
    """Plan row in, audio columns of the shard row out. Owns the decoder's helper process and the detector.

    `exclude` is as `exclusions.written` gives it.
    """

    def __init__(
        self,
        config: MineConfig,
        allow_roots: tuple[str, ...],
        fetch: FetchConfig | None = None,
        exclude: str = "",
    ) -> None:
        self._config = config
        self._exclude = exclusions.read(exclude)
        self._fetcher = Fetcher(
            fetch or FetchConfig(), allow_roots=allow_roots, max_bytes=config.decode.max_media_bytes
        )
        self._decoder = ClipDecoder(config.decode)
        self._detector: MusicDetector = load_detector(config.detector, config.detector_hop_s)
        if self._detector.digest != config.detector_digest:
            raise RuntimeError(
                f"music detector {config.detector} has digest {self._detector.digest} on this worker and "
                f"{config.detector_digest} where the job was started; give every machine the same file"
            )
        self.stopwatch = Stopwatch()

    def close(self) -> None:
        self._fetcher.close()
        self._decoder.close()

    def make(self, row: dict[str, Any]) -> dict[str, Any]:
        """Raises Rejected for whatever is wrong with the recording, and anything else where the machine failed."""
        try:
            with HEARTBEAT.holding(row["recording_id"], self.longest_s(row["audio_uri"])):
                return self._make(row)
        except Rejected:
            raise
        except Exception as error:
            if is_fault_of_machine(error):
                raise
            rejected = Rejected(Reason.UNEXPECTED_ERROR, f"{type(error).__name__}: {error}")
            log.warning("%s is left out: %s", row["recording_id"], rejected.detail)
            log.debug("where it came from", exc_info=True)
            raise rejected from error

    def longest_s(self, audio_uri: str) -> float:
        """What a recording may take in all, each part within its deadline; one that takes longer hangs."""
        decode = self._config.decode
        starts_s = CLIP_ATTEMPTS * 2 * decode.start_timeout_s
        return self._fetcher.longest_s(audio_uri) + decode.deadline_s + starts_s + JUDGING_S

    def _make(self, row: dict[str, Any]) -> dict[str, Any]:
        watch, config = self.stopwatch, self._config
        if row["recording_id"] in self._exclude.recording_ids:
            raise Rejected(Reason.EXCLUDED, "its id is in an evaluation set")
        try:
            with watch.measure("fetch"):
                media = self._fetcher.fetch(row["audio_uri"], base_uri=row["base_uri"])
            with watch.measure("decode"):
                clip = self._decoder.cut(media, ClipSpec(start_s=row["start_s"], duration_s=row["duration_s"]))
        except (FetchError, ClipError) as error:
            raise Rejected(error.reason, error.detail) from error
        if clip.sha256 in self._exclude.audio_sha256:
            raise Rejected(Reason.EXCLUDED, f"its clip is the audio of an evaluation set (sha256 {clip.sha256})")
        gated = row["music_gate"] == MusicGate.APPLY
        if gated and not clip.pcm_T.any():
            raise Rejected(Reason.SILENT, "every sample of the clip is zero", music_fraction=0.0)
        with watch.measure("detect"):
            # Judged as stored: a reader of the shard finds the decision in the scores that stand there.
            scores = self._detector.scores(clip.pcm_T.astype(np.float32) * INT16_SCALE).astype(np.float16)
            fraction = music_fraction(
                scores.astype(np.float32),
                self._detector.grid,
                threshold=config.gate.threshold,
                duration_s=row["duration_s"],
            )
        if gated and not config.gate.keeps(fraction):
            raise Rejected(
                Reason.NOT_MUSIC,
                f"{fraction:.3f} of the clip is music; {config.gate.min_fraction:g} is asked",
                music_fraction=fraction,
            )
        with watch.measure("encode"):
            audio = encode(clip.pcm_T, config.audio_encoding)
        return {
            "recording_id": row["recording_id"],
            "audio": audio,
            "audio_encoding": str(config.audio_encoding),
            "start_s": clip.start_s,
            "duration_s": row["duration_s"],
            "music_fraction": fraction,
            "music_scores": scores,
            "audio_sha256": clip.sha256,
        }


class Settled:
    """What donors have: audio columns of their rows, and rejects that stand, by recording."""

    def __init__(self, run_dir: str, donors: Iterable[Donor], *, again: bool = True) -> None:
        self._run_dir, self._again = run_dir, again
        self._rejects: dict[str, Rejected] = {}
        self._where: dict[str, tuple[str, int, int]] = {}  # recording -> shard, row group and row
        # What was read last. One shard is open at a time: there may be more pieces than a process may open files.
        self._open: tuple[str, Shard] | None = None
        self._group = "", -1
        self._rows: list[dict[str, Any]] = []
        for donor in donors:
            if donor.rejects is not None:
                self._take_rejects(storage.join(run_dir, donor.rejects))
            if donor.shard is not None:
                self._take_rows(donor.shard)

    def _take_rejects(self, path: str) -> None:
        for line in storage.read_bytes(path).splitlines():
            value = json.loads(line)
            reason = Reason.named(value["reason"])
            if not self._again or reason.outcome != Outcome.FAILED_TRANSIENT:
                self._rejects[value["recording_id"]] = Rejected(reason, value["detail"], value["music_fraction"])

    def _shard(self, path: str) -> Shard:
        if self._open is None or self._open[0] != path:
            self._open = path, open_shard(self._run_dir, path)
        return self._open[1]

    def _take_rows(self, path: str) -> None:
        shard = self._shard(path)
        for group in range(len(shard.groups())):
            ids = shard.read(group, ["recording_id"])["recording_id"].to_pylist()
            self._where.update({recording_id: (path, group, i) for i, recording_id in enumerate(ids)})

    def audio_of(self, recording_id: str) -> dict[str, Any] | None:
        """The audio columns that are there already, or None. Raises Rejected where the recording was left out."""
        if (rejected := self._rejects.get(recording_id)) is not None:
            raise rejected
        if recording_id not in self._where:
            return None
        path, group, i = self._where[recording_id]
        if self._group != (path, group):
            self._group = path, group
            self._rows = self._shard(path).read(group, AUDIO_COLUMNS).to_pylist()
        return self._rows[i]


def build_shard(hold: Hold, task: BuildTask, shards: ShardSettings, maker: Maker) -> ShardRecord:
    """Build and commit one shard. Raises LostLockError where another job has the folder by now."""
    run_dir = hold.run_dir
    start = time.perf_counter()
    maker.stopwatch = Stopwatch()
    part = task.part
    recordings, texts = Account(), TextTotals()
    histogram = [0] * HISTOGRAM_BINS
    clip_s = 0.0
    rejects: list[str] = []
    kind = FORMATS[shards.shard_format]
    with ExitStack() as stack:
        pieces = stack.enter_context(keeping(hold, part, shards.config_digest))
        settled = Settled(run_dir, [*([task.donor] if task.donor else []), *pieces.donors()], again=task.again)
        staged_shard, *staged_sidecars = [stack.enter_context(storage.staged(run_dir)) for _ in kind.endings]
        staged_rejects = stack.enter_context(storage.staged(run_dir))
        writer = RowWriter(kind, [staged_shard, *staged_sidecars])
        for row in read_part(run_dir, part.file.path).to_pylist():
            try:
                audio = settled.audio_of(row["recording_id"]) or _settle(row, maker, pieces)
                fraction: float | None = audio["music_fraction"]
                writer.add({**audio, **{name: row[name] for name in TEXT_COLUMNS}})
                recordings.kept += 1
                count_recording(part.key)
                texts.add_row(row, shards.lf_threshold)
                clip_s += row["duration_s"]
            except Rejected as rejected:
                fraction = rejected.music_fraction
                recordings.leave_out(rejected.reason)
                count_recording(part.key, rejected.reason)
                rejects.append(_reject_line(row, rejected))
            if fraction is not None:
                # Of what is adopted it is a float32, which may lie just below the bin of the float64 that was made.
                histogram[min(int(fraction * HISTOGRAM_BINS + 1e-5), HISTOGRAM_BINS - 1)] += 1
        writer.close()
        storage.failpoint("shard_written")
        names = part.generation, part.index
        shard = reject_file = None
        if rejects:
            with open(staged_rejects, "w", encoding="utf-8") as stream:
                stream.writelines(rejects)
            reject_file = storage.file_entry(staged_rejects, layout.rejects_name_pattern(*names), len(rejects))
            storage.publish(staged_rejects, storage.join(run_dir, reject_file.path))
        storage.failpoint("rejects_published")
        if writer.rows:
            pattern = layout.shard_name_pattern(*names, kind.suffix)
            shard = storage.file_entry(staged_shard, pattern, writer.rows)
            for staged_sidecar, path in zip(staged_sidecars, sidecars(shard.path), strict=True):
                storage.publish(staged_sidecar, storage.join(run_dir, path))
            storage.publish(staged_shard, storage.join(run_dir, shard.path))
        storage.failpoint("shard_published")
    record = ShardRecord(
        generation=part.generation,
        index=part.index,
        part_sha256=part.file.sha256,
        config_digest=shards.config_digest,
        shard=shard,
        rejects=reject_file,
        recordings=recordings,
        music_fractions=tuple(histogram),
        texts=texts,
        clip_s=clip_s,
        seconds={**maker.stopwatch.seconds, "total": time.perf_counter() - start},
    )
    HEARTBEAT.stay_if_ending()
    hold.check()
    storage.failpoint("shard_checked")
    storage.write_json(layout.shard_commit_path(run_dir, part.key), record.to_json())
    storage.failpoint("shard_committed")
    pieces.delete()
    return record


def _settle(row: dict[str, Any], maker: Maker, pieces: Pieces) -> dict[str, Any]:
    """The audio columns of a row, which the next piece has too. Raises Rejected."""
    try:
        audio = maker.make(row)
    except Rejected as rejected:
        if rejected.reason.outcome != Outcome.FAILED_TRANSIENT:
            pieces.leave_out(_reject_line(row, rejected))
        raise
    pieces.keep(audio)
    return audio


def _reject_line(row: dict[str, Any], rejected: Rejected) -> str:
    value = {
        "recording_id": row["recording_id"],
        "audio_uri": shown(row["audio_uri"]),
        "reason": str(rejected.reason),
        "outcome": str(rejected.reason.outcome),
        "detail": rejected.detail,
        "music_fraction": rejected.music_fraction,
    }
    return json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n"


def build(
    begin: Any,
    *,
    tasks: str,
    hold: Hold,
    config: MineConfig,
    shards: ShardSettings,
    allow_roots: tuple[str, ...],
    fetch: FetchConfig | None = None,
    exclude: str = "",
) -> None:
    """Build and commit every shard of a file of tasks. `exclude` is as `exclusions.written` gives it."""
    start_maker = partial(ClipMaker, config, allow_roots, fetch, exclude)
    # The hint is of all its steps: of one alone an engine would give that one worker processes of its own.
    _ = begin | "build" >> OfEachTask(tasks, _BuildShard(hold, shards, start_maker)).with_resource_hints(
        min_ram=MIN_RAM
    )


class OfEachTask(beam.PTransform):
    """A DoFn over the build tasks of a file."""

    def __init__(self, tasks: str, do: beam.DoFn) -> None:
        super().__init__()
        self._tasks = tasks
        self._do = do

    def expand(self, begin: Any) -> Any:
        return begin | "read tasks" >> ReadTasks(self._tasks, BuildTask.from_json) | "shard" >> beam.ParDo(self._do)


class _BuildShard(beam.DoFn):
    def __init__(self, hold: Hold, shards: ShardSettings, start_maker: Callable[[], ClipMaker]) -> None:
        self._hold = hold
        self._shards = shards
        self._start_maker = start_maker

    def setup(self) -> None:
        give_back_large_blocks()
        self._maker = self._start_maker()

    def teardown(self) -> None:
        self._maker.close()

    def process(self, task: BuildTask) -> Iterator[str]:
        done = committed_shard(self._hold.run_dir, task.part, self._shards.config_digest)
        if done is None or (task.donor is not None and wants_retry(done)):
            with HEARTBEAT.counting(task.part.key):
                build_shard(self._hold, task, self._shards, self._maker)
        yield task.part.key
