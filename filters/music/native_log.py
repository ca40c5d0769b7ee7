"""What native libraries write to standard error past Python: their notes go, their warnings and errors stay.

LiteRT says on each start that it has made a delegate; it asks no variable whether somebody wants to know. So the file
descriptor is turned to a file while it starts, and what is no note is passed on afterwards. A crash meanwhile would
take its last words with it, which is why nothing but the start is done so.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

_NOTE = re.compile(rb"INFO: |I\d{4} |WARNING: All log messages before absl::InitializeLog")


@contextlib.contextmanager
def notes_dropped() -> Iterator[None]:
    """Drop the notes that native code writes in the body."""
    with contextlib.ExitStack() as stack:
        try:
            sys.stderr.flush()
            before = os.dup(2)
            stack.callback(os.close, before)
            caught = stack.enter_context(tempfile.TemporaryFile())
        except (OSError, AttributeError):  # there is no standard error, or no place for a file
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            caught.seek(0)
            for line in caught:
                if not _NOTE.match(line):
                    os.write(2, line)
