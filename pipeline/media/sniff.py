"""Which container media bytes are, and where it begins: told by the bytes and never by a name.

Known are tags and junk in front, since collections are full of them. A container is told at the very start or behind
tags by its magic; behind junk by more than four bytes of it, within `SEARCH_BYTES`, and the first that is found counts.
Streams without a header (MPEG audio, ADTS, AC-3) are told by frames that follow on one another. That the sender chooses
the demuxer by what he writes is so in any case: what may be opened is the list in `pipeline.media.opened`.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

SEARCH_BYTES = 2 << 20  # behind tags, or from the start where they lie about their size
_FRAMES = 3
_FRAMES_FAR = 8  # further on than cut files need, who begin within a frame, and some writers that pad with zeros
_NEAR_BYTES = 4_096
_TRIES = 100_000  # what looks like a frame but is none is looked at so often

# Demuxers that find their own first frame, and look for tags in front of it as ffmpeg's command line does.
_SELF_SYNCHRONISING = frozenset({"mp3", "aac"})

_ASF = rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
_W64 = rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_RIFF = {"wav": rb"(?:RIFF|RIFX|RF64|BW64)....WAVE", "avi": rb"RIFF....AVI[ X\x19]", "aiff": rb"FORM....AIF[FC]"}
_MAGIC = {
    **_RIFF,
    "flac": rb"fLaC",
    "ogg": rb"OggS",
    "matroska": rb"\x1aE\xdf\xa3",
    "mp4": rb"....(?:ftyp|styp|moov|moof|mdat|sidx|wide|free|skip|pnot|uuid|udta|junk)",
    "asf": _ASF,
    "w64": _W64,
    "caf": rb"caff\x00\x01",
    "au": rb"\.snd",
    "flv": rb"FLV\x01",
    "amr": rb"#!AMR",
    "tta": rb"TTA[12]",
    "wavpack": rb"wvpk",
    "ape": rb"MAC ",
    "dts": rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80",
    "mpegts": rb"(?:G.{187}){5}|(?:....G.{187}){5}|(?:G.{203}){5}",
    "mpegps": rb"\x00\x00\x01\xba",
}
# What is searched for in junk, and what must stand there so many bytes earlier.
_MAGIC_IN_JUNK = {
    b"RIFF": (0, {"wav": rb"RIFF....WAVE", "avi": _RIFF["avi"]}),
    b"RIFX": (0, {"wav": rb"RIFX....WAVE"}),
    b"RF64": (0, {"wav": rb"RF64....WAVE"}),
    b"FORM": (0, {"aiff": _RIFF["aiff"]}),
    b"fLaC": (0, {"flac": rb"fLaC[\x00\x80]\x00\x00\x22"}),
    b"OggS": (0, {"ogg": rb"OggS\x00\x02"}),
    b"\x1aE\xdf\xa3": (0, {"matroska": rb"\x1aE\xdf\xa3.{1,40}(?:webm|matroska)"}),
    b"ftyp": (4, {"mp4": rb"\x00\x00\x00[\x08-\xff]ftyp"}),
    b"\x30\x26\xb2\x75": (0, {"asf": _ASF}),
    b"riff\x2e\x91": (0, {"w64": _W64}),
    b"caff": (0, {"caf": rb"caff\x00\x01\x00\x00desc"}),
    b"FLV\x01": (0, {"flv": rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09"}),
    b"#!AMR": (0, {"amr": rb"#!AMR\n"}),
    b"TTA1": (0, {"tta": rb"TTA1[\x01\x03]\x00.\x00.\x00"}),
    b".snd": (0, {"au": rb"\.snd\x00\x00.{6}\x00\x00\x00"}),
    # Tables that are sent first (PAT, SDT), and packets in a row; those of 192 bytes carry a time, of 204 a checksum.
    b"G@": (0, {"mpegts": rb"G@[\x00\x11][\x10-\x3f](?:(?:.{184}G...){7}|(?:.{188}G...){7}|(?:.{200}G...){7})"}),
    b"wvpk": (0, {"wavpack": rb"wvpk....[\x02-\x10]\x04"}),
    b"MAC ": (0, {"ape": rb"MAC .\x0f\x00\x00"}),
}


def _one_of(magic: dict[str, bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(b"(?P<%s>%s)" % (name.encode(), form) for name, form in magic.items()), re.DOTALL)


_AT_START = _one_of(_MAGIC)
_IN_JUNK = {literal: (ahead, _one_of(magic)) for literal, (ahead, magic) in _MAGIC_IN_JUNK.items()}
# What says that it is something else is not junk: an archive of recordings is no recording, nor is a page.
_NOT_JUNK = re.compile(
    rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b\x08|%PDF|\x7fELF|MZ.\x00|\x89PNG|\xff\xd8\xff|GIF8|MThd|RIFF|FORM|"
    rb"\s*<[!?A-Za-z]|#EXT|\s*[{\[]\s*\"",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Sniffed:
    """A container, and the byte from which its demuxer should read."""

    name: str
    start: int


def sniff(media: bytes) -> Sniffed | None:
    """The container, or None."""
    behind = behind_tags(media)
    if magic := _AT_START.match(media, behind):
        return Sniffed(name=str(magic.lastgroup), start=behind)
    found = _search(media, behind)
    if found is not None and found.name in _SELF_SYNCHRONISING:
        return Sniffed(name=found.name, start=0)
    lying = found is None and behind and not _NOT_JUNK.match(media, behind)
    return _search(media, 0) if lying else found


def behind_tags(media: bytes) -> int:
    """Where the ID3v2 and APEv2 tags in front end, as far as they tell the truth."""
    at = 0
    while True:
        head = media[at : at + 32]
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
            size = 0
            for byte in head[6:10]:
                size = size << 7 | byte
            at += 10 + size + (10 if head[5] & 0x10 else 0)
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            at += 32 + int.from_bytes(head[12:16], "little")
        else:
            return at


def _search(media: bytes, start: int) -> Sniffed | None:
    """The first container that begins somewhat later; of headerless streams in short files the one with most frames."""
    other = _NOT_JUNK.match(media, start)
    end = min(start + (_NEAR_BYTES if other else SEARCH_BYTES), len(media))
    magic = None if other else _find_magic(media, start, end)
    best, most_frames = None, 0
    for sync in itertools.islice(_SYNC.finditer(media, start, magic.start if magic else end), _TRIES):
        at, name = sync.start(), str(sync.lastgroup)
        near = at - start < _NEAR_BYTES
        frames, reached = _frames(media, at, _FRAME_BYTES[name], _FRAMES if near else _FRAMES_FAR)
        if frames == (_FRAMES if near else _FRAMES_FAR):
            return Sniffed(name=name, start=at)
        if near and reached >= len(media) and frames > most_frames and (frames > 1 or at == start):
            best, most_frames = Sniffed(name=name, start=at), frames
    return magic or best


def _find_magic(media: bytes, start: int, end: int) -> Sniffed | None:
    first = None
    for literal, (ahead, pattern) in _IN_JUNK.items():
        at = media.find(literal, start + ahead, end)
        while at >= 0:
            if magic := pattern.match(media, at - ahead):
                first, end = Sniffed(name=str(magic.lastgroup), start=at - ahead), at
                break
            at = media.find(literal, at + 1, end)
    return first


def _frames(media: bytes, at: int, frame_bytes: Callable[[bytes], int], most: int) -> tuple[int, int]:
    """How many frames follow on one another, and where they end."""
    frames = 0
    while frames < most and (size := frame_bytes(media[at : at + 8])):
        at += size
        frames += 1
    return frames, at


_MPEG_BITRATES_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AC3_BITRATES_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def mpeg_frame_bytes(head: bytes) -> int:
    """How long the frame of MPEG audio is that begins with this header; 0 for what is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return 0
    rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits_per_s = _MPEG_BITRATES_KBPS[version == 3, layer][bitrate - 1] * 1_000
    if layer == 1:
        return (12 * bits_per_s // rate_hz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits_per_s // rate_hz + padding


def _adts_frame_bytes(head: bytes) -> int:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0


def _ac3_frame_bytes(head: bytes) -> int:
    """ATSC A/52, section 5.4.1 and table 5.18."""
    if len(head) < 7 or head[:2] != b"\x0bw" or head[5] >> 3 > 10:
        return 0
    rate, code = head[4] >> 6, head[4] & 0x3F
    if rate == 3 or code >= 2 * len(_AC3_BITRATES_KBPS):
        return 0
    kbps = _AC3_BITRATES_KBPS[code >> 1]
    return 2 * (2 * kbps, kbps * 320 // 147 + (code & 1), 3 * kbps)[rate]


def _eac3_frame_bytes(head: bytes) -> int:
    """ATSC A/52, annex E, section 2.3.1."""
    if len(head) < 7 or head[:2] != b"\x0bw" or not 10 < head[5] >> 3 <= 16:
        return 0
    size = 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    return size if size > 7 else 0


def _dts_frame_bytes(head: bytes) -> int:
    """ETSI TS 102 114, table 5-1; the core alone."""
    if len(head) < 8 or head[:4] != b"\x7f\xfe\x80\x01":
        return 0
    size = ((head[5] & 3) << 12 | head[6] << 4 | head[7] >> 4) + 1
    return size if size > 95 else 0


_FRAME_BYTES: dict[str, Callable[[bytes], int]] = {
    "mp3": mpeg_frame_bytes,
    "aac": _adts_frame_bytes,
    "ac3": _ac3_frame_bytes,
    "eac3": _eac3_frame_bytes,
    "dts": _dts_frame_bytes,
}
_SYNC = re.compile(
    rb"(?P<mp3>\xff(?=[\xe2-\xef\xf2-\xf7\xfa-\xff][\x10-\xef]))|(?P<aac>\xff(?=[\xf0\xf1\xf8\xf9]))"
    rb"|(?P<ac3>\x0b(?=w...[\x00-\x57]))|(?P<eac3>\x0b(?=w...[\x58-\x87]))"
    rb"|(?P<dts>\x7f(?=\xfe\x80\x01))",
    re.DOTALL,
)
