"""The facts of files by the guarded helper: every container, large files by pieces, hostile ones, a helper's end."""

import io
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from pipeline.media import look
from pipeline.media.clip import ClipError, DecodeConfig
from pipeline.media.facts import answer_each
from pipeline.media.look import Facts, FactsReader
from pipeline.media.protocol import MAX_FACTS_BYTES, Pieces
from schemas.reasons import LeftOutError, Reason
from tests.media import ape_silence, encoded, music_CT, remuxed, wav

WAVE = music_CT(2, 48_000)
TAGS = {
    "title": "Tést",
    "artist": "B & C",
    "album": "Albüm",
    "genre": "Folk",
    "comment": "a comment",
    "copyright": "CC0",
}


def tagged(container: str, codec: str) -> Callable[[], bytes]:
    rate_hz = 48_000 if codec == "libopus" else 44_100
    return lambda: encoded(music_CT(2, rate_hz), rate_hz, container, codec, bit_rate=128_000, metadata=TAGS)


# Name -> (media, the tags that this container can have of TAGS).
ALL = set(TAGS)
KINDS: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "mp3": (tagged("mp3", "libmp3lame"), ALL),
    "flac": (tagged("flac", "flac"), ALL),
    "opus": (tagged("ogg", "libopus"), ALL),
    "m4a": (tagged("ipod", "aac"), ALL),
    "mov": (tagged("mov", "aac"), ALL),
    "webm": (tagged("webm", "libopus"), ALL),
    "mka": (tagged("matroska", "flac"), ALL),
    "wav": (tagged("wav", "pcm_s16le"), ALL),
    "aiff": (tagged("aiff", "pcm_s16be"), {"title", "comment", "copyright"}),
    "wma": (tagged("asf", "wmav2"), ALL),
    "wv": (tagged("wv", "wavpack"), ALL),
    "tta": (tagged("tta", "tta"), ALL),
    "caf": (tagged("caf", "pcm_s16be"), ALL),
    "au": (tagged("au", "pcm_s16be"), {"title", "artist", "album", "genre"}),
    "avi": (tagged("avi", "libmp3lame"), ALL - {"album"}),
    "flv": (tagged("flv", "libmp3lame"), ALL),
}


@pytest.fixture(scope="module")
def reader() -> Iterator[FactsReader]:
    with FactsReader() as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kinds")
    paths = {kind: folder / f"a.{kind}" for kind in KINDS}
    for kind, path in paths.items():
        path.write_bytes(KINDS[kind][0]())
    return paths


@pytest.fixture(scope="module")
def facts(files: dict[str, Path], reader: FactsReader) -> dict[str, Facts | LeftOutError]:
    return dict(zip(files, reader.look([os.fsencode(path) for path in files.values()]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_container(kind: str, files: dict[str, Path], facts: dict[str, Facts | LeftOutError]) -> None:
    found = facts[kind]
    assert isinstance(found, Facts)
    assert found.duration_s == pytest.approx(2, abs=0.1)
    asked = KINDS[kind][1]
    assert asked
    assert {name: found.tags.get(name) for name in asked} == {name: TAGS[name] for name in asked}


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is the reference")
@pytest.mark.parametrize("kind", KINDS)
def test_all_that_ffprobe_reads(kind: str, files: dict[str, Path], facts: dict[str, Facts | LeftOutError]) -> None:
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", "-of", "json", str(files[kind])]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    found = facts[kind]
    assert isinstance(found, Facts)
    read = {**said.get("format", {}).get("tags", {})}
    for stream in said.get("streams", ()):
        read = {**stream.get("tags", {}), **read}
    lacking = {name: text for name, text in read.items() if found.tags.get(name.lower()) != text}
    assert read
    assert lacking.keys() <= {"vendor_id"}  # four NULs, which are no text


def id3(*frames: tuple[bytes, bytes]) -> bytes:
    def size(number: int) -> bytes:
        return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))

    body = b"".join(name + size(len(text)) + b"\0\0" + text for name, text in frames)
    return b"ID3\x04\0\0" + size(len(body)) + body


@pytest.fixture(scope="module")
def mp3() -> bytes:
    return encoded(WAVE, 48_000, "mp3", "libmp3lame", options={"id3v2_version": "0", "write_xing": "0"})


def looked(reader: FactsReader, path: Path, content: bytes) -> Facts:
    path.write_bytes(content)
    (found,) = reader.look([os.fsencode(path)])
    assert isinstance(found, Facts), found
    return found


@pytest.mark.slow
def test_large_files_are_not_sent_whole(
    reader: FactsReader, mp3: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a container keeps what is asked: in front, at the end, or in the middle of megabytes."""
    sent: list[int] = []
    kept = look._sent

    def counted(path: bytes, descriptor: int, size: int, pieces: list[tuple[int, int]]) -> look._Sent:
        made = kept(path, descriptor, size, pieces)
        sent.append(len(made.content))
        return made

    monkeypatch.setattr(look, "_sent", counted)
    long = music_CT(1, 48_000, channels=1).repeat(40, axis=1)
    media = {
        "m4a": encoded(long, 48_000, "ipod", "alac", metadata=TAGS),  # its index follows the sound
        "wav": encoded(long, 48_000, "wav", "pcm_s16le", metadata=TAGS),
        "opus": encoded(long, 48_000, "ogg", "libopus", bit_rate=256_000, metadata=TAGS),
        "webm": encoded(long, 48_000, "webm", "libopus", bit_rate=256_000, metadata=TAGS),
        # Free space before what it needs, so that neither end has it.
        "mp4": encoded(long, 48_000, "mp4", "alac", metadata=TAGS)
        + struct.pack(">I4s", 400_008, b"free")
        + bytes(400_000),
    }
    assert all(len(content) > look._WHOLE_BYTES for content in media.values())
    for name, content in media.items():
        sent.clear()
        found = looked(reader, tmp_path / f"a.{name}", content)
        assert found.duration_s == pytest.approx(40, abs=0.1), name
        assert found.tags["title"] == TAGS["title"], name
        assert sum(sent) < len(content), name
    # ID3v1, at the very end.
    tag = b"TAG" + b"Slow River".ljust(30, b"\0") + bytes(90) + bytes([255]) + bytes(1)
    found = looked(reader, tmp_path / "v1.mp3", mp3 * 60 + tag[:128].ljust(128, b"\0"))
    assert found.tags["title"] == "Slow River"
    # A picture of 3 MB in front, and the tag behind it.
    picture = id3((b"APIC", b"\0image/png\0\x03\0" + bytes(3_000_000)), (b"TIT2", b"\x03Slow River"))
    assert looked(reader, tmp_path / "cover.mp3", picture + mp3).tags["title"] == "Slow River"


@pytest.mark.parametrize("kind", ["wav", "w64", "aiff", "au"])
def test_the_samples_of_a_long_recording_are_not_asked_for(kind: str) -> None:
    codec = "pcm_s16le" if kind.startswith("w") else "pcm_s16be"
    long = music_CT(1, 48_000, channels=2).repeat(12, axis=1)
    media = encoded(long, 48_000, kind, codec, layout="stereo", metadata=TAGS)
    head, tail = 128 << 10, 64 << 10
    sent = Pieces(size=len(media), pieces=((0, head), (len(media) - tail, tail)))
    (answer,) = answer_each([sent], memoryview(media[:head] + media[-tail:]), DecodeConfig())
    with av.open(io.BytesIO(media), "r") as whole:
        assert answer["facts"]["duration_s"] == pytest.approx(12) == pytest.approx((whole.duration or 0) / av.time_base)
        assert answer["facts"]["tags"].items() >= {key.lower(): text for key, text in whole.metadata.items()}.items()


def test_hostile_tags(reader: FactsReader, mp3: bytes, tmp_path: Path) -> None:
    long = looked(
        reader, tmp_path / "long.mp3", id3((b"TIT2", b"\x03" + b"z" * 10_000_000), (b"TPE1", b"\x03Ana")) + mp3
    )
    assert 0 < len(long.tags["title"]) < 10_000
    many = [(b"TXXX", b"\x03key%d\0\xd0\x96" % number + b"\xd0\x96" * 3_000) for number in range(400)]
    found = looked(reader, tmp_path / "many.mp3", id3(*many) + mp3)
    assert 0 < len(json.dumps(found.tags)) < MAX_FACTS_BYTES
    odd = looked(reader, tmp_path / "odd.mp3", id3((b"TIT2", b"\x00caf\xe9"), (b"TPE1", b"\x03\xe2\x80\xaea\nb")) + mp3)
    assert odd.tags["title"] == "café"
    assert odd.tags["artist"] == "\u202ea\nb"


def test_what_is_no_recording(reader: FactsReader, tmp_path: Path) -> None:
    link, pipe, folder = tmp_path / "link.mp3", tmp_path / "pipe.mp3", tmp_path / "folder.mp3"
    (tmp_path / "text.mp3").write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    (tmp_path / "empty.mp3").write_bytes(b"")
    (tmp_path / "cut.flac").write_bytes(encoded(WAVE, 48_000, "flac", "flac")[:60])
    (tmp_path / "silent.mkv").write_bytes(remuxed(encoded(WAVE, 48_000, "flac", "flac"), "matroska")[:300])
    link.symlink_to("/etc/passwd")
    os.mkfifo(pipe)
    folder.mkdir()
    names = ["text.mp3", "empty.mp3", "cut.flac", "silent.mkv", "link.mp3", "pipe.mp3", "folder.mp3", "none.mp3"]
    found = reader.look([os.fsencode(tmp_path / name) for name in names])
    reasons = {
        name: answer.reason for name, answer in zip(names, found, strict=True) if isinstance(answer, LeftOutError)
    }
    assert reasons.pop("silent.mkv") in (Reason.NO_AUDIO, Reason.CORRUPT_MEDIA)
    assert reasons.pop("cut.flac") in (Reason.CORRUPT_MEDIA, Reason.NO_AUDIO)
    assert reasons.pop("link.mp3") in (Reason.NOT_FOUND, Reason.READ_FAILED)
    assert reasons == {
        "text.mp3": Reason.UNKNOWN_CONTAINER,
        "empty.mp3": Reason.MEDIA_EMPTY,
        "pipe.mp3": Reason.NOT_A_FILE,
        "folder.mp3": Reason.NOT_A_FILE,
        "none.mp3": Reason.NOT_FOUND,
    }


def test_tags_behind_the_sound_of_ape(reader: FactsReader, tmp_path: Path) -> None:
    item = struct.pack("<II", 10, 0) + b"Title\0Slow River"
    parts = [struct.pack("<8sIIII8x", b"APETAGEX", 2_000, len(item) + 32, 1, flag) for flag in (0xA0000000, 0x80000000)]
    found = looked(reader, tmp_path / "a.ape", ape_silence(44_100, 44_100) + parts[0] + item + parts[1])
    assert (found.tags["title"], found.duration_s) == ("Slow River", 1.0)


def test_one_that_ends_the_helper_costs_no_other(tmp_path: Path) -> None:
    """Of files in one request, the one for which there is not enough memory is alone left out."""
    good = [tmp_path / f"{number}.wav" for number in range(3)]
    for path in good:
        path.write_bytes(wav(WAVE, 48_000))
    with FactsReader(DecodeConfig(deadline_s=20)) as mine:
        kept = mine._decoder.facts

        def dies(files: list[Pieces], content: bytes) -> list[dict[str, object]]:
            if len(files) > 1 or content.endswith(b"die"):
                raise ClipError(Reason.DECODER_CRASHED, "the helper was ended by SIGSEGV")
            return kept(files, content)

        good[1].write_bytes(wav(WAVE, 48_000) + b"die")
        mine._decoder.facts = dies  # type: ignore[method-assign, assignment]
        found = mine.look([os.fsencode(path) for path in good])
    assert [isinstance(answer, Facts) for answer in found] == [True, False, True]
    assert isinstance(found[1], LeftOutError)
    assert found[1].reason == Reason.DECODER_CRASHED
