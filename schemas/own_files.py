"""Whether the files of the installed package are still its own.

Its packages have everyday names, and an installer does not look whose file it replaces: Coqui's `trainer`, installed
later, writes its `trainer/__init__.py` and `trainer/model.py` over ours in the same folder.
"""

import base64
import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PROJECT = "openmulan"


def damage() -> str | None:
    """One line on files that are gone or somebody else's; None where all are as installed, and in a checkout."""
    try:
        changed = list(_changed(metadata.distribution(PROJECT)))
    except metadata.PackageNotFoundError:
        return None
    if not changed:
        return None
    others = sorted({other for path in changed for other in _also_of(path)})
    by = f" (also of {', '.join(others)}, which needs an environment of its own)" if others else ""
    more = f" and {len(changed) - 1} more files" if len(changed) > 1 else ""
    return f"{changed[0]}{more} of OpenMuLan's are gone or another package's{by}; install openmulan again"


def _changed(distribution: metadata.Distribution) -> Iterator[str]:
    for file in distribution.files or ():
        if file.hash is None or file.parts[0] == "..":  # a script, which an installer may write anew
            continue
        try:
            digest = hashlib.new(file.hash.mode, Path(str(file.locate())).read_bytes()).digest()
        except OSError:
            yield str(file)
            continue
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            yield str(file)


def _also_of(path: str) -> Iterator[str]:
    for other in metadata.distributions():
        if other.name != PROJECT and any(str(file) == path for file in other.files or ()):
            yield other.name
