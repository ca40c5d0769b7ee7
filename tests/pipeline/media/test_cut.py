"""A clip on the way to which not all is decoded is the same seconds of a full decode, whatever stands on the way."""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.clip_exactness import clip_and_full_decode_T, difference
from pipeline.media import cut
from pipeline.media.clip import ClipDecoder, ClipSpec
from pipeline.media.opened import OpenedMedia
from pipeline.media.packet_clock import OPUS_RATE_HZ, CannotWalk, PacketClock
from pipeline.media.protocol import CLIP_RATE_HZ, DecodeConfig
from tests.joined_media import OGG_OF_TWO_FORMS, OTHERS, UNSAFE, opus
from tests.media import Wave, encoded, music_CT, ogg_vorbis, wav

SPEC = ClipSpec(start_s=4, duration_s=1)
WHOLE_S = 5.5

STEREO: dict[str, Callable[[Wave], bytes]] = {
    "wav": lambda w: wav(w, 48_000),
    "mp3": lambda w: encoded(w, 48_000, "mp3", "libmp3lame", layout="stereo", bit_rate=128_000),
    "m4a": lambda w: encoded(w, 48_000, "ipod", "aac", layout="stereo", bit_rate=64_000),
    "opus": lambda w: encoded(w, 48_000, "ogg", "libopus", layout="stereo", bit_rate=64_000),
    "vorbis": lambda w: ogg_vorbis(w, 48_000),
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[ClipDecoder]:
    with ClipDecoder() as shared:
        yield shared


@functools.cache
def odd(kind: str, seam_s: float = 1.5) -> bytes:
    return (UNSAFE | OTHERS)[kind](seam_s, WHOLE_S)


@pytest.mark.slow
@pytest.mark.parametrize("kind", UNSAFE | OTHERS)
def test_a_seam_before_the_clip_does_not_shift_it(kind: str) -> None:
    clip_T, full_T, _ = clip_and_full_decode_T(odd(kind), SPEC)
    assert np.array_equal(clip_T, full_T[SPEC.start_sample : SPEC.start_sample + SPEC.samples])


@pytest.mark.slow
@pytest.mark.parametrize("kind", UNSAFE)
def test_without_its_checks_walking_would_shift_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test above would show nothing. The walk ends and the pre-roll begins at 2.95 s."""
    monkeypatch.setattr(PacketClock, "on_the_way", PacketClock.at_start)
    monkeypatch.setattr(cut, "_samples_in", lambda frames, _: sum(frame.samples for frame in frames))
    seam_s = 2.8 if kind == "mp3_44100_22050_44100" else 1.5  # the pre-roll shows a change that is not long past
    clip_T, full_T, walked = clip_and_full_decode_T(odd(kind, seam_s), SPEC)
    expected_T = full_T[SPEC.start_sample : SPEC.start_sample + SPEC.samples]
    assert walked
    assert len(clip_T) != SPEC.samples or not np.array_equal(clip_T, expected_T)


@pytest.mark.slow
@pytest.mark.parametrize("seam_s", [0.05, 2.9, 3.5, 3.97, 4.5, 5.2])
@pytest.mark.parametrize("kind", ["opus_chained", "mp3_joined", "mp3_44100_22050_44100", "mp3_xing_too_small"])
def test_the_seam_may_lie_anywhere(kind: str, seam_s: float) -> None:
    clip_T, full_T, walked = clip_and_full_decode_T(odd(kind, seam_s), SPEC)
    assert np.array_equal(clip_T, full_T[SPEC.start_sample : SPEC.start_sample + SPEC.samples])
    # A seam after the pre-roll costs nothing, where there is none before it.
    assert walked or seam_s < SPEC.start_s or kind != "mp3_xing_too_small"


def full_decode_T(media: bytes) -> NDArray[np.float32]:
    whole = cut.cut_linear(OpenedMedia(media, DecodeConfig()), 0, 60 * CLIP_RATE_HZ)
    return np.frombuffer(whole.samples, np.float32)


@pytest.mark.parametrize("kind", OGG_OF_TWO_FORMS)
def test_a_chained_ogg_goes_on_in_another_form(kind: str) -> None:
    links = OGG_OF_TWO_FORMS[kind](1.5, 3.0)
    whole_T = full_decode_T(b"".join(links))
    assert np.array_equal(whole_T, np.concatenate([full_decode_T(link) for link in links]))
    assert len(whole_T) == pytest.approx(3 * CLIP_RATE_HZ, abs=100)


def test_a_link_that_is_broken_ends_the_recording() -> None:
    first, second = OGG_OF_TWO_FORMS["opus_mono_stereo"](1.5, 3.0)
    assert np.array_equal(full_decode_T(first + second[:200]), full_decode_T(first))


def test_a_packet_that_lasts_another_time_than_its_container_says_is_not_walked() -> None:
    """Tracks of Matroska may say it of all their packets, wrongly."""
    with_it = OpenedMedia(opus(1), DecodeConfig())
    clock = PacketClock(with_it, OPUS_RATE_HZ)
    packet = next(itertools.islice(with_it.packets(), 5, None))
    assert clock.on_the_way(packet) == packet.duration == OPUS_RATE_HZ // 50
    packet.duration = OPUS_RATE_HZ // 25
    with pytest.raises(CannotWalk, match="whole frame"):
        clock.on_the_way(packet)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "alac"), ("mov", "pcm_s16le"), ("matroska", "libopus")])
def test_sound_that_begins_late_in_a_video_begins_at_zero(container: str, codec: str) -> None:
    wave_CT = music_CT(3, 48_000)
    late_T, prompt_T = (
        full_decode_T(encoded(wave_CT, 48_000, container, codec, video=True, late_s=late_s)) for late_s in (2.0, 0.0)
    )
    assert np.array_equal(late_T, prompt_T)


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["wav", "mp3", "m4a", "opus", "vorbis"])
def test_of_channels_that_cancel_one_another_the_first_is_taken(codec: str, decoder: ClipDecoder) -> None:
    left_T = music_CT(3, 48_000)[0]
    spec = ClipSpec(start_s=1, duration_s=1)
    anti, both = (
        decoder.cut(STEREO[codec](np.stack([left_T, sign * left_T])), spec).pcm_T.astype(float) for sign in (-1, 1)
    )
    found = difference(anti, both)
    assert found.lag_samples == 0
    assert found.residual_db < -10  # two ways through a lossy codec


def test_quiet_or_partly_cancelled_stereo_is_mixed_as_ever(decoder: ClipDecoder) -> None:
    left_T = music_CT(3, 16_000)[0]
    spec = ClipSpec(start_s=1, duration_s=1)
    for right_T, scale in ((-0.7 * left_T, 1.0), (left_T, 0.01), (0 * left_T, 0.01)):
        mixed_T = decoder.cut(wav((scale * np.stack([left_T, right_T])).astype(np.float32), 16_000), spec).pcm_T
        expected_T = (left_T + right_T)[16_000:32_000] / 2 * scale * (1 << 15)
        assert np.abs(mixed_T - expected_T).max() <= 1.5
    silence_CT = np.zeros((2, 48_000), np.float32)
    assert not decoder.cut(wav(silence_CT, 16_000), spec).pcm_T.any()
