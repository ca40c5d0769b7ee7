"""Containers are told by their bytes, behind tags and junk too, and what is found there is cut as if it stood alone."""

import functools
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clip_exactness import difference, reference_T
from pipeline.media.cut import cut_clip
from pipeline.media.opened import DEMUXERS, Refusal
from pipeline.media.protocol import ClipSpec, DecodeConfig
from pipeline.media.sniff import SEARCH_BYTES, Sniffed, sniff
from schemas.reasons import Reason
from tests.media import KINDS, LINEAR_KINDS, encoded, music_CT, with_times

SECONDS = 2.4
SPEC = ClipSpec(start_s=0.5, duration_s=1.5)
WHOLE = ("mp3", "aac")  # their demuxers look for the first frame themselves
ALONE = {"wav": "wav", "aiff": "aiff", "flac": "flac", "mp3_cbr": "mp3", "aac": "aac", "ogg": "ogg", "opus": "ogg"}
ALONE |= {"m4a": "mp4", "webm": "matroska"} | {kind: kind.partition("_")[0] for kind in LINEAR_KINDS}


@functools.cache
def small(kind: str) -> bytes:
    rate_hz, make = LINEAR_KINDS[kind] if kind in LINEAR_KINDS else KINDS[kind][:2]
    return make(music_CT(SECONDS, rate_hz))


def id3(content: bytes, *, says: int | None = None, flags: int = 0, version: int = 4) -> bytes:
    size = len(content) if says is None else says
    form = bytes([version, 0, flags, *((size >> shift) & 0x7F for shift in (21, 14, 7, 0))])
    return b"ID3" + form + content + (b"3DI" + form if flags & 0x10 else b"")


def ape(content: bytes, *, says: int | None = None) -> bytes:
    size = (len(content) if says is None else says) + 32
    return b"".join(
        (
            struct.pack("<8sIIIIQ", b"APETAGEX", 2_000, size, 1, 0xA000_0000, 0) + content,
            struct.pack("<8sIIIIQ", b"APETAGEX", 2_000, size, 1, 0x8000_0000, 0),
        )
    )


NOISE = np.random.default_rng(3).bytes(1 << 20)
COVER = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + NOISE.replace(b"\xff", b"\xff\0") + b"\xff\xd9"
TRUE_TAGS = {
    "nothing": b"",
    "ID3": id3(bytes(300)),
    "ID3 of version 2": id3(bytes(300), version=2),
    "ID3 with a footer": id3(bytes(300), flags=0x10),
    "three ID3": id3(bytes(300)) * 3,
    "ID3 with a cover": id3(COVER),
    "APE": ape(bytes(300)),
    "APE, ID3, APE": ape(b"x") + id3(b"y" * 1_000) + ape(COVER),
}
JUNK = {
    "5,000 zeros": bytes(5_000),
    "a mebibyte of zeros": bytes(1 << 20),
    "noise": NOISE[:5_001],
    "ID3 and zeros that it does not count": id3(bytes(300)) + bytes(6_000),
    "ID3 that says less": id3(COVER, says=700),
    "ID3 that says more": id3(bytes(300), says=1_300),
    "ID3 that says more than there is": id3(bytes(300), says=1 << 27),
    "ID3 whose size is none": id3(bytes(300))[:6] + b"\xff" * 4 + bytes(300),
    "APE that says more than there is": ape(bytes(300), says=1 << 31),
    "ID3v1": b"TAG" + bytes(125),
    "a line": b"\r\n",
    "half a frame": bytes(5) + b"\xff\xf1\x50\x80\x7f\xff\xfc" + bytes(700),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALONE)
def test_the_container_is_found_behind_tags_and_junk(kind: str) -> None:
    name = ALONE[kind]
    for title, front in (TRUE_TAGS | JUNK).items():
        if front in JUNK.values() and name == "mpegps":
            continue  # four bytes that are anywhere are not searched for
        found = sniff(front + small(kind))
        assert found is not None, title
        assert found.name == name, title
        lies = "more than there is" in title
        start = len(front) + (4 if kind == "mpegts_ac3" else 0)
        if name not in WHOLE or lies:
            assert found.start in (start, len(front)) or "says more" in title, title
        else:
            assert found.start == 0, title


@pytest.mark.parametrize("kind", ["wav", "flac", "aac", "ogg", "m4a", "webm", "mpegts_aac", "asf_wmav2", "ape_ape"])
def test_the_clip_is_that_of_the_recording_alone(kind: str) -> None:
    alone = cut_clip(small(kind), SPEC, DecodeConfig())
    for front in (TRUE_TAGS["APE, ID3, APE"], JUNK["5,000 zeros"], JUNK["ID3 that says more than there is"]):
        assert cut_clip(front + small(kind) + ape(b"at the end"), SPEC, DecodeConfig()) == alone


@pytest.mark.slow
def test_an_mp3_is_cut_behind_more_junk_than_ffmpeg_gets_over() -> None:
    for title in ("a mebibyte of zeros", "ID3 that says less"):
        assert cut_clip(JUNK[title] + small("mp3_cbr"), SPEC, DecodeConfig())[0]["padded_samples"] == 0


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg command line is the reference")


@needs_ffmpeg
@pytest.mark.parametrize("title", ["5,000 zeros", "noise", "APE", "three ID3", "ID3 with a cover"])
def test_the_clip_of_an_mp3_behind_junk_is_ffmpeg_s(title: str, tmp_path: Path) -> None:
    media = (TRUE_TAGS | JUNK)[title] + small("mp3_cbr")
    (tmp_path / "recording").write_bytes(media)
    check_against_ffmpeg(media, tmp_path / "recording")


@needs_ffmpeg
@pytest.mark.parametrize("kind", LINEAR_KINDS)
def test_kinds_that_are_decoded_from_the_start_are_cut_as_ffmpeg_does(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(small(kind))
    meta = check_against_ffmpeg(small(kind), path)
    assert meta["container"] == ALONE[kind]
    assert meta["walked"] is False


def check_against_ffmpeg(media: bytes, path: Path) -> dict[str, object]:
    meta, samples = cut_clip(media, SPEC, DecodeConfig())
    clip_T = np.rint(np.frombuffer(samples, np.float32) * (1 << 15)).astype(np.int16)
    found = difference(clip_T, reference_T(path)[SPEC.start_sample : SPEC.start_sample + SPEC.samples])
    assert found.lag_samples == 0
    assert found.residual_db < -60
    return meta


def test_every_container_has_a_demuxer_and_a_test() -> None:
    assert set(ALONE.values()) == set(DEMUXERS)


@pytest.mark.parametrize("box", ["styp", "moov", "mdat", "free", "wide", "skip", "pnot", "uuid", "sidx"])
def test_an_mp4_may_begin_with_any_box(box: str) -> None:
    front = struct.pack(">I4s", 24, box.encode()) + b"isom" + bytes(12)
    assert sniff(front + small("m4a")) == Sniffed(name="mp4", start=0)


def test_an_mp4_that_begins_with_a_segment_s_type_is_cut() -> None:
    media = encoded(
        music_CT(SECONDS, 44_100),
        44_100,
        "mp4",
        "aac",
        options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    )
    alone = cut_clip(media, SPEC, DecodeConfig())
    assert cut_clip(struct.pack(">I4s4sI4s", 20, b"styp", b"msdh", 0, b"msdh") + media, SPEC, DecodeConfig()) == alone


def test_packets_of_a_transport_stream_may_carry_times_or_begin_cut() -> None:
    packets = small("mpegts_aac")
    alone = cut_clip(packets, SPEC, DecodeConfig())
    for media in (with_times(packets), small("mpegts_mp2")[100:187] + packets):
        assert cut_clip(media, SPEC, DecodeConfig()) == alone


def test_one_stray_header_in_a_small_file_is_not_the_file() -> None:
    """A header whose frame would reach beyond the end, in front of what does follow on one another."""
    adts, mpeg = b"\xff\xf1\x50\x80\x7f\xff\xfc", b"\xff\xfb\x90\x00"
    for media in (small("mp3_cbr")[:2_000], small("mp3_cbr")[:500], small("mp3_cbr")):
        found = sniff(b"\0" + adts + bytes(40) + media)
        assert found is not None
        assert found.name == "mp3"
    found = sniff(b"\0" + mpeg + bytes(40) + small("aac")[:900])
    assert found is not None
    assert found.name == "aac"
    assert sniff(adts + small("ac3_ac3")[:1_500]) == Sniffed(name="ac3", start=7)


@pytest.mark.parametrize(
    "media",
    [
        b"<!DOCTYPE html><p>" + bytes(200),
        b"#EXTM3U\nhttp://127.0.0.1/a.ts\n",
        b"PK\x03\x04" + bytes(60),
        b"%PDF-1.7\n" + bytes(5_000),
        b"RIFF\0\0\1\0WEBPVP8 ",
        b"\x89PNG\r\n\x1a\n" + bytes(5_000),
    ],
)
def test_what_says_that_it_is_something_else_is_not_searched(media: bytes) -> None:
    assert sniff(media + small("wav")) is None
    assert sniff(id3(b"x") + media + small("ogg")) is None


@pytest.mark.slow
def test_the_search_has_an_end() -> None:
    assert sniff(bytes(SEARCH_BYTES - 100) + small("wav")) == Sniffed(name="wav", start=SEARCH_BYTES - 100)
    assert sniff(bytes(SEARCH_BYTES) + small("wav")) is None
    assert sniff(b"\xff\xf1" * SEARCH_BYTES) is None
    assert sniff(b"\xff\xfb\x90\0" * SEARCH_BYTES) is None


@pytest.mark.parametrize("kind", ["pcm_s16le", "adpcm_yamaha"])
def test_a_codec_that_is_not_listed_is_refused_in_a_container_that_is(kind: str) -> None:
    media = encoded(music_CT(SECONDS, 16_000), 16_000, "avi", kind)
    if kind == "pcm_s16le":
        assert cut_clip(media, SPEC, DecodeConfig())[0]["codec"] == kind
        return
    with pytest.raises(Refusal) as caught:
        cut_clip(media, SPEC, DecodeConfig())
    assert caught.value.reason is Reason.UNKNOWN_CODEC


def test_a_stream_that_appears_on_the_way_does_no_harm() -> None:
    media = small("mpegts_aac") + small("mpegts_mp2")
    assert cut_clip(media, SPEC, DecodeConfig()) == cut_clip(small("mpegts_aac"), SPEC, DecodeConfig())
    with pytest.raises(Refusal):
        cut_clip(media, ClipSpec(start_s=50), DecodeConfig())
