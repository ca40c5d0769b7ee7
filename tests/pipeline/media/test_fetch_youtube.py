"""YouTube's room: ids, yt-dlp's process against a local server, and what its messages mean."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.media.fetching.config import FetchConfig, YouTubeConfig
from pipeline.media.fetching.errors import FetchError
from pipeline.media.fetching.youtube import YouTubeFetcher
from pipeline.media.fetching.youtube_worker import reason_of
from schemas.reasons import Outcome, Reason
from schemas.youtube_address import is_youtube, video_id
from tests.pipeline.jobs import lives, wait_until
from tests.pipeline.misbehaving import Misbehaving

MEDIA = b"OggS" + bytes(range(256)) * 100
LIMIT = 1 << 20
ID = "dQw4w9WgXcQ"
PAGE = b"<html><body>no media here</body></html>"


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        (ID, ID),
        (f"https://www.youtube.com/watch?v={ID}", ID),
        (f"https://youtube.com/watch?list=x&v={ID}&t=3", ID),
        (f"https://youtu.be/{ID}?si=x", ID),
        (f"https://music.youtube.com/watch?v={ID}", ID),
        (f"http://m.youtube.com/shorts/{ID}", ID),
        ("https://www.youtube.com/watch?v=../../etc", None),
        (f"https://user@www.youtube.com/watch?v={ID}", None),
        (f"https://www.youtube.com.evil.example/watch?v={ID}", None),
        (f"./{ID}", None),
        (f"{ID}.ogg", None),
        ("http://[::1", None),
    ],
)
def test_which_uri_names_a_video(uri: str, found: str | None) -> None:
    assert video_id(uri) == found


def test_a_page_of_youtube_without_a_video_is_not_fetched_as_a_plain_page() -> None:
    assert is_youtube("https://www.youtube.com/feed/history")
    assert not is_youtube("https://example.org/watch?v=dQw4w9WgXcQ")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("ERROR: [youtube] x: Private video. Sign in if you've been granted access to this video", "video_unavailable"),
        ("ERROR: [youtube] x: Video unavailable. This video has been removed by the uploader", "video_unavailable"),
        ("ERROR: [youtube] x: Video unavailable. This video is no longer available because the YouTube account "
         "associated with this video has been terminated.", "video_unavailable"),
        ("ERROR: [youtube] x: Video unavailable. The uploader has not made this video available in your country",
         "geo_blocked"),
        ("ERROR: [youtube] x: Sign in to confirm you’re not a bot. Use --cookies-from-browser", "rate_limited"),
        ("ERROR: [youtube] x: Sign in to confirm your age. This video may be inappropriate", "login_required"),
        ("ERROR: [youtube] x: Join this channel to get access to members-only content", "login_required"),
        ("ERROR: [youtube] x: Premieres in 3 hours", "not_yet_aired"),
        ("ERROR: [youtube] x: This live event will begin in 2 days.", "not_yet_aired"),
        ("ERROR: [youtube] x: Requested format is not available.", "extraction_failed"),
        ("ERROR: unable to download video data: HTTP Error 403: Forbidden", "rate_limited"),
        ("ERROR: [youtube] x: Unable to download API page: HTTP Error 429: Too Many Requests", "rate_limited"),
        ("ERROR: [youtube] x: Unable to download API page: HTTP Error 503: Service Unavailable", "server_error"),
        ("ERROR: [youtube] x: Failed to extract any player response; please report this issue", "extraction_failed"),
        ("something that nobody has seen yet", "extraction_failed"),
    ],
)  # fmt: skip
def test_what_its_messages_mean(message: str, reason: str) -> None:
    assert reason_of(message) == reason


def test_what_is_not_known_is_tried_again() -> None:
    assert reason_of("?").outcome == Outcome.FAILED_TRANSIENT


@pytest.fixture(scope="module")
def server() -> Iterator[Misbehaving]:
    files = {f"/watch/{ID}": MEDIA, "/watch/media.ogg": MEDIA, "/watch/big": bytes(LIMIT + 1), "/page": PAGE}
    with Misbehaving(files) as running:
        yield running


def config(server: Misbehaving, path: str = "/watch/{id}", **changes: Any) -> FetchConfig:
    youtube = YouTubeConfig(
        extractors=("generic",), watch_url=server.url(path), interval_s=0.0, **{"deadline_s": 30.0, **changes}
    )
    return FetchConfig(youtube=youtube, allow_private_hosts=(server.host_and_port,), attempts=1, idle_timeout_s=5)


def failure(made: YouTubeFetcher, identifier: str) -> Reason:
    with pytest.raises(FetchError) as caught:
        made.fetch(identifier, LIMIT)
    return caught.value.reason


@pytest.mark.slow
def test_media_arrives_and_the_process_is_replaced_after_its_share(server: Misbehaving) -> None:
    made = YouTubeFetcher(config(server, recycle_after=2))
    try:
        pids = []
        for _ in range(3):
            assert made.fetch(ID, LIMIT) == MEDIA
            pids.append(made.helper_pid)
        assert pids[0] == pids[1] != pids[2]
        assert pids[0] is not None
        assert not Path(f"/proc/{pids[0]}").exists()
    finally:
        made.close()


@pytest.mark.slow
def test_failures_have_reasons_and_the_next_video_is_unharmed(server: Misbehaving) -> None:
    made = YouTubeFetcher(config(server, "/{id}"))
    try:
        assert failure(made, "status?404") == Reason.NOT_FOUND
        assert failure(made, "status?503") == Reason.SERVER_ERROR
        assert failure(made, "status?429") == Reason.RATE_LIMITED
        assert failure(made, "reset") in (Reason.CONNECTION_FAILED, Reason.EXTRACTION_FAILED)
        assert failure(made, "watch/big") == Reason.MEDIA_TOO_LARGE
        assert failure(made, "page") == Reason.UNSUPPORTED_URI
        pid = made.helper_pid
        assert made.fetch(f"watch/{ID}", LIMIT) == MEDIA
        assert made.helper_pid == pid
    finally:
        made.close()


@pytest.mark.slow
def test_a_hanging_process_ends_at_the_deadline_and_is_replaced(server: Misbehaving) -> None:
    settings = config(server, "/{id}", deadline_s=4.0)
    made = YouTubeFetcher(dataclasses.replace(settings, idle_timeout_s=60))
    try:
        made.fetch(f"watch/{ID}", LIMIT)
        pid = made.helper_pid
        start = time.monotonic()
        assert failure(made, "stall") == Reason.FETCH_TIMEOUT
        assert time.monotonic() - start < 9
        assert made.fetch(f"watch/{ID}", LIMIT) == MEDIA
        assert made.helper_pid != pid
    finally:
        made.close()


@pytest.mark.slow
def test_a_killed_worker_leaves_neither_the_process_nor_its_folder(server: Misbehaving, tmp_path: Path) -> None:
    """It is in the middle of a download that would last for ever."""
    code = (
        "import sys\n"
        "from pipeline.media.fetching.config import FetchConfig, YouTubeConfig\n"
        "from pipeline.media.fetching.youtube import YouTubeFetcher\n"
        "youtube = YouTubeConfig(extractors=('generic',), watch_url=sys.argv[1])\n"
        "fetcher = YouTubeFetcher(FetchConfig(youtube=youtube, allow_private_hosts=(sys.argv[2],), attempts=1))\n"
        "fetcher.fetch('stall', 1 << 20)\n"
    )
    command = [sys.executable, "-c", code, server.url("/{id}"), server.host_and_port]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    asked = server.requests["/stall"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], env=environment) as worker:
        try:
            wait_until(lambda: server.requests["/stall"] > asked, "it does not ask")
            (helper,) = psutil.Process(worker.pid).children()
            assert list(tmp_path.glob("mulan-youtube-*"))
        finally:
            worker.kill()
    wait_until(lambda: not lives(helper), "the process is left")
    assert not list(tmp_path.glob("mulan-youtube-*"))


@pytest.mark.slow
def test_private_addresses_are_refused_in_its_process_too(server: Misbehaving) -> None:
    with Misbehaving({"/watch/x": MEDIA}) as inner:
        made = YouTubeFetcher(config(server, "/to?" + inner.url("/watch/{id}")))
        try:
            assert failure(made, "x") == Reason.PRIVATE_ADDRESS
        finally:
            made.close()
        assert not inner.requests


@pytest.mark.slow
def test_a_process_that_is_killed_costs_nothing(server: Misbehaving) -> None:
    made = YouTubeFetcher(config(server))
    try:
        made.fetch(ID, LIMIT)
        assert made.helper_pid is not None
        folder = Path(made._helper._folder.name)  # type: ignore[union-attr]
        os.kill(made.helper_pid, 9)
        assert made.fetch(ID, LIMIT) == MEDIA
    finally:
        made.close()
    assert not folder.exists()
