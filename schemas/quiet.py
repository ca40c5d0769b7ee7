"""A library that tells more than its caller wants told is kept to its errors for a while."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def errors_alone(logger: str) -> Iterator[None]:
    told = logging.getLogger(logger)
    before = told.level
    told.setLevel(logging.ERROR)
    try:
        yield
    finally:
        told.setLevel(before)
