"""Song Describer: `song_describer.csv`, one caption a row, and `audio/NN/NNNNNN.2min.mp3`.

`caption_id, track_id, caption, is_valid_subset, familiarity, artist_id, album_id, path, duration`: the captions of a
track are its description and, from the second on, its comments. The tracks are Jamendo's, and so are their ids.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.catalogues.fields import Fields
from pipeline.catalogues.reader import Item, LeftOut, Recording
from pipeline.catalogues.tables import header_and_rows, local_copy, named_file, need_columns
from schemas.cells import RowError
from schemas.playlist_files.text import seconds
from schemas.reasons import LeftOutError, Reason

COLUMNS = ("track_id", "caption", "path", "duration")
SOURCE = "Song Describer"


def read(source: Path) -> Iterator[Item]:
    """Raises InputError where the folder is not Song Describer's."""
    path = named_file(source, ("song_describer.csv",), "the folder of Song Describer")
    (header,), rows = header_and_rows(path, ",")
    need_columns(path, header, COLUMNS)
    return _items(source, header, rows)


def _items(source: Path, header: list[str], rows: Iterator[tuple[str, list[str] | LeftOut]]) -> Iterator[Item]:
    """The whole set has 1,106 rows, so the captions of a track are held until all are read."""
    tracks: dict[str, Recording] = {}
    captions: dict[str, list[str]] = {}
    for where, cells in rows:
        if isinstance(cells, LeftOut):
            yield cells
            continue
        fields = Fields(where, dict(zip(header, cells, strict=False)))
        try:
            track_id = fields.short("track_id")
            if track_id is None:
                raise RowError(Reason.MISSING_FIELD, "track_id is missing")
            if track_id not in tracks:
                tracks[track_id] = _recording(source, where, track_id, fields)
            if caption := fields.long("caption"):
                captions.setdefault(track_id, []).append(caption)
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
        yield from fields.left_out
    for track_id, track in tracks.items():
        first, *others = captions.get(track_id, [""])
        texts = {"description": first, "comments": others}
        row = {**track.row, **{name: text for name, text in texts.items() if text}}
        yield Recording(row=row, where=track.where, names=track.names, duration_s=track.duration_s)


def _recording(source: Path, where: str, track_id: str, fields: Fields) -> Recording:
    """Raises LeftOutError."""
    relative = fields.short("path") or ""
    short = f"{relative.removesuffix('.mp3')}.2min.mp3"
    media = local_copy((source / "audio", source), (short, relative))
    return Recording(
        row={"recording_id": track_id, "audio_uri": str(media), "source": SOURCE},
        where=where,
        names=(f"jamendo:{track_id}",),
        # Of the track; the file has two minutes of it.
        duration_s=seconds(fields.short("duration") or ""),
    )
