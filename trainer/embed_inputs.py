"""What `mulan embed` and `mulan search index` share: which files are meant, where a model goes, how far the work is."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from pipeline.media.protocol import MEDIA_SUFFIXES
from trainer.model import Model, load

log = logging.getLogger(__name__)

_LINE_EVERY_S = 30.0


def files_of(name: str) -> Iterator[str]:
    """A file by its name, whatever it is; of a folder, all with the name of a recording, in order."""
    if os.path.isfile(name):
        yield name
    elif not os.path.isdir(name):
        raise ValueError(f"{name}: there is no such file or folder (names are taken as they are, not as patterns)")
    else:
        for folder, inner, files in os.walk(name):
            inner.sort()
            here = (os.path.join(folder, file) for file in sorted(files) if file.lower().endswith(MEDIA_SUFFIXES))
            yield from (path for path in here if os.path.isfile(path))


def load_on(folder: Path, device: str | None) -> Model:
    try:
        return load(folder, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError) as error:  # as torch refuses a device
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from error


def path_text(path: str) -> str:
    """A name that is no Unicode, as a column can have it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Progress:
    """A bar on a terminal, now and then a line elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._said = total, 0, time.monotonic()
        self._bar = tqdm(total=total, desc="embedding", disable=None)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._bar.update(count)
        if self._bar.disable and time.monotonic() - self._said > _LINE_EVERY_S:
            self._said = time.monotonic()
            log.info("%d of %d embedded", self._done, self._total)
