"""The clip is exact in every container, short and odd recordings are defined, and hostile ones cost one item each."""

import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from benchmarks.clip_exactness import difference, reference_T
from pipeline.media import clip as clip_module
from pipeline.media.clip import ClipDecoder, ClipError, ClipSpec, DecodeConfig, DecoderUnavailableError, ShortPolicy
from pipeline.media.protocol import CLIP_RATE_HZ, MIB
from pipeline.media.sniff import Sniffed, sniff
from schemas.reasons import Reason
from tests.media import DECLARED_PRIMING, KINDS, RECORDING_S, clicks_CT, encoded, made, music_CT, remuxed, wav
from tests.pipeline.jobs import lives

pytestmark = pytest.mark.slow

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg command line is the reference")


@pytest.fixture(scope="module")
def decoder() -> Iterator[ClipDecoder]:
    with ClipDecoder() as shared:
        yield shared


def refusal(decoder: ClipDecoder, media: bytes, spec: ClipSpec | None = None) -> ClipError:
    with pytest.raises(ClipError) as caught:
        decoder.cut(media, spec or ClipSpec())
    return caught.value


# --- Exactness ---------------------------------------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DECLARED_PRIMING])
def test_clip_equals_the_same_seconds_of_a_full_decode(kind: str, decoder: ClipDecoder, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(made(kind))
    whole_T = reference_T(path)
    for spec in (ClipSpec(), ClipSpec(start_s=17.123, duration_s=2.5), ClipSpec(start_s=0, duration_s=5)):
        clip = decoder.cut(made(kind), spec)
        assert len(clip.pcm_T) == spec.samples
        found = difference(clip.pcm_T, whole_T[spec.start_sample : spec.start_sample + spec.samples])
        assert found.within_promise, (spec, found)
        # Beyond the promise: the resampler runs on the same grid, so the first and last samples match as well.
        assert found.lag_samples == 0
        assert found.residual_db < -60


@pytest.mark.parametrize("kind", KINDS)
def test_way_to_the_clip_is_walked_where_that_is_exact(kind: str, decoder: ClipDecoder) -> None:
    clip = decoder.cut(made(kind), ClipSpec())
    assert clip.walked is KINDS[kind][2]
    assert clip.source_rate_hz == (48_000 if clip.codec == "opus" else KINDS[kind][0])


@pytest.mark.parametrize("kind", KINDS)
def test_click_at_30_s_is_the_first_sample(kind: str, decoder: ClipDecoder) -> None:
    rate_hz, make, _, delay = KINDS[kind]
    media = make(clicks_CT(34, rate_hz, [30.0, 31.5, 32.9], shift_samples=delay))
    clip = decoder.cut(media, ClipSpec(duration_s=3))
    loudness_T = np.abs(clip.pcm_T.astype(np.int32))
    for at_s in (0.0, 1.5, 2.9):
        centre = round(at_s * CLIP_RATE_HZ)
        window_T = loudness_T[max(0, centre - 4_000) : centre + 4_000]
        onset = int(np.argmax(window_T > window_T.max() / 3)) + max(0, centre - 4_000)
        assert window_T.max() > 3_000
        assert abs(onset - centre) <= 16


def test_made_files_are_what_their_names_say() -> None:
    cues = b"\x1c\x53\xbb\x6b"
    assert cues in made("webm")
    assert cues not in made("webm_no_cues")
    assert cues not in made("webm_vorbis_no_cues")
    assert b"Xing" in made("mp3_vbr")[:2_000]
    assert b"Info" in made("mp3_cbr")[:2_000]
    for kind in ("mp3_cbr_no_xing", "mp3_vbr_no_xing"):
        assert b"Xing" not in made(kind)
        assert b"Info" not in made(kind)


@needs_ffmpeg
def test_start_trimmed_by_an_edit_list_is_not_there(decoder: ClipDecoder, tmp_path: Path) -> None:
    source, trimmed = tmp_path / "source.m4a", tmp_path / "trimmed.m4a"
    source.write_bytes(made("m4a"))
    command = ["ffmpeg", "-v", "fatal", "-nostdin", "-ss", "7.3", "-i", str(source), "-c", "copy", str(trimmed)]
    subprocess.run(command, check=True)
    spec = ClipSpec(start_s=20, duration_s=30)
    clip = decoder.cut(trimmed.read_bytes(), spec)
    expected_T = reference_T(trimmed)[spec.start_sample : spec.start_sample + spec.samples]
    assert difference(clip.pcm_T, expected_T).within_promise


@needs_ffmpeg
def test_gap_in_the_time_stamps_is_not_filled(decoder: ClipDecoder, tmp_path: Path) -> None:
    """A webm from which a second of packets is missing: the recording is what is there."""
    media = remuxed(made("webm"), "webm", without_s=(10, 11))
    path = tmp_path / "gap.webm"
    path.write_bytes(media)
    clip = decoder.cut(media, ClipSpec(duration_s=29))
    assert difference(clip.pcm_T, reference_T(path)[480_000:944_000]).within_promise


def test_two_decoders_give_equal_samples_whatever_came_before(decoder: ClipDecoder) -> None:
    with ClipDecoder() as other:
        for kind in ("mp3_vbr", "opus", "m4a", "ogg"):
            other.cut(made(kind), ClipSpec(start_s=5, duration_s=1))
            assert other.cut(made(kind), ClipSpec()).sha256 == decoder.cut(made(kind), ClipSpec()).sha256


# --- Formats -----------------------------------------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("8_khz_mulaw", lambda: wav(music_CT(36, 8_000), 8_000, "ULAW")),
        ("16_khz", lambda: wav(music_CT(36, 16_000), 16_000)),
        ("odd_rate", lambda: wav(music_CT(36, 11_027), 11_027)),
        ("96_khz_stereo", lambda: wav(music_CT(36, 96_000, 2), 96_000, "PCM_24")),
        ("8_bit", lambda: wav(music_CT(36, 22_050), 22_050, "PCM_U8")),
        ("double", lambda: wav(music_CT(36, 44_100, 2), 44_100, "DOUBLE")),
        ("5.1_flac", lambda: encoded(music_CT(36, 48_000, 6), 48_000, "flac", "flac", layout="5.1")),
        ("5.1_aac", lambda: encoded(music_CT(36, 48_000, 6), 48_000, "mp4", "aac", layout="5.1")),
        ("quad_wav_without_layout", lambda: wav(music_CT(36, 32_000, 4), 32_000)),
        ("stereo_mp3", lambda: encoded(music_CT(36, 44_100, 2), 44_100, "mp3", "libmp3lame", layout="stereo")),
    ],
)
def test_rates_and_layouts_are_mixed_as_ffmpeg_does(
    name: str, make: Callable[[], bytes], decoder: ClipDecoder, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(make())
    clip = decoder.cut(path.read_bytes(), ClipSpec(duration_s=5))
    found = difference(clip.pcm_T, reference_T(path)[480_000:560_000])
    assert found.within_promise, found
    # The level too: an unscaled downmix would be 3 dB louder.
    assert np.sqrt(np.mean(clip.pcm_T.astype(float) ** 2)) > 100


def test_stereo_is_the_mean_of_its_channels(decoder: ClipDecoder) -> None:
    left_T = music_CT(61, 16_000)[0]
    clip = decoder.cut(wav(np.stack([left_T, np.zeros_like(left_T)]), 16_000), ClipSpec())
    expected_T = np.round(left_T[480_000:960_000] * (1 << 15)) / 2
    assert np.abs(clip.pcm_T - expected_T).max() <= 1


def test_loud_floats_are_clipped(decoder: ClipDecoder) -> None:
    clip = decoder.cut(wav(np.full((1, 61 * 16_000), 1e6, np.float32), 16_000, "FLOAT"), ClipSpec())
    assert (clip.pcm_T == 32_767).all()


def test_silence_is_a_clip(decoder: ClipDecoder) -> None:
    clip = decoder.cut(encoded(np.zeros((1, 61 * 44_100), np.float32), 44_100, "flac", "flac"), ClipSpec())
    assert len(clip.pcm_T) == 480_000
    assert not clip.pcm_T.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused_within_the_clip_only(value: float, decoder: ClipDecoder) -> None:
    wave_CT = music_CT(61, 16_000)
    wave_CT[0, 100] = value
    assert len(decoder.cut(wav(wave_CT, 16_000, "FLOAT"), ClipSpec()).pcm_T) == 480_000
    wave_CT[0, 40 * 16_000] = value
    assert refusal(decoder, wav(wave_CT, 16_000, "FLOAT")).reason is Reason.NOT_FINITE


@needs_ffmpeg
@pytest.mark.parametrize("default_stream", [None, 0, 1])
def test_of_several_streams_the_one_is_cut_that_ffmpeg_takes(
    default_stream: int | None, decoder: ClipDecoder, tmp_path: Path
) -> None:
    media = encoded(
        music_CT(61, 16_000, seed=1),
        16_000,
        "matroska",
        "flac",
        more_CT=[music_CT(61, 16_000, seed=2)[:, ::-1]],
        default_stream=default_stream,
    )
    path = tmp_path / "two.mka"
    path.write_bytes(media)
    clip = decoder.cut(media, ClipSpec())
    assert difference(clip.pcm_T, reference_T(path)[480_000:960_000]).within_promise
    if default_stream == 1:
        second_T = (music_CT(61, 16_000, seed=2)[0, ::-1] * 32_767).astype(np.int16)
        assert difference(clip.pcm_T, second_T[480_000:960_000]).within_promise


def test_tags_that_are_not_utf8_do_no_harm(decoder: ClipDecoder) -> None:
    tag = b"TIT2" + struct.pack(">IH", 8, 0) + b"\x03\xff\xfe\xfa\x80abc"
    media = b"ID3\x04\x00\x00" + bytes([0, 0, 0, len(tag)]) + tag + made("mp3_cbr_no_xing")
    assert len(decoder.cut(media, ClipSpec()).pcm_T) == 480_000


# --- Short recordings --------------------------------------------------------------------------------------------


def config(policy: ShortPolicy) -> DecodeConfig:
    return DecodeConfig(short_policy=policy)


def test_short_recording_is_dropped_moved_or_padded_by_policy(decoder: ClipDecoder) -> None:
    wave_CT = music_CT(45.5, 16_000)
    media = encoded(wave_CT, 16_000, "flac", "flac")
    pcm_T = np.round(wave_CT[0].astype(np.float64) * (1 << 15)).astype(np.int16)
    short = refusal(decoder, media)
    assert short.reason is Reason.TOO_SHORT
    assert "45.500" in short.detail
    with ClipDecoder(config(ShortPolicy.FROM_END)) as moving:
        clip = moving.cut(media, ClipSpec())
        assert clip.start_s == 15.5
        assert clip.padded_samples == 0
        assert np.abs(clip.pcm_T - pcm_T[248_000:728_000]).max() <= 1
        assert refusal(moving, encoded(wave_CT[:, : 29 * 16_000], 16_000, "flac", "flac")).reason is Reason.TOO_SHORT
    with ClipDecoder(config(ShortPolicy.PAD)) as padding:
        clip = padding.cut(media, ClipSpec())
        assert clip.start_s == 30
        assert clip.padded_samples == 480_000 - 248_000
        assert np.abs(clip.pcm_T[:248_000] - pcm_T[480_000:]).max() <= 1
        assert not clip.pcm_T[248_000:].any()
        # Nothing at all of the clip is there.
        assert refusal(padding, media, ClipSpec(start_s=46)).reason is Reason.TOO_SHORT


@pytest.mark.parametrize("kind", ["mp3_vbr", "ogg", "opus", "m4a", "webm", "wav"])
def test_clip_moved_back_ends_where_the_recording_ends(kind: str) -> None:
    with ClipDecoder(config(ShortPolicy.FROM_END)) as moving:
        clip = moving.cut(made(kind), ClipSpec(start_s=50, duration_s=30))
        assert clip.padded_samples <= 1
        assert clip.start_s == pytest.approx(RECORDING_S - 30, abs=0.06)
        exact = moving.cut(made(kind), ClipSpec(start_s=clip.start_s, duration_s=20))
    assert np.array_equal(clip.pcm_T[: 20 * CLIP_RATE_HZ], exact.pcm_T)


@pytest.mark.parametrize(("missing", "kept"), [(0, True), (320, True), (321, False)])
def test_twenty_milliseconds_may_be_missing_at_the_end(missing: int, kept: bool, decoder: ClipDecoder) -> None:
    media = wav(music_CT(60, 16_000)[:, : 960_000 - missing], 16_000)
    if kept:
        clip = decoder.cut(media, ClipSpec())
        assert clip.padded_samples == missing
        assert not clip.pcm_T[480_000 - missing :].any()
    else:
        assert refusal(decoder, media).reason is Reason.TOO_SHORT


@pytest.mark.parametrize("kind", KINDS)
def test_recording_of_exactly_the_clip_s_end_is_long_enough(kind: str, decoder: ClipDecoder) -> None:
    rate_hz, make, _, _ = KINDS[kind]
    clip = decoder.cut(make(music_CT(6, rate_hz)), ClipSpec(start_s=3, duration_s=3))
    assert clip.padded_samples <= 1


# --- Hostile media -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (b"", Reason.MEDIA_EMPTY),
        (b"\0" * 5_000, Reason.UNKNOWN_CONTAINER),
        (b"<!doctype html><html><body>Sign in to continue</body></html>", Reason.UNKNOWN_CONTAINER),
        (bytes(range(7, 250, 11)), Reason.UNKNOWN_CONTAINER),
        (b"OggS", Reason.CORRUPT_MEDIA),
        (b"RIFF\xff\xff\xff\xffWAVE", Reason.CORRUPT_MEDIA),
        (b"\x1aE\xdf\xa3" + b"\xff" * 2_000, Reason.CORRUPT_MEDIA),
        (b"\0\0\0\x20ftypM4A " + b"\0" * 200, Reason.CORRUPT_MEDIA),
        (b"fLaC" + b"\0" * 200, Reason.CORRUPT_MEDIA),
    ],
)
def test_rubbish_has_a_reason(media: bytes, reason: Reason, decoder: ClipDecoder) -> None:
    assert refusal(decoder, media).reason is reason


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3_vbr", "ogg", "opus", "m4a", "webm", "mp4_video", "aac"])
def test_damaged_files_have_a_reason_or_a_clip(kind: str, decoder: ClipDecoder) -> None:
    media = made(kind)
    allowed = {480_000, Reason.TOO_SHORT, Reason.CORRUPT_MEDIA, Reason.UNKNOWN_CONTAINER, Reason.NO_AUDIO}
    random = np.random.default_rng(5)
    flipped = np.frombuffer(media, np.uint8).copy()
    flipped[random.integers(0, len(flipped), 400)] ^= 0xFF
    for damaged in (media[: len(media) // 2], bytes(4_096) + media[4_096:], flipped.tobytes(), media[:200]):
        try:
            outcome: Reason | int = len(decoder.cut(damaged, ClipSpec()).pcm_T)
        except ClipError as error:
            outcome = error.reason
        assert outcome in allowed
    assert refusal(decoder, media[: len(media) // 2]).reason in {Reason.TOO_SHORT, Reason.CORRUPT_MEDIA}
    assert len(decoder.cut(media, ClipSpec()).pcm_T) == 480_000


def test_video_without_sound_has_no_audio(decoder: ClipDecoder) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for index in range(20):
            image = av.VideoFrame(64, 64, "yuv420p")
            image.pts = index
            output.mux(stream.encode(image))
        output.mux(stream.encode(None))
    assert refusal(decoder, file.getvalue()).reason is Reason.NO_AUDIO


def test_unlisted_codec_is_refused(decoder: ClipDecoder) -> None:
    media = encoded(music_CT(2, 8_000), 8_000, "wav", "adpcm_yamaha")
    assert refusal(decoder, media).reason is Reason.UNKNOWN_CODEC


@pytest.mark.parametrize(
    "media",
    [
        wav(np.zeros((1, 8_000), np.float32), 1_000_000),
        wav(np.zeros((1, 8_000), np.float32), 50),
        wav(np.zeros((64, 8_000), np.float32), 16_000),
    ],
    ids=["1 MHz", "50 Hz", "64 channels"],
)
def test_absurd_formats_are_refused(media: bytes, decoder: ClipDecoder) -> None:
    assert refusal(decoder, media, ClipSpec(start_s=0, duration_s=0.1)).reason is Reason.BAD_AUDIO_FORMAT


def test_too_many_streams_are_refused(decoder: ClipDecoder) -> None:
    wave_CT = music_CT(1, 8_000)
    media = encoded(wave_CT, 8_000, "matroska", "pcm_s16le", more_CT=[wave_CT] * 40)
    assert refusal(decoder, media).reason is Reason.BAD_AUDIO_FORMAT


def test_media_over_the_limit_does_not_reach_the_helper() -> None:
    with ClipDecoder(DecodeConfig(max_media_bytes=1_000)) as small:
        assert refusal(small, bytes(1_001)).reason is Reason.MEDIA_TOO_LARGE
        assert small.helper_pid is None


def playlists(address: str, path: Path) -> dict[str, bytes]:
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}/a.ts\n#EXT-X-ENDLIST\n".encode(),
        "hls_file": f"#EXTM3U\n#EXTINF:10,\nfile://{path}\n".encode(),
        "concat": f"ffconcat version 1.0\nfile '{path}'\nfile '{address}/x.wav'\n".encode(),
        "sdp": f"v=0\nc=IN IP4 127.0.0.1\nm=audio {address.rsplit(':')[-1]} RTP/AVP 0\n".encode(),
        "dash": f'<?xml version="1.0"?><MPD><BaseURL>{address}/</BaseURL></MPD>'.encode(),
        "hls_behind_id3": b"ID3\x04\0\0\0\0\0\0" + f"#EXTM3U\n#EXTINF:1,\n{address}/a.ts\n".encode(),
        "hls_behind_ogg_magic": b"OggS\n" + f"#EXTM3U\n#EXTINF:1,\n{address}/a.ts\n".encode(),
    }


def test_playlist_by_any_name_opens_nothing(decoder: ClipDecoder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(made("wav"))
    with socket.create_server(("127.0.0.1", 0)) as witness:
        witness.settimeout(0.2)
        address = f"http://127.0.0.1:{witness.getsockname()[1]}"
        for name, media in playlists(address, secret).items():
            assert refusal(decoder, media).reason in {Reason.UNKNOWN_CONTAINER, Reason.CORRUPT_MEDIA}, name
        with pytest.raises(TimeoutError):
            witness.accept()


def lying_wav(claimed_bytes: int) -> bytes:
    honest = wav(music_CT(2, 16_000), 16_000)
    return honest[:40] + struct.pack("<I", claimed_bytes) + honest[44:]


def test_lying_durations_cost_nothing(decoder: ClipDecoder) -> None:
    decoder.cut(made("flac"), ClipSpec())
    helper = psutil.Process(decoder.helper_pid)
    before_s = sum(helper.cpu_times()[:2])
    assert refusal(decoder, lying_wav(0xFFFF_FF00)).reason is Reason.TOO_SHORT
    flac = bytearray(encoded(music_CT(2, 16_000), 16_000, "flac", "flac"))
    flac[21:26] = b"\xff" * 5  # the total number of samples in STREAMINFO
    assert refusal(decoder, bytes(flac)).reason in {Reason.TOO_SHORT, Reason.CORRUPT_MEDIA}
    assert decoder.helper_pid == helper.pid
    assert sum(helper.cpu_times()[:2]) - before_s < 1


# --- The helper process ------------------------------------------------------------------------------------------


def sabotaged(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Helpers that are started from now on run `code` (which sees `worker`) before they serve."""
    script = (
        "import sys; sys.path.extend(sys.argv[2:]); import ctypes, os, socket, subprocess, time, json\n"
        f"import pipeline.media.helper as worker\n{code}\nworker.main(sys.argv[1])"
    )
    monkeypatch.setattr(clip_module, "_BOOTSTRAP", script)


ON_BAD_MEDIA = """
honest = worker.cut_clip
def cut_clip(media, spec, config):
    return act() if media.startswith(b"BAD") else honest(media, spec, config)
worker.cut_clip = cut_clip
def act():
"""


@pytest.mark.parametrize(
    ("act", "reason", "detail"),
    [
        ("    ctypes.string_at(0)", Reason.DECODER_CRASHED, "SIGSEGV"),
        ("    os._exit(3)", Reason.DECODER_CRASHED, "left with 3"),
        ("    os.kill(os.getpid(), 9)", Reason.DECODER_CRASHED, "SIGKILL"),
        ("    raise RuntimeError('bug')", Reason.DECODER_CRASHED, "left with 1"),
        ("    while True: pass", Reason.DECODE_TIMEOUT, "3 s"),
        ("    time.sleep(600)", Reason.DECODE_TIMEOUT, "3 s"),
        ("    bytearray(400 << 20)", Reason.DECODER_MEMORY, "bytes"),
        ("    return {'start_sample': 0}, bytes(3)", Reason.DECODER_CRASHED, "not one to this request"),
        ("    return {'start_sample': 0}, bytes(4 * 16_001)", Reason.DECODER_CRASHED, "not one to this request"),
        ("    return {'start_sample': 0}, bytes(4)", Reason.DECODER_CRASHED, "no sense"),
        (
            "    return dict.fromkeys(('start_sample', 'padded_samples', 'source_rate_hz', 'source_channels'), 1)"
            " | {'container': '', 'codec': '', 'walked': True}, bytes(4)",
            Reason.DECODER_CRASHED,
            "no sense",
        ),
        ("    return {'reason': 'removed', 'detail': ''}, b''", Reason.DECODER_CRASHED, "no sense"),
        ("    return {'reason': ['x'], 'detail': ''}, b''", Reason.DECODER_CRASHED, "no sense"),
        ("    return ['x'] * 3, b''", Reason.DECODER_CRASHED, ""),
    ],
)
def test_bad_item_costs_itself_alone(act: str, reason: Reason, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotaged(monkeypatch, ON_BAD_MEDIA + act)
    # Short only where it is waited for: on a busy machine a helper that crashes may take seconds to be gone.
    deadline_s = 3 if reason is Reason.DECODE_TIMEOUT else 60
    limits = DecodeConfig(deadline_s=deadline_s, memory_bytes=300 * MIB, max_media_bytes=200 * MIB)
    with ClipDecoder(limits) as decoder:
        spec = ClipSpec(start_s=1, duration_s=1)
        before = decoder.cut(made("flac"), spec)
        started = time.monotonic()
        error = refusal(decoder, b"BAD", spec)
        assert error.reason is reason
        assert detail in error.detail
        assert time.monotonic() - started < 50
        assert decoder.cut(made("flac"), spec).sha256 == before.sha256


def test_item_that_was_not_to_blame_is_tried_again(decoder: ClipDecoder) -> None:
    decoder.cut(made("flac"), ClipSpec())
    pid = decoder.helper_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert len(decoder.cut(made("flac"), ClipSpec()).pcm_T) == 480_000
    assert decoder.helper_pid != pid


def test_stopped_helper_is_given_up_at_the_deadline() -> None:
    with ClipDecoder(DecodeConfig(deadline_s=3)) as decoder:
        decoder.cut(made("flac"), ClipSpec())
        assert decoder.helper_pid is not None
        os.kill(decoder.helper_pid, signal.SIGSTOP)
        assert refusal(decoder, made("flac")).reason is Reason.DECODE_TIMEOUT
        assert len(decoder.cut(made("flac"), ClipSpec()).pcm_T) == 480_000


def test_media_that_decode_to_more_than_the_memory_are_refused() -> None:
    """Twenty minutes of silence in a small file, asked for in one clip."""
    media = encoded(np.zeros((1, 1_210 * 8_000), np.float32), 8_000, "flac", "flac")
    limits = DecodeConfig(memory_bytes=72 * MIB, max_media_bytes=8 * MIB)
    with ClipDecoder(limits) as decoder:
        assert refusal(decoder, media, ClipSpec(start_s=0, duration_s=1_200)).reason is Reason.DECODER_MEMORY
        assert len(decoder.cut(media, ClipSpec()).pcm_T) == 480_000


def test_helper_can_open_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.write_text("x")
    tries = {
        "read": f"open({str(target)!r}).read()",
        "write": f"open({str(tmp_path / 'new')!r}, 'w')",
        "socket": "socket.socket()",
        "pipe": "os.pipe()",
        "process": "subprocess.Popen(['true'])",
    }
    act = "    found = {}\n" + "".join(
        f"    try:\n        {attempt}\n        found[{name!r}] = 'done'\n"
        f"    except OSError as error: found[{name!r}] = error.strerror\n"
        for name, attempt in tries.items()
    )
    report = (
        "    found['environment'] = sorted(os.environ)\n"
        "    return {'reason': 'corrupt_media', 'detail': json.dumps(found)}, b''"
    )
    sabotaged(monkeypatch, ON_BAD_MEDIA + act + report)
    with ClipDecoder() as decoder:
        found = json.loads(refusal(decoder, b"BAD").detail)
    environment = set(found.pop("environment"))
    assert environment <= {"LD_LIBRARY_PATH", "LC_CTYPE", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}
    assert set(found) == set(tries)
    assert "done" not in found.values()
    assert not (tmp_path / "new").exists()


def test_helper_is_replaced_after_so_many_items() -> None:
    with ClipDecoder(DecodeConfig(recycle_after=2)) as decoder:
        pids = []
        for _ in range(5):
            decoder.cut(made("flac"), ClipSpec(start_s=1, duration_s=1))
            pids.append(decoder.helper_pid)
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


def test_helper_is_replaced_when_it_has_grown() -> None:
    with ClipDecoder(DecodeConfig(recycle_rss_bytes=1)) as decoder:
        decoder.cut(made("flac"), ClipSpec(start_s=1, duration_s=1))
        first = decoder.helper_pid
        decoder.cut(made("flac"), ClipSpec(start_s=1, duration_s=1))
        assert decoder.helper_pid != first


def test_many_items_do_not_grow_the_helper() -> None:
    def own_bytes(pid: int | None) -> int:
        """Without pages of files, which the kernel drops and brings back as it likes."""
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return sum(int(lines[name].split()[0]) << 10 for name in ("RssAnon", "VmSwap"))

    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    with ClipDecoder(DecodeConfig(recycle_after=10_000)) as decoder:
        spec = ClipSpec(start_s=2, duration_s=2)
        for _ in range(20):
            decoder.cut(made("mp4_video"), spec)
            decoder.cut(made("wav"), spec)
        before = own_bytes(decoder.helper_pid)
        for _ in range(100):
            decoder.cut(made("mp4_video"), spec)
            decoder.cut(made("wav"), spec)
        assert own_bytes(decoder.helper_pid) - before < 8 * MIB


@pytest.mark.parametrize("act", ["while True: pass", "time.sleep(600)"])
def test_helper_ends_with_its_parent(act: str) -> None:
    """The parent is killed in the middle of an item that would last for ever."""
    code = (
        "import sys, threading, time\n"
        "from pipeline.media import clip\n"
        "clip._BOOTSTRAP = sys.argv[1]\n"
        "decoder = clip.ClipDecoder(clip.DecodeConfig(deadline_s=5))\n"
        "threading.Thread(target=lambda: decoder.cut(b'BAD', clip.ClipSpec()), daemon=True).start()\n"
        "while decoder.helper_pid is None: time.sleep(0.05)\n"
        "time.sleep(0.3); print(decoder.helper_pid, flush=True); time.sleep(60)\n"
    )
    bootstrap = (
        "import sys; sys.path.extend(sys.argv[2:])\nimport time, pipeline.media.helper as worker\n"
        f"def answer(*_):\n    {act}\nworker.answer = answer\nworker.main(sys.argv[1])"
    )
    root = Path(clip_module.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, bootstrap], cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        helper = psutil.Process(int(parent.stdout.readline()))
        assert lives(helper)
        parent.kill()
    deadline = time.monotonic() + 60
    while lives(helper) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not lives(helper)


def test_idle_helper_ends_when_the_decoder_closes() -> None:
    decoder = ClipDecoder()
    decoder.cut(made("flac"), ClipSpec(start_s=1, duration_s=1))
    assert decoder.helper_pid is not None
    helper = psutil.Process(decoder.helper_pid)
    decoder.close()
    assert decoder.helper_pid is None
    assert not lives(helper)
    decoder.close()


def test_helper_that_does_not_start_is_no_fault_of_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_module, "_BOOTSTRAP", "raise SystemExit(7)")
    with ClipDecoder() as decoder, pytest.raises(DecoderUnavailableError, match="left with 7"):
        decoder.cut(made("flac"), ClipSpec())


def test_works_from_another_folder_with_a_hostile_environment(tmp_path: Path) -> None:
    """A worker process of a runner: elsewhere, with modules of the same names lying around."""
    (tmp_path / "av.py").write_text("raise SystemExit('the wrong av')")
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    media = tmp_path / "recording.flac"
    media.write_bytes(made("flac"))
    root = Path(clip_module.__file__).parents[2]
    code = (
        f"import os, sys; sys.path.insert(0, {str(root)!r})\n"
        "from pipeline.media.clip import ClipDecoder, ClipSpec\n"
        f"os.environ['PYTHONPATH'] = {str(tmp_path)!r}\n"
        f"with ClipDecoder() as decoder: print(decoder.cut(open({str(media)!r}, 'rb').read(), ClipSpec()).sha256)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    with ClipDecoder() as decoder:
        assert done.stdout.strip() == decoder.cut(made("flac"), ClipSpec()).sha256


# --- Configuration and sniffing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_s": -1},
        {"start_s": float("nan")},
        {"duration_s": 0},
        {"duration_s": float("inf")},
    ],
)
def test_impossible_specs_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ClipSpec(**wrong)


def test_configuration_is_plain_and_comes_back() -> None:
    settings = DecodeConfig(short_policy=ShortPolicy.PAD, deadline_s=3)
    assert DecodeConfig.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    with pytest.raises(ValueError, match="memory_bytes"):
        DecodeConfig(memory_bytes=MIB)
    with pytest.raises(ValueError, match="squash"):
        DecodeConfig(short_policy="squash")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_containers_are_told_by_their_first_bytes(kind: str) -> None:
    expected = {"m4a": "mp4", "opus": "ogg", "webm": "matroska", "mkv": "matroska"}
    name = kind.split("_")[0]
    assert sniff(made(kind)) == Sniffed(name=expected.get(name, name), start=0)
