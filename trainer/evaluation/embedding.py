"""What is embedded of an evaluation set's clips: read and decoded ahead by several threads, each clip once.

`trainer/cuts.py` says which windows a clip has; their length is the model's own. What was embedded is kept, in memory
for the other tables of a command and on disk for the next one (trainer/evaluation/kept.py).
"""

import functools
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from trainer.cuts import CUTS_VERSION, cut
from trainer.embed_inputs import Progress
from trainer.evaluation.clips import (
    ClipAudio,
    ClipSource,
    EvaluationDataError,
    NothingMeasuredError,
    UndecodableError,
    WindowConfig,
    in_words,
)
from trainer.evaluation.evaluator import Unmeasured
from trainer.evaluation.kept import KeptEmbeddings
from trainer.evaluation.model import FloatArray, JointModel, RandomModel, prompt_of, unit_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """What is known of clips whatever the model: the digest of those that have sound, why the others have none."""

    digests: dict[Hashable, str] = field(default_factory=dict)
    failures: dict[Hashable, str] = field(default_factory=dict)


class FrozenModel:
    """A model whose weights will not change, so that a clip that several tables share is embedded once.

    The training loop passes its model bare; `mulan evaluate` wraps it. `workers` clips are decoded at once. `sounds` is
    shared by the models of a command, `kept` has the rows of earlier ones.
    """

    def __init__(
        self,
        model: JointModel,
        *,
        workers: int = 1,
        sounds: Sounds | None = None,
        kept: KeptEmbeddings | None = None,
    ) -> None:
        self.bare = model
        self.embed_audio = model.embed_audio
        self.embed_text = model.embed_text
        self.window_s = getattr(model, "window_s", None)
        self.prompt = prompt_of(model)
        self.cut_into: Callable[[FloatArray, int], list[FloatArray]] = getattr(model, "cut_into", cut)
        self.workers = max(1, workers)
        self.sounds = Sounds() if sounds is None else sounds
        self.kept = kept
        self.clip_rows: dict[Hashable, FloatArray] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """(N, D) unit rows, of the clips at the positions `kept`; the others could not be measured."""

    rows: FloatArray
    kept: list[int]
    unmeasured: tuple[Unmeasured, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    """A clip as a thread has read it: its row, if one was kept, or else its windows."""

    digest: str
    row: FloatArray | None = None
    windows: Sequence[FloatArray] = ()


@dataclass(kw_only=True, eq=False)
class _Summed:
    """A clip of whose windows `left` are not embedded yet."""

    index: int
    digest: str
    left: int
    total: FloatArray | None = None


def embed_clips(model: JointModel, clips: ClipSource, config: WindowConfig) -> Embedded:
    """One row a clip; windows of several clips share a batch, and one batch of audio is held at once.

    Raises NothingMeasuredError where no clip has any sound, EmbeddingError where the model gives no direction.
    """
    ids = clips.ids
    if not ids:
        raise EvaluationDataError("the evaluation set has no clips")
    config = config.of(model)
    frozen = model if isinstance(model, FrozenModel) else FrozenModel(model)
    keys = [clips.key(i) for i in range(len(ids))]
    failed = frozen.sounds.failures
    waiting = [i for i in range(len(ids)) if (keys[i], config) not in frozen.clip_rows and keys[i] not in failed]
    found: Iterator[tuple[int, FloatArray]]
    if isinstance(frozen.bare, RandomModel):
        # A direction at random needs no more than the clip's name, once it is known to have sound.
        found = ((i, frozen.bare.embed_names([digest])[0]) for i, digest in _sounding(frozen, clips, waiting, keys))
    else:
        found = _embedded(frozen, clips, waiting, keys, config)
    with Progress(len(waiting)) as progress:
        for index, row in found:
            frozen.clip_rows[keys[index], config] = row
            progress.advance()
    kept = [i for i in range(len(ids)) if (keys[i], config) in frozen.clip_rows]
    unmeasured = tuple(Unmeasured(clip_id=ids[i], reason=failed[keys[i]]) for i in range(len(ids)) if keys[i] in failed)
    if not kept:
        raise NothingMeasuredError(f"none of {len(ids)} clips can be measured; {in_words(unmeasured, 1)}")
    if any(keys[i] in failed for i in waiting):
        logger.warning("%d of %d clips cannot be measured: %s", len(unmeasured), len(ids), in_words(unmeasured))
    return Embedded(rows=np.stack([frozen.clip_rows[keys[i], config] for i in kept]), kept=kept, unmeasured=unmeasured)


def _embedded(
    model: FrozenModel, clips: ClipSource, wanted: Sequence[int], keys: Sequence[Hashable], config: WindowConfig
) -> Iterator[tuple[int, FloatArray]]:
    """(position, unit row) of each clip that has sound; rows are kept as soon as their batch is embedded."""
    own = "" if model.cut_into is cut else ", a short clip as the model has it"
    policy = f"{config.window_s!r} s, cuts {CUTS_VERSION}{own}"
    kept = model.kept

    def read(index: int) -> _Read:
        audio = clips.audio(index)
        row = kept.row(audio.digest, policy) if kept is not None else None
        if row is not None:
            return _Read(digest=audio.digest, row=row)
        return _Read(digest=audio.digest, windows=model.cut_into(_sound_of(audio), config.samples))

    waves: list[FloatArray] = []
    owners: list[_Summed] = []
    for index, answer in _heard(model, wanted, keys, read):
        if answer.row is not None:
            yield index, answer.row
        owner = _Summed(index=index, digest=answer.digest, left=len(answer.windows))
        for window in answer.windows:
            waves.append(window)
            owners.append(owner)
            if len(waves) == config.batch_windows:
                yield from _finished(model, waves, owners, policy)
                waves, owners = [], []
    if waves:
        yield from _finished(model, waves, owners, policy)


def _finished(
    model: FrozenModel, waves: list[FloatArray], owners: list[_Summed], policy: str
) -> Iterator[tuple[int, FloatArray]]:
    """Embeds a batch; the clips that are whole with it."""
    rows = unit_rows(model.embed_audio(waves), "embed_audio", len(waves))
    done = []
    for owner, row in zip(owners, rows, strict=True):
        owner.total = row if owner.total is None else owner.total + row
        owner.left -= 1
        if not owner.left:
            done.append((owner, unit_rows(owner.total[None], "mean over windows", 1)[0]))
    if model.kept is not None:
        model.kept.keep(policy, [(owner.digest, row) for owner, row in done])
    yield from ((owner.index, row) for owner, row in done)


def _sounding(
    model: FrozenModel, clips: ClipSource, wanted: Sequence[int], keys: Sequence[Hashable]
) -> Iterator[tuple[int, str]]:
    """(position, digest) of the clips that have sound; those of which no model of this command knows it are decoded."""

    def read(index: int) -> _Read:
        audio = clips.audio(index)
        _sound_of(audio)
        return _Read(digest=audio.digest)

    digests = model.sounds.digests
    unknown = [i for i in wanted if keys[i] not in digests]
    yield from ((i, digests[keys[i]]) for i in wanted if keys[i] in digests)
    yield from ((i, answer.digest) for i, answer in _heard(model, unknown, keys, read))


def _sound_of(audio: ClipAudio) -> FloatArray:
    """Raises UndecodableError."""
    wave = audio.decode()
    if not wave.size:
        raise UndecodableError("the clip", "it has no samples")
    return wave


def _heard(
    model: FrozenModel, wanted: Sequence[int], keys: Sequence[Hashable], read: Callable[[int], _Read]
) -> Iterator[tuple[int, _Read]]:
    """Those that have sound; of each clip it is noted for the other models whether it has."""
    for index, answer in _read_ahead(wanted, read, model.workers):
        if isinstance(answer, UndecodableError):
            model.sounds.failures[keys[index]] = answer.reason
        else:
            model.sounds.digests[keys[index]] = answer.digest
            yield index, answer


def _read_ahead(
    wanted: Sequence[int], read: Callable[[int], _Read], workers: int
) -> Iterator[tuple[int, _Read | UndecodableError]]:
    """In order; twice as many clips as there are workers are held."""

    def answer(index: int) -> _Read | UndecodableError:
        try:
            return read(index)
        except UndecodableError as error:
            return error

    pool = _threads(workers)
    waiting: deque[tuple[int, Future[_Read | UndecodableError]]] = deque()
    try:
        for index in wanted:
            waiting.append((index, pool.submit(answer, index)))
            if len(waiting) == 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


@functools.cache
def _threads(workers: int) -> ThreadPoolExecutor:
    """They last as long as the process does, since each has a decoder's process of its own."""
    return ThreadPoolExecutor(workers, thread_name_prefix="clips")
