"""Settings of fetching, in one place. None of them decides the bytes of a shard, so none is in its digest."""

import dataclasses
import re
from dataclasses import dataclass

from schemas.checks import above_zero, at_least

MIB = 1 << 20
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):[0-9]{1,5}")


@dataclass(frozen=True, kw_only=True)
class YouTubeConfig:
    """How YouTube is asked.

    recycle_after, recycle_rss_bytes: yt-dlp's process grows, so it is replaced after so many videos or at this size.
    bytes_per_s: None takes what comes.
    interval_s: rest of a lane between two videos.
    extractors, watch_url: what yt-dlp may use, and the page of an id; others than YouTube's only in tests.
    """

    cookies: str | None = None
    proxy: str | None = None
    bytes_per_s: int | None = None
    interval_s: float = 2.0
    deadline_s: float = 600.0
    start_timeout_s: float = 60.0
    recycle_after: int = 50
    recycle_rss_bytes: int = 512 * MIB
    extractors: tuple[str, ...] = ("youtube",)
    watch_url: str = "https://www.youtube.com/watch?v={id}"

    def __post_init__(self) -> None:
        above_zero(self, "deadline_s", "start_timeout_s")
        at_least(self, 0, "interval_s")
        at_least(self, 1, "recycle_after", "bytes_per_s")


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """How hard fetching tries, and what it refuses.

    deadline_s: wall time of one item over http(s) or from an object store, redirects and repeats together.
    idle_timeout_s: longest silence of a server.
    min_bytes_per_s: what must come on average over each stretch of `speed_window_s`.
    attempts: requests for one item while it fails for now.
    longest_rest_s: a lane that was asked to come back later rests so long, or as long as it was told if that is less.
    allow_private_hosts: `host:port` that may be at private addresses.
    lanes_per_host: requests in flight to one host, on this machine, over all processes that share `lanes_dir`.
    lanes_dir: where lanes are counted; None is a folder of this user's under the machine's temporary folder.
    cache_dir: where media from elsewhere is kept; None keeps nothing.
    """

    deadline_s: float = 120.0
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 20.0
    min_bytes_per_s: int = 4_096
    speed_window_s: float = 15.0
    max_redirects: int = 5
    attempts: int = 3
    backoff_s: float = 1.0
    longest_rest_s: float = 30.0
    allow_private_hosts: tuple[str, ...] = ()
    lanes_per_host: int = 8
    lanes_dir: str | None = None
    cache_dir: str | None = None
    cache_bytes: int = 20 * 1024 * MIB
    youtube: YouTubeConfig = dataclasses.field(default_factory=YouTubeConfig)

    def __post_init__(self) -> None:
        above_zero(self, "deadline_s", "connect_timeout_s", "idle_timeout_s", "speed_window_s", "cache_bytes")
        at_least(self, 0, "min_bytes_per_s", "max_redirects", "backoff_s", "longest_rest_s")
        at_least(self, 1, "attempts", "lanes_per_host")
        for host in self.allow_private_hosts:
            if not _HOST_AND_PORT.fullmatch(host):
                raise ValueError(f"--allow_private_hosts {host}: must be HOST:PORT, such as localhost:8000 or [::1]:80")
