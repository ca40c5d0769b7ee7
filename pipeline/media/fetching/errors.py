"""What a failed fetch says."""

from urllib.parse import urlsplit

from schemas.reasons import LeftOutError, Reason, legible


class FetchError(LeftOutError):
    """Media that was not fetched. `retry_after_s` is what the server asked for, where it did."""

    def __init__(self, reason: Reason, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason, legible(detail))
        self.retry_after_s = retry_after_s


def shown(uri: str) -> str:
    """A URI as it may stand in logs and reports: without user name, password, query (which may be signed) and fragment.

    Anything that is not a URI is shown as it is.
    """
    if "://" not in uri:
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.split("://", 1)[0] + "://…"
    place = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'…@' if place[1] else ''}{place[2]}{parts.path}{'?…' if parts.query else ''}"
