"""The catalogue of `mulan mine FOLDER`: made in the run folder before the job reads it.

Where nothing has changed in the folder the files are left as they are, so that a job which resumes finds the catalogue
that it has planned by; else the catalogue has grown, as any other may.
"""

import logging
import shutil
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.catalogues import folder
from pipeline.catalogues.folder import FolderSettings
from pipeline.catalogues.made import Paths, held, make
from pipeline.catalogues.shown import render
from pipeline.run_folder.layout import catalogue_path
from pipeline.run_folder.lock import Hold
from pipeline.run_folder.suppression import read_suppression
from schemas.exits import InputError
from schemas.suppression import SuppressionList

log = logging.getLogger(__name__)


def of_folder(run_dir: str) -> Paths:
    return Paths(catalogue=Path(catalogue_path(run_dir)))


def write_catalogue(source: str, run_dir: str) -> None:
    """Call it once the run folder is locked. Raises InputError."""
    paths = of_folder(run_dir)
    suppressed = read_suppression(run_dir) or SuppressionList.new()
    counts: Counter[str] = Counter()
    log.info("a catalogue of %s is made first: %s", source, paths.catalogue)
    with held(paths):
        settings = FolderSettings(work=paths.scan)
        made = make(folder.read(Path(source), settings, counts), paths, suppressed.__contains__)
    if log.isEnabledFor(logging.INFO):
        sys.stdout.write(render(made, paths, counts) + "\n")
    if not made.recordings:
        raise InputError(f"{source}: no recording in it; see {paths.rejects}")


def withdraw(suppressed: SuppressionList, hold: Hold) -> None:
    """Take removed recordings out of the files here. What only the next `mulan mine FOLDER` needs goes as a whole: it
    is made anew then. Raises LostLockError."""
    paths = of_folder(hold.run_dir)
    if not suppressed or not storage.is_local(hold.run_dir) or not paths.catalogue.exists():
        return
    with storage.staged(hold.run_dir) as staged:
        with pq.ParquetFile(paths.catalogue) as rows, pq.ParquetWriter(staged, rows.schema_arrow) as writer:
            for batch in rows.iter_batches():
                stays = pa.array([one not in suppressed for one in batch["recording_id"].to_pylist()])
                writer.write_batch(batch.filter(stays))
        hold.check()
        storage.publish(staged, str(paths.catalogue))
    for path in (paths.playlists, paths.comments, paths.rejects, paths.unmatched):
        hold.check()
        path.unlink(missing_ok=True)
    shutil.rmtree(paths.scan, ignore_errors=True)
