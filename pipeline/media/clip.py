"""The clip: media bytes in, 16 kHz mono int16 samples of an exact length out.

Decoding happens in a helper process (`pipeline.media.helper`) that is started by exec, gets raw framed bytes and
answers with raw framed samples. Nothing that the helper says is trusted further than its lengths and names can be
checked, and nothing is unpickled. A helper that crashes, hangs or outgrows its limits costs one item, not the job.

A shape suffix names the axes: `_T` is time, in samples.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.media.protocol import (
    CLIP_RATE_HZ,
    FACTS_MAGIC,
    LIFELINE,
    MAGIC,
    MAX_FACTS_BYTES,
    MAX_JSON_BYTES,
    REPLY_HEADER,
    REQUEST_HEADER,
    SAMPLE_BYTES,
    ClipSpec,
    DecodeConfig,
    Pieces,
    ShortPolicy,
)
from pipeline.workers.awake import TICK_S, awake
from pipeline.workers.faults import MachineFaultError
from pipeline.workers.memory import KEPT_BYTES, LARGE_BLOCK_BYTES
from schemas.reasons import LeftOutError, Reason, legible

__all__ = ["Clip", "ClipDecoder", "ClipError", "ClipSpec", "DecodeConfig", "DecoderUnavailableError", "ShortPolicy"]

log = logging.getLogger(__name__)

# What a helper may give as its reason; anything else means that it is no longer itself.
HELPER_REASONS = {
    reason.value: reason
    for reason in (
        Reason.UNKNOWN_CONTAINER,
        Reason.UNKNOWN_CODEC,
        Reason.NO_AUDIO,
        Reason.CORRUPT_MEDIA,
        Reason.BAD_AUDIO_FORMAT,
        Reason.DECODER_MEMORY,
        Reason.TOO_SHORT,
    )
}
# Where a mix is this quiet and its first channel this much louder, the channels cancel one another: -40 dBFS, 20 dB.
QUIET_POWER = 1e-4 * (1 << 15) ** 2
CANCELLED_POWER_RATIO = 100.0
ATTEMPTS = 2
ALARM_MARGIN_S = 1.0  # the helper's own deadline is not looked at more closely
PIPE_BYTES = 1 << 20  # fewer switches between the two processes than the 64 KiB of a usual pipe

# `-I` and `-S` keep the environment, the working directory and start-up hooks of site-packages out of the helper;
# what it imports comes from the standard library and from the folders that the parent names.
_BOOTSTRAP = "import sys; sys.path.extend(sys.argv[2:]); from pipeline.media.helper import main; main(sys.argv[1])"
# The dynamic linker may need this one to find what the interpreter is linked to.
_KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH",)
# What pipeline/workers/memory.py asks of a worker; the helper gets it with its environment.
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(LARGE_BLOCK_BYTES), "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES)}


class ClipError(LeftOutError):
    """The item has no clip."""


class DecoderUnavailableError(MachineFaultError):
    """The helper does not start: something is wrong with the installation, not with an item."""


class _HelperDiedError(Exception):
    """The helper's process ended, or said what it cannot have meant."""


class _HelperTimeoutError(Exception):
    """The deadline passed."""


class _HelperAlarmError(Exception):
    """The kernel ended the helper at its own deadline, which knows nothing of the time that this process slept."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A clip, and what it was cut from.

    pcm_T: int16 at 16 kHz, mono, exactly `round(duration_s * 16000)` samples.
    start_s: where it begins in the recording; differs from the asked start under `ShortPolicy.FROM_END`.
    padded_samples: zeros at its end that stand for what the recording does not have.
    walked: whether the way to the clip was read without being decoded (see `pipeline.media.helper`).
    """

    pcm_T: NDArray[np.int16]
    start_s: float
    padded_samples: int
    source_rate_hz: int
    source_channels: int
    container: str
    codec: str
    walked: bool

    @property
    def duration_s(self) -> float:
        return len(self.pcm_T) / CLIP_RATE_HZ

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the samples as little-endian int16: equal audio has an equal name."""
        return hashlib.sha256(self.pcm_T.astype("<i2", copy=False).tobytes()).hexdigest()


class ClipDecoder:
    """Cuts clips in a helper process of its own; a context manager, for one thread at a time.

    The helper is started at the first `cut`, replaced after `recycle_after` items, when it has grown, and after every
    crash or timeout. An item that kills a helper, or runs out of memory in it, is tried once more in a fresh one, so
    that the verdict depends on the item alone and not on those that came before it.
    """

    def __init__(self, config: DecodeConfig | None = None) -> None:
        self.config = config or DecodeConfig()
        self._helper: _Helper | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the helper; a later `cut` starts another."""
        if self._helper is not None:
            self._helper.stop()
            self._helper = None

    @property
    def helper_pid(self) -> int | None:
        return self._helper.pid if self._helper is not None else None

    def cut(self, media: bytes, spec: ClipSpec) -> Clip:
        """The clip of a recording.

        Raises ClipError where there is none, and DecoderUnavailableError where no helper can be started.
        """
        if not media:
            raise ClipError(Reason.MEDIA_EMPTY, "0 bytes")
        if len(media) > self.config.max_media_bytes:
            raise ClipError(
                Reason.MEDIA_TOO_LARGE, f"{len(media)} bytes, more than the {self.config.max_media_bytes} allowed"
            )
        ends = awake() + self.config.deadline_s
        clip = self._cut(media, spec, ends)
        if clip.source_channels > 1 and (power := _power(clip.pcm_T)) < QUIET_POWER:
            first = self._cut(media, replace(spec, first_channel=True), ends)
            if _power(first.pcm_T) > max(1, power * CANCELLED_POWER_RATIO):
                return first
        return clip

    def _cut(self, media: bytes, spec: ClipSpec, ends: float) -> Clip:
        meta, samples = self._ask(lambda helper, deadline: helper.ask(media, spec, deadline), ends)
        try:
            return _clip(meta, np.frombuffer(samples, np.float32), spec)
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise ClipError(Reason.DECODER_CRASHED, f"the helper's reply makes no sense ({error})") from error

    def facts(self, files: Sequence[Pieces], content: bytes) -> list[dict[str, Any]]:
        """What the helper says of each file (`pipeline.media.facts`), of which `content` has the pieces.

        Raises ClipError where it says nothing, and DecoderUnavailableError. The verdict is then on all of them, and a
        file's own only where it is alone.
        """
        ends = awake() + self.config.deadline_s
        _, reply = self._ask(lambda helper, deadline: helper.ask_facts(files, content, deadline), ends)
        try:
            answers = json.loads(bytes(reply))
            if not isinstance(answers, list) or len(answers) != len(files):
                raise ValueError(f"not of {len(files)} files")
            return [dict(answer) for answer in answers]
        except (TypeError, ValueError, RecursionError) as error:
            self.close()
            raise ClipError(Reason.DECODER_CRASHED, f"the helper's reply makes no sense ({error})") from error

    def _ask(
        self, ask: Callable[["_Helper", float], tuple[dict[str, Any], bytearray]], ends: float
    ) -> tuple[dict[str, Any], bytearray]:
        left_s = ends - awake()
        attempt = 1
        while True:
            helper = self._ready_helper()
            started = awake()
            try:
                meta, samples = ask(helper, started + left_s)
            except _HelperTimeoutError:
                self.close()
                raise ClipError(Reason.DECODE_TIMEOUT, f"more than {self.config.deadline_s:g} s") from None
            except _HelperAlarmError:
                self.close()
                if awake() >= started + left_s - ALARM_MARGIN_S:
                    raise ClipError(Reason.DECODE_TIMEOUT, f"more than {self.config.deadline_s:g} s") from None
                attempt -= 1
            except _HelperDiedError as error:
                self.close()
                if attempt == ATTEMPTS:
                    raise ClipError(Reason.DECODER_CRASHED, str(error)) from None
            except BaseException:
                # A reply that nobody read would answer the next request.
                self.close()
                raise
            else:
                if meta.get("reason") != Reason.DECODER_MEMORY:
                    return meta, samples
                self.close()
                if attempt == ATTEMPTS:
                    return meta, samples
            left_s -= awake() - started
            attempt += 1

    def _ready_helper(self) -> "_Helper":
        if self._helper is not None and self._helper.worn(self.config):
            self.close()
        if self._helper is None:
            try:
                self._helper = _Helper(self.config)
            except DecoderUnavailableError as error:
                # The kernel may have killed it for want of memory; a broken installation fails again.
                log.warning("%s; tried once more", error)
                self._helper = _Helper(self.config)
        return self._helper


def _power(pcm_T: NDArray[np.int16]) -> float:
    """Mean of the squares. Of whole numbers so small the sum is exact in any order, so a bound is met everywhere."""
    wave_T = pcm_T.astype(np.float64)
    return float(wave_T @ wave_T) / len(wave_T)


def _clip(meta: dict[str, Any], samples_T: NDArray[np.float32], spec: ClipSpec) -> Clip:
    """The reply as a clip; raises ClipError for a refusal, KeyError, TypeError or ValueError for nonsense."""
    if "reason" in meta:
        raise ClipError(HELPER_REASONS[meta["reason"]], legible(str(meta["detail"])))
    numbers = {name: meta[name] for name in ("start_sample", "padded_samples", "source_rate_hz", "source_channels")}
    if any(type(number) is not int or number < 0 for number in numbers.values()):
        raise ValueError(f"numbers {numbers}")
    if len(samples_T) + numbers["padded_samples"] != spec.samples:
        raise ValueError(f"{len(samples_T)} samples and {numbers['padded_samples']} zeros instead of {spec.samples}")
    if not np.isfinite(samples_T).all():
        raise ClipError(Reason.NOT_FINITE, "NaN or infinite samples within the clip")
    # As swresample makes 16 bits of floats: round to nearest, halves to even, then clip.
    samples_T *= np.float32(1 << 15)
    np.rint(samples_T, out=samples_T)
    np.clip(samples_T, -(1 << 15), (1 << 15) - 1, out=samples_T)
    pcm_T = np.zeros(spec.samples, np.int16)
    pcm_T[: len(samples_T)] = samples_T
    return Clip(
        pcm_T=pcm_T,
        start_s=numbers["start_sample"] / CLIP_RATE_HZ,
        padded_samples=numbers["padded_samples"],
        source_rate_hz=numbers["source_rate_hz"],
        source_channels=numbers["source_channels"],
        container=str(meta["container"])[:20],
        codec=str(meta["codec"])[:20],
        walked=meta["walked"] is True,
    )


class _Helper:
    """One helper process and the frames to and from it."""

    def __init__(self, config: DecodeConfig) -> None:
        av = importlib.util.find_spec("av")
        if av is None or not av.submodule_search_locations:
            raise DecoderUnavailableError("PyAV is not installed; install openmulan with its `mine` extra")
        folders = [str(Path(__file__).resolve().parents[2]), str(Path(av.submodule_search_locations[0]).parent)]
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        # Nothing is ever written to it: the kernel closes it with this process, and so ends the helper.
        far_end, near_end = os.pipe()
        self._lifeline = os.fdopen(near_end, "wb", buffering=0)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, json.dumps(config.to_json()), *dict.fromkeys(folders)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                pass_fds=(far_end,),
                cwd="/",
                env={**kept, **_ALLOCATION, LIFELINE: str(far_end)},
                start_new_session=True,  # an interrupt at the terminal is the parent's to handle
            )
        finally:
            os.close(far_end)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        for fd in (self._in, self._out):
            os.set_blocking(fd, False)
            with contextlib.suppress(AttributeError, OSError):  # Linux only, and limited per user
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._requests = 0
        self._resident_bytes = 0
        try:
            meta, _ = self._read_reply(0, 0, awake() + config.start_timeout_s)
        except (_HelperDiedError, _HelperTimeoutError, _HelperAlarmError) as error:
            self.stop()
            command = f"{sys.executable} -I -S -c '{_BOOTSTRAP}' '{{}}' {' '.join(folders)}"
            raise DecoderUnavailableError(
                f"the decoder's helper process does not start ({error}); to see why, run: {command}"
            ) from error
        log.debug("helper %d ready, PyAV %s", self._process.pid, meta.get("av"))

    @property
    def pid(self) -> int:
        return self._process.pid

    def worn(self, config: DecodeConfig) -> bool:
        """Whether it should be replaced before the next item."""
        return (
            self._requests >= config.recycle_after
            or self._resident_bytes > config.recycle_rss_bytes
            or self._process.poll() is not None
        )

    def ask(self, media: bytes, spec: ClipSpec, deadline: float) -> tuple[dict[str, Any], bytearray]:
        """One request. Raises _HelperTimeoutError and _HelperDiedError, after which it must be stopped."""
        meta, samples = self._ask(MAGIC, asdict(spec), media, spec.samples * SAMPLE_BYTES, deadline)
        if len(samples) % SAMPLE_BYTES:
            raise _HelperDiedError("the helper's reply is not one to this request")
        return meta, samples

    def ask_facts(self, files: Sequence[Pieces], content: bytes, deadline: float) -> tuple[dict[str, Any], bytearray]:
        """The same, for the facts of files."""
        asked = [{"size": file.size, "pieces": file.pieces} for file in files]
        return self._ask(FACTS_MAGIC, asked, content, len(files) * MAX_FACTS_BYTES, deadline)

    def _ask(
        self, magic: bytes, asked: Any, media: bytes, most_bytes: int, deadline: float
    ) -> tuple[dict[str, Any], bytearray]:
        self._requests += 1
        spec_json = json.dumps(asked).encode()
        header = REQUEST_HEADER.pack(magic, self._requests, len(spec_json), len(media))
        self._write(header + spec_json, deadline)
        self._write(media, deadline)
        meta, samples = self._read_reply(self._requests, most_bytes, deadline)
        resident = meta.get("resident_bytes")
        self._resident_bytes = resident if isinstance(resident, int) else 0
        return meta, samples

    def stop(self) -> None:
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout, self._lifeline):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait()

    def _read_reply(self, number: int, most_bytes: int, deadline: float) -> tuple[dict[str, Any], bytearray]:
        header = bytearray(REPLY_HEADER.size)
        self._read(memoryview(header), deadline)
        magic, echoed, meta_bytes, sample_bytes = REPLY_HEADER.unpack(header)
        if magic != MAGIC or echoed != number or meta_bytes > MAX_JSON_BYTES or sample_bytes > most_bytes:
            raise _HelperDiedError("the helper's reply is not one to this request")
        meta_json = bytearray(meta_bytes)
        self._read(memoryview(meta_json), deadline)
        samples = bytearray(sample_bytes)
        self._read(memoryview(samples), deadline)
        try:
            meta = json.loads(meta_json)
        except (ValueError, RecursionError) as error:
            raise _HelperDiedError("the helper's reply is not JSON") from error
        if not isinstance(meta, dict):
            raise _HelperDiedError("the helper's reply is not a JSON object")
        return meta, samples

    def _read(self, target: memoryview, deadline: float) -> None:
        done = 0
        while done < len(target):
            try:
                got = os.readv(self._out, [target[done:]])
            except BlockingIOError:
                self._wait(self._out, select.POLLIN, deadline)
                continue
            if got == 0:
                raise _HelperDiedError(self._how_it_died())
            done += got

    def _write(self, content: bytes, deadline: float) -> None:
        left = memoryview(content)
        while left:
            try:
                left = left[os.write(self._in, left) :]
            except BlockingIOError:
                self._wait(self._in, select.POLLOUT, deadline)
            except BrokenPipeError:
                raise _HelperDiedError(self._how_it_died()) from None

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        # In short steps, since a wait goes on while this process is suspended.
        while (left_s := deadline - awake()) > 0:
            if poll.poll(min(left_s, TICK_S) * 1_000):
                return
        raise _HelperTimeoutError("no reply in time")

    def _how_it_died(self) -> str:
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "the helper closed its pipe"
        if code in (-signal.SIGXCPU, -signal.SIGALRM):
            raise _HelperAlarmError("the kernel ended it at its deadline")
        return f"the helper was ended by {signal.Signals(-code).name}" if code < 0 else f"the helper left with {code}"
