"""Whether a label is ever lost or doubled when the annotators' server is ended between the key and its answer.

    python -m benchmarks.label_signals --times 50

SIGKILL, SIGTERM and SIGHUP, each so many times, to a real server that has just been sent a label. After each the one
file `labels.db` is copied without its -wal: after SIGTERM and SIGHUP the copy must have every label that was answered
for; after SIGKILL it must say that it lacks something.
"""

import argparse
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import write_result
from tests.filters.annotation.signalling import between_key_and_answer

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="of each signal (default: %(default)s)")
    arguments = parser.parse_args(argv)
    result = {}
    for number in SIGNALS:
        with tempfile.TemporaryDirectory() as folder:
            result[number.name] = asdict(between_key_and_answer(Path(folder), number, arguments.times))
    command = f"python -m benchmarks.label_signals --times {arguments.times}"
    write_result("label_signals", result, packages=("fastapi", "uvicorn"), command=command)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
