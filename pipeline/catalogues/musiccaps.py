"""MusicCaps: `musiccaps-public.csv`, one clip of ten seconds a row.

`ytid, start_s, end_s, audioset_positive_labels, aspect_list, caption, author_id, is_balanced_subset, is_audioset_eval`:
the caption is the description, the aspects are tags. The audio is a copy beside the table, or below it, under the names
that AudioSet's downloaders give (schemas/segment_files.py), or YouTube's.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.catalogues.audioset import LocalCopies, Segment
from pipeline.catalogues.fields import Fields
from pipeline.catalogues.reader import Item, LeftOut, Recording
from pipeline.catalogues.tables import each_once, header_and_rows, need_columns, python_list
from schemas.catalogue import MAX_START_S
from schemas.cells import RowError
from schemas.exits import InputError
from schemas.playlist_files.text import real_folder
from schemas.reasons import LeftOutError, Reason
from schemas.youtube_address import video_id

COLUMNS = ("ytid", "start_s", "end_s", "aspect_list", "caption")
SOURCE = "MusicCaps"


def read(source: Path) -> Iterator[Item]:
    """Raises InputError where the file is not MusicCaps's."""
    (header,), rows = header_and_rows(source, ",")
    need_columns(source, header, COLUMNS)
    return each_once(_items(source, header, rows))


def _items(source: Path, header: list[str], rows: Iterator[tuple[str, list[str] | LeftOut]]) -> Iterator[Item]:
    try:
        copies = LocalCopies([str(real_folder(source))])
    except InputError:  # there is no audio beside it
        copies = LocalCopies([])
    with copies:
        for where, cells in rows:
            if isinstance(cells, LeftOut):
                yield cells
                continue
            row = dict(zip(header, cells, strict=False))
            fields = Fields(where, {**row, "aspect_list": python_list(row.get("aspect_list", ""))})
            try:
                yield _recording(where, fields, row, copies)
            except LeftOutError as error:
                yield LeftOut(where=where, reason=error.reason, detail=error.detail)
            yield from fields.left_out


def _recording(where: str, fields: Fields, row: dict[str, str], copies: LocalCopies) -> Recording:
    """Raises LeftOutError."""
    ytid = fields.short("ytid")
    if ytid is None:
        raise RowError(Reason.MISSING_FIELD, "ytid is missing")
    try:
        start_s, end_s = float(row.get("start_s", "")), float(row.get("end_s", ""))
    except ValueError as error:
        raise RowError(Reason.BAD_VALUE, "start_s and end_s must be seconds") from error
    if not 0 <= start_s < end_s <= MAX_START_S:
        raise RowError(Reason.BAD_VALUE, f"{start_s} to {end_s} is not a stretch of time")
    found = copies.find(Segment(ytid=ytid, start_s=start_s, length_s=end_s - start_s, mids=()))
    if found is None and video_id(ytid) != ytid:
        raise LeftOutError(Reason.UNSUPPORTED_URI, "no file of this name, and not an id of YouTube")
    uri, at_s = found or (f"https://www.youtube.com/watch?v={ytid}", start_s)
    texts = {"tags": fields.shorts("aspect_list"), "description": fields.long("caption")}
    return Recording(
        row={
            "recording_id": ytid,
            "audio_uri": uri,
            **{name: text for name, text in texts.items() if text},
            "source": SOURCE,
            "start_s": at_s,
            "duration_s": end_s - start_s,
        },
        where=where,
        names=(f"youtube:{ytid}",),
    )
