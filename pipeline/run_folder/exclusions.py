"""What a job leaves out, as its workers get it: a file, which each of them reads once. The ids, clips and titles of
evaluation sets may be more than a graph can hold.
"""

import contextlib
from collections.abc import Iterator

from pipeline import storage
from schemas.exclusion import ExclusionList


@contextlib.contextmanager
def written(run_dir: str, exclude: ExclusionList) -> Iterator[str]:
    """The path of a file that is there as long as the body lasts; empty where nothing is excluded."""
    if exclude == ExclusionList():
        yield ""
        return
    with storage.temporary_file(run_dir, storage.json_bytes(exclude.to_json())) as path:
        yield path


def read(path: str) -> ExclusionList:
    """Raises DamagedError where the file is gone: nothing is trained on because nobody could look."""
    return ExclusionList.from_json(storage.parse_json(path, storage.read_bytes(path))) if path else ExclusionList()
