"""Time for which a process was suspended counts towards no deadline."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.media import made

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def started(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that says when it is ready."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def suspend(process: "subprocess.Popen[str]", seconds: float) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGCONT)


def test_the_clock_stands_still_while_the_process_does() -> None:
    code = (
        "import sys, time\n"
        "from pipeline.workers.awake import awake\n"
        "start, awake_start = time.monotonic(), awake()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(awake() - awake_start, time.monotonic() - start, flush=True)\n"
    )
    with started(code) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        time.sleep(1.5)
        suspend(process, 6)
        process.stdin.write("\n")
        process.stdin.flush()
        awake_s, passed_s = map(float, process.stdout.readline().split())
    assert passed_s > 7
    assert 1 <= awake_s < passed_s - 4


def test_a_decoder_s_deadline_waits_for_a_suspended_worker(tmp_path: Path) -> None:
    """The item takes two of its six seconds, and its clip is more than a pipe holds. So the helper, which is not
    suspended with the worker, waits to write until its own deadline ends it; and that is no fault of the item.
    """
    (tmp_path / "media").write_bytes(made("flac"))
    code = (
        "import sys\n"
        "from pipeline.media import clip\n"
        "clip._BOOTSTRAP = sys.argv[1]\n"
        "media = open(sys.argv[2], 'rb').read()\n"
        "decoder = clip.ClipDecoder(clip.DecodeConfig(deadline_s=6))\n"
        "decoder._ready_helper()\n"
        "print('ready', flush=True)\n"
        "print(len(decoder.cut(media, clip.ClipSpec(start_s=1, duration_s=30)).pcm_T), flush=True)\n"
    )
    bootstrap = (
        "import sys; sys.path.extend(sys.argv[2:])\n"
        "import time, pipeline.media.helper as worker\n"
        "def answer(*of, done=worker.answer):\n"
        "    time.sleep(2)\n"
        "    return done(*of)\n"
        "worker.answer = answer\n"
        "worker.main(sys.argv[1])"
    )
    with started(code, bootstrap, str(tmp_path / "media")) as process:
        assert process.stdout is not None
        time.sleep(0.5)
        suspend(process, 9)
        assert process.stdout.readline() == "480000\n"
