"""Which addresses are YouTube's, and which video they name; mining, catalogues and playlists ask alike."""

import re
from urllib.parse import urlsplit

HOSTS = frozenset(
    {
        *("youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com"),
        *("youtu.be", "youtube-nocookie.com", "www.youtube-nocookie.com"),
    }
)
_ID = re.compile(r"[A-Za-z0-9_-]{11}")


def video_id(audio_uri: str) -> str | None:
    """The id that a YouTube id or URL names, or None. A file with such a name can be written `./NAME`."""
    if _ID.fullmatch(audio_uri):
        return audio_uri
    try:
        parts = urlsplit(audio_uri)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or host not in HOSTS or "@" in parts.netloc:
        return None
    path = parts.path.strip("/").split("/")
    if host == "youtu.be":
        found = path[0]
    elif path[0] in ("shorts", "embed", "live", "v") and len(path) > 1:
        found = path[1]
    else:
        found = dict(field.partition("=")[::2] for field in parts.query.split("&")).get("v", "")
    return found if _ID.fullmatch(found) else None


def is_youtube(audio_uri: str) -> bool:
    """Whether a URI is YouTube's to answer, be there a video in it or not."""
    try:
        parts = urlsplit(audio_uri)
        return parts.hostname in HOSTS if parts.scheme in ("http", "https") else video_id(audio_uri) is not None
    except ValueError:
        return False
