"""What the builtin detector hears: numbers that tell music from speech and noise, for each window of a clip.

Music holds pitches, comes back to the same few of them, tunes them to one another and repeats its onsets; speech
glides, alternates between voiced and unvoiced sound a few times a second and pauses; noise does none of it. The
features measure these habits rather than timbre, because the detector learns from synthesised timbres and must judge
real ones. All of them are indifferent to the level of the sound.

Shape suffixes: T samples, F windows (the detector's frames), N spectrogram frames of a window, B mel bands, K bins.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filters.music.detector import FrameGrid
from schemas.shard import CLIP_SAMPLE_RATE_HZ

GRID = FrameGrid(window_s=3.0, hop_s=1.0)

# Fine in time: bands, modulation, onsets.
_SIZE, _HOP, _BANDS = 512, 200, 32
# Fine in frequency: partials and pitch.
_TONAL_SIZE, _TONAL_HOP = 4096, 1000
_TONAL_LOW_HZ, _TONAL_HIGH_HZ = 80.0, 3500.0
_DYNAMIC_RANGE_DB = 60.0
_FLOOR_POWER = 1e-9  # a level at which 16-bit sound has nothing left to say

_MODULATION_EDGES_HZ = (0.3, 1.0, 2.0, 3.5, 6.0, 10.0, 18.0, 40.0)
_PITCH_CELLS_PER_OCTAVE = 48

Array = NDArray[np.float32]


def features(wave_T: Array) -> Array:
    """(F, features) of a 16 kHz mono clip; each row depends on its own window's samples alone."""
    frames = GRID.frames(len(wave_T))
    padded_T = np.zeros((frames - 1) * GRID.hop_samples + GRID.window_samples, dtype=np.float32)
    padded_T[: len(wave_T)] = wave_T
    bands_NB = _log_mel(padded_T)
    partials = _partials(padded_T)
    rows = []
    for frame in range(frames):
        start = frame * GRID.hop_samples
        short = slice(start // _HOP, (start + GRID.window_samples - _SIZE) // _HOP + 1)
        long = slice(start // _TONAL_HOP, (start + GRID.window_samples - _TONAL_SIZE) // _TONAL_HOP + 1)
        rows.append(np.concatenate([_rhythm(bands_NB[short]), _pitch(partials, long)]))
    return np.stack(rows).astype(np.float32)


def names() -> list[str]:
    """One name a feature, in the order of `features`."""
    groups = ("low", "mid", "high")
    edges = [f"{low:g}-{high:g} Hz" for low, high in itertools.pairwise(_MODULATION_EDGES_HZ)]
    return [
        "level spread", "level p95-p50", "level p50-p5", "share of quiet frames", "share of pauses",
        *(f"modulation {edge} {group}" for group in groups for edge in edges),
        *(f"modulation depth {group}" for group in groups),
        "flux", "flux spread", "flux peak", "change lag 1", "change lag 4", "change lag 16", "change ratio",
        "onset period", "onset second period", "level period", "band agreement", "flatness", "flatness spread",
        "centroid spread", "centroid change", "slope spread", "smoothness across bands", "smoothness over time",
        "peak height", "peak height low", "peak height mid", "peak height high", "peak height spread", "peak share",
        *(f"hold {lag}" for lag in _HOLD_LAGS), *(f"hold spread {lag}" for lag in _HOLD_LAGS[:3]),
        "shift 1", "pitch reuse", "pitch reuse top 8", "tuning", "tuning within", "harmonic comb",
        "harmonic comb spread", "chroma focus", "chroma change", "voiced share", "tonal level spread",
    ]  # fmt: skip


@functools.cache
def _mel_matrix() -> Array:
    """(K, B) triangles, equally wide on the mel scale from 60 Hz to 7.6 kHz."""
    low_mel, high_mel = 2595 * np.log10(1 + np.array([60.0, 7600.0]) / 700)
    centres = 700 * (10 ** (np.linspace(low_mel, high_mel, _BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_SIZE, 1 / CLIP_SAMPLE_RATE_HZ)[:, None]
    rising = (bins - centres[:-2]) / (centres[1:-1] - centres[:-2])
    falling = (centres[2:] - bins) / (centres[2:] - centres[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    matrix: Array = (triangles / triangles.sum(axis=0)).astype(np.float32)
    return matrix


def _power_spectrum(wave_T: Array, size: int, hop: int) -> Array:
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    spectra = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(wave_T, size)[::hop] * window)
    power: Array = ((spectra.real**2 + spectra.imag**2) / window.sum() ** 2).astype(np.float32)
    return power


def mel_power(wave_T: Array, hop: int = _HOP) -> Array:
    """(N, B) power of mel bands, in windows of 32 ms that begin every `hop` samples."""
    power: Array = _power_spectrum(wave_T, _SIZE, hop) @ _mel_matrix()
    return power


def decibels(power_NB: Array) -> Array:
    """Power in dB, down to where 16-bit sound has nothing left to say."""
    bands: Array = 10 * np.log10(power_NB + np.float32(_FLOOR_POWER))
    return bands


def _log_mel(wave_T: Array) -> Array:
    """(N, B) power of mel bands in dB."""
    return decibels(mel_power(wave_T))


@functools.cache
def _tonal_bins() -> tuple[int, int]:
    width_hz = CLIP_SAMPLE_RATE_HZ / _TONAL_SIZE
    return int(_TONAL_LOW_HZ / width_hz), int(_TONAL_HIGH_HZ / width_hz)


def _tonal_spectrum(wave_T: Array) -> Array:
    """(N, K) power of narrow bins in dB, from 80 Hz to 3.5 kHz."""
    low, high = _tonal_bins()
    power: Array = 10 * np.log10(_power_spectrum(wave_T, _TONAL_SIZE, _TONAL_HOP)[:, low:high] + np.float32(1e-11))
    return power


def _rhythm(bands_NB: Array) -> Array:
    """Features of level, modulation and onsets."""
    bands_NB = np.maximum(bands_NB, bands_NB.max() - _DYNAMIC_RANGE_DB)
    power_N = (10 ** (bands_NB / 10)).mean(axis=1)
    level_N = 10 * np.log10(power_N)
    p5, p50, p95 = np.percentile(level_N, [5, 50, 95])
    amplitude_N = np.sqrt(power_N)
    out = [level_N.std(), p95 - p50, p50 - p5, (amplitude_N < 0.5 * amplitude_N.mean()).mean(),
           (level_N < p95 - 25).mean()]  # fmt: skip

    centred_NB = bands_NB - bands_NB.mean(axis=0)
    taper_N = np.hanning(len(centred_NB)).astype(np.float32)[:, None]
    modulation_KB = np.abs(np.fft.rfft(centred_NB * taper_N, axis=0)) ** 2
    rates_hz = np.fft.rfftfreq(len(centred_NB), _HOP / CLIP_SAMPLE_RATE_HZ)
    edges = np.searchsorted(rates_hz, _MODULATION_EDGES_HZ)
    groups = (slice(0, 10), slice(10, 21), slice(21, _BANDS))
    for group in groups:
        energy_K = modulation_KB[:, group].mean(axis=1)
        parts = np.add.reduceat(energy_K, edges)[:-1]
        out += list(np.log(parts / (energy_K.sum() + 1e-3) + 1e-4))
    out += [np.log(centred_NB[:, group].std() + 0.5) for group in groups]

    rise_N = np.maximum(0.0, np.diff(bands_NB, axis=0)).mean(axis=1)
    changes = [np.abs(bands_NB[lag:] - bands_NB[:-lag]).mean() for lag in (1, 4, 16)]
    out += [np.log(rise_N.mean() + 0.05), np.log(rise_N.std() + 0.05), np.log(rise_N.max() + 0.05)]
    out += [*np.log(np.array(changes) + 0.1), changes[0] / (changes[2] + 0.1)]
    out += [*_periods(rise_N), _periods(level_N)[0]]

    spread_B = centred_NB.std(axis=0) + 1e-3
    unit_NB = centred_NB / spread_B
    out.append(float((unit_NB.mean(axis=1) ** 2).mean()))
    flat_N = bands_NB.mean(axis=1) - level_N
    weights_NB = 10 ** (bands_NB / 20)
    places_B = np.arange(_BANDS, dtype=np.float32)
    centroid_N = (weights_NB @ places_B) / weights_NB.sum(axis=1)
    slope_N = bands_NB @ ((places_B - places_B.mean()) / places_B.var()) / _BANDS
    out += [flat_N.mean(), flat_N.std(), centroid_N.std(), np.abs(np.diff(centroid_N)).mean(), slope_N.std()]
    out += [
        np.log(np.abs(np.diff(bands_NB, axis=1)).mean() + 0.1),
        np.log(np.abs(np.diff(bands_NB, axis=0)).std() + 0.1),
    ]
    return np.array(out, dtype=np.float32)


def _periods(curve_N: Array) -> tuple[float, float]:
    """How well a curve repeats itself between 0.2 and 1.4 s: the two best peaks of its autocorrelation."""
    centred = curve_N - curve_N.mean()
    size = 2 * len(centred)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2, size)[: len(centred)]
    correlation /= (correlation[0] + 1e-6) * (1 - np.arange(len(centred)) / len(centred))
    lags = correlation[int(0.2 * CLIP_SAMPLE_RATE_HZ / _HOP) : int(1.4 * CLIP_SAMPLE_RATE_HZ / _HOP)]
    inner = lags[1:-1]
    peaks = np.sort(inner[(inner > lags[:-2]) & (inner >= lags[2:])])[::-1]
    return (float(peaks[0]) if len(peaks) else 0.0, float(peaks[1]) if len(peaks) > 1 else 0.0)


@dataclass(frozen=True, kw_only=True)
class _Partials:
    """What is computed once for a clip, a row a spectrogram frame; windows take slices of it.

    `hold_LN` compares a frame with the one `_HOLD_LAGS[L]` later, `glide_N` with the one `_GLIDE_LAG` later, shifted.
    """

    level_N: Array
    height_NK: Array  # dB above the neighbourhood, 0 to 25
    share_N: Array  # of the power that lies in peaks
    hold_LN: list[Array]
    glide_N: Array
    comb_N: Array
    peak_row_P: NDArray[np.int64]
    peak_octave_P: Array
    peak_weight_P: Array


_HOLD_LAGS = (2, 4, 6, 10, 16, 28)  # times 62.5 ms; windows of 256 ms overlap up to a lag of 4
_GLIDE_LAG = 4


def _partials(wave_T: Array) -> _Partials:
    power_NK = _tonal_spectrum(wave_T)
    linear_NK = 10 ** (power_NK / 10)
    height_NK = np.clip(power_NK - _local_mean(power_NK, 12), 0.0, 25.0)
    is_peak = np.zeros(power_NK.shape, dtype=bool)
    inner = power_NK[:, 1:-1]
    is_peak[:, 1:-1] = (inner > power_NK[:, :-2]) & (inner >= power_NK[:, 2:]) & (height_NK[:, 1:-1] > 6.0)
    near = is_peak.copy()
    near[:, 1:] |= is_peak[:, :-1]
    near[:, :-1] |= is_peak[:, 1:]
    norm_N = np.sqrt((height_NK**2).sum(axis=1)) + np.float32(5.0)

    def likeness(lag: int, shift: int) -> Array:
        later, earlier = height_NK[lag:, max(0, shift) :], height_NK[:-lag, max(0, -shift) :]
        width = min(later.shape[1], earlier.shape[1])
        product: Array = np.einsum("nk,nk->n", later[:, :width], earlier[:, :width]) / (norm_N[lag:] * norm_N[:-lag])
        return product

    rows, columns = np.nonzero(is_peak)
    left, centre, right = (power_NK[rows, columns + offset] for offset in (-1, 0, 1))
    offset = np.clip(0.5 * (left - right) / np.minimum(left - 2 * centre + right, -1e-3), -0.5, 0.5)
    peaks_hz = (columns + _tonal_bins()[0] + offset) * (CLIP_SAMPLE_RATE_HZ / _TONAL_SIZE)
    return _Partials(
        level_N=10 * np.log10(linear_NK.sum(axis=1)),
        height_NK=height_NK,
        share_N=(linear_NK * near).sum(axis=1) / linear_NK.sum(axis=1),
        hold_LN=[likeness(lag, 0) for lag in _HOLD_LAGS],
        glide_N=np.maximum(likeness(_GLIDE_LAG, 2), likeness(_GLIDE_LAG, -2)),
        comb_N=_comb(height_NK),
        peak_row_P=rows,
        peak_octave_P=np.log2(peaks_hz / 55.0),
        peak_weight_P=height_NK[rows, columns],
    )


def _pitch(clip: _Partials, rows: slice) -> Array:
    """Features of partials: do they stand out, hold, come back, fit a tuning and a common root?

    Frames far below the loudest of the window count for little or nothing: what stands in a pause is the recording's
    noise.
    """
    level_N = clip.level_N[rows]
    count = len(level_N)
    gate_N = np.clip((level_N - (level_N.max() - 45.0)) / 15.0, 0.0, 1.0)
    weight_N = gate_N / gate_N.sum()
    height_NK = clip.height_NK[rows]
    mean_N = height_NK.mean(axis=1)
    thirds = [third.mean(axis=1) @ weight_N for third in np.array_split(height_NK, 3, axis=1)]
    share_N = clip.share_N[rows]
    out = [mean_N @ weight_N, *thirds, _spread(mean_N, weight_N), share_N @ weight_N]

    holds, spreads = [], []
    for lag, hold_N in zip(_HOLD_LAGS, clip.hold_LN, strict=True):
        here_N = hold_N[rows.start : rows.stop - lag]
        both_N = gate_N[lag:] * gate_N[: count - lag]
        both_N = both_N / (both_N.sum() + 1e-3)
        holds.append(here_N @ both_N)
        spreads.append(_spread(here_N, both_N))
        if lag == _GLIDE_LAG:
            steadiness = (here_N - clip.glide_N[rows.start : rows.stop - lag]) @ both_N
    out += [*holds, *spreads[:3], steadiness]

    first, last = np.searchsorted(clip.peak_row_P, (rows.start, rows.stop))
    peak_rows_P = clip.peak_row_P[first:last] - rows.start
    out += _tuning(
        peak_rows_P, clip.peak_octave_P[first:last], clip.peak_weight_P[first:last] * gate_N[peak_rows_P], count
    )
    comb_N = clip.comb_N[rows]
    out += [comb_N @ weight_N, _spread(comb_N, weight_N)]
    out += _chroma(height_NK * gate_N[:, None])
    out += [(share_N > 0.5) @ weight_N, np.maximum(level_N, level_N.max() - _DYNAMIC_RANGE_DB).std()]
    return np.array(out, dtype=np.float32)


def _spread(values_N: Array, weight_N: Array) -> float:
    mean = values_N @ weight_N
    return float(np.sqrt(max(0.0, float(((values_N - mean) ** 2) @ weight_N))))


def _local_mean(power_NK: Array, reach: int) -> Array:
    padded = np.pad(power_NK, ((0, 0), (reach + 1, reach)), mode="edge").cumsum(axis=1, dtype=np.float64)
    mean: Array = ((padded[:, 2 * reach + 1 :] - padded[:, : -2 * reach - 1]) / (2 * reach + 1)).astype(np.float32)
    return mean


def _tuning(row_P: NDArray[np.int64], octave_P: Array, weight_P: Array, rows: int) -> list[float]:
    """Whether peaks come back to the same pitches, and whether those lie a whole number of semitones apart."""
    total = float(weight_P.sum())
    if total < 50.0:
        return [0.0, 0.0, 0.0, 0.0]
    cells = np.bincount((octave_P * _PITCH_CELLS_PER_OCTAVE).astype(np.int64), weight_P)
    shares = np.sort(cells / total)[::-1]
    turns_P = weight_P * np.exp(2j * np.pi * 12 * octave_P)
    together = abs(turns_P.sum()) / total
    by_row = np.bincount(row_P, turns_P.real, rows) + 1j * np.bincount(row_P, turns_P.imag, rows)
    within = np.abs(by_row).sum() / total
    return [
        float(np.log((shares**2).sum())),
        float(shares[:8].sum()),
        float(together),
        float(together / (within + 0.05)),
    ]


def _comb(height_NK: Array) -> Array:
    """(N,) how much of a frame's peaks lie on one harmonic series (a single voice) rather than on several."""
    centred = height_NK - height_NK.mean(axis=1, keepdims=True)
    size = 2048  # zeros beyond the spectrum keep the correlation from wrapping round
    correlation = np.fft.irfft(np.abs(np.fft.rfft(centred, size, axis=1)) ** 2, size, axis=1)
    width_hz = CLIP_SAMPLE_RATE_HZ / _TONAL_SIZE
    lags = correlation[:, int(75 / width_hz) : int(420 / width_hz)]
    comb: Array = (lags.max(axis=1) / (correlation[:, 0] + 50.0)).astype(np.float32)
    return comb


@functools.cache
def _chroma_matrix() -> Array:
    low, high = _tonal_bins()
    hz = np.arange(low, high) * (CLIP_SAMPLE_RATE_HZ / _TONAL_SIZE)
    classes = np.round(12 * np.log2(hz / 55.0)).astype(int) % 12
    matrix: Array = (classes[:, None] == np.arange(12)).astype(np.float32)
    matrix[hz < 130] = 0.0
    matrix /= matrix.sum(axis=0)
    return matrix


def _chroma(height_NK: Array) -> list[float]:
    """How few of the twelve pitch classes are in use, and how much they change over half a second."""
    chroma = height_NK @ _chroma_matrix() + np.float32(1e-2)
    chroma /= chroma.sum(axis=1, keepdims=True)
    mean = chroma.mean(axis=0)
    focus = float(np.log(12) + (mean * np.log(mean)).sum())
    return [focus, float(np.abs(chroma[8:] - chroma[:-8]).sum(axis=1).mean())]
