"""Media of YouTube, by yt-dlp in a helper process.

A long-lived yt-dlp grows, so the helper is replaced every few videos; and it can hang, so a deadline ends it from
outside. Requests and replies are lines of JSON, the media a file in a folder that goes with the helper.
"""

import contextlib
import importlib.util
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.media.fetching import local
from pipeline.media.fetching.config import FetchConfig
from pipeline.media.fetching.errors import FetchError
from pipeline.workers.awake import TICK_S, awake
from schemas.reasons import Reason

LANE = "youtube.com"  # all its hosts are one
MAX_REPLY_BYTES = 1 << 16
PROCESSES_PER_VIDEO = 2  # one that breaks off may have done so for an earlier video
_BOOTSTRAP = "import sys; sys.path.append(sys.argv[2]); from pipeline.media.fetching.youtube_worker import main; main()"
log = logging.getLogger(__name__)


class YouTubeFetcher:
    """Fetches one video after another. For one thread at a time."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._helper: _Helper | None = None

    def close(self) -> None:
        if self._helper is not None:
            self._helper.stop()
            self._helper = None

    @property
    def helper_pid(self) -> int | None:
        return self._helper.pid if self._helper is not None else None

    def fetch(self, identifier: str, max_bytes: int) -> bytes:
        """The audio of a video. Raises FetchError."""
        youtube = self._config.youtube
        deadline = awake() + youtube.deadline_s
        for attempt in range(1, PROCESSES_PER_VIDEO + 1):
            helper = self._ready_helper(max_bytes)
            try:
                reply = helper.ask(youtube.watch_url.format(id=identifier), deadline)
                if "path" in reply:
                    return helper.take(reply["path"], max_bytes)
                raise FetchError(Reason.named(reply["reason"]), f"{identifier}: {reply.get('detail', '')}")
            except FetchError:
                raise
            except TimeoutError:
                self.close()
                raise FetchError(Reason.FETCH_TIMEOUT, f"{identifier}: no media in {youtube.deadline_s:g} s") from None
            except (EOFError, KeyError, ValueError, AttributeError) as error:
                self.close()
                if attempt == PROCESSES_PER_VIDEO:
                    raise FetchError(Reason.EXTRACTION_FAILED, f"{identifier}: yt-dlp's process broke off") from error
            except BaseException:
                # A reply that nobody read would answer the next request.
                self.close()
                raise
        raise AssertionError("unreachable")

    def _ready_helper(self, max_bytes: int) -> "_Helper":
        if self._helper is not None and self._helper.worn():
            self.close()
        if self._helper is None:
            self._helper = _Helper(self._config, max_bytes)
        return self._helper


def check_installed() -> None:
    """Raises FetchError where there is no yt-dlp."""
    if importlib.util.find_spec("yt_dlp") is None:
        raise FetchError(Reason.CLIENT_MISSING, "yt-dlp is not installed: pip install 'openmulan[youtube]'")


class _Helper:
    """One process of yt-dlp, its folder, and the lines to and from it."""

    def __init__(self, config: FetchConfig, max_bytes: int) -> None:
        check_installed()
        self._youtube = config.youtube
        self._requests = 0
        self._resident_bytes = 0
        self._folder = tempfile.TemporaryDirectory(prefix="mulan-youtube-")
        cookies = None
        if config.youtube.cookies is not None:
            # yt-dlp writes its cookies back, and several helpers must not write one file.
            cookies = os.path.join(self._folder.name, "cookies.txt")
            Path(cookies).write_bytes(Path(config.youtube.cookies).read_bytes())
            os.chmod(cookies, 0o600)
        options = {
            "folder": self._folder.name,
            "max_bytes": max_bytes,
            "cookies": cookies,
            "proxy": config.youtube.proxy,
            "bytes_per_s": config.youtube.bytes_per_s,
            "extractors": config.youtube.extractors,
            "idle_timeout_s": config.idle_timeout_s,
            "attempts": config.attempts,
            "allow_private_hosts": config.allow_private_hosts,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOTSTRAP, json.dumps(options), str(Path(__file__).resolve().parents[3])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=self._folder.name,
            start_new_session=True,  # what it starts itself (a JavaScript runtime) ends with it
        )
        self._buffer = b""
        try:
            version = self._read_line(awake() + config.youtube.start_timeout_s).get("yt_dlp")
        except (EOFError, TimeoutError, ValueError) as error:
            self.stop()
            raise FetchError(
                Reason.CLIENT_MISSING, f"yt-dlp's process does not start ({error!r}); is yt-dlp installed whole?"
            ) from error
        log.debug("yt-dlp %s in process %d", version, self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def worn(self) -> bool:
        return (
            self._requests >= self._youtube.recycle_after
            or self._resident_bytes > self._youtube.recycle_rss_bytes
            or self._process.poll() is not None
        )

    def ask(self, url: str, deadline: float) -> dict[str, Any]:
        """Raises TimeoutError, EOFError and ValueError, after which it must be stopped."""
        self._requests += 1
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"url": url}).encode() + b"\n")
        except BrokenPipeError as error:
            raise EOFError from error
        reply = self._read_line(deadline)
        resident = reply.get("resident_bytes")
        self._resident_bytes = resident if isinstance(resident, int) else 0
        return reply

    def take(self, name: str, max_bytes: int) -> bytes:
        """The media that a reply names; its file is gone afterwards."""
        path = os.path.join(self._folder.name, os.path.basename(name))
        try:
            return local.read(os.fsencode(path), max_bytes)
        finally:
            Path(path).unlink(missing_ok=True)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait()
        self._folder.cleanup()

    def _read_line(self, deadline: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while b"\n" not in self._buffer:
            left_s = deadline - awake()
            if left_s <= 0:
                raise TimeoutError
            if not poll.poll(min(left_s, TICK_S) * 1_000):
                continue
            got = os.read(descriptor, 1 << 12)
            if not got:
                raise EOFError
            self._buffer += got
            if len(self._buffer) > MAX_REPLY_BYTES:
                raise ValueError("the reply is too long")
        line, _, self._buffer = self._buffer.partition(b"\n")
        value = json.loads(line)
        if not isinstance(value, dict):
            raise ValueError("the reply is not an object")
        return value
