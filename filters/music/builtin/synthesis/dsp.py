"""The few signal operations that the synthesised sounds are made of: numpy only, vectorised, seeded by the caller.

Shape suffixes: T samples, C control frames, F frequency bins.
"""

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
Track = NDArray[np.float64]

CONTROL_RATE_HZ = 200.0


def normalise(wave_T: Wave, peak: float = 0.5) -> Wave:
    """Scaled to a peak; silence stays silence."""
    top = float(np.abs(wave_T).max(initial=0.0))
    return (wave_T * (peak / top)).astype(np.float32) if top > 0 else wave_T.astype(np.float32)


def rms(wave_T: Wave) -> float:
    return float(np.sqrt(np.mean(np.square(wave_T, dtype=np.float64)))) if len(wave_T) else 0.0


def equalise(wave_T: Wave, gain_of_hz: NDArray[np.float64], gain: NDArray[np.float64], sample_rate_hz: int) -> Wave:
    """Filter with zero phase; `gain` is given at the frequencies `gain_of_hz` and is linear in between."""
    spectrum_F = np.fft.rfft(wave_T)
    frequencies_F = np.fft.rfftfreq(len(wave_T), 1.0 / sample_rate_hz)
    return np.fft.irfft(spectrum_F * np.interp(frequencies_F, gain_of_hz, gain), len(wave_T)).astype(np.float32)


def band(wave_T: Wave, low_hz: float, high_hz: float, sample_rate_hz: int, slope_octaves: float = 0.5) -> Wave:
    """Keep the sound between two frequencies, with edges that fall over `slope_octaves`."""
    factor = 2.0**slope_octaves
    low_hz = max(low_hz, 1.0)
    corners = np.array([0.0, low_hz / factor, low_hz, high_hz, high_hz * factor, 1e6])
    return equalise(wave_T, corners, np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]), sample_rate_hz)


def coloured_noise(rng: np.random.Generator, samples: int, exponent: float, sample_rate_hz: int) -> Wave:
    """Noise with power ~ 1/f^exponent: 0 is white, 1 pink, 2 brown."""
    spectrum_F = np.fft.rfft(rng.standard_normal(samples).astype(np.float32))
    frequencies_F = np.maximum(np.fft.rfftfreq(samples, 1.0 / sample_rate_hz), 20.0)
    return normalise(np.fft.irfft(spectrum_F * frequencies_F ** (-exponent / 2), samples).astype(np.float32))


def wander(rng: np.random.Generator, samples: int, rate_hz: float, sample_rate_hz: int) -> Track:
    """A smooth random curve around 0 with unit spread, that turns about `rate_hz` times a second."""
    knots = max(4, int(samples / sample_rate_hz * rate_hz) + 4)
    values = rng.standard_normal(knots)
    at = np.linspace(0, knots - 1, samples)
    left = np.minimum(at.astype(np.int64), knots - 2)
    blend = 0.5 - 0.5 * np.cos(np.pi * (at - left))
    curve: Track = values[left] * (1 - blend) + values[left + 1] * blend
    return curve


def shaped_noise(
    rng: np.random.Generator, gain_CF: NDArray[np.float64], frequencies_hz: Track, samples: int, sample_rate_hz: int
) -> Wave:
    """White noise whose spectrum follows `gain_CF`, given at CONTROL_RATE_HZ and at `frequencies_hz`."""
    size = 256 if sample_rate_hz <= 24_000 else 512
    hop = size // 2
    blocks = samples // hop + 2
    noise_T = rng.standard_normal((blocks + 1) * hop).astype(np.float32)
    window = np.sqrt(np.hanning(size + 1)[:-1]).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(noise_T, size)[::hop] * window
    spectra = np.fft.rfft(frames)
    rows = np.minimum((np.arange(len(spectra)) * hop / sample_rate_hz * CONTROL_RATE_HZ).astype(int), len(gain_CF) - 1)
    bins_hz = np.fft.rfftfreq(size, 1.0 / sample_rate_hz)
    columns = np.clip(np.searchsorted(frequencies_hz, bins_hz), 0, len(frequencies_hz) - 1)
    frames = np.fft.irfft(spectra * gain_CF[rows][:, columns], size).astype(np.float32) * window
    out_T = np.zeros((len(frames) + 1) * hop, dtype=np.float32)
    halves = frames.reshape(len(frames), 2, hop)
    out_T[:-hop] += halves[:, 0].reshape(-1)
    out_T[hop:] += halves[:, 1].reshape(-1)
    return out_T[hop : hop + samples]


def harmonic_sum(f0_T: Track, amplitude_CK: NDArray[np.float64], sample_rate_hz: int) -> Wave:
    """Harmonics 1..K of a gliding pitch, each with its own amplitude curve at CONTROL_RATE_HZ."""
    samples = len(f0_T)
    cycles_T = np.cumsum(f0_T / sample_rate_hz) % 1.0
    base_T = np.exp(2j * np.pi * cycles_T).astype(np.complex64)
    at_T = np.arange(samples) / sample_rate_hz * CONTROL_RATE_HZ
    control = np.arange(len(amplitude_CK))
    power_T = np.ones(samples, dtype=np.complex64)
    out_T = np.zeros(samples, dtype=np.float32)
    for k in range(amplitude_CK.shape[1]):
        power_T *= base_T
        if amplitude_CK[:, k].max() > 1e-5:
            out_T += power_T.imag * np.interp(at_T, control, amplitude_CK[:, k]).astype(np.float32)
    return out_T


def place(out_T: Wave, sound_T: Wave, start: int, gain: float = 1.0) -> None:
    """Add a sound into a longer one, in place; what runs over the end is cut."""
    if start < 0:
        sound_T, start = sound_T[-start:], 0
    room = min(len(sound_T), len(out_T) - start)
    if room > 0:
        out_T[start : start + room] += gain * sound_T[:room]


def reverb(wave_T: Wave, rng: np.random.Generator, decay_s: float, wet: float, sample_rate_hz: int) -> Wave:
    """A room: convolution with noise that decays by 60 dB in `decay_s` and loses its treble on the way."""
    length = max(8, int(decay_s * sample_rate_hz))
    t_s = np.arange(length) / sample_rate_hz
    tail = rng.standard_normal(length) * np.exp(-6.9 * t_s / decay_s)
    dull = np.convolve(tail, np.ones(6) / 6, mode="same")
    fade = np.minimum(1.0, t_s / decay_s)
    impulse = tail * (1 - fade) + dull * fade
    impulse *= wet / np.sqrt(np.sum(impulse**2))
    impulse[0] += 1.0
    size = 1 << (len(wave_T) + length - 1).bit_length()
    spectrum = np.fft.rfft(wave_T, size) * np.fft.rfft(impulse.astype(np.float32), size)
    return np.fft.irfft(spectrum, size)[: len(wave_T)].astype(np.float32)


def mix(front_T: Wave, back_T: Wave, front_over_back_db: float) -> Wave:
    """Two sounds at a given ratio of their levels."""
    back = rms(back_T)
    gain = rms(front_T) / back * 10 ** (-front_over_back_db / 20) if back > 0 else 0.0
    return normalise(front_T + gain * back_T)
