"""What `embed_audio` takes, as one row of int16 samples at 16 kHz: waves, files, the bytes of one, a shard's clips.

Several are read at once, each by a thread of its own, whose files are decoded by a helper process of its own (the
mining job's guarded decoder).

Legend: C channels, T samples.
"""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.media.clip import ClipDecoder, ClipError, ClipSpec, DecodeConfig, ShortPolicy
from pipeline.media.encode import decode_clip
from schemas.reasons import LeftOutError, Reason, legible
from schemas.shard import CLIP_SAMPLE_RATE_HZ, AudioEncoding
from trainer.cuts import INT16_SCALE, to_float, to_int16

MAX_FILE_S = 600.0
MAX_CHANNELS = 8
LOUDEST = 4.0
_RATES_HZ = (1_000, 768_000)
_BEYOND_S = 1.0  # how much is decoded after the longest file, to see whether it goes on
_FILES = DecodeConfig(short_policy=ShortPolicy.PAD)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardClip:
    """A row of a mined run: its `audio` and `audio_encoding`."""

    audio: bytes
    encoding: str


Audio = NDArray[Any] | torch.Tensor | str | os.PathLike[str] | bytes | ShardClip
Item = TypeVar("Item")
Recording = TypeVar("Recording", bound=Audio)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wave:
    """`clipped`: samples lay beyond ±1. `shortened`: the file goes on after ten minutes."""

    pcm_T: NDArray[np.int16]
    clipped: bool = False
    shortened: bool = False


class UnusableAudioError(LeftOutError, ValueError):
    """A recording that cannot be embedded; its message names it."""

    def __init__(self, where: str, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}"


class Reader:
    """Reads recordings in order, `workers` at once, and holds no more than twice as many. A context manager."""

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}; at least one reads")
        self._ahead = 2 * workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="reader")
        self._mine = threading.local()
        self._decoders: list[ClipDecoder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for decoder in self._decoders:
            decoder.close()

    def waves(
        self, items: Iterable[Item], audio: Callable[[Item], Audio], sampling_rate: int | None = None
    ) -> Iterator[tuple[Item, Wave | UnusableAudioError]]:
        """`audio` is what an item stands for."""
        low, high = _RATES_HZ
        whole = isinstance(sampling_rate, int | np.integer)
        if sampling_rate is not None and not (whole and low <= sampling_rate <= high):
            raise ValueError(f"sampling_rate is {sampling_rate!r}; it is whole Hz from {low} to {high}")
        waiting: deque[tuple[Item, Future[Wave | UnusableAudioError]]] = deque()
        for number, item in enumerate(items):
            waiting.append((item, self._pool.submit(self._read, audio(item), f"item {number}", sampling_rate)))
            if len(waiting) == self._ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()

    def _read(self, audio: Audio, name: str, sampling_rate: int | None) -> Wave | UnusableAudioError:
        try:
            if isinstance(audio, ShardClip):
                return _shard_clip(audio, name)
            if isinstance(audio, str | os.PathLike):
                return self._decoded(_content(audio), os.fspath(audio))
            if isinstance(audio, bytes):
                return self._decoded(audio, name)
            return _wave(audio, name, int(sampling_rate or CLIP_SAMPLE_RATE_HZ))
        except UnusableAudioError as error:
            return error

    def _decoded(self, media: bytes, where: str) -> Wave:
        if not hasattr(self._mine, "decoder"):
            self._mine.decoder = ClipDecoder(_FILES)
            self._decoders.append(self._mine.decoder)
        try:
            clip = self._mine.decoder.cut(media, ClipSpec(start_s=0.0, duration_s=MAX_FILE_S + _BEYOND_S))
        except ClipError as error:
            raise UnusableAudioError(where, error.reason, f"cannot be decoded ({error})") from error
        pcm_T = clip.pcm_T[: len(clip.pcm_T) - clip.padded_samples]
        longest = round(MAX_FILE_S * CLIP_SAMPLE_RATE_HZ)
        return Wave(pcm_T=_some(pcm_T[:longest], where), shortened=len(pcm_T) > longest)


def _content(path: str | os.PathLike[str]) -> bytes:
    reasons = {
        FileNotFoundError: Reason.NOT_FOUND,
        IsADirectoryError: Reason.NOT_A_FILE,
        PermissionError: Reason.PERMISSION_DENIED,
    }
    try:
        size = Path(path).stat().st_size
        if size > _FILES.max_media_bytes:
            raise UnusableAudioError(os.fspath(path), Reason.MEDIA_TOO_LARGE, f"has {size} bytes, more than are read")
        return Path(path).read_bytes()
    except OSError as error:
        reason = reasons.get(type(error), Reason.READ_FAILED)
        raise UnusableAudioError(os.fspath(path), reason, f"cannot be read ({error.strerror})") from error


def _shard_clip(clip: ShardClip, where: str) -> Wave:
    try:
        return Wave(pcm_T=_some(decode_clip(clip.audio, AudioEncoding(clip.encoding)), where))
    except UnusableAudioError:
        raise
    except ValueError as error:
        raise UnusableAudioError(where, Reason.CORRUPT_MEDIA, f"cannot be decoded ({legible(str(error))})") from error


def _wave(audio: NDArray[Any] | torch.Tensor, where: str, rate_hz: int) -> Wave:
    """Mono, at 16 kHz. What is not surely a wave is refused."""
    wave = np.asarray(audio.detach().cpu() if isinstance(audio, torch.Tensor) else audio)
    if wave.dtype == np.int16:
        clipped = False
    elif not np.issubdtype(wave.dtype, np.floating) or not np.isfinite(wave).all():
        raise UnusableAudioError(where, Reason.BAD_VALUE, "a wave holds finite floats in [-1, 1], or int16")
    else:
        peak = float(np.abs(wave).max(initial=0.0))
        if peak > LOUDEST:
            detail = (
                f"a float wave lies in [-1, 1], this one reaches {peak:g}: what was int16 is divided by {INT16_SCALE}"
            )
            raise UnusableAudioError(where, Reason.BAD_VALUE, detail)
        clipped = peak > 1.0
    if wave.ndim != 1:
        wave = _mono(wave, where)
    wave = _some(wave, where)
    if rate_hz != CLIP_SAMPLE_RATE_HZ:
        wave = _resampled(to_float(wave) if wave.dtype == np.int16 else wave, rate_hz)
    return Wave(pcm_T=wave if wave.dtype == np.int16 else to_int16(wave), clipped=clipped)


def _mono(wave: NDArray[Any], where: str) -> NDArray[np.float32]:
    """The mean of the channels of wave_CT or wave_TC, whichever it surely is."""
    few = [size <= MAX_CHANNELS for size in wave.shape]
    if wave.ndim != 2 or few[0] == few[1]:
        detail = (
            f"an array of shape {wave.shape} is no recording: it is one row of samples, or channels by samples (either "
            f"way round) with at most {MAX_CHANNELS} channels and more samples than that"
        )
        raise UnusableAudioError(where, Reason.BAD_VALUE, detail)
    floats = to_float(wave) if wave.dtype == np.int16 else wave
    return np.asarray(floats.mean(axis=0 if few[0] else 1), np.float32)


def _some(pcm_T: NDArray[Any], where: str) -> NDArray[Any]:
    if not len(pcm_T):
        raise UnusableAudioError(where, Reason.MEDIA_EMPTY, "has no samples")
    return pcm_T


def _resampled(wave_T: NDArray[Any], rate_hz: int) -> NDArray[Any]:
    from scipy.signal import resample_poly

    common = math.gcd(rate_hz, CLIP_SAMPLE_RATE_HZ)
    return np.asarray(resample_poly(wave_T, CLIP_SAMPLE_RATE_HZ // common, rate_hz // common))
