"""Where frames stand and what they own: the one definition of "half of the clip is music"."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.music.builtin.features import GRID as BUILTIN_GRID
from filters.music.detector import DetectorError, FrameGrid, detector_digest, judgeable
from filters.music.gate import MusicGateConfig, music_fraction
from filters.music.load import TFHUB_YAMNET, load_detector
from filters.music.yamnet import FIRST_GRID, YAMNET_GRID
from schemas.shard import CLIP_SAMPLE_RATE_HZ

_GRIDS = st.builds(
    lambda hop, more: FrameGrid(window_s=(hop + more) / CLIP_SAMPLE_RATE_HZ, hop_s=hop / CLIP_SAMPLE_RATE_HZ),
    st.integers(1, 400),
    st.integers(0, 900),
)


def test_grids_of_the_adapters_are_the_stated_ones() -> None:
    assert (YAMNET_GRID.window_samples, YAMNET_GRID.hop_samples) == (15_600, 15_600)
    assert (FIRST_GRID.window_samples, FIRST_GRID.hop_samples) == (15_600, 7_800)
    assert (BUILTIN_GRID.window_samples, BUILTIN_GRID.hop_samples) == (48_000, 16_000)
    assert YAMNET_GRID.frames(30 * CLIP_SAMPLE_RATE_HZ) == 31
    assert FIRST_GRID.frames(30 * CLIP_SAMPLE_RATE_HZ) == 61
    assert BUILTIN_GRID.frames(30 * CLIP_SAMPLE_RATE_HZ) == 28


def test_first_and_last_frame_own_more_or_less_than_a_hop() -> None:
    """By hand, for a window of 10 and a hop of 4 samples: centres at 5, 9, 13, borders half-way between them."""
    grid = FrameGrid(window_s=10 / CLIP_SAMPLE_RATE_HZ, hop_s=4 / CLIP_SAMPLE_RATE_HZ)
    assert grid.owned_samples(18).tolist() == [7, 4, 7]
    assert grid.owned_samples(19).tolist() == [7, 4, 4, 4]
    assert grid.owned_samples(3).tolist() == [3]


@given(grid=_GRIDS, samples=st.integers(1, 6_000))
def test_frames_see_every_sample_and_own_each_once(grid: FrameGrid, samples: int) -> None:
    frames = grid.frames(samples)
    owned_F = grid.owned_samples(samples)
    assert len(owned_F) == frames
    assert owned_F.sum() == samples
    assert (owned_F >= 0).all()
    assert (owned_F[1:-1] == grid.hop_samples).all()
    # The last window reaches the end, and the one before it did not.
    assert (frames - 1) * grid.hop_samples + grid.window_samples >= samples
    assert frames == 1 or (frames - 2) * grid.hop_samples + grid.window_samples < samples


@pytest.mark.slow
@given(grid=_GRIDS, samples=st.integers(1, 6_000))
def test_windows_are_the_clip_s_own_samples_with_zeros_beyond_its_end(grid: FrameGrid, samples: int) -> None:
    wave_T = np.arange(1, samples + 1, dtype=np.float32)
    windows_FW = grid.windows(wave_T)
    assert windows_FW.shape == (grid.frames(samples), grid.window_samples)
    for frame, window_W in enumerate(windows_FW):
        start = frame * grid.hop_samples
        there_W = wave_T[start : start + grid.window_samples]
        assert np.array_equal(window_W[: len(there_W)], there_W)
        assert not window_W[len(there_W) :].any()


def test_fraction_is_music_seconds_over_clip_seconds() -> None:
    scores_F = np.zeros(61, dtype=np.float32)
    scores_F[10:20] = 0.9
    # Ten frames in the middle own ten hops; the head owns a quarter of a hop and three quarters of a window more.
    assert music_fraction(scores_F, FIRST_GRID, threshold=0.3, duration_s=30.0) == pytest.approx(10 * 0.4875 / 30)
    head_F = np.zeros(61, dtype=np.float32)
    head_F[0] = 0.3
    assert music_fraction(head_F, FIRST_GRID, threshold=0.3, duration_s=30.0) == pytest.approx(0.73125 / 30)
    assert music_fraction(np.ones(61, np.float32), FIRST_GRID, threshold=0.3, duration_s=30.0) == 1.0
    assert music_fraction(scores_F, FIRST_GRID, threshold=0.95, duration_s=30.0) == 0.0


def test_of_windows_side_by_side_each_frame_owns_its_own_and_the_last_what_is_left() -> None:
    owned_F = YAMNET_GRID.owned_samples(30 * CLIP_SAMPLE_RATE_HZ)
    assert owned_F.tolist() == [15_600] * 30 + [12_000]


def test_fraction_of_an_odd_clip_length_counts_the_last_short_frame_by_what_it_owns() -> None:
    samples = 48_000 + 1
    last_F = np.array([0, 1], dtype=np.float32)
    fraction = music_fraction(last_F, BUILTIN_GRID, threshold=0.3, duration_s=samples / CLIP_SAMPLE_RATE_HZ)
    assert fraction == pytest.approx((samples - 32_000) / samples)


def test_scores_of_another_clip_or_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="31 frames"):
        music_fraction(np.zeros(30, np.float32), YAMNET_GRID, threshold=0.3, duration_s=30.0)
    with pytest.raises(ValueError, match="finite"):
        music_fraction(np.full(31, np.nan, np.float32), YAMNET_GRID, threshold=0.3, duration_s=30.0)


@pytest.mark.parametrize(
    ("window_s", "hop_s", "message"),
    [(0.0, 0.1, "window_s"), (0.1, 0.00001, "hop_s"), (0.1, float("nan"), "hop_s"), (0.1, 0.2, "not be looked at")],
)
def test_grids_that_cannot_be_are_refused(window_s: float, hop_s: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameGrid(window_s=window_s, hop_s=hop_s)


def test_a_clip_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="without samples"):
        YAMNET_GRID.frames(0)
    for wave_T in (np.zeros(0, np.float32), np.zeros((2, 5), np.float32)):
        with pytest.raises(ValueError, match="one row of samples"):
            judgeable(wave_T)


def test_the_gate_keeps_exactly_half() -> None:
    gate = MusicGateConfig()
    assert gate.keeps(0.5)
    assert not gate.keeps(0.4999)
    assert MusicGateConfig(min_fraction=0.0).keeps(0.0)


@pytest.mark.parametrize("changes", [{"threshold": 0.0}, {"threshold": 1.1}, {"min_fraction": -0.1}])
def test_gates_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        dataclasses.replace(MusicGateConfig(), **changes)


def test_digest_changes_with_everything_that_a_score_depends_on() -> None:
    digests = {
        detector_digest(adapter=adapter, version=version, grid=grid, files=files)
        for adapter in ("a", "b")
        for version in (1, 2)
        for grid in (YAMNET_GRID, BUILTIN_GRID)
        for files in ([b"x", b"y"], [b"y", b"x"], [b"xy"])
    }
    assert len(digests) == 24


@pytest.mark.parametrize("spec", ["yamnet", "no/such/folder", "model.onnx"])
def test_what_is_no_detector_is_said_in_one_line(spec: str) -> None:
    with pytest.raises(DetectorError) as caught:
        load_detector(spec)
    assert TFHUB_YAMNET in str(caught.value)
    assert "\n" not in str(caught.value)
