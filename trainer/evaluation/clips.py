"""Clips of an evaluation set: where their audio is, how it is read and decoded, and what is missing."""

import atexit
import hashlib
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.media.protocol import DECODER_VERSION
from schemas.reasons import Reason
from schemas.run import RowGroup, Run, RunError
from schemas.segment_files import CUT_SLACK_S
from schemas.shard import CLIP_SAMPLE_RATE_HZ, AudioEncoding
from trainer.cuts import to_float
from trainer.evaluation.evaluator import Unmeasured
from trainer.evaluation.model import FloatArray, JointModel

if TYPE_CHECKING:
    from pipeline.media.clip import Clip, ClipDecoder

logger = logging.getLogger(__name__)

SHOWN_MISSING = 20
PAPER_WINDOW_S = 10.0


class EvaluationDataError(ValueError):
    """An evaluation set that cannot be used as it is: the message says which file, and what to do."""


class UndecodableError(EvaluationDataError):
    """One clip that has no sound to measure; `reason` says why without saying where it lies."""

    def __init__(self, where: str | Path, reason: str) -> None:
        super().__init__(f"{where}: cannot be decoded ({reason})")
        self.reason = reason


class TooShortError(UndecodableError):
    """The file ends before the clip begins."""


class NothingMeasuredError(EvaluationDataError):
    """No clip of a set could be measured."""


@dataclass(frozen=True, kw_only=True)
class ClipAudio:
    """A clip that is read and not yet decoded. `digest` is of all that decides its samples, wherever it lies."""

    digest: str
    decode: Callable[[], FloatArray]  # mono float32 at 16 kHz; raises UndecodableError


class ClipSource(Protocol):
    """N clips by position; `ids` name them in results and in the leakage check."""

    @property
    def ids(self) -> Sequence[str]: ...

    def audio(self, index: int) -> ClipAudio:
        """From any thread. Raises UndecodableError where this clip cannot be read."""
        ...

    def key(self, index: int) -> Hashable:
        """The same for the same audio, whatever set it is in; known without reading it."""
        ...


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How long a clip's windows are, and how many are embedded at once; `window_s` None is what the model says."""

    window_s: float | None = None
    batch_windows: int = 32

    def __post_init__(self) -> None:
        if (self.window_s is not None and self.window_s <= 0) or self.batch_windows < 1:
            raise ValueError("windows: window_s > 0 and batch_windows >= 1 are needed")

    def of(self, model: JointModel) -> "WindowConfig":
        """With the length that the model takes, which is the paper's where it says nothing (`window_s`)."""
        own = getattr(model, "window_s", None) or PAPER_WINDOW_S
        return self if self.window_s is not None else WindowConfig(window_s=own, batch_windows=self.batch_windows)

    @property
    def samples(self) -> int:
        return round((self.window_s or PAPER_WINDOW_S) * CLIP_SAMPLE_RATE_HZ)


@dataclass(frozen=True, kw_only=True)
class FileClip:
    """A file, or `duration_s` seconds of it from `start_s` (None: to its end).

    `recording_ids` are the names that a catalogue may have for the recording; the leakage check looks for them.
    `or_cut_out`: a file that is hardly longer than the clip is the clip, cut out already.
    """

    clip_id: str
    path: Path
    recording_ids: tuple[str, ...] = ()
    start_s: float = 0.0
    duration_s: float | None = None
    or_cut_out: bool = False


@dataclass(frozen=True, kw_only=True)
class FileClips:
    """Clips that are files on this machine."""

    clips: tuple[FileClip, ...]

    @property
    def ids(self) -> Sequence[str]:
        return [clip.clip_id for clip in self.clips]

    def missing(self) -> list[int]:
        return [i for i, clip in enumerate(self.clips) if not clip.path.is_file()]

    def key(self, index: int) -> Hashable:
        return self.clips[index]

    def audio(self, index: int) -> ClipAudio:
        clip = self.clips[index]
        media = _read(clip.path)
        cut = f"{clip.start_s!r} {clip.duration_s!r}{' or cut out' if clip.or_cut_out else ''}"
        return ClipAudio(
            digest=f"{hashlib.sha256(media).hexdigest()} {cut} d{DECODER_VERSION}",
            decode=lambda: _decoded_clip(media, clip),
        )


@dataclass(frozen=True, kw_only=True)
class RunClips:
    """Clips of a mined run, decoded from its shards one row at a time."""

    run: Run
    rows: tuple[tuple[str, RowGroup, int], ...]  # (recording_id, row group, row in it)
    _cache: dict[RowGroup, Any] = field(default_factory=dict, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    @property
    def ids(self) -> Sequence[str]:
        return [recording_id for recording_id, _, _ in self.rows]

    def key(self, index: int) -> Hashable:
        return (self.run.root, self.run.manifest.digest(), self.rows[index][0])

    def audio(self, index: int) -> ClipAudio:
        recording_id, group, row = self.rows[index]
        with self._lock:
            if group not in self._cache:
                self._cache.clear()
                self._cache[group] = self._read(group)
            table = self._cache[group]
        if table is None:
            raise UndecodableError(recording_id, f"{row_group_name(group)} cannot be read")
        if table["recording_id"][row].as_py() != recording_id:
            raise RunError(f"{recording_id}: the run changed while it was read; open it again")
        audio, encoding = table["audio"][row].as_py(), table["audio_encoding"][row].as_py()

        def decode() -> FloatArray:
            try:
                return decode_shard_audio(audio, encoding)
            except ValueError as error:
                raise UndecodableError(recording_id, str(error)) from error

        return ClipAudio(digest=f"{hashlib.sha256(audio).hexdigest()} {encoding}", decode=decode)

    def _read(self, group: RowGroup) -> Any:
        """None where it cannot be read."""
        try:
            return self.run.read(group, columns=["recording_id", "audio", "audio_encoding"])
        except RunError as error:
            logger.warning("%s", error)
            return None


def row_group_name(group: RowGroup) -> str:
    """Within its run."""
    return f"row group {group.index} of {group.shard.path}"


def in_words(unmeasured: Sequence[Unmeasured], shown: int = SHOWN_MISSING) -> str:
    """Ids and reasons, on one line."""
    listed = "; ".join(f"{entry.clip_id} ({entry.reason})" for entry in unmeasured[:shown])
    return f"{listed}; … and {len(unmeasured) - shown} more" if len(unmeasured) > shown else listed


def require_audio(name: str, clips: FileClips, skip_missing: bool) -> list[int]:
    """Positions of the clips whose file exists.

    Raises EvaluationDataError with count and list where files are missing and `skip_missing` is false: a table over
    an unnamed part of a set is not that set's table.
    """
    missing = clips.missing()
    if missing:
        listed = "".join(f"\n  {clips.clips[i].path}" for i in missing[:SHOWN_MISSING])
        more = f"\n  … and {len(missing) - SHOWN_MISSING} more" if len(missing) > SHOWN_MISSING else ""
        line = f"{name}: {len(missing)} of {len(clips.clips)} audio files are missing:{listed}{more}"
        if not skip_missing or len(missing) == len(clips.clips):
            raise EvaluationDataError(f"{line}\nDownload them, or evaluate the rest with --skip_missing.")
        logger.warning("%s", line)
    gone = set(missing)
    return [i for i in range(len(clips.clips)) if i not in gone]


def missing_clips(clips: FileClips, kept: Sequence[int]) -> tuple[Unmeasured, ...]:
    """All but those at the positions that `require_audio` has kept."""
    here = set(kept)
    return tuple(
        Unmeasured(clip_id=clip.clip_id, reason="the file is missing", missing=True)
        for i, clip in enumerate(clips.clips)
        if i not in here
    )


# A file of unknown length is decoded in this many seconds, then in twice as many, until its end is met.
_FIRST_CUT_S = 64.0
_PROBE_S = 0.01


def decode_file(path: Path, start_s: float = 0.0, duration_s: float | None = None) -> FloatArray:
    """Mono float32 at 16 kHz, from the decoder that mining uses; `duration_s` None reads to the end of the file.

    Raises UndecodableError, with the file and the decoder's reason. A file that ends before `start_s + duration_s`
    gives what it has.
    """
    return _decoded(_read(path), path, start_s, duration_s)


def decode_media(media: bytes, where: str) -> FloatArray:
    """As `decode_file`, of a whole file's bytes."""
    return _decoded(media, where, 0.0, None)


def cut_file(path: Path, start_s: float, duration_s: float) -> "Clip":
    """The clip as mining cuts it, padded where the file is too short. Raises UndecodableError where it cannot be."""
    return _cut(_read(path), path, start_s, duration_s)


def is_cut_out(clip: FileClip) -> bool:
    """Whether the file is hardly longer than the clip, so that it cannot be the recording that the clip is cut from.
    Raises UndecodableError."""
    return _is_cut_out(_read(clip.path), clip)


def _is_cut_out(media: bytes, clip: FileClip) -> bool:
    if clip.duration_s is None or not clip.start_s:
        return False
    try:
        behind = _cut(media, clip.path, clip.duration_s + CUT_SLACK_S, _PROBE_S)
    except TooShortError:
        return True
    return behind.padded_samples == len(behind.pcm_T)


def _decoded_clip(media: bytes, clip: FileClip) -> FloatArray:
    if clip.or_cut_out and _is_cut_out(media, clip):
        return _decoded(media, clip.path, 0.0, clip.duration_s)
    return _decoded(media, clip.path, clip.start_s, clip.duration_s)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UndecodableError(path, error.strerror or type(error).__name__) from error


def _decoded(media: bytes, path: Path | str, start_s: float, duration_s: float | None) -> FloatArray:
    clip = _cut_to_end(media, path, start_s) if duration_s is None else _cut(media, path, start_s, duration_s)
    if clip.padded_samples >= len(clip.pcm_T):
        raise UndecodableError(path, f"the file ends before {start_s:g} s")
    return to_float(clip.pcm_T[: len(clip.pcm_T) - clip.padded_samples])


def _cut(media: bytes, path: Path | str, start_s: float, duration_s: float) -> "Clip":
    from pipeline.media.clip import ClipError, ClipSpec, DecoderUnavailableError

    try:
        return _decoder().cut(media, ClipSpec(start_s=start_s, duration_s=duration_s))
    except ClipError as error:
        kind = TooShortError if error.reason is Reason.TOO_SHORT else UndecodableError
        raise kind(path, str(error)) from error
    except ValueError as error:  # a clip that begins before its file does, or lasts for ever
        raise UndecodableError(path, str(error)) from error
    except DecoderUnavailableError as error:
        raise EvaluationDataError(f"{path}: cannot be decoded ({error})") from error


def _cut_to_end(media: bytes, path: Path | str, start_s: float) -> "Clip":
    from pipeline.media.protocol import LONGEST_CLIP_S

    duration_s = _FIRST_CUT_S
    while True:
        clip = _cut(media, path, start_s, min(duration_s, LONGEST_CLIP_S))
        if clip.padded_samples or duration_s >= LONGEST_CLIP_S:
            return clip
        duration_s *= 2


def decode_shard_audio(audio: bytes, encoding: str) -> FloatArray:
    """A shard row's clip as mono float32 at 16 kHz. Raises UnreadableClipError, a ValueError, where it is damaged."""
    from pipeline.media.encode import decode_clip

    return to_float(decode_clip(audio, AudioEncoding(encoding)))


_OF_THREAD = threading.local()


def _decoder() -> "ClipDecoder":
    """A helper process a thread, for as long as this process lasts."""
    from pipeline.media.clip import ClipDecoder, DecodeConfig, ShortPolicy

    if not hasattr(_OF_THREAD, "decoder"):
        _OF_THREAD.decoder = ClipDecoder(DecodeConfig(short_policy=ShortPolicy.PAD))
        atexit.register(_OF_THREAD.decoder.close)
    decoder: ClipDecoder = _OF_THREAD.decoder
    return decoder


def whole_file_sha256(path: Path) -> str:
    """`pcm_sha256` of all samples of a file."""
    clip = _cut_to_end(_read(path), path, 0.0)
    return pcm_sha256(clip.pcm_T[: len(clip.pcm_T) - clip.padded_samples])


def pcm_sha256(pcm: NDArray[np.int16]) -> str:
    """A shard row's `audio_sha256`: over the decoded samples as little-endian int16."""
    return hashlib.sha256(pcm.astype("<i2", copy=False).tobytes()).hexdigest()
