"""yt-dlp's own process: a line of JSON with a URL in, a line with a file or a reason out.

Only audio is asked for, as the site stores it: nothing is converted, so no ffmpeg is needed. Errors are told apart by
what yt-dlp says, which is all there is; what is not known counts as a failure for now, because extractors break and are
mended.
"""

import json
import logging
import os
import resource
import select
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from pipeline.media.fetching.addresses import is_allowed, is_public
from pipeline.media.fetching.errors import FetchError
from schemas.reasons import LONGEST_DETAIL, Reason

# The first that is found in the message (in lower case) decides.
MESSAGES: tuple[tuple[str, Reason], ...] = (
    ("not a bot", Reason.RATE_LIMITED),
    ("http error 429", Reason.RATE_LIMITED),
    ("too many requests", Reason.RATE_LIMITED),
    ("rate-limited", Reason.RATE_LIMITED),
    ("try again later", Reason.RATE_LIMITED),
    ("confirm your age", Reason.LOGIN_REQUIRED),
    ("age-restricted", Reason.LOGIN_REQUIRED),
    ("members-only", Reason.LOGIN_REQUIRED),
    ("members on level", Reason.LOGIN_REQUIRED),
    ("join this channel", Reason.LOGIN_REQUIRED),
    ("requires payment", Reason.LOGIN_REQUIRED),
    ("only available to music premium", Reason.LOGIN_REQUIRED),
    ("available in your country", Reason.GEO_BLOCKED),
    ("in your location", Reason.GEO_BLOCKED),
    ("geo restrict", Reason.GEO_BLOCKED),
    ("geo-restrict", Reason.GEO_BLOCKED),
    ("blocked it in your country", Reason.GEO_BLOCKED),
    ("live event will begin", Reason.NOT_YET_AIRED),
    ("premieres in", Reason.NOT_YET_AIRED),
    ("premiere will begin", Reason.NOT_YET_AIRED),
    ("is live", Reason.NOT_YET_AIRED),
    ("private video", Reason.VIDEO_UNAVAILABLE),
    ("video is private", Reason.VIDEO_UNAVAILABLE),
    ("video unavailable", Reason.VIDEO_UNAVAILABLE),
    ("video is unavailable", Reason.VIDEO_UNAVAILABLE),
    ("is not available", Reason.EXTRACTION_FAILED),  # of a format; that of a video reads otherwise
    ("no longer available", Reason.VIDEO_UNAVAILABLE),
    ("has been removed", Reason.VIDEO_UNAVAILABLE),
    ("account associated with this video has been terminated", Reason.VIDEO_UNAVAILABLE),
    ("does not exist", Reason.VIDEO_UNAVAILABLE),
    ("incomplete youtube id", Reason.VIDEO_UNAVAILABLE),
    ("copyright", Reason.VIDEO_UNAVAILABLE),
    ("violat", Reason.VIDEO_UNAVAILABLE),
    ("larger than max-filesize", Reason.MEDIA_TOO_LARGE),
    ("unsupported url", Reason.UNSUPPORTED_URI),
    ("http error 404", Reason.NOT_FOUND),
    ("http error 410", Reason.NOT_FOUND),
    ("http error 5", Reason.SERVER_ERROR),
    # Of a media address that was given out a moment ago: it says "not now".
    ("http error 403", Reason.RATE_LIMITED),
    ("timed out", Reason.FETCH_TIMEOUT),
    ("temporary failure in name resolution", Reason.NAME_NOT_RESOLVED),
    ("name or service not known", Reason.NAME_NOT_RESOLVED),
    ("no address associated", Reason.NAME_NOT_RESOLVED),
    ("connection", Reason.CONNECTION_FAILED),
    ("bytes read", Reason.TRUNCATED_BODY),
)


def reason_of(message: str) -> Reason:
    """What yt-dlp's message means for the recording."""
    lowered = message.lower()
    return next((reason for part, reason in MESSAGES if part in lowered), Reason.EXTRACTION_FAILED)


# Hosts that were not connected to since the request began, because they are at no public address.
refused_hosts: list[str] = []


def download(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request."""
    import yt_dlp

    refused_hosts.clear()
    said = _Said()
    max_bytes = options["max_bytes"]

    def watch(progress: dict[str, Any]) -> None:
        if max(progress.get("downloaded_bytes") or 0, progress.get("total_bytes") or 0) > max_bytes:
            raise FetchError(Reason.MEDIA_TOO_LARGE, f"more than {max_bytes} bytes")

    def refuse_live(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            raise FetchError(Reason.NOT_YET_AIRED, "the video is live or has not begun")
        return None

    settings = {
        "format": "bestaudio",
        "allowed_extractors": options["extractors"],
        "outtmpl": {"default": os.path.join(options["folder"], "media")},
        "noplaylist": True,
        "playlist_items": "1",
        "match_filter": refuse_live,
        "progress_hooks": [watch],
        "max_filesize": max_bytes,
        "ratelimit": options["bytes_per_s"],
        "retries": options["attempts"],
        "fragment_retries": options["attempts"],
        "extractor_retries": options["attempts"],
        "socket_timeout": options["idle_timeout_s"],
        "skip_unavailable_fragments": False,
        "cookiefile": options["cookies"],
        "proxy": options["proxy"],
        "logger": said,
        "quiet": True,
        "noprogress": True,
        "nopart": True,
        "overwrites": True,
        "cachedir": False,
        "fixup": "never",
        "check_formats": False,
        "updatetime": False,
        "enable_file_urls": False,
    }
    try:
        with yt_dlp.YoutubeDL(settings) as downloader:
            info = downloader.extract_info(url)
    except FetchError as error:
        return {"reason": error.reason, "detail": error.detail}
    except Exception as error:
        if refused_hosts:
            return {"reason": Reason.PRIVATE_ADDRESS, "detail": f"{refused_hosts[0]} is at no public address"}
        inner = error.exc_info[1] if isinstance(error, yt_dlp.utils.DownloadError) and error.exc_info else error
        while inner is not None:
            if isinstance(inner, FetchError):
                return {"reason": inner.reason, "detail": inner.detail}
            if isinstance(inner, yt_dlp.utils.GeoRestrictedError):
                return {"reason": Reason.GEO_BLOCKED, "detail": _one_line(inner)}
            inner = inner.__cause__ or inner.__context__
        return {"reason": reason_of(str(error)), "detail": _one_line(error)}
    path = Path(options["folder"], "media")
    if info is None or not path.exists():
        detail = said.last or "yt-dlp gave nothing and said nothing"
        return {"reason": reason_of(detail), "detail": _one_line(detail)}
    return {"path": path.name}


class _Said:
    """yt-dlp's log: its last words, for where it gives up without an exception."""

    def __init__(self) -> None:
        self.last = ""

    def debug(self, message: str) -> None:
        if not message.startswith("[debug]") and "larger than max-filesize" in message:
            self.last = message

    def warning(self, message: str) -> None:
        self.last = self.last or message

    def error(self, message: str) -> None:
        self.last = message


def _one_line(message: object) -> str:
    return " ".join(str(message).split())[:LONGEST_DETAIL]


def guard_addresses(allow_private_hosts: list[str]) -> None:
    """Let every name in this process resolve to public addresses alone, but for the hosts that are allowed."""
    resolve = socket.getaddrinfo

    def guarded(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        answers = resolve(host, port, *args, **kwargs)
        name = host.decode() if isinstance(host, bytes) else str(host)
        if is_allowed(name, int(port or 0), allow_private_hosts):
            return answers
        public = [answer for answer in answers if is_public(str(answer[4][0]))]
        if not public:
            refused_hosts.append(name)
            raise socket.gaierror(socket.EAI_NONAME, "is at no public address")
        return public

    socket.getaddrinfo = guarded


def _resident_bytes() -> int:
    """0 where it cannot be read. Not the peak of getrusage, which on Linux begins with that of the parent."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _end_with_parent(folder: str) -> None:
    """Wait until the other end of standard input is closed, which the kernel does for a killed parent, and end at once:
    a download may go on for minutes, and the folder is nobody's any more.
    """
    parent = select.poll()
    parent.register(0, 0)  # a closed end is told of in any case
    parent.poll()
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpid(), signal.SIGKILL)  # with what yt-dlp has started


def main() -> None:
    """Serve requests from standard input until it closes."""
    options = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_parent, args=(options["folder"],), daemon=True).start()
    # The parent reads the real standard output; what a library prints must not get into it.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    proxy = options["proxy"]
    allowed = list(options["allow_private_hosts"])
    if proxy:
        from urllib.parse import urlsplit

        parts = urlsplit(proxy)
        allowed.append(f"{parts.hostname}:{parts.port}")
    guard_addresses(allowed)
    import yt_dlp.version

    _reply(replies, {"yt_dlp": yt_dlp.version.__version__})
    for line in sys.stdin:
        reply = download(json.loads(line)["url"], options)
        _reply(replies, {**reply, "resident_bytes": _resident_bytes()})


def _reply(stream: Any, value: dict[str, Any]) -> None:
    stream.write(json.dumps(value) + "\n")
    stream.flush()
