"""`mulan search serve`: the page of an index, for this machine, or by a link for others.

Nothing heavy is loaded by what builds the parser.
"""

import argparse
import contextlib
import secrets
import sys
from pathlib import Path

from schemas.serving.gate import Address

DEFAULT_PORT = 8766
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - refused without a name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, metavar="INDEX", help="a folder that `mulan search index` has made")
    parser.add_argument("--model", metavar="DIR|NAME", help="where the model lies by now, if not where it was")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="(default: %(default)s)")
    parser.add_argument("--public_url", help="address that visitors see, when a proxy with TLS stands in front")


def address_of(arguments: argparse.Namespace) -> Address:
    """Raises ValueError."""
    if arguments.host in _EVERYWHERE and arguments.public_url is None:
        raise ValueError(
            f"--host {arguments.host}: give the address that visitors type by --public_url "
            f"http://NAME:{arguments.port}; requests under other names are refused"
        )
    return Address(host=arguments.host, port=arguments.port, public_url=arguments.public_url)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Raises ValueError where the index, its model or the address cannot be used."""
    address = address_of(arguments)
    from schemas.serving.server import serve
    from trainer.search.index import Index
    from trainer.search.page.app import create_app
    from trainer.search.page.site import PageSettings

    index = Index.open(arguments.index, model=arguments.model)
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
