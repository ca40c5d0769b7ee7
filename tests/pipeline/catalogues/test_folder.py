"""A tree of media: what is read and what is passed over, what a second scan reads, and which recordings come of it."""

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalogues import scan
from pipeline.catalogues.folder import FolderSettings, read
from pipeline.catalogues.reader import Item, LeftOut, ListedPlaylist, Recording
from pipeline.media.look import Facts, FactsReader
from schemas.exits import InputError
from schemas.reasons import LeftOutError, Reason
from tests.media import encoded, music_CT, wav

SOUND = wav(music_CT(0.2, 16_000), 16_000)


@pytest.fixture(scope="module")
def tagged() -> bytes:
    tags = {"title": "Tagged", "genre": "Folk", "description": "Said by its tags."}
    return encoded(music_CT(0.2, 16_000), 16_000, "flac", "flac", metadata=tags)


def put(root: Path, name: str | bytes, content: bytes = SOUND) -> Path:
    path = root / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def items(root: Path, counts: Counter[str] | None = None, **settings: Any) -> list[Item]:
    return list(read(root, FolderSettings(**settings), counts))


def rows(found: list[Item]) -> dict[str, Recording]:
    return {item.row["recording_id"]: item for item in found if isinstance(item, Recording)}


def reasons(found: list[Item], root: Path) -> dict[str, Reason]:
    return {
        item.where.removeprefix(f"{os.path.realpath(root)}/"): item.reason
        for item in found
        if isinstance(item, LeftOut)
    }


def test_what_is_read_and_what_is_passed_over(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "music", tmp_path / "elsewhere"
    put(root, "a [x]/b.wav")
    put(root, "a [x]/\u202e\u05e9\u05dc.wav")
    put(elsewhere, "secret.wav")
    for name in (".hidden.wav", ".git/x.wav", "._a.wav", "@eaDir/x.wav", "__MACOSX/x.wav"):
        put(root, name)
    for name in ("x.wav.part", "x.webm.ytdl", "x.wav~", "x.mp3.crdownload", "x.tmp"):
        put(root, name)
    put(root, "empty.wav", b"")
    put(root, "cover.jpg")
    put(root, "not.wav", b"hello")
    put(root, b"caf\xe9.wav")
    put(root, "two\nlines.wav")
    os.mkfifo(root / "pipe.wav")
    (root / "loop").symlink_to(root)
    (root / "again.wav").symlink_to(root / "a [x]" / "b.wav")
    (root / "out.wav").symlink_to(elsewhere / "secret.wav")
    (root / "outside").symlink_to(elsewhere)
    (root / "broken.wav").symlink_to(root / "none.wav")
    counts: Counter[str] = Counter()
    found = items(root, counts)
    # A name of two lines is read here, and refused where rows are checked.
    assert list(rows(found)) == ["a [x]/b.wav", "a [x]/\u202e\u05e9\u05dc.wav", "two\nlines.wav"]
    assert reasons(found, root) == {
        "caf\\xe9.wav": Reason.NOT_UTF8,
        "not.wav": Reason.UNKNOWN_CONTAINER,
        "pipe.wav": Reason.NOT_A_FILE,
        "out.wav": Reason.OUTSIDE_ROOT,
        "outside": Reason.OUTSIDE_ROOT,
    }
    assert {name: counts[name] for name in ("hidden", "partial", "empty", "links", "others")} == {
        "hidden": 5,
        "partial": 5,
        "empty": 1,
        "links": 3,
        "others": 1,
    }


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.wav")
    put(tmp_path, "closed/b.wav")
    listing = os.scandir

    def refuses(path: bytes | int) -> Any:
        if isinstance(path, bytes) and path.endswith(b"/closed"):
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuses)
    found = items(tmp_path)
    assert list(rows(found)) == ["a.wav"]
    assert reasons(found, tmp_path) == {"closed": Reason.PERMISSION_DENIED}


@pytest.mark.slow
def test_only_what_is_new_or_has_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, work = tmp_path / "music", tmp_path / "work"
    work.mkdir()
    for name in "abc":
        put(root, f"{name}.wav")
    looked: list[str] = []
    look = FactsReader.look

    def counted(self: FactsReader, paths: list[bytes]) -> list[Facts | LeftOutError]:
        looked.extend(os.path.basename(os.fsdecode(path)) for path in paths)
        return look(self, paths)

    monkeypatch.setattr(FactsReader, "look", counted)

    def scanned() -> tuple[list[str], list[str], int]:
        looked.clear()
        counts: Counter[str] = Counter()
        found = items(root, counts, work=work)
        assert counts["read"] == len(looked)
        return list(rows(found)), sorted(looked), counts["gone"]

    assert scanned() == (["a.wav", "b.wav", "c.wav"], ["a.wav", "b.wav", "c.wav"], 0)
    assert scanned() == (["a.wav", "b.wav", "c.wav"], [], 0)
    put(root, "d.wav")
    put(root, "b.wav", SOUND + bytes(2))
    (root / "a.wav").unlink()
    assert scanned() == (["b.wav", "c.wav", "d.wav"], ["b.wav", "d.wav"], 1)
    # Of the same size and time, but another file.
    status = (root / "c.wav").stat()
    other = put(root, "other.tmp")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(root / "c.wav")
    assert scanned()[1] == ["c.wav"]
    (work / "files.sqlite").write_bytes(b"no database at all" * 1_000)
    assert scanned()[1] == ["b.wav", "c.wav", "d.wav"]


def test_a_scan_that_is_broken_off_has_lost_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, work = tmp_path / "music", tmp_path / "work"
    work.mkdir()
    for number in range(10):
        put(root, f"{number}.wav")
    monkeypatch.setattr(scan, "MAX_FACTS_FILES", 2)
    looked: list[int] = []
    look = FactsReader.look

    def breaks_off(self: FactsReader, paths: list[bytes]) -> list[Facts | LeftOutError]:
        looked.append(len(paths))
        if len(looked) == 5:
            raise KeyboardInterrupt
        return look(self, paths)

    monkeypatch.setattr(FactsReader, "look", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        items(root, work=work, workers=1)
    counts: Counter[str] = Counter()
    assert len(rows(items(root, counts, work=work, workers=1))) == 10
    assert counts["read"] == 2


def test_what_may_pass_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, work = tmp_path / "music", tmp_path / "work"
    work.mkdir()
    put(root, "a.wav")
    put(root, "bad.wav", b"hello")
    with monkeypatch.context() as now:
        refusal = LeftOutError(Reason.PERMISSION_DENIED, "no")
        now.setattr(FactsReader, "look", lambda _, paths: [refusal] * len(paths))
        assert reasons(items(root, work=work), root) == dict.fromkeys(("a.wav", "bad.wav"), Reason.PERMISSION_DENIED)
    found = items(root, work=work)
    assert (list(rows(found)), reasons(found, root)) == (["a.wav"], {"bad.wav": Reason.UNKNOWN_CONTAINER})
    counts: Counter[str] = Counter()
    assert reasons(items(root, counts, work=work), root) == {"bad.wav": Reason.UNKNOWN_CONTAINER}
    assert counts["read"] == 0


def dump(**more: Any) -> bytes:
    value = {"id": "dQw4w9WgXcQ", "extractor_key": "Youtube", "title": "Dumped", "artist": "Ana Castelo"}
    return json.dumps({**value, "webpage_url": "https://www.youtube.com/watch?v=dQw4w9WgXcQ", **more}).encode()


def test_a_dump_and_its_media_are_one_recording(tmp_path: Path, tagged: bytes) -> None:
    more = {
        "tags": ["guitar"],
        "description": "Said by the dump.",
        "license": "CC BY",
        "comments": [{"text": "Lovely!"}],
    }
    put(tmp_path, "Guessed [dQw4w9WgXcQ].flac", tagged)
    put(tmp_path, "Guessed [dQw4w9WgXcQ].info.json", dump(**more))
    put(tmp_path, "Alone [aaaaaaaaaaa].info.json", dump(id="aaaaaaaaaaa", webpage_url=None))
    found = rows(items(tmp_path))
    assert found.keys() == {"dQw4w9WgXcQ", "aaaaaaaaaaa"}
    one = found["dQw4w9WgXcQ"]
    assert "youtube:dQw4w9WgXcQ" in one.names
    assert one.duration_s == pytest.approx(0.2)
    assert dict(one.row) == {
        "recording_id": "dQw4w9WgXcQ",
        "audio_uri": str(tmp_path / "Guessed [dQw4w9WgXcQ].flac"),
        "title": "Tagged",
        "artist": "Ana Castelo",
        "tags": ["Folk", "guitar"],
        "description": "Said by the dump.",
        "comments": ["Lovely!"],
        "licence": "CC BY",
        "source": "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
    }
    assert found["aaaaaaaaaaa"].row["audio_uri"] == "https://www.youtube.com/watch?v=aaaaaaaaaaa"


def test_playlists_of_the_tree_are_read(tmp_path: Path) -> None:
    put(tmp_path, "a.wav")
    put(tmp_path, "road.m3u", b"#EXTM3U\na.wav\n")
    put(tmp_path, "bad.xspf", b"<playlist")
    found = items(tmp_path)
    assert [item.where for item in found if isinstance(item, ListedPlaylist)] == [str(tmp_path / "road.m3u")]
    assert list(reasons(found, tmp_path)) == ["bad.xspf"]


def test_guesses_are_off_by_option(tmp_path: Path, tagged: bytes) -> None:
    name = "Ana Castelo/Harbour Songs/01 - Slow River.flac"
    put(tmp_path, name, tagged)

    def texts(**settings: Any) -> dict[str, Any]:
        row = rows(items(tmp_path, **settings))[name].row
        return {field: row.get(field) for field in ("artist", "album", "title", "description", "source")}

    said = {"title": "Tagged", "description": "Said by its tags.", "source": tmp_path.name}
    assert texts() == {"artist": "Ana Castelo", "album": "Harbour Songs", **said}
    assert texts(guesses=False) == {"artist": None, "album": None, **said}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_ids_are_composed_and_none_is_given_twice(tmp_path: Path, form: str) -> None:
    name: Callable[[str], str] = lambda form: unicodedata.normalize(form, "Jalapeño.wav")  # type: ignore[arg-type]  # noqa: E731
    put(tmp_path, name(form))
    assert list(rows(items(tmp_path))) == [name("NFC")]
    put(tmp_path, name("NFC"))
    put(tmp_path, name("NFD"))
    both = list(rows(items(tmp_path)))
    assert len(both) == len(set(both)) == len(os.listdir(tmp_path))
    assert name("NFC") in both


def test_a_tag_of_an_unknown_encoding_costs_the_tag_alone(tmp_path: Path) -> None:
    artist = "Кино".encode("cp1251")
    info = b"INFO" + b"IART" + len(artist).to_bytes(4, "little") + artist + b"INAM\x06\0\0\0Night\0"
    chunk = b"LIST" + len(info).to_bytes(4, "little") + info
    size = len(SOUND) - 8 + len(chunk)
    put(tmp_path, "a.wav", b"RIFF" + size.to_bytes(4, "little") + SOUND[8:] + chunk)
    found = items(tmp_path)
    assert rows(found)["a.wav"].row["title"] == "Night"
    assert "artist" not in rows(found)["a.wav"].row
    assert reasons(found, tmp_path) == {"a.wav": Reason.NOT_UTF8}


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        items(tmp_path / "none")
    with pytest.raises(ValueError, match="workers is 0"):
        FolderSettings(workers=0)
