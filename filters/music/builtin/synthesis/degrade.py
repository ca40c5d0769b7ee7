"""What happens to sound on its way to a listener: rooms, cheap microphones, old codecs, loudness.

Used on music and on everything else alike, so that a detector trained on this sound cannot tell them apart by quality.
"""

import numpy as np

from filters.music.builtin.synthesis.dsp import Wave, band, coloured_noise, equalise, mix, normalise, reverb, wander


def degrade(wave_T: Wave, sample_rate_hz: int, rng: np.random.Generator) -> Wave:
    """A random selection of tape, room, tone control, band limit, compression, codec, noise and level."""
    out = wave_T
    if rng.random() < 0.3:
        out = _tape(out, sample_rate_hz, rng)
    if rng.random() < 0.3:
        out = reverb(out, rng, float(rng.uniform(0.15, 1.5)), float(rng.uniform(0.05, 0.7)), sample_rate_hz)
    if rng.random() < 0.6:
        corners = np.array([0, 100, 400, 1200, 3500, 8000], dtype=np.float64)
        out = equalise(out, corners, 10 ** (rng.uniform(-8, 8, len(corners)) / 20), sample_rate_hz)
    if rng.random() < 0.4:
        out = band(out, float(rng.uniform(20, 250)), float(rng.uniform(2500, 7500)), sample_rate_hz, 0.2)
    if rng.random() < 0.3:
        out = np.tanh(float(rng.uniform(1, 5)) * normalise(out, 1.0)).astype(np.float32)
    if rng.random() < 0.4:
        out = _codec(out, float(rng.uniform(10, 30)))
    if rng.random() < 0.5:
        noise = coloured_noise(rng, len(out), float(rng.uniform(0, 1.5)), sample_rate_hz)
        out = mix(out, noise, float(rng.uniform(8, 60)))
    return normalise(out, float(10 ** rng.uniform(-1.7, 0)))


def _tape(wave_T: Wave, sample_rate_hz: int, rng: np.random.Generator) -> Wave:
    """Speed off by up to 6 %, with a slow wander of its own."""
    speed_T = rng.uniform(0.94, 1.06) * (1 + 0.003 * wander(rng, len(wave_T), 1.5, sample_rate_hz))
    at_T = np.cumsum(speed_T)
    return np.interp(at_T % (len(wave_T) - 1), np.arange(len(wave_T)), wave_T).astype(np.float32)


def _codec(wave_T: Wave, keep_db: float) -> Wave:
    """What a low bit rate does: in each short block, what lies far enough below the loudest partial is gone."""
    size = 1024
    hop = size // 2
    padded = np.pad(wave_T, (hop, size + hop - len(wave_T) % hop))
    window = np.sqrt(np.hanning(size + 1)[:-1]).astype(np.float32)
    spectra = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window)
    power = np.abs(spectra)
    width = 32
    groups = power[:, :512].reshape(len(power), -1, width)
    threshold = np.repeat(groups.max(axis=2) * 10 ** (-keep_db / 20), width, axis=1)
    spectra[:, :512] *= power[:, :512] >= threshold
    frames = np.fft.irfft(spectra, size).astype(np.float32) * window
    halves = frames.reshape(len(frames), 2, hop)
    out = np.zeros((len(frames) + 1) * hop, dtype=np.float32)
    out[:-hop] += halves[:, 0].reshape(-1)
    out[hop:] += halves[:, 1].reshape(-1)
    return out[hop : hop + len(wave_T)]
