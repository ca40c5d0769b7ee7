"""MTG-Jamendo: `data/*.tsv` of its repository, and the audio of `raw_30s` as `NN/NNNNN.mp3`.

`TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION, TAGS`, where a track has as many further cells as it has tags, each
`category---tag`. Titles, artists and albums are in `raw.meta.tsv`: `TRACK_ID, ARTIST_ID, ALBUM_ID, TRACK_NAME,
ARTIST_NAME, ALBUM_NAME, RELEASEDATE, URL`. The tags are read without their category.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.catalogues.fields import Fields
from pipeline.catalogues.reader import Item, LeftOut, Recording
from pipeline.catalogues.tables import each_once, header_and_rows, local_copy, named_file, need_columns
from schemas.cells import RowError
from schemas.playlist_files.text import seconds
from schemas.reasons import LeftOutError, Reason

# The most tracks first; the smaller ones are subsets of it.
TABLES = (
    *("raw_30s_cleantags.tsv", "raw_30s_cleantags_50artists.tsv", "autotagging.tsv", "raw_30s.tsv"),
    *("autotagging_genre.tsv", "autotagging_top50tags.tsv", "autotagging_instrument.tsv", "autotagging_moodtheme.tsv"),
)
COLUMNS = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
SOURCE = "MTG-Jamendo"
_META = {"TRACK_NAME": "title", "ARTIST_NAME": "artist", "ALBUM_NAME": "album", "URL": "source"}


def read(source: Path) -> Iterator[Item]:
    """Raises InputError where the folder is not MTG-Jamendo's."""
    data = source / "data" if (source / "data").is_dir() else source
    path = named_file(data, TABLES, "the repository of MTG-Jamendo, or its data")
    (header,), rows = header_and_rows(path, "\t")
    need_columns(path, header, COLUMNS)
    return each_once(_items(source, data, rows))


def _items(source: Path, data: Path, rows: Iterator[tuple[str, list[str] | LeftOut]]) -> Iterator[Item]:
    metas: dict[str, dict[str, str]] = {}
    if (path := data / "raw.meta.tsv").is_file():
        (names,), lines = header_and_rows(path, "\t")
        need_columns(path, names, ("TRACK_ID", *_META))
        for _, line in lines:
            if isinstance(line, LeftOut):
                yield line
            else:
                meta = dict(zip(names, line, strict=False))
                metas[meta["TRACK_ID"]] = {ours: meta.get(theirs, "") for theirs, ours in _META.items()}
    folders = (source / "audio", source / "raw_30s" / "audio", source)
    for where, cells in rows:
        if isinstance(cells, LeftOut):
            yield cells
            continue
        row = dict(zip(COLUMNS, cells, strict=False))
        tags = [tag.partition("---")[2] or tag for tag in cells[5:]]
        fields = Fields(where, {**metas.get(cells[0], {}), **row, "tags": tags})
        try:
            if len(cells) < len(COLUMNS):
                raise RowError(Reason.BAD_VALUE, "a track has five fields and at least one tag")
            yield _recording(folders, where, fields)
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
        yield from fields.left_out


def _recording(folders: tuple[Path, ...], where: str, fields: Fields) -> Recording:
    """Raises LeftOutError."""
    track_id, relative = fields.short("TRACK_ID"), fields.short("PATH") or ""
    if track_id is None:
        raise RowError(Reason.MISSING_FIELD, "TRACK_ID is missing")
    media = local_copy(folders, (relative, f"{relative.removesuffix('.mp3')}.low.mp3"))
    texts = {"tags": fields.shorts("tags"), **{name: fields.short(name) for name in ("title", "artist", "album")}}
    return Recording(
        row={
            "recording_id": track_id,
            "audio_uri": str(media),
            **{name: text for name, text in texts.items() if text},
            "source": fields.short("source") or SOURCE,
        },
        where=where,
        names=(f"jamendo:{Path(relative).stem}",),
        duration_s=seconds(fields.short("DURATION") or ""),
    )
