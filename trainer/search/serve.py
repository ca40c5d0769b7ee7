"""`mulan search serve`: the page of an index, for this machine, or by a link for others."""

import argparse
import contextlib
import secrets
import sys
from pathlib import Path

from schemas.serving.gate import Address


def index_beside(name: str) -> Path:
    """Where the index of a folder, run or file is made if nobody says it. Raises ValueError."""
    if "://" in name:
        raise ValueError(f"{name}: give the folder of the index by --output")
    path = Path(name).resolve()
    return path.with_name(f"{path.name}-index")


def run(folder: Path, arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Raises ValueError where the index, its model or the address cannot be used."""
    address = Address(host=arguments.host, port=arguments.port, public_url=arguments.public_url)
    from schemas.serving.server import serve
    from trainer.search.index import Index
    from trainer.search.page.app import create_app
    from trainer.search.page.site import PageSettings

    index = Index.open(folder, model=arguments.model)
    if index.count:
        # The first visitor need not wait for the model, and one that is gone is told here.
        index.search("music", k=1)
    exposed = not address.loopback or address.public_url is not None
    token = secrets.token_urlsafe(32) if exposed else None

    def announce() -> None:
        link = f"{address.url}/enter?token={token}" if token else f"{address.url}/"
        lines = [f"{index.count} recordings to search: {link}"]
        if index.about.caution:
            lines.append(index.about.caution)
        if token:
            lines.append("Whoever has this link may search and listen until the server ends.")
        sys.stdout.write("\n".join([*lines, "Ctrl-C stops the server.\n"]))
        sys.stdout.flush()

    # Ctrl-C is how the work ends, not how it fails.
    with contextlib.suppress(KeyboardInterrupt):
        serve(create_app(index, PageSettings(address=address, token=token)), address, announce)
    return 0
