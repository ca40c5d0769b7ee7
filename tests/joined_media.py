"""Recordings that do not go on as they begin: chained, joined, cut up, edited, or with a header that lies.

Each is made with a seam: what stands before it lasts `seam_s`, and the whole about `whole_s`.
"""

import functools
import struct
from collections.abc import Callable, Iterator

from pipeline.media.sniff import mpeg_frame_bytes
from tests.media import encoded, music_CT, ogg_vorbis

LAYOUTS = {1: "mono", 2: "stereo"}
ID3V1 = b"TAG" + b"t" * 125
ID3V2 = b"ID3\x04\0\0\0\0\x03\x74" + b"\0" * 500  # 500 bytes of padding


def mp3(duration_s: float, rate_hz: int = 44_100, channels: int = 1, *, seed: int = 0, tag: bool = True) -> bytes:
    """With the tag that ffmpeg and LAME write, or without any."""
    return encoded(
        music_CT(duration_s, rate_hz, channels, seed),
        rate_hz,
        "mp3",
        "libmp3lame",
        layout=LAYOUTS[channels],
        bit_rate=64_000,
        options={} if tag else {"write_xing": "0", "id3v2_version": "0"},
    )


def mp2(duration_s: float) -> bytes:
    return encoded(music_CT(duration_s, 44_100), 44_100, "mp2", "mp2", bit_rate=64_000)


def opus(duration_s: float, channels: int = 1, *, seed: int = 0, container: str = "ogg", use: str = "audio") -> bytes:
    return encoded(
        music_CT(duration_s, 48_000, channels, seed),
        48_000,
        container,
        "libopus",
        layout=LAYOUTS[channels],
        bit_rate=32_000,
        codec_options={"application": use},
    )


def vorbis(duration_s: float, rate_hz: int = 44_100, *, seed: int = 0) -> bytes:
    return ogg_vorbis(music_CT(duration_s, rate_hz, seed=seed), rate_hz)


def flac(duration_s: float, rate_hz: int = 44_100, *, seed: int = 0, container: str = "flac") -> bytes:
    return encoded(music_CT(duration_s, rate_hz, seed=seed), rate_hz, container, "flac")


def adts(duration_s: float, rate_hz: int) -> bytes:
    return encoded(music_CT(duration_s, rate_hz), rate_hz, "adts", "aac")


def mpeg_frames(media: bytes) -> list[bytes]:
    """Frames of MPEG audio without tags around them."""
    frames, at = [], 0
    while size := mpeg_frame_bytes(media[at : at + 7]):
        frames.append(media[at : at + size])
        at += size
    return frames


def broken_into(media: bytes, share: float, change: Callable[[bytes], bytes]) -> bytes:
    """MPEG audio of which the frame at this share of its length is put through `change`."""
    frames = mpeg_frames(media)
    at = round(share * len(frames))
    return b"".join([*frames[:at], change(frames[at]), *frames[at + 1 :]])


def with_frame_count(media: bytes, frames: int) -> bytes:
    """An MP3 whose Xing header, which constant bit rates call Info, counts so many frames."""
    at = media.index(b"Info") + 8
    return media[:at] + struct.pack(">I", frames) + media[at + 4 :]


def with_vbri(media: bytes) -> bytes:
    """MPEG audio without a header behind Fraunhofer's."""
    frames = mpeg_frames(media)
    header = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 0, 75, len(media), len(frames), 0, 1, 2, 0)
    return (frames[0][:4] + bytes(32) + header).ljust(len(frames[0]), b"\0") + media


def with_clusters_of(media: bytes, other: bytes) -> bytes:
    """Matroska that goes on with the clusters of another file."""
    return media + other[other.index(b"\x1f\x43\xb6\x75") :]


def with_edits(media: bytes, edits: list[tuple[float, float]], rate_hz: int) -> bytes:
    """MP4 that plays these stretches (seconds, from where) of its one stream instead of all of it."""
    entries = [struct.pack(">IiI", round(lasts * 1_000), round(begin * rate_hz), 1 << 16) for lasts, begin in edits]
    table = _box(b"edts", _box(b"elst", struct.pack(">II", 0, len(edits)) + b"".join(entries)))

    def rewritten(content: bytes) -> bytes:
        made = b""
        for kind, inner in _boxes(content):
            if kind in (b"moov", b"trak"):
                inner = rewritten(inner)
            if kind != b"edts":
                made += _box(kind, inner)
            if kind == b"tkhd":
                made += table
        return made

    return rewritten(media)


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4])
        yield content[at + 4 : at + 8], content[at + 8 : at + size]
        at += size


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


# Ogg that goes on in another codec, rate or number of channels -> its two links.
OGG_OF_TWO_FORMS: dict[str, Callable[[float, float], tuple[bytes, bytes]]] = {
    "opus_mono_stereo": lambda a, b: (opus(a), opus(b - a, 2, seed=1)),
    "opus_vorbis": lambda a, b: (opus(a), vorbis(b - a, seed=1)),
    "vorbis_44100_48000": lambda a, b: (vorbis(a), vorbis(b - a, 48_000, seed=1)),
    "vorbis_48000_8000": lambda a, b: (vorbis(a, 48_000), vorbis(b - a, 8_000, seed=1)),
    "ogg_flac_44100_48000": lambda a, b: (flac(a, container="ogg"), flac(b - a, 48_000, seed=1, container="ogg")),
    "ogg_flac_22050_44100": lambda a, b: (flac(a, 22_050, container="ogg"), flac(b - a, seed=1, container="ogg")),
}


def _joined(links: Callable[[float, float], tuple[bytes, bytes]], seam_s: float, whole_s: float) -> bytes:
    return b"".join(links(seam_s, whole_s))


# Walking past the seam of these as if there were none brings a clip from the wrong place.
UNSAFE: dict[str, Callable[[float, float], bytes]] = {
    "opus_chained": lambda a, b: opus(a / 2) + opus(a / 2, seed=1) + opus(b - a, seed=2),
    "opus_chained_other_preskip": lambda a, b: opus(a) + opus(b - a, seed=1, use="lowdelay"),
    "webm_joined": lambda a, b: opus(a, container="webm") + opus(b - a, seed=1, container="webm"),
    "webm_clusters": lambda a, b: with_clusters_of(opus(a, container="webm"), opus(b - a, seed=1, container="webm")),
    "mp3_joined": lambda a, b: b"".join(mp3(a / 5, seed=part) for part in range(5)) + mp3(b - a, seed=5),
    "mp3_id3": lambda a, b: broken_into(mp3(b, tag=False), a / b, lambda frame: ID3V1 + ID3V2 + frame),
    "mp3_text": lambda a, b: broken_into(mp3(b, tag=False), a / b, lambda frame: b"<html>" * 60 + frame),
    "mp3_cut_frame": lambda a, b: broken_into(mp3(b, tag=False), a / b, lambda frame: frame[:100]),
    "mp3_lost_header": lambda a, b: broken_into(mp3(b, tag=False), a / b, lambda frame: bytes(4) + frame[4:]),
    "mp3_mono_stereo": lambda a, b: mp3(a) + mp3(b - a, channels=2, seed=1),
    "mp3_44100_22050_44100": lambda a, b: (
        mp3(a / 2) + mp3(a / 2, 22_050, seed=1, tag=False) + mp3(b - a, seed=2, tag=False)
    ),
    "mp2_mp3": lambda a, b: mp2(a) + mp3(b - a, seed=1),
    "mp3_xing_too_small": lambda a, b: with_frame_count(mp3(b), round(a * 44_100 / 1_152)),
    "alac_edits": lambda a, b: with_edits(
        encoded(music_CT(b, 48_000), 48_000, "ipod", "alac"), [(a, a / 2), (b - a, a)], 48_000
    ),
    "mov_pcm_edits": lambda a, b: with_edits(
        encoded(music_CT(b, 48_000), 48_000, "mov", "pcm_s16le"), [(a, a / 2), (b - a, a)], 48_000
    ),
}

# Of these walking is exact as well, or they are never walked.
OTHERS: dict[str, Callable[[float, float], bytes]] = {
    "mp3_xing_too_large": lambda a, b: with_frame_count(mp3(b), 100_000),
    "mp3_vbri_joined": lambda a, b: with_vbri(mp3(a, tag=False)) + with_vbri(mp3(b - a, seed=1, tag=False)),
    "mp3_44100_48000": lambda a, b: mp3(a) + mp3(b - a, 48_000, seed=1),
    "flac_joined": lambda a, b: flac(a) + flac(b - a, seed=1),
    "vorbis_chained": lambda a, b: vorbis(a) + vorbis(b - a, seed=1),
    "adts_44100_48000": lambda a, b: adts(a, 44_100) + adts(b - a, 48_000),
    "wav_trailing_chunk": lambda a, b: (
        encoded(music_CT(b, 44_100), 44_100, "wav", "pcm_s16le") + b"LIST" + struct.pack("<I", 404) + b"INFO" * 101
    ),
    **{name: functools.partial(_joined, links) for name, links in OGG_OF_TWO_FORMS.items()},
}
