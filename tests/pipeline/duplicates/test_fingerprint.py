import numpy as np
import pytest

from pipeline.duplicates.fingerprint import MAX_DISTANCE, MAX_KEYS, Fingerprint, distance, fingerprint
from pipeline.duplicates.join import FEW, MIN_KEYS, _aligned, _sharing
from tests.pipeline.duplicates.sounds import FORMS, RATE_HZ, decoded, encoded, music

SOUND = music(0)
FOUND = fingerprint(SOUND)


def nearest(one: Fingerprint, other: Fingerprint) -> tuple[float, int]:
    found = [(distance(one.words_N, other.words_N, offset), offset) for offset in range(-40, 41)]
    return min((far, offset) for far, offset in found if far is not None)


def shared(one: Fingerprint, other: Fingerprint) -> int:
    return len(np.intersect1d(one.keys_K, other.keys_K))


def test_a_key_is_a_word_that_stands_once_in_the_list() -> None:
    assert 0 < len(FOUND.keys_K) <= MAX_KEYS
    assert len(np.unique(FOUND.keys_K)) == len(FOUND.keys_K)
    assert (FOUND.words_N[FOUND.places_K] == FOUND.keys_K).all()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_another_encoding_is_near_and_shares_keys(form: str) -> None:
    copy = fingerprint(decoded(encoded(SOUND, form)))
    assert nearest(FOUND, copy)[0] < MAX_DISTANCE / 2
    assert shared(FOUND, copy) >= 2 * MIN_KEYS


@pytest.mark.parametrize("shift_s", [1.0, 1.031])
def test_a_clip_that_begins_later_is_near_at_its_offset(shift_s: float) -> None:
    copy = fingerprint(SOUND[int(shift_s * RATE_HZ) :])
    far, offset = nearest(FOUND, copy)
    assert far < MAX_DISTANCE / 2
    assert abs(offset * 0.05 - shift_s) < 0.05
    assert shared(FOUND, copy) >= MIN_KEYS


def test_louder_is_the_same() -> None:
    assert nearest(FOUND, fingerprint(SOUND // 4))[0] < 0.05


def test_other_music_is_far() -> None:
    assert nearest(FOUND, fingerprint(music(1)))[0] > 1.2 * MAX_DISTANCE


def test_silence_and_a_steady_tone_are_compared_with_nothing() -> None:
    silence_T = np.zeros(10 * RATE_HZ, np.int16)
    tone_T = (8_000 * np.sin(2 * np.pi * 440 * np.arange(10 * RATE_HZ) / RATE_HZ)).astype(np.int16)
    for steady_T in (silence_T, tone_T):
        found = fingerprint(steady_T)
        assert len(found.keys_K) == 0
        assert distance(found.words_N, found.words_N, 0) is None


@pytest.mark.parametrize("samples", [0, 1, RATE_HZ, 20_000, 20_800])
def test_a_short_clip_has_few_words_or_none(samples: int) -> None:
    found = fingerprint(SOUND[:samples])
    assert len(found.words_N) < 10
    assert distance(found.words_N, FOUND.words_N, 0) is None


def test_clips_that_do_not_meet_cannot_be_told() -> None:
    assert distance(FOUND.words_N, FOUND.words_N, 1_000) is None
    assert distance(FOUND.words_N, FOUND.words_N, -1_000) is None


def test_those_few_that_share_a_key_are_all_paired() -> None:
    clips = [(f"{number:02d}", 10 + number) for number in reversed(range(FEW))]
    pairs = dict(_sharing((7, clips)))
    assert len(pairs) == FEW * (FEW - 1) // 2
    assert pairs["00", "03"] == -3


def test_those_many_that_share_a_key_are_paired_with_the_first_and_counted() -> None:
    clips = [(f"{number:05d}", number % 5) for number in reversed(range(10_000))]
    *pairs, counts = _sharing((7, clips))
    assert len(pairs) == 9_999
    assert {one for (one, _), _ in pairs} == {"00000"}
    assert counts.value == {"keys_bounded": 1, "clips_bounded": 9_999}


@pytest.mark.parametrize(
    ("offsets", "agreed"), [([3], None), ([3, 9], None), ([3, 9, 4], 3), ([9, 3, 9, 4, 3, 4], 3), ([5, 5], 5)]
)
def test_a_pair_is_compared_where_two_keys_agree(offsets: list[int], agreed: int | None) -> None:
    assert list(_aligned((("a", "b"), offsets))) == ([] if agreed is None else [("a", ("b", agreed))])
