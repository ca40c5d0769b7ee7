"""Pieces: what is settled of a shard while it is built, so that an interrupt or a kill costs few recordings.

A shard is committed whole, and may take an hour. So its builder writes down now and then what it has settled since the
last time: a *piece*, which is a shard of the rows that are kept, without their texts, and a list of those that are left
out for good. Whoever builds the same part by the same settings next takes what is there from pieces as from any other
`Donor`, and the shard has the same bytes.

Pieces are their builders' alone: no record and no manifest names them. They lie in a folder that is named by the part
and by what decides the bytes of its shard, exclusions included, so that nothing is adopted that this run would not have
made. The name of a piece has the hash of its content: a torn one is told by it, and two attempts at one part, each with
pieces of its own, give the next one what either has settled. They go with the commit of their shard; what a kill leaves
is swept as soon as the part is committed or replaced, and a part of which a recording is removed is replaced.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from pipeline import storage
from pipeline.run_folder import layout
from pipeline.run_folder.lock import Hold, LostLockError
from pipeline.run_folder.records import Donor
from pipeline.shard_file import RowWriter
from pipeline.stores.store import StoreError
from pipeline.workers.awake import awake
from pipeline.workers.heartbeat import HEARTBEAT
from schemas.commit import PartRecord
from schemas.digest import digest_json
from schemas.shard import no_texts
from schemas.shard_format import FORMATS

# A kill costs no more than this share of a builder's time, or this time where that is longer. So the number of pieces
# grows by the logarithm of the time, and a shard that is built sooner has none.
LOST_SHARE = 0.05
LOST_S = 3.0
GROUP_ROWS = 8  # few, since that many are in memory beside the shard's own, and at an adoption beside the donor's

log = logging.getLogger(__name__)


@contextlib.contextmanager
def keeping(hold: Hold, part: PartRecord, config_digest: str) -> Iterator["Pieces"]:
    """The pieces of a shard that is built in the body."""
    pieces = Pieces(hold, part, config_digest)
    try:
        with HEARTBEAT.saving(pieces.save):
            yield pieces
    finally:
        pieces.close()


class Pieces:
    """Of one shard. Written by the thread that builds, or by the one that ends the process (see `Heartbeat.saving`)."""

    def __init__(self, hold: Hold, part: PartRecord, config_digest: str) -> None:
        self._hold = hold
        self._key = part.key
        self._folder = layout.pieces_folder(part.key, digest_json([config_digest, part.file.sha256]))
        self._lock = threading.Lock()
        self._start = awake()
        self._settled = 0
        self._are_there = False
        self._open = contextlib.ExitStack()
        self._begin()

    def donors(self) -> Iterator[Donor]:
        """What earlier attempts have left, as far as it is whole."""
        for info in storage.list_folder(storage.join(self._hold.run_dir, self._folder)):
            match = layout.PIECE_NAME.fullmatch(storage.name_of(info.path))
            if match is None:
                continue
            self._are_there = True
            with storage.open_file(info.path) as stream:
                is_whole = storage.sha256_of(stream).startswith(match["sha256"])
            if is_whole:
                path = storage.join(self._folder, storage.name_of(info.path))
                yield Donor(shard=None, rejects=path) if match["kind"] == "jsonl" else Donor(shard=path, rejects=None)
            else:
                log.warning("build: %s is not whole and is ignored", info.path)

    def keep(self, audio: dict[str, Any]) -> None:
        """Take in the audio columns of a row that was just made."""
        with self._lock:
            self._rows.add({**audio, **no_texts()})
            self._unsaved += 1
        self._save_if_due()

    def leave_out(self, line: str) -> None:
        """Take in the reject of a recording that need not be tried again."""
        with self._lock:
            self._rejects.append(line)
            self._unsaved += 1
        self._save_if_due()

    def _save_if_due(self) -> None:
        self._settled += 1
        now = awake()
        gap_s = now - self._since
        is_much = gap_s >= LOST_SHARE * (now - self._start) or self._unsaved >= LOST_SHARE * self._settled
        if is_much and gap_s >= LOST_S:
            self.save()

    def save(self) -> None:
        """Write what is settled since the last piece. Raises LostLockError where another job has the folder.

        Another job may have removed a recording that is in this piece. So the lock is looked at before the piece gets
        its name, and once more after that, since this process may have been suspended in between: then the piece is
        taken back. A process that is killed right there leaves it under the key of a part that is replaced by then,
        and it goes with the next sweep.

        A place that fails costs the piece and not the shard.
        """
        with self._lock:
            if not self._unsaved:
                return
            try:
                self._publish()
            except (OSError, StoreError) as error:
                log.warning("build: what is settled of shard %s is not kept: %s", self._key, error)
            finally:
                self._begin()

    def _publish(self) -> None:
        self._rows.close()
        with open(self._staged_rejects, "w", encoding="utf-8") as stream:
            stream.writelines(self._rejects)
        self._hold.check()
        storage.failpoint("piece_checked")
        published = []
        staged = (self._staged_rows, "parquet", self._rows.rows), (self._staged_rejects, "jsonl", len(self._rejects))
        for path, kind, rows in staged:
            if rows:
                entry = storage.file_entry(path, f"{self._folder}/{{}}.{kind}", rows)
                published.append(storage.join(self._hold.run_dir, entry.path))
                storage.publish(path, published[-1], durable=False)
        self._are_there = True
        storage.failpoint("piece_published")
        try:
            self._hold.check()
        except LostLockError:
            storage.delete(published)
            raise

    def _begin(self) -> None:
        """The next piece."""
        self._open.close()
        self._staged_rows, self._staged_rejects = (
            self._open.enter_context(storage.staged(self._hold.run_dir)) for _ in range(2)
        )
        self._rows = RowWriter(FORMATS["parquet"], [self._staged_rows], max_group_rows=GROUP_ROWS)
        self._rejects: list[str] = []
        self._unsaved = 0
        self._since = awake()

    def close(self) -> None:
        """What no piece has by now, none will have."""
        with self._lock:
            self._open.close()

    def delete(self) -> None:
        """Once the shard is committed."""
        if self._are_there:
            storage.delete_folder(storage.join(self._hold.run_dir, self._folder))
