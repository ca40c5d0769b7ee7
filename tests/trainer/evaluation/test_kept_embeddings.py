"""A command that is killed at any moment embeds nothing twice beyond the batch that it was at."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

CLIPS, BATCH, KILLS = 60, 4, 10

# A process of its own, so that what forks has no threads. Each child embeds all clips as `mulan evaluate` does, and
# kills itself at a batch: when it is embedded, or when its rows are written and not yet committed.
SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np
from trainer.evaluation.clips import ClipAudio, WindowConfig
from trainer.evaluation.embedding import FrozenModel, embed_clips
from trainer.evaluation.kept import KeptEmbeddings

folder, clips, batch, kills = Path(sys.argv[1]), *map(int, sys.argv[2:])

class Source:  # of waves whose level is their number
    ids = [str(number) for number in range(clips)]
    def key(self, index):
        return index
    def audio(self, index):
        return ClipAudio(digest=str(index), decode=lambda: np.full(100, index + 1, np.float32))

class Encoder:
    window_s = 0.01
    def __init__(self, last, log):
        self.left, self.log = last, log
    def embed_audio(self, waves):
        os.write(self.log, b"".join(b"%d " % wave[0] for wave in waves))
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array([[wave[0], 1.0] for wave in waves], np.float32)
    def embed_text(self, texts):
        return np.ones((len(texts), 2), np.float32)

class KilledBeforeCommit(KeptEmbeddings):
    last = 0
    def _asked(self, statement, values=()):
        self.last -= statement == "COMMIT"
        if statement == "COMMIT" and self.last == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._asked(statement, values)

def run(last, before_commit):
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    kept = KilledBeforeCommit(folder / "kept.sqlite", "encoder")
    kept.last = last if before_commit else 0
    model = FrozenModel(Encoder(0 if before_commit else last, log), workers=2, kept=kept)
    found = embed_clips(model, Source(), WindowConfig(batch_windows=batch))
    levels = np.arange(1, clips + 1)
    assert np.allclose(found.rows[:, 0] / found.rows[:, 1], levels)

for kill in range(kills + 1):
    child = os.fork()
    if not child:
        run(1 + kill % 2 if kill < kills else 0, kill % 2 == 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.slow
def test_ten_kills_embed_nothing_twice_beyond_one_batch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), *map(str, (CLIPS, BATCH, KILLS))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in done.stdout.split()] == [*(-signal.SIGKILL,) * KILLS, 0]
    times = Counter((tmp_path / "log").read_text().split())
    assert len(times) == CLIPS
    # Each kill came to a batch that was embedded and not kept; nothing else was embedded again.
    assert sum(times.values()) == CLIPS + KILLS * BATCH
