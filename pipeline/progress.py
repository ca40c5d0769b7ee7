"""Progress: what is committed so far, read from the commit records while the job runs.

A bar on a terminal, a plain line now and then elsewhere. It only looks: a job without it goes the same way.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from pipeline import storage
from pipeline.run_folder import layout
from pipeline.run_folder.generations import RunState
from pipeline.run_folder.records import committed_shard, wants_retry
from pipeline.stores.store import StoreError
from schemas.commit import PartRecord

LOOK_EVERY_S = 2.0
LINE_EVERY_S = 30.0
log = logging.getLogger(__name__)


@contextmanager
def watching(state: RunState, parts: list[PartRecord], config_digest: str) -> Iterator[None]:
    """Show the progress of building `parts` while the body runs."""
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(state, parts, config_digest, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _watch(state: RunState, parts: list[PartRecord], config_digest: str, stop: threading.Event) -> None:
    pending = {part.key: part for part in parts}
    recordings = kept = failed = 0
    last_line = time.monotonic()
    total = sum(part.file.rows for part in parts)
    on_terminal = sys.stderr.isatty()
    with tqdm(total=total, unit="rec", desc="build", disable=not on_terminal, file=sys.stderr) as bar:
        while True:
            finished = stop.wait(LOOK_EVERY_S)
            try:
                looked = [
                    (key, committed_shard(state.run_dir, pending[key], config_digest))
                    for key in _committed_keys(state.run_dir) & pending.keys()
                ]
            except StoreError as error:
                log.warning("progress: %s", error)
                looked = []
            for key, record in looked:
                if record is None or (wants_retry(record) and not finished):
                    continue
                del pending[key]
                account = record.recordings
                recordings += account.read
                kept += account.kept
                failed += sum(n for reason, n in account.left_out.items() if reason.outcome.startswith("failed"))
                bar.update(account.read)
                bar.set_postfix(shards=f"{len(parts) - len(pending)}/{len(parts)}", kept=kept, failed=failed)
            if not on_terminal and (finished or time.monotonic() - last_line >= LINE_EVERY_S):
                last_line = time.monotonic()
                done = len(parts) - len(pending)
                log.info(
                    "build: %d of %d shards, %d of %d recordings, %d kept, %d failed",
                    *(done, len(parts), recordings, total, kept, failed),
                )
            if finished:
                return


def _committed_keys(run_dir: str) -> set[str]:
    found = storage.list_folder(storage.join(run_dir, layout.COMMITS))
    return {storage.name_of(info.path).removesuffix(".json") for info in found}
