"""Which container media bytes are, told by their first bytes and never by a name."""


def sniff(media: bytes) -> str | None:
    """The container by its first bytes, or None."""
    at = 0
    while media[at : at + 3] == b"ID3" and len(media) >= at + 10:
        size = 0
        for byte in media[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if media[at + 5] & 0x10 else 0)
    head = media[at : at + 12]
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    return _sniff_mpeg(media, at)


_MPEG_BITRATES_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_SEARCH_BYTES = 4_096  # cut files begin within a frame, and some writers pad with zeros
_MPEG_FRAMES = 3


def _sniff_mpeg(media: bytes, start: int) -> str | None:
    """MPEG audio or ADTS where three frames in a row follow on one another."""
    end = min(start + _MPEG_SEARCH_BYTES, len(media))
    at = media.find(b"\xff", start, end)
    while at >= 0:
        for name, frame_bytes in (("mp3", mpeg_frame_bytes), ("aac", _adts_frame_bytes)):
            position, frames = at, 0
            while frames < _MPEG_FRAMES and (size := frame_bytes(media[position : position + 7])):
                position += size
                frames += 1
            if frames == _MPEG_FRAMES or (frames and position >= len(media)):
                return name
        at = media.find(b"\xff", at + 1, end)
    return None


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
