"""Who may be served beyond this machine: people with links of their own."""

from filters.annotation.records import AnnotationError
from schemas.serving.gate import Address


def check_exposure(address: Address, named_annotators: bool) -> None:
    """Raises AnnotationError where others could reach the server without links of their own."""
    exposed = not address.loopback or address.public_url is not None
    if exposed and not named_annotators:
        raise AnnotationError(
            f"--host {address.host}: listening beyond this machine needs a link for each annotator; name them with "
            "--annotator NAME (and see docs/annotating.md for TLS)"
        )
