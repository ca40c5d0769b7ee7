"""A corpus with a recording that does not come before a test lets it: so something can be killed in mid-build."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engines.jobs import JOB_TIMEOUT_S, RECORDINGS, Launch, launched, write_corpus
from tests.pipeline.mining import write_chord
from tests.pipeline.misbehaving import Misbehaving

PATH = "/held"


class Held:
    def __init__(self, server: Misbehaving, corpus: Path) -> None:
        self._server = server
        self._gate = threading.Event()
        self.corpus = corpus
        self.options = ("--allow_private_hosts", server.host_and_port)
        server.before = lambda path: (self._gate.wait(JOB_TIMEOUT_S), None)[1]

    @contextmanager
    def in_mid_build(self, output: Path, *options: str) -> Iterator[Launch]:
        """A job that has asked for the recording and waits for it, until it is let go."""
        self._gate.clear()
        asked = self._server.requests[PATH]
        with launched(self.corpus, output, *self.options, *options) as launch:
            while self._server.requests[PATH] == asked:
                launch.assert_runs()
                time.sleep(0.02)
            yield launch

    def let_go(self) -> None:
        self._gate.set()


@contextmanager
def held_recording(folder: Path) -> Iterator[Held]:
    """Let go at first."""
    with Misbehaving() as server:
        corpus = write_corpus(folder, server.url(PATH))
        path = folder / "audio" / "held.flac"
        write_chord(path, seed=RECORDINGS + 1)
        server.files[PATH] = path.read_bytes()
        held = Held(server, corpus)
        held.let_go()
        try:
            yield held
        finally:
            held.let_go()
