"""Real recordings with tags that ffmpeg wrote, dumps of yt-dlp and three kinds of playlist: nothing of it is lost."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import openmulan
from pipeline.catalogues.made import Paths
from schemas.exits import DONE
from tests.shared_files import SharedFolder

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None,
    reason="ffmpeg writes, and ffprobe is the reference",
)
EACH = 2  # of each kind of file
DUMPS = 40
# What ffprobe tells of a file and no person has said.
NOT_SAID = {
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "handler_name",
    "vendor_id",
    "language",
    "duration",
}


def read_back(path: Path) -> set[str]:
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", "-of", "json", str(path)]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    tags = [said.get("format", {}), *said.get("streams", ())]
    return {text for one in tags for name, text in one.get("tags", {}).items() if name.lower() not in NOT_SAID}


@pytest.mark.slow
def test_every_tag_and_every_entry(shared_folder: SharedFolder, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (shared_folder.need("data/catalog.jsonl")).read_text().splitlines()]
    music = tmp_path / "music"
    music.mkdir()
    wanted: dict[str, Any] = {}
    for row in rows:
        suffix = Path(row["audio_uri"]).suffix
        if row["title"] and row["artist"] and sum(name.endswith(suffix) for name in wanted) < EACH:
            wanted[f"{row['recording_id']}{suffix}"] = row
    assert len({Path(name).suffix for name in wanted}) == 5
    for name, row in wanted.items():
        tags = {"title": row["title"], "artist": row["artist"], "album": row["album"] or "", "genre": row["tags"][0]}
        tags |= {"comment": row["description"], "copyright": row["licence"]}
        options = [word for key, text in tags.items() for word in ("-metadata", f"{key}={text}")]
        # Of Ogg the stream has the tags.
        options += [word for key, text in tags.items() for word in ("-metadata:s:a", f"{key}={text}")] * (
            "og" in name or "opus" in name
        )
        source = str(shared_folder.need(f"data/{row['audio_uri']}"))
        command = ["ffmpeg", "-v", "error", "-nostdin", "-i", source, "-c", "copy", *options, str(music / name)]
        subprocess.run(command, check=True)
    for number in range(DUMPS):
        dump = {"id": f"video{number:06d}", "extractor_key": "Youtube", "title": f"Video {number}", "tags": ["live"]}
        (music / f"video{number}.info.json").write_text(json.dumps(dump), encoding="utf-8")
    one, two, three, *_ = names = sorted(wanted)
    (music / "a.m3u8").write_text(f"{one}\n../{two}\n", encoding="utf-8")
    (music / "b.pls").write_text(f"[playlist]\nFile1={two}\nFile2=/etc/passwd\nNumberOfEntries=2\n", encoding="utf-8")
    track = "<track><creator>{artist}</creator><title>{title}</title></track>".format(
        **{key: str(wanted[three][key]).replace("&", "&amp;").replace("<", "&lt;") for key in ("artist", "title")}
    )
    (music / "c.xspf").write_text(
        f'<playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList>{track}</trackList></playlist>',
        encoding="utf-8",
    )
    output = tmp_path / "catalog.parquet"
    assert openmulan.main(["catalog", str(music), "--output", str(output)]) == DONE
    made = {row["audio_uri"]: row for row in pq.read_table(output).to_pylist()}
    assert len(made) == len(names) + DUMPS
    for name in names:
        row = made[f"music/{name}"]
        texts = {text for value in row.values() for text in (value if isinstance(value, list) else [value])}
        tags_read = read_back(music / name)
        assert len(tags_read) >= 4
        # Where a file has both, a comment is a part of the description, and licences stand beside one another.
        assert {tag for tag in tags_read if not any(tag.strip() in str(text) for text in texts)} == set(), name
    paths = Paths(catalogue=output)
    playlists = [json.loads(line) for line in paths.playlists.read_text(encoding="utf-8").splitlines()]
    left = paths.unmatched.read_text(encoding="utf-8") + paths.rejects.read_text(encoding="utf-8")
    matched = sum(len(playlist["recording_ids"]) for playlist in playlists)
    assert matched >= 2
    assert matched + len(left.splitlines()) == 5
