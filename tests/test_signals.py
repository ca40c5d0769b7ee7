"""Each command ends with one line and code 3, whether Ctrl-C or a service manager ends it.

The commands wait for a named pipe that they are given as a file, so that the signal meets them at work.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import openmulan
from pipeline import storage
from pipeline.run_folder import layout
from schemas.signals import held_back, interruptible
from tests.pipeline.jobs import wait_until

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = {
    "lf-filter": ("fit", "--labels", "PIPE.jsonl", "--output", "model"),
    "report": ("PIPE_run",),
    "evaluate": ("--config", "PIPE.json", "--output", "tables", "random"),
    "mine": ("--catalog", "PIPE.jsonl", "--output", "run", "--tokenizer", "none"),
}


def opened(pipe: Path) -> Callable[[], int | None]:
    """Takes the writing end of a pipe once somebody reads from it."""

    def take() -> int | None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    return take


def start(folder: Path, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "openmulan", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Who runs the tests in the background may have it ignored, which children take over.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def assert_interrupted(name: str, process: "subprocess.Popen[str]") -> None:
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if "interrupted" in line] == [said.splitlines()[-1]]
    assert said.splitlines()[-1].startswith(f"mulan {name}: interrupted")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_told_to_end(tmp_path: Path, name: str) -> None:
    pipe = tmp_path / next(word for word in COMMANDS[name] if word.startswith("PIPE"))
    if name == "report":
        pipe.mkdir()
        pipe /= layout.RUN
    os.mkfifo(pipe)
    with start(tmp_path, name, *COMMANDS[name]) as process:
        try:
            writing = wait_until(lambda: opened(pipe)() or process.poll() is not None, "the file is not read")
            assert process.poll() is None, process.communicate()[1]
            process.send_signal(signal.SIGTERM)
            # A signal between Python's last look and the read leaves it waiting: only a pipe that ends wakes it.
            os.close(writing)
            assert_interrupted(name, process)
        finally:
            process.kill()


@pytest.mark.slow
def test_the_demo_ends_with_its_terminal(tmp_path: Path) -> None:
    """While it makes its corpus."""
    with start(tmp_path, "demo", "--recordings", "5000", "--output", "demo") as process:
        try:
            wait_until(lambda: storage.find(f"{tmp_path}/demo/**/*.*"), "it makes nothing")
            process.send_signal(signal.SIGHUP)
            assert_interrupted("demo", process)
        finally:
            process.kill()


def test_a_signal_that_is_held_back_comes_after_the_body() -> None:
    reached = []

    def submit() -> None:
        with held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            reached.append("the end of the body")
        reached.append("what follows it")

    with interruptible(), pytest.raises(KeyboardInterrupt):
        submit()
    assert reached == ["the end of the body"]


def test_handlers_are_put_back_and_threads_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with interruptible():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(openmulan.main(["report", "/nowhere/at/all"])))
    thread.start()
    thread.join()
    assert codes == [2]
