"""Fetch: the bytes that an `audio_uri` names.

One `Fetcher` a worker sends each URI to its room in `pipeline.media.fetching`. What comes from elsewhere passes the
cache and takes a lane of its host; what lies on this machine does neither.
"""

import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

from pipeline.media.fetching import local, objects, youtube
from pipeline.media.fetching.cache import MediaCache
from pipeline.media.fetching.config import FetchConfig, YouTubeConfig
from pipeline.media.fetching.errors import FetchError, shown
from pipeline.media.fetching.http import HttpFetcher
from pipeline.media.fetching.lanes import Lanes
from pipeline.media.fetching.local import resolve
from pipeline.storage import is_local
from schemas.reasons import Outcome, Reason
from schemas.youtube_address import is_youtube, video_id

log = logging.getLogger(__name__)
__all__ = ["FetchConfig", "FetchError", "Fetcher", "YouTubeConfig", "resolve", "shown"]


class Fetcher:
    """For one thread at a time. It holds connections and a helper process until `close`."""

    def __init__(self, config: FetchConfig, *, allow_roots: Sequence[str] = (), max_bytes: int) -> None:
        self._config = config
        self._allow_roots = allow_roots
        self._max_bytes = max_bytes
        self._cache = MediaCache(config.cache_dir, config.cache_bytes) if config.cache_dir is not None else None
        self._http: HttpFetcher | None = None
        self._youtube: youtube.YouTubeFetcher | None = None
        self._lanes: Lanes | None = None
        self._told = False

    def close(self) -> None:
        """Ends what it holds; a later `fetch` starts anew."""
        if self._http is not None:
            self._http.close()
        if self._youtube is not None:
            self._youtube.close()
        self._http = self._youtube = None

    def longest_s(self, audio_uri: str) -> float:
        """What `fetch` may take at most, when nobody else is asking the same host."""
        if is_youtube(audio_uri):
            return self._config.youtube.deadline_s + self._config.youtube.start_timeout_s
        # A store's client has timeouts and repeats of its own for one call, after which the deadline is looked at.
        return self._config.deadline_s + objects.LONGEST_CALL_S

    def fetch(self, audio_uri: str, *, base_uri: str) -> bytes:
        """The media. Raises FetchError, and never anything else for what is wrong with one item."""
        media = self._fetch(audio_uri, base_uri)
        if not media:
            raise FetchError(Reason.MEDIA_EMPTY, f"{shown(audio_uri)}: 0 bytes")
        return media

    def _fetch(self, audio_uri: str, base_uri: str) -> bytes:
        if is_youtube(audio_uri):
            identifier = video_id(audio_uri)
            if identifier is None:
                raise FetchError(Reason.UNSUPPORTED_URI, f"{shown(audio_uri)}: names no video")
            return self._remote(_video_uri(identifier), identifier)
        scheme = _scheme(audio_uri)
        if scheme in ("http", "https"):
            return self._remote(audio_uri)
        if _is_object(audio_uri, base_uri):
            return self._remote(objects.resolve(audio_uri, base_uri=base_uri, allow_roots=self._allow_roots))
        if scheme:
            raise FetchError(Reason.UNSUPPORTED_URI, f"{shown(audio_uri)}: not a path, gs, s3, http(s) or YouTube")
        return local.read(resolve(audio_uri, base_uri=base_uri, allow_roots=self._allow_roots), self._max_bytes)

    def _remote(self, uri: str, video: str | None = None) -> bytes:
        if self._cache is not None and (media := self._cache.get(uri)) is not None:
            if len(media) > self._max_bytes:
                raise FetchError(Reason.MEDIA_TOO_LARGE, f"{shown(uri)}: {len(media)} bytes, from the cache")
            return media
        if video is not None:
            self._check_youtube()
        if video is None and uri.partition("://")[0].lower() in objects.SCHEMES:
            media = objects.read(uri, self._max_bytes, self._config.deadline_s)
        else:
            media = self._in_lane(uri, video)
        if self._cache is not None and media:
            self._cache.put(uri, media)
        return media

    def _check_youtube(self) -> None:
        """Before anybody waits for a lane. Raises FetchError where there is no yt-dlp, and says so once."""
        try:
            youtube.check_installed()
        except FetchError as error:
            if not self._told:
                log.warning("recordings of YouTube are left out: %s; then run the same command again", error.detail)
            self._told = True
            raise

    def _in_lane(self, uri: str, video: str | None) -> bytes:
        if self._lanes is None:
            self._lanes = Lanes(self._config.lanes_dir, self._config.lanes_per_host)
        host = youtube.LANE if video is not None else _host(uri)
        rest_s = self._config.youtube.interval_s if video is not None else 0.0
        with self._lanes.turn(host, rest_s) as lane:
            try:
                if video is not None:
                    if self._youtube is None:
                        self._youtube = youtube.YouTubeFetcher(self._config)
                    return self._youtube.fetch(video, self._max_bytes)
                if self._http is None:
                    self._http = HttpFetcher(self._config)
                return self._http.fetch(uri, self._max_bytes)
            except FetchError as error:
                if error.reason == Reason.RATE_LIMITED:
                    asked_s = error.retry_after_s
                    longest_s = self._config.longest_rest_s
                    lane.rest(longest_s if asked_s is None else min(asked_s, longest_s))
                elif error.reason.outcome == Outcome.FAILED_TRANSIENT:
                    lane.rest(min(self._config.backoff_s, self._config.longest_rest_s))
                raise


def cached_as(audio_uri: str, *, base_uri: str) -> str | None:
    """The URI that the cache knows a recording by, whoever may read it; None for what is not cached."""
    if is_youtube(audio_uri):
        identifier = video_id(audio_uri)
        return None if identifier is None else _video_uri(identifier)
    if _scheme(audio_uri) in ("http", "https"):
        return audio_uri
    return objects.full_uri(audio_uri, base_uri=base_uri) if _is_object(audio_uri, base_uri) else None


def _video_uri(identifier: str) -> str:
    return f"youtube:{identifier}"


def _scheme(audio_uri: str) -> str:
    return audio_uri.partition("://")[0].lower() if "://" in audio_uri else ""


def _is_object(audio_uri: str, base_uri: str) -> bool:
    scheme = _scheme(audio_uri)
    beside_remote_catalogue = not scheme and not audio_uri.startswith("/") and not is_local(base_uri)
    return scheme in objects.SCHEMES or beside_remote_catalogue


def _host(url: str) -> str:
    """Names the lanes of a URL; one that cannot be parsed has a lane with all others of its kind."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port or ''}"
    except ValueError:
        return ""
