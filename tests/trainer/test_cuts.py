"""Which windows a recording has, and that a sample stays the same from int16 to float and back."""

import numpy as np
import pytest

from trainer.cuts import cut, to_float, to_int16, window_starts

RATE_HZ = 16_000


@pytest.mark.parametrize(
    ("seconds", "starts_s"),
    [
        (29, [0, 10, 19]),
        (30, [0, 10, 20]),
        (10, [0]),
        (3, [0]),
        (14.9, [0]),
        (15, [0, 5]),
        (24, [0, 10]),
        (25, [0, 10, 15]),
    ],
)
def test_rest_of_half_a_window_becomes_the_last_ten_seconds(seconds: float, starts_s: list[int]) -> None:
    starts = window_starts(round(seconds * RATE_HZ), 10 * RATE_HZ)
    assert starts == [round(s * RATE_HZ) for s in starts_s]


def test_windows_have_one_length_and_a_short_recording_is_padded() -> None:
    wave = np.ones(3 * RATE_HZ, np.float32)
    (window,) = cut(wave, 10 * RATE_HZ)
    assert len(window) == 10 * RATE_HZ
    assert window[: len(wave)].all()
    assert not window[len(wave) :].any()
    with pytest.raises(ValueError, match="no samples"):
        cut(np.zeros(0, np.float32), 10 * RATE_HZ)


def test_every_sample_is_the_same_after_a_way_through_float() -> None:
    every = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
    np.testing.assert_array_equal(to_int16(to_float(every)), every)
    assert to_int16(np.array([-1.5, 1.0, 1.5])).tolist() == [-32768, 32767, 32767]
