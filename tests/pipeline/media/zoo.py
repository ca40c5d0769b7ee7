"""A zoo of hostile and broken media: makes the files that `zoo.csv` lists with what is expected of each.

    python tests/pipeline/media/zoo.py FOLDER [WITNESS_ADDRESS]

The table is the contract and is edited by hand; `test_zoo.py` makes the files and runs the job over all of them. Where
the table has several outcomes with `|` between them, any of them will do: how much of a damaged file can be decoded is
the decoder's business.
"""

import contextlib
import csv
import gzip
import io
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.media import ape_silence, encoded, music_CT, ogg_vorbis, wav

TABLE = Path(__file__).with_name("zoo.csv")
FUZZ_CASES = Path(__file__).with_name("fuzz_cases")
START_S, DURATION_S = 0.5, 1.0
SECONDS = 2.5
# Clips of these begin elsewhere: what stands before them has to be got through.
STARTS_S = {"bomb-of-frames.aac": 2_000.0, "two-hours-of-silence.flac": 7_000.0}

Maker = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the table."""

    file: str
    expected: frozenset[str]
    what: str


def read_table() -> list[Entry]:
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return [
            Entry(file=row["file"], expected=frozenset(row["expected"].split("|")), what=row["what"])
            for row in csv.DictReader(stream)
        ]


def good() -> dict[str, bytes]:
    """A sound file of each container."""
    wave = music_CT(SECONDS, 44_100)
    wave_48k = music_CT(SECONDS, 48_000)
    return {
        "wav": wav(wave, 44_100),
        "aiff": wav(wave, 44_100, "PCM_16", "AIFF"),
        "flac": encoded(wave, 44_100, "flac", "flac"),
        "mp3": encoded(wave, 44_100, "mp3", "libmp3lame", bit_rate=64_000),
        "ogg": ogg_vorbis(wave, 44_100),
        "opus": encoded(wave_48k, 48_000, "ogg", "libopus", bit_rate=48_000),
        "m4a": encoded(wave, 44_100, "ipod", "aac"),
        "aac": encoded(wave, 44_100, "adts", "aac"),
        "webm": encoded(wave_48k, 48_000, "webm", "libopus", bit_rate=48_000),
        "wma": encoded(wave, 44_100, "asf", "wmav2", bit_rate=128_000),
        "avi": encoded(wave, 44_100, "avi", "libmp3lame", video=True),
        "ts": encoded(wave_48k, 48_000, "mpegts", "ac3"),
        "flv": encoded(wave, 44_100, "flv", "aac"),
        "wv": encoded(wave, 44_100, "wv", "wavpack"),
        "ape": ape_silence(wave.shape[1], 44_100),
    }


def makers(address: str, secret: Path) -> Iterator[tuple[str, Maker]]:
    """(file, what makes it), for every animal. `address` and `secret` are what playlists point at."""
    media = good()
    yield from ((f"sound.{suffix}", _content(content)) for suffix, content in media.items())
    yield from _damaged(media)
    yield from _no_media()
    yield from _playlists(media, address, secret)
    yield from _absurd(media)
    yield from _odd_but_sound(media)
    yield from _not_files(media, secret)
    for case in sorted(FUZZ_CASES.glob("*")):
        yield f"fuzz-{case.name}", _content(case.read_bytes())


def make(folder: Path, address: str = "http://127.0.0.1:9", secret: Path = Path("/etc/hostname")) -> list[str]:
    """Make all of them; returns their names."""
    names = []
    for name, maker in makers(address, secret):
        maker(folder / name)
        names.append(name)
    return names


def _content(content: bytes) -> Maker:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _damaged(media: dict[str, bytes]) -> Iterator[tuple[str, Maker]]:
    for suffix in ("ogg", "opus", "mp3", "m4a", "flac", "wav", "webm"):
        content = media[suffix]
        for tenth in range(1, 10):
            yield f"cut-at-{tenth}0.{suffix}", _content(content[: len(content) * tenth // 10])
    for suffix, content in media.items():
        yield f"zeroed-header.{suffix}", _content(bytes(64) + content[64:])
        rng = np.random.default_rng(7)
        flipped = bytearray(content)
        for at in rng.integers(64, len(content), 40):
            flipped[at] ^= 1 << int(rng.integers(8))
        yield f"flipped-bits.{suffix}", _content(bytes(flipped))
        yield f"head-only.{suffix}", _content(content[:32])
    for suffix in ("flac", "ogg", "m4a", "mp3"):
        content = media[suffix]
        middle = len(content) // 2
        yield f"hole.{suffix}", _content(content[:middle] + bytes(len(content) // 5) + content[middle * 7 // 5 :])
    yield "noise-after-header.ogg", _content(media["ogg"][:200] + np.random.default_rng(3).bytes(20_000))


def _no_media() -> Iterator[tuple[str, Maker]]:
    yield "empty.flac", _content(b"")
    yield "one-byte.mp3", _content(b"\xff")
    yield "page.ogg", _content(b"<!DOCTYPE html><html><body>Sign in to listen</body></html>")
    yield "error.mp3", _content(b'{"error": "not found"}')
    yield "zeros.wav", _content(bytes(100_000))
    yield "noise.mp3", _content(np.random.default_rng(5).bytes(50_000))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(1 << 20))
    yield "archive.mp3", _content(packed.getvalue())
    yield "bomb.ogg", _content(gzip.compress(bytes(200 << 20)))
    yield "picture.ogg", _content(b"\x89PNG\r\n\x1a\n" + bytes(500))
    yield "program.wav", _content(Path(sys.executable).resolve().read_bytes()[:100_000])
    yield "notes.mp3", _content(b"MThd\0\0\0\x06\0\x01\0\x01\0\x60MTrk\0\0\0\x04\0\xff\x2f\0")
    yield "drawing.ogg", _content(b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>')
    yield "id3-and-nothing.mp3", _content(b"ID3\x04\0\0\0\0\0\0" * 200_000)
    yield "id3-that-lies.mp3", _content(b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(1_000))
    yield "moov-in-moov.m4a", _content(b"".join(struct.pack(">I4s", 8 * (2_000 - i), b"moov") for i in range(2_000)))
    yield "boxes-of-no-size.m4a", _content(b"\0\0\0\x18ftypM4A \0\0\0\0M4A isom" + b"\0\0\0\x01moov" + b"\xff" * 64)
    yield "ebml-without-end.webm", _content(b"\x1aE\xdf\xa3" + b"\x01\xff\xff\xff\xff\xff\xff\xff" * 500)


def _playlists(media: dict[str, bytes], address: str, secret: Path) -> Iterator[tuple[str, Maker]]:
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}/a.ts\n#EXT-X-ENDLIST\n".encode()
    hls_file = f"#EXTM3U\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile '{secret}'\nfile '{address}/x.wav'\n".encode()
    yield "hls-address.ogg", _content(hls)
    yield "hls-address.m3u8", _content(hls)
    yield "hls-file.ogg", _content(hls_file)
    yield "concat.ogg", _content(concat)
    yield "concat.mp3", _content(concat)
    yield "hls-behind-id3.mp3", _content(b"ID3\x04\0\0\0\0\0\0" + hls)
    yield "hls-behind-ogg.ogg", _content(b"OggS\n" + hls)
    yield "hls-behind-sound.mp3", _content(media["mp3"] + hls)
    yield "hls-in-subtitles.avi", _content(_avi_with_subtitles(hls))
    yield "session.ogg", _content(f"v=0\nc=IN IP4 127.0.0.1\nm=audio {address.rsplit(':')[-1]} RTP/AVP 0\n".encode())
    yield "dash.webm", _content(f'<?xml version="1.0"?><MPD><BaseURL>{address}/</BaseURL></MPD>'.encode())
    yield "list.wav", _content(f"[playlist]\nFile1={secret}\nFile2={address}/x\n".encode())


def _avi_with_subtitles(text: bytes) -> bytes:
    """Three seconds of silence, and a subtitle file that ffmpeg's demuxer would open by what it looks like."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)

    def group(kind: bytes, *parts: bytes) -> bytes:
        return chunk(b"LIST", kind + b"".join(parts))

    def head(kind: bytes, scale: int, rate: int, length: int, sample_bytes: int, form: bytes) -> bytes:
        stream = struct.pack("<4s16xIIIIIIII8x", kind, scale, rate, 0, length, 0, 0, sample_bytes, 0)
        return group(b"strl", chunk(b"strh", stream[:56]), chunk(b"strf", form))

    rate_hz, samples = 8_000, bytes(2 * 8_000 * 3)
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    sound = head(b"auds", 2, 2 * rate_hz, len(samples) // 2, 2, form)
    title = chunk(b"avih", struct.pack("<14I", 0, 0, 0, 16, 0, 0, 2, *[0] * 7))
    heads = group(b"hdrl", title, sound, head(b"txts", 1, 1, 1, 0, b""))
    subtitles = b"GAB2\0" + struct.pack("<HIHHI", 2, 2, 0, 4, len(text)) + text
    content = b"AVI " + heads + group(b"movi", chunk(b"01tx", subtitles), chunk(b"00wb", samples))
    return chunk(b"RIFF", content)


def _wav_header(rate_hz: int, channels: int, bits: int, data_bytes: int, form: int = 1) -> bytes:
    block = channels * bits // 8
    return b"".join(
        (
            b"RIFF" + struct.pack("<I", (36 + data_bytes) & 0xFFFFFFFF) + b"WAVEfmt ",
            struct.pack("<IHHIIHH", 16, form, channels, rate_hz, rate_hz * block & 0xFFFFFFFF, block & 0xFFFF, bits),
            b"data" + struct.pack("<I", data_bytes & 0xFFFFFFFF),
        )
    )


def _absurd(media: dict[str, bytes]) -> Iterator[tuple[str, Maker]]:
    quiet = np.zeros((1, 8_000), np.float32)
    yield "one-megahertz.wav", _content(wav(quiet, 1_000_000))
    yield "fifty-hertz.wav", _content(wav(quiet, 50))
    yield "no-hertz.wav", _content(_wav_header(0, 1, 16, 64_000) + bytes(64_000))
    yield "four-gigahertz.wav", _content(_wav_header(0xFFFFFFFF, 1, 16, 64_000) + bytes(64_000))
    yield "no-channels.wav", _content(_wav_header(44_100, 0, 16, 64_000) + bytes(64_000))
    yield "sixty-four-channels.wav", _content(wav(np.zeros((64, 8_000), np.float32), 16_000))
    yield "all-channels.wav", _content(_wav_header(44_100, 0xFFFF, 16, 64_000) + bytes(640_000))
    yield "bits-of-no-kind.wav", _content(_wav_header(44_100, 1, 13, 64_000) + bytes(64_000))
    yield "format-of-no-kind.wav", _content(_wav_header(44_100, 1, 16, 64_000, form=0x7777) + bytes(64_000))
    honest = wav(music_CT(SECONDS, 16_000), 16_000)
    yield "says-hours.wav", _content(honest[:40] + struct.pack("<I", 0xFFFFFF00) + honest[44:])
    short = wav(music_CT(1.0, 16_000), 16_000)
    yield "says-hours-is-short.wav", _content(short[:40] + struct.pack("<I", 0xFFFFFF00) + short[44:])
    yield "says-nothing.wav", _content(honest[:40] + struct.pack("<I", 0) + honest[44:])
    flac = bytearray(encoded(music_CT(1.0, 16_000), 16_000, "flac", "flac"))
    flac[21:26] = b"\xff" * 5
    yield "says-years.flac", _content(bytes(flac))
    for name, value in (("not-a-number", np.nan), ("infinite", np.inf)):
        wave = music_CT(SECONDS, 16_000)
        wave[0, 12_000:12_100] = value
        yield f"{name}.wav", _content(wav(wave, 16_000, "FLOAT"))
    wave = music_CT(0.2, 8_000)
    yield "a-thousand-streams.mka", _content(encoded(wave, 8_000, "matroska", "pcm_s16le", more_CT=[wave] * 999))
    yield "unlisted-codec.wav", _content(encoded(music_CT(SECONDS, 8_000), 8_000, "wav", "adpcm_yamaha"))
    yield "ends-early.flac", _content(encoded(music_CT(1.2, 16_000), 16_000, "flac", "flac"))
    frames = encoded(np.zeros((1, 44_100), np.float32), 44_100, "adts", "aac")
    yield "bomb-of-frames.aac", _content(frames * 2_100)
    silence = np.zeros((1, 8_000 * 7_300), np.float32)
    yield "two-hours-of-silence.flac", _content(encoded(silence, 8_000, "flac", "flac"))

    def sparse(bytes_: int, header: bytes) -> Maker:
        def write(path: Path) -> None:
            with path.open("wb") as stream:
                stream.write(header)
                stream.truncate(bytes_)

        return write

    yield "half-a-gigabyte-and-more.wav", sparse(600 << 20, _wav_header(44_100, 2, 16, 600 << 20))
    yield "quarter-of-a-gigabyte.wav", sparse(256 << 20, _wav_header(44_100, 2, 16, 256 << 20))


def _odd_but_sound(media: dict[str, bytes]) -> Iterator[tuple[str, Maker]]:
    latin = b"TIT2" + struct.pack(">I", 9) + b"\0\0\0D\xe9j\xe0 vu\xff"
    yield "latin-1-tags.mp3", _content(b"ID3\x03\0\0" + bytes([0, 0, 0, len(latin)]) + latin + media["mp3"])
    yield "megabyte-of-tags.mp3", _content(b"ID3\x04\0\0\0\x40\0\0" + bytes(1 << 20) + media["mp3"])
    yield "zeros-before-sound.mp3", _content(bytes(5_000) + media["mp3"])
    yield "zeros-before-sound.wav", _content(bytes(70_000) + media["wav"])
    yield "id3-before-sound.ogg", _content(b"ID3\x04\0\0\0\0\x01\0" + bytes(128) + media["ogg"])
    yield "id3-that-lies-before-sound.flac", _content(b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(99) + media["flac"])
    yield (
        "apev2-before-sound.aac",
        _content(b"APETAGEX" + struct.pack("<IIIIQ", 2_000, 32, 0, 1 << 31, 0) + media["aac"]),
    )
    yield "archive-before-sound.ogg", _content(b"PK\x03\x04" + bytes(26) + media["ogg"])
    yield "archive-behind-sound.wav", _content(media["wav"] + b"PK\x03\x04" + bytes(100))
    yield "wrong-name.mp3", _content(media["flac"])
    yield "no-suffix", _content(media["ogg"])
    names = (
        *(
            "Мелодия.ogg",
            "旋律・メロディー.ogg",
            "لحن.ogg",
            "מנגינה.ogg",
            "μελωδία.ogg",
            "선율.ogg",
            "ทำนอง.ogg",
            "धुन.ogg",
        ),
        *(
            "e\u0301tude-in-parts.ogg",
            "étude-in-one.ogg",
            "🎵🎶.ogg",
            "right\u202eto\u202cleft.ogg",
            "zero\u200bwidth.ogg",
        ),
        *(" spaces .ogg", "-rf.ogg", "%2e%2e%2f.ogg", "a'b\"c`d$(e).ogg", "[a-z]*?.ogg", "back\\slash.ogg", "#?&=.ogg"),
        *("..ogg", "...ogg", "n" * 250 + ".ogg", "http:.ogg", "C:.ogg", "NUL.ogg", "=cmd|' calc'!A0.ogg"),
    )
    yield from ((name, _content(media["ogg"])) for name in names)


def _not_files(media: dict[str, bytes], secret: Path) -> Iterator[tuple[str, Maker]]:
    def link(target: str | Path) -> Maker:
        return lambda path: path.symlink_to(target)

    def folder(path: Path) -> None:
        path.mkdir()
        (path / "inner.ogg").write_bytes(media["ogg"])

    def locked(path: Path) -> None:
        path.write_bytes(media["ogg"])
        path.chmod(0)

    yield "pipe.ogg", lambda path: os.mkfifo(path)
    yield "folder.ogg", folder
    yield "link-to-nothing.ogg", link("nothing.ogg")
    yield "link-to-itself.ogg", link("link-to-itself.ogg")
    yield "link-inside.ogg", link("sound.ogg")
    yield "link-to-a-secret.ogg", link(secret)
    yield "link-to-a-device.ogg", link("/dev/zero")
    yield "link-to-memory.ogg", link("/proc/self/mem")
    yield "no-permission.ogg", locked
    yield "changes-while-read.wav", _content(media["wav"])


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """A file that grows, shrinks and changes for as long as this lasts."""
    import threading

    content = path.read_bytes()
    done = threading.Event()

    def change() -> None:
        rng = np.random.default_rng(0)
        while not done.wait(0.001):
            cut = int(rng.integers(len(content)))
            with path.open("r+b") as stream:
                stream.truncate(cut)
                stream.seek(0)
                stream.write(content[: int(rng.integers(len(content)))])

    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    address = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:9"
    sys.stdout.write(f"{len(make(target, address))} files in {target}\n")
