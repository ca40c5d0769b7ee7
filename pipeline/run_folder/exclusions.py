"""What a job leaves out, as its workers get it: a file, which each of them reads once. The ids, clips and titles of
evaluation sets may be more than a graph can hold.
"""

import contextlib
from collections.abc import Iterator

from pipeline import storage
from schemas.exclusion import ExclusionList


@contextlib.contextmanager
def written(run_dir: str, exclude: ExclusionList) -> Iterator[str]:
    """The path of a file that is there as long as the body lasts; empty where nothing is excluded. What a killed
    launcher leaves of it is swept with the other temporary files."""
    if not exclude.digest():
        yield ""
        return
    path = storage.temporary_path(run_dir)
    storage.write_json(path, exclude.to_json())
    try:
        yield path
    finally:
        storage.delete([path])


def read(path: str) -> ExclusionList:
    """Raises DamagedError where the file is gone: nothing is trained on because nobody could look."""
    return ExclusionList.from_json(storage.parse_json(path, storage.read_bytes(path))) if path else ExclusionList()
