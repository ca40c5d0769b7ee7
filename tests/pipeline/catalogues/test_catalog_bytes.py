"""What `mulan catalog` makes of one tree, held from commit to commit: a scan that is made faster makes the same.

What is written is compared by rows, since the bytes of a Parquet file are Arrow's. The digest was taken at 944bb2a.
"""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.catalogues.command import main
from tests.media import encoded, music_CT, wav

WRITTEN = "822d08ab"
TAGS: tuple[dict[str, str], ...] = (
    {"title": "Ein Lied", "artist": "Jemand", "genre": "(17)", "date": "1999-05-01", "comment": "https://example.org"},
    {"title": "Größe\u3000№ 5", "album": "A/B", "description": "Zwei Zeilen.\nUnd mehr.", "isrc": "de-a12-34-56789"},
    {"artist": "One; Two", "keywords": "a, b", "license": "CC0", "track": "4", "encoder": "none"},
    {"lyrics": "la la", "title": "x" * 3_000},
    {},
)


def tree(folder: Path) -> Path:
    sound_CT = music_CT(0.2, 16_000)
    for number, tags in enumerate(TAGS):
        for kind in ("flac", "ogg"):
            codec = "flac" if kind == "flac" else "libopus"
            path = folder / f"Artist {number} - Album" / f"0{number} - Title [dQw4w9WgX{number:02d}].{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(sound_CT, 48_000 if kind == "ogg" else 16_000, kind, codec, metadata=tags))
    for name in ("loose.wav", "café.wav", "CD 1/01 - Song.wav", "empty.wav", ".hidden.wav", "x.wav.part"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"" if name == "empty.wav" else wav(sound_CT, 16_000))
    (folder / "broken.mp3").write_bytes(b"no sound at all" * 50)
    entries = ["#EXTM3U", "#EXTINF:1,Jemand - Ein Lied", "loose.wav", "../outside.wav", "CD 1/01 - Song.wav"]
    (folder / "some.m3u8").write_text("\n".join(entries), encoding="utf-8")
    dump = {"id": "dQw4w9WgX00", "title": "A dump", "tags": ["one", "two"], "description": "d", "webpage_url": "u"}
    (folder / "loose.info.json").write_text(json.dumps({**dump, "extractor": "youtube", "ext": "wav"}), "utf-8")
    return folder


def written(folder: Path, *options: str) -> str:
    source = tree(folder / "music")
    catalogue = folder / "out" / "catalog.parquet"
    catalogue.parent.mkdir()
    assert main([str(source), str(source / "some.m3u8"), "--output", str(catalogue), "--quiet", *options]) == 0
    rows = [json.dumps(row, sort_keys=True, default=str) for row in pq.read_table(catalogue).to_pylist()]
    others = [path.read_text("utf-8") for path in sorted(catalogue.parent.glob("catalog.*.jsonl"))]
    return "\n".join([*rows, *others]).replace(str(folder), "FOLDER")


def test_what_is_written_is_what_was_written(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert hashlib.sha256(text.encode()).hexdigest()[:8] == WRITTEN, text
