"""MagnaTagATune: `annotations_final.csv`, `clip_info_final.csv` (both with tabs) and sixteen folders of mp3.

`clip_id, 188 tags of 0 or 1, mp3_path`; and `clip_id, track_number, title, artist, album, url, segmentStart,
segmentEnd, original_url, mp3_path`. A clip is 29 s long and is taken whole; its id is the name of its file, by which
the leakage check knows it too.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.catalogues.fields import Fields
from pipeline.catalogues.reader import Item, LeftOut, Recording
from pipeline.catalogues.tables import each_once, header_and_rows, local_copy, named_file, need_columns
from schemas.cells import RowError
from schemas.exits import InputError
from schemas.reasons import LeftOutError, Reason

CLIP_S = 29.0
SOURCE = "MagnaTagATune"
_INFO = ("clip_id", "title", "artist", "album", "url")


def read(source: Path) -> Iterator[Item]:
    """Raises InputError where the folder is not MagnaTagATune's."""
    path = named_file(source, ("annotations_final.csv",), "the folder of MagnaTagATune")
    (header,), rows = header_and_rows(path, "\t")
    if len(header) < 3 or header[0] != "clip_id" or header[-1] != "mp3_path":
        raise InputError(f"{path}:1: the header must be clip_id, the tags, mp3_path, tab-separated")
    return each_once(_items(source, header, rows))


def _items(source: Path, header: list[str], rows: Iterator[tuple[str, list[str] | LeftOut]]) -> Iterator[Item]:
    infos: dict[str, dict[str, str]] = {}
    if (path := source / "clip_info_final.csv").is_file():
        (names,), lines = header_and_rows(path, "\t")
        need_columns(path, names, _INFO)
        for _, line in lines:
            if isinstance(line, LeftOut):
                yield line
            else:
                info = dict(zip(names, line, strict=False))
                infos[info.get("clip_id", "")] = {name: info.get(name, "") for name in _INFO}
    for where, cells in rows:
        if isinstance(cells, LeftOut):
            yield cells
            continue
        fields = Fields(where, {**infos.get(cells[0], {}), "mp3_path": cells[-1]})
        try:
            if len(cells) != len(header) or not set(cells[1:-1]) <= {"0", "1"}:
                raise RowError(Reason.BAD_VALUE, f"a row is clip_id, {len(header) - 2} values 0 or 1, mp3_path")
            tags = [tag for tag, value in zip(header[1:-1], cells[1:-1], strict=True) if value == "1"]
            yield _recording(source, where, cells[0], tags, fields)
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
        yield from fields.left_out


def _recording(source: Path, where: str, clip_id: str, tags: list[str], fields: Fields) -> Recording:
    """Raises LeftOutError."""
    media = local_copy((source,), (fields.short("mp3_path") or "",))
    texts = {"tags": tags, **{name: fields.short(name) for name in ("title", "artist", "album")}}
    return Recording(
        row={
            "recording_id": media.stem,
            "audio_uri": str(media),
            **{name: text for name, text in texts.items() if text},
            "source": fields.short("url") or SOURCE,
            "start_s": 0.0,
            "duration_s": CLIP_S,
        },
        where=where,
        names=(f"magnatagatune:{clip_id}",),
        duration_s=CLIP_S,
    )
