"""The page of a small collection, served by a process of its own, and what lies in it."""

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import soundfile

from schemas.serving.gate import Address
from tests.filters.annotation.harness import free_port
from tests.trainer.search.worlds import KnowingModel, near, write_index
from trainer.search.entries import Entry

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["trainer.search.page.app", "uvicorn", "tests.trainer.search.page_server"])
START_TIMEOUT_S = 60.0
RATE_HZ = 16_000
LENGTH_S = 12  # the second window of each recording, which the queries fit, begins at 10 s

MARKUP = '</p><script>alert(1)</script><img src=x onerror="alert(1)">{{ 7*7 }}'
RIGHT_TO_LEFT = "\u202egnos yppah\u2066 a"
STRANGE_ID = "../x<script>alert('id')</script>?a=b&c=d#e\u202e"


def write_collection(folder: Path) -> Path:
    """Three kinds of music, an AIFF file, which no browser plays, and what strangers may write. Returns the index."""
    folder = folder.resolve()
    (folder / "music").mkdir(parents=True)
    wave_T = 0.1 * np.sin(np.arange(RATE_HZ * LENGTH_S) * 0.1)
    recordings = []

    def add(recording_id: str, kind: str, seed: int, file: str, **fields: object) -> None:
        path = folder / "music" / file
        if not path.exists():
            soundfile.write(path, wave_T, RATE_HZ, subtype="PCM_16")
        entry = Entry(recording_id=recording_id, duration_s=LENGTH_S, path=str(path), **fields)  # type: ignore[arg-type]
        recordings.append((entry, near(kind, seed)))

    for seed, kind in enumerate(("slow piano", "fast drums", "old choir") * 4):
        names = {"title": f"{kind.title()} {seed}", "artist": "The Banks", "album": "Tides", "licence": "CC BY 4.0"}
        add(f"id {seed}", kind, seed, f"{seed}.flac", **names, year=1990 + seed, tags=("river", kind))
    add("an aiff", "tape hiss", 20, "tape.aiff", title="Tape")
    add(STRANGE_ID, "strange", 21, "strange.flac", title=MARKUP, artist=RIGHT_TO_LEFT, tags=("<b>bold</b>",))
    add(
        "long",
        "strange",
        22,
        "long.flac",
        title="drum " * 2_000,
        artist="=HYPERLINK(1)\n#EXTINF:1,injected\n/etc/passwd",
    )
    add("gone", "strange", 23, "gone.flac", title="Gone")
    (folder / "music" / "gone.flac").unlink()
    return write_index(folder / "index", recordings, windows=True, recipe="tiny", trained_steps=90)


def _run(folder: Path, address: Address, started: Event) -> None:
    from schemas.serving.server import serve
    from trainer.search.index import Index
    from trainer.search.page.app import create_app
    from trainer.search.page.site import PageSettings

    index = Index.open(folder, model=KnowingModel())
    serve(create_app(index, PageSettings(address=address)), address, started.set)


class PageServer:
    """A context manager."""

    def __init__(self, index: Path) -> None:
        self.address = Address(host="127.0.0.1", port=free_port())
        started = _CONTEXT.Event()
        self._process = _CONTEXT.Process(target=_run, args=(index, self.address, started), daemon=True)
        self._process.start()
        if not started.wait(START_TIMEOUT_S):
            raise TimeoutError("the server did not start")

    def __enter__(self) -> "PageServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
