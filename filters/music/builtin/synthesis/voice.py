"""Voices: speech by formants with the rhythm of syllables, and singing with the same throat.

What tells them apart is the difference that a music detector must hear: speech glides in pitch, alternates between
voiced and unvoiced sound three to seven times a second and pauses; singing holds the notes of a scale.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filters.music.builtin.synthesis.dsp import CONTROL_RATE_HZ, Track, Wave, harmonic_sum, normalise, shaped_noise
from filters.music.builtin.synthesis.instruments import midi_hz

# F1-F3 of ten vowels (adult male, Hz).
_VOWELS = np.array(
    [
        (730, 1090, 2440),
        (270, 2290, 3010),
        (530, 1840, 2480),
        (660, 1720, 2410),
        (570, 840, 2410),
        (440, 1020, 2240),
        (300, 870, 2240),
        (490, 1350, 1690),
        (640, 1190, 2390),
        (390, 1990, 2550),
    ],
    dtype=np.float64,
)
_BANDWIDTHS_HZ = np.array([80.0, 100.0, 140.0, 200.0])


@dataclass(frozen=True, kw_only=True)
class Speaker:
    f0_hz: float
    f0_spread_semitones: float
    formant_scale: float
    syllables_per_s: float
    pause_s: tuple[float, float]
    phrase_syllables: tuple[int, int]
    tilt: float  # fall of the voice's harmonics, power of k
    breath: float
    voiced: float = 1.0  # 0 whispers


@dataclass(frozen=True, kw_only=True)
class SungNote:
    start_s: float
    duration_s: float
    midi: int


def draw_speaker(rng: np.random.Generator) -> Speaker:
    high = rng.random() < 0.5
    return Speaker(
        f0_hz=float(rng.uniform(165, 260) if high else rng.uniform(80, 150)),
        f0_spread_semitones=float(rng.uniform(1.5, 5.0)),
        formant_scale=float(rng.uniform(1.08, 1.25) if high else rng.uniform(0.92, 1.08)),
        syllables_per_s=float(rng.uniform(3.0, 6.5)),
        pause_s=(0.15, float(rng.uniform(0.4, 1.5))),
        phrase_syllables=(4, int(rng.integers(8, 22))),
        tilt=float(rng.uniform(0.9, 1.8)),
        breath=float(rng.uniform(0.005, 0.06)),
    )


class _Throat:
    """Control tracks of a voice: pitch, formants, loudness of voicing and of friction."""

    def __init__(self, duration_s: float) -> None:
        frames = int(duration_s * CONTROL_RATE_HZ) + 2
        self.f0 = np.full(frames, 100.0)
        self.voicing = np.zeros(frames)
        self.formants = np.tile(np.array([500.0, 1500.0, 2500.0, 3500.0]), (frames, 1))
        self.friction = np.zeros(frames)
        self.friction_hz = np.full(frames, 4000.0)

    def render(self, speaker: Speaker, samples: int, sample_rate_hz: int, rng: np.random.Generator) -> Wave:
        voicing = _smooth(self.voicing, 5)
        formants = np.stack([_smooth(self.formants[:, i], 9) for i in range(4)], axis=1)
        f0 = _smooth(self.f0, 5)
        f0_T = np.interp(np.arange(samples) / sample_rate_hz * CONTROL_RATE_HZ, np.arange(len(f0)), f0)
        out = np.zeros(samples, dtype=np.float32)
        if speaker.voiced:
            top_hz = min(5000.0, 0.45 * sample_rate_hz)
            numbers = np.arange(1, int(top_hz / max(60.0, float(f0.min()))) + 1)
            frequencies = f0[:, None] * numbers
            amplitude = _resonance(frequencies, formants) * numbers**-speaker.tilt * voicing[:, None]
            amplitude[frequencies > top_hz] = 0.0
            out += speaker.voiced * harmonic_sum(f0_T, amplitude, sample_rate_hz)
        grid_hz = np.linspace(0, sample_rate_hz / 2, 64)
        breath = _resonance(np.tile(grid_hz, (len(f0), 1)), formants)
        width_hz = 0.35 * self.friction_hz[:, None]
        hiss = np.exp(-0.5 * ((grid_hz - self.friction_hz[:, None]) / width_hz) ** 2)
        gain = breath * (speaker.breath * voicing)[:, None] + hiss * _smooth(self.friction, 3)[:, None]
        return out + shaped_noise(rng, gain, grid_hz, samples, sample_rate_hz)


def _smooth(track: Track, frames: int) -> Track:
    kernel = np.hanning(frames + 2)[1:-1]
    padded = np.pad(track, (frames // 2, frames - 1 - frames // 2), mode="edge")
    smoothed: Track = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return smoothed


def _resonance(frequencies_CK: NDArray[np.float64], formants_C4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain of the four formants at each frequency, each weaker than the one below."""
    gain = np.full(frequencies_CK.shape, 0.01)
    for i, level in enumerate((1.0, 0.5, 0.25, 0.12)):
        offset = (frequencies_CK - formants_C4[:, i : i + 1]) / _BANDWIDTHS_HZ[i]
        gain += level / (1.0 + offset**2)
    return gain


def speak(duration_s: float, sample_rate_hz: int, speaker: Speaker, rng: np.random.Generator) -> Wave:
    """Speech-like sound: phrases of syllables with falling pitch, and pauses between them."""
    throat = _Throat(duration_s)
    at_s = float(rng.uniform(0, 0.4))
    while at_s < duration_s:
        at_s = _phrase(throat, at_s, speaker, rng)
        at_s += float(rng.uniform(*speaker.pause_s))
    return normalise(throat.render(speaker, int(duration_s * sample_rate_hz), sample_rate_hz, rng))


def _phrase(throat: _Throat, start_s: float, speaker: Speaker, rng: np.random.Generator) -> float:
    """Write one phrase into the tracks; returns where it ends."""
    syllables = int(rng.integers(speaker.phrase_syllables[0], speaker.phrase_syllables[1] + 1))
    rising = rng.random() < 0.2
    at = int(start_s * CONTROL_RATE_HZ)
    for index in range(syllables):
        progress = index / max(1, syllables - 1)
        stressed = rng.random() < 0.35
        length_s = 1.0 / speaker.syllables_per_s * float(rng.lognormal(0, 0.25)) * (1.3 if stressed else 0.9)
        if index == syllables - 1:
            length_s *= 1.5
        semitones = speaker.f0_spread_semitones * (0.8 - 1.6 * progress + (0.8 if stressed else 0.0))
        if rising and progress > 0.85:
            semitones += 1.5 * speaker.f0_spread_semitones
        at = _syllable(throat, at, length_s, semitones, stressed, speaker, rng)
    return at / CONTROL_RATE_HZ


def _syllable(
    throat: _Throat,
    at: int,
    length_s: float,
    semitones: float,
    stressed: bool,
    speaker: Speaker,
    rng: np.random.Generator,
) -> int:
    """Consonant, vowel, sometimes a final consonant; returns the next free frame."""
    frames = max(8, int(length_s * CONTROL_RATE_HZ))
    end = min(at + frames, len(throat.f0))
    if at >= end:
        return at + frames
    onset = int(frames * rng.uniform(0.15, 0.4))
    coda = int(frames * rng.uniform(0.1, 0.3)) if rng.random() < 0.4 else 0
    body = slice(at + onset, max(at + onset, end - coda))
    kind = rng.choice(["fricative", "plosive", "nasal", "liquid", "voiced plosive", "none"])
    _consonant(throat, str(kind), at, min(at + onset, end), speaker, rng)
    count = max(0, body.stop - body.start)
    if count:
        blend = np.linspace(0, rng.uniform(0.2, 1.0), count)[:, None]
        first, second = _VOWELS[rng.integers(len(_VOWELS))], _VOWELS[rng.integers(len(_VOWELS))]
        throat.formants[body, :3] = (first * (1 - blend) + second * blend) * speaker.formant_scale
        throat.formants[body, 3] = 3500 * speaker.formant_scale
        arch = np.sin(np.pi * np.linspace(0.12, 0.88, count))
        throat.voicing[body] = arch * (1.0 if stressed else rng.uniform(0.35, 0.8))
        glide = np.linspace(rng.uniform(-2.5, 2.5), rng.uniform(-2.5, 2.5), count)
        throat.f0[at:end] = speaker.f0_hz * 2 ** (semitones / 12)
        throat.f0[body] = speaker.f0_hz * 2 ** ((semitones + glide + rng.normal(0, 0.15, count)) / 12)
    if coda and end - coda > at + onset:
        _consonant(throat, str(rng.choice(["fricative", "nasal", "plosive"])), end - coda, end, speaker, rng)
    return at + frames


def _consonant(throat: _Throat, kind: str, start: int, end: int, speaker: Speaker, rng: np.random.Generator) -> None:
    span = slice(start, end)
    if end <= start:
        return
    if kind == "fricative":
        throat.friction[span] = rng.uniform(0.05, 0.35)
        throat.friction_hz[span] = rng.uniform(2200, 7000)
        throat.voicing[span] = 0.0 if rng.random() < 0.7 else 0.2
    elif kind in ("plosive", "voiced plosive"):
        throat.voicing[span] = 0.12 if kind == "voiced plosive" else 0.0
        burst = max(start, end - 3)
        throat.friction[burst:end] = rng.uniform(0.2, 0.6)
        throat.friction_hz[burst:end] = rng.uniform(800, 4500)
    elif kind == "nasal":
        throat.formants[span] = np.array([280.0, 1100.0, 2200.0, 3300.0]) * speaker.formant_scale
        throat.voicing[span] = 0.35
    elif kind == "liquid":
        throat.formants[span] = np.array([360.0, 1300.0, 1700.0, 3300.0]) * speaker.formant_scale
        throat.voicing[span] = 0.5


def sing(notes: list[SungNote], samples: int, sample_rate_hz: int, rng: np.random.Generator) -> Wave:
    """A voice on the given notes: held pitch with vibrato, one vowel a note, short consonants between."""
    speaker = draw_speaker(rng)
    throat = _Throat(samples / sample_rate_hz)
    vibrato_hz, depth = float(rng.uniform(4.8, 6.5)), float(rng.uniform(0.1, 0.5))
    for sung in notes:
        start = int(sung.start_s * CONTROL_RATE_HZ)
        end = min(int((sung.start_s + sung.duration_s) * CONTROL_RATE_HZ), len(throat.f0))
        if end - start < 4:
            continue
        count = end - start
        t_s = np.arange(count) / CONTROL_RATE_HZ
        swing = depth * np.minimum(1.0, t_s / 0.3) * np.sin(2 * np.pi * vibrato_hz * t_s)
        throat.f0[start:end] = midi_hz(sung.midi) * 2 ** (swing / 12)
        throat.formants[start:end, :3] = _VOWELS[rng.integers(len(_VOWELS))] * speaker.formant_scale
        throat.voicing[start:end] = np.minimum(1.0, np.minimum(t_s / 0.06, (t_s[-1] - t_s) / 0.06 + 0.05))
        onset = min(end, start + int(rng.uniform(0.03, 0.12) * CONTROL_RATE_HZ))
        if rng.random() < 0.6:
            kind = str(rng.choice(["fricative", "plosive", "nasal", "liquid"]))
            _consonant(throat, kind, start, onset, speaker, rng)
    return normalise(throat.render(speaker, samples, sample_rate_hz, rng), 1.0)
