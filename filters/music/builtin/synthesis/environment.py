"""Sound that is no music: weather, animals, machines, crowds, signals, speech, and silence.

Some of it is tonal (hum, alarms, birds) and some of it is regular (clocks, engines, alarms), because a detector that
takes any steady tone or any beat for music is of no use.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from filters.music.builtin.synthesis.dsp import (
    Wave,
    band,
    coloured_noise,
    equalise,
    harmonic_sum,
    mix,
    normalise,
    place,
    reverb,
    wander,
)
from filters.music.builtin.synthesis.voice import draw_speaker, speak

Make = Callable[[int, int, np.random.Generator], Wave]  # samples, sample_rate_hz, generator


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A kind of sound that is no music, and the words for it."""

    name: str
    words: tuple[str, ...]  # what is heard, as a listener would say
    make: Make


def _time(samples: int, rate: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.arange(samples) / rate


def _tone(f_T: np.ndarray[tuple[int], np.dtype[np.float64]], rate: int) -> Wave:
    return np.sin(2 * np.pi * (np.cumsum(f_T / rate) % 1.0)).astype(np.float32)


def _swell(samples: int, rng: np.random.Generator, rate_hz: float, depth_db: float, rate: int) -> Wave:
    """A wandering gain."""
    return (10 ** (depth_db / 20 * wander(rng, samples, rate_hz, rate))).astype(np.float32)


def _events(samples: int, rate: int, rng: np.random.Generator, gap_s: tuple[float, float], jitter: float) -> list[int]:
    """Starts of repeated events: a drawn gap that varies by `jitter` (0 is a clock, 1 is chance)."""
    gap = float(rng.uniform(*gap_s))
    at, starts = float(rng.uniform(0, gap)), []
    while at * rate < samples:
        starts.append(int(at * rate))
        at += gap * max(0.05, (1 - jitter) + jitter * float(rng.exponential(1.0)))
    return starts


# Speech.


def _speech(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return speak(samples / rate, rate, draw_speaker(rng), rng)


def _reading(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """One voice, slow, with long pauses, in a room, with the hiss of a cheap microphone."""
    speaker = replace(draw_speaker(rng), syllables_per_s=float(rng.uniform(3.2, 5.2)), pause_s=(0.3, 1.4))
    voice = speak(samples / rate, rate, speaker, rng)
    voice = reverb(voice, rng, float(rng.uniform(0.15, 0.9)), float(rng.uniform(0.05, 0.5)), rate)
    return mix(voice, coloured_noise(rng, samples, float(rng.uniform(0, 1.5)), rate), float(rng.uniform(25, 55)))


def _dialogue(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Two voices in turn."""
    out = np.zeros(samples, dtype=np.float32)
    speakers, at, turn = [draw_speaker(rng), draw_speaker(rng)], 0, 0
    while at < samples:
        length_s = float(rng.uniform(1.5, 5.0))
        place(out, speak(length_s, rate, speakers[turn % 2], rng), at)
        at, turn = at + int((length_s - 0.2) * rate), turn + 1
    return normalise(out)


def _words(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Single short words, such as spoken digits."""
    out = np.zeros(samples, dtype=np.float32)
    speaker = replace(draw_speaker(rng), pause_s=(5.0, 6.0), phrase_syllables=(1, 2))
    for start in _events(samples, rate, rng, (0.5, 1.6), 0.3):
        if rng.random() < 0.3:
            speaker = replace(draw_speaker(rng), pause_s=(5.0, 6.0), phrase_syllables=(1, 2))
        place(out, speak(0.9, rate, speaker, rng), start)
    return normalise(out)


def _whisper(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return speak(samples / rate, rate, replace(draw_speaker(rng), voiced=0.0, breath=0.6), rng)


def _child(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    speaker = replace(
        draw_speaker(rng), f0_hz=float(rng.uniform(260, 380)), f0_spread_semitones=5.0, formant_scale=1.35
    )
    return speak(samples / rate, rate, speaker, rng)


def _babble(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    voices = int(rng.integers(4, 10))
    total = np.zeros(samples, dtype=np.float32)
    for _ in range(voices):
        place(total, speak(samples / rate, rate, draw_speaker(rng), rng), 0, float(rng.uniform(0.2, 1.0)))
    return normalise(reverb(total, rng, float(rng.uniform(0.4, 1.5)), 0.6, rate))


def _radio_speech(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    voice = np.tanh(4 * band(_speech(samples, rate, rng), 350, 3000, rate)).astype(np.float32)
    return mix(voice, band(coloured_noise(rng, samples, 0.3, rate), 300, 3400, rate), float(rng.uniform(8, 25)))


def _speech_in_street(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return mix(_speech(samples, rate, rng), _traffic(samples, rate, rng), float(rng.uniform(0, 18)))


# Weather and water.


def _rain(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = coloured_noise(rng, samples, float(rng.uniform(0, 1.0)), rate) * float(rng.uniform(0.1, 0.6))
    drops = np.zeros(samples, dtype=np.float32)
    count = int(samples / rate * rng.uniform(20, 300))
    drops[rng.integers(0, samples, count)] = rng.exponential(1.0, count).astype(np.float32)
    centre = float(rng.uniform(1200, 4500))
    return normalise(out + 3 * band(drops, centre / 2, centre * 1.7, rate))


def _wind(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    body = equalise(
        coloured_noise(rng, samples, 1.6, rate),
        np.array([0, 80, 900, 3000, 1e6]),
        np.array([0.2, 1, 0.6, 0.1, 0]),
        rate,
    )
    out = normalise(body * _swell(samples, rng, float(rng.uniform(0.2, 1.0)), 8.0, rate))
    if rng.random() < 0.5:
        centre = float(rng.uniform(300, 1000))
        gliding = centre * 2 ** (0.35 * wander(rng, samples, 0.5, rate))
        fluctuation = 1 + 0.7 * wander(rng, samples, 30, rate)
        whistle = (_tone(gliding * (1 + 0.02 * wander(rng, samples, 40, rate)), rate) * fluctuation).astype(np.float32)
        out = normalise(out + 0.15 * whistle * _swell(samples, rng, 0.6, 10.0, rate))
    return out


def _sea(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    swell = np.maximum(0.05, 0.5 + 0.5 * np.sin(2 * np.pi * (_time(samples, rate) / rng.uniform(4, 9) + rng.uniform())))
    foam = coloured_noise(rng, samples, float(rng.uniform(0.4, 1.2)), rate) * (swell**1.5).astype(np.float32)
    return normalise(foam * _swell(samples, rng, 0.4, 3.0, rate))


def _thunder(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = 0.15 * _rain(samples, rate, rng)
    for start in _events(samples, rate, rng, (3.0, 7.0), 0.7):
        length = int(rng.uniform(2.0, 5.0) * rate)
        rumble = coloured_noise(rng, length, 2.0, rate) * _swell(length, rng, 4.0, 5.0, rate)
        place(out, rumble * np.exp(-_time(length, rate)).astype(np.float32), start, float(rng.uniform(0.6, 2.0)))
    return normalise(out)


def _stream(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Bubbles: short tones that rise as they fade."""
    out = 0.08 * coloured_noise(rng, samples, 0.7, rate)
    for _ in range(int(samples / rate * rng.uniform(15, 60))):
        length = int(rng.uniform(0.01, 0.07) * rate)
        base = float(rng.uniform(400, 2500))
        t = np.linspace(0, 1, length)
        drop = _tone(base * (1 + rng.uniform(0.1, 0.6) * t), rate) * np.exp(-5 * t).astype(np.float32)
        place(out, drop, int(rng.integers(samples)), float(rng.uniform(0.05, 0.4)))
    return normalise(out)


def _fire(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = 0.1 * coloured_noise(rng, samples, 1.5, rate) * _swell(samples, rng, 1.0, 3.0, rate)
    for _ in range(int(samples / rate * rng.uniform(6, 40))):
        length = int(rng.uniform(0.002, 0.02) * rate) + 4
        crack = rng.standard_normal(length).astype(np.float32) * np.exp(-6 * np.linspace(0, 1, length)).astype(
            np.float32
        )
        place(out, crack, int(rng.integers(samples)), float(rng.exponential(0.25)))
    return normalise(out)


# Animals and people.


def _calls(
    samples: int,
    rate: int,
    rng: np.random.Generator,
    *,
    f0_hz: tuple[float, float],
    length_s: tuple[float, float],
    gap_s: tuple[float, float],
    bend: float,
    rough: float,
    formants_hz: tuple[float, float],
    jitter: float = 0.6,
) -> Wave:
    """An animal that calls again and again: harmonics that bend, rough by noise, through a throat."""
    out = np.zeros(samples, dtype=np.float32)
    pitch = float(rng.uniform(*f0_hz))
    for start in _events(samples, rate, rng, gap_s, jitter):
        length = int(rng.uniform(*length_s) * rate)
        t = np.linspace(0, 1, length)
        f0_T = pitch * float(rng.uniform(0.93, 1.07)) * (1 + bend * np.sin(np.pi * t) * float(rng.uniform(0.5, 1.2)))
        f0_T = f0_T * (1 + rough * 0.05 * wander(rng, length, 60, rate))
        count = max(1, min(30, int(0.45 * rate / f0_T.max())))
        call = harmonic_sum(f0_T, (np.arange(1, count + 1, dtype=np.float64) ** -0.6)[None, :].repeat(2, 0), rate)
        call = call + rough * rng.standard_normal(length).astype(np.float32)
        low, high = formants_hz
        call = equalise(
            call, np.array([0, low / 2, low, high, high * 2, 1e6]), np.array([0.1, 0.4, 1, 0.8, 0.15, 0]), rate
        )
        place(out, normalise(call) * np.sin(np.pi * t).astype(np.float32) ** 0.5, start, float(rng.uniform(0.5, 1.0)))
    return normalise(reverb(out, rng, float(rng.uniform(0.1, 0.8)), float(rng.uniform(0.05, 0.4)), rate))


def _dog(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return _calls(samples, rate, rng, f0_hz=(180, 700), length_s=(0.1, 0.3), gap_s=(0.3, 2.0), bend=0.4, rough=0.8,
                  formants_hz=(500, 1500))  # fmt: skip


def _baby(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return _calls(samples, rate, rng, f0_hz=(350, 550), length_s=(0.6, 1.4), gap_s=(1.0, 1.8), bend=0.25, rough=0.2,
                  formants_hz=(900, 3500), jitter=0.2)  # fmt: skip


def _rooster(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return _calls(samples, rate, rng, f0_hz=(500, 900), length_s=(0.4, 1.2), gap_s=(0.8, 4.0), bend=0.5, rough=0.3,
                  formants_hz=(900, 2500))  # fmt: skip


def _cattle(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return _calls(samples, rate, rng, f0_hz=(90, 220), length_s=(0.8, 2.0), gap_s=(2.0, 5.0), bend=0.2, rough=0.3,
                  formants_hz=(300, 1200))  # fmt: skip


def _laughter(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return _calls(samples, rate, rng, f0_hz=(180, 400), length_s=(0.08, 0.16), gap_s=(0.18, 0.28), bend=0.15, rough=0.4,
                  formants_hz=(600, 1800), jitter=0.25)  # fmt: skip


def _birds(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = 0.02 * coloured_noise(rng, samples, 1.0, rate)
    for _ in range(int(rng.integers(1, 4))):
        centre, gap = float(rng.uniform(2000, 5500)), (0.3, 2.5)
        shape = rng.uniform(-0.5, 0.5, 3)
        for start in _events(samples, rate, rng, gap, 0.7):
            for chirp in range(int(rng.integers(1, 6))):
                length = int(rng.uniform(0.03, 0.16) * rate)
                t = np.linspace(0, 1, length)
                f_T = centre * (1 + shape[0] * t + shape[1] * np.sin(2 * np.pi * t * (1 + 4 * abs(shape[2]))) * 0.3)
                note = _tone(np.clip(f_T, 800, 0.45 * rate), rate) * np.sin(np.pi * t).astype(np.float32)
                place(out, note, start + chirp * int(0.13 * rate), float(rng.uniform(0.2, 0.8)))
    return normalise(out)


def _crickets(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    t = _time(samples, rate)
    out = 0.03 * coloured_noise(rng, samples, 0.8, rate)
    for _ in range(int(rng.integers(1, 4))):
        pulses = np.maximum(0, np.sin(2 * np.pi * rng.uniform(20, 60) * t)) * (
            np.sin(2 * np.pi * rng.uniform(0.5, 3) * t) > 0
        )
        carrier = float(rng.uniform(3000, 6000))
        out += (np.sin(2 * np.pi * carrier * t) * pulses).astype(np.float32) * float(rng.uniform(0.2, 1.0))
    return normalise(out)


def _cough(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Coughs and sneezes: bursts of shaped noise."""
    out = 0.005 * coloured_noise(rng, samples, 1.0, rate)
    for start in _events(samples, rate, rng, (0.6, 2.5), 0.6):
        length = int(rng.uniform(0.15, 0.6) * rate)
        burst = band(rng.standard_normal(length).astype(np.float32), float(rng.uniform(300, 900)), 3500, rate)
        place(out, normalise(burst) * np.exp(-5 * np.linspace(0, 1, length)).astype(np.float32), start)
    return normalise(out)


def _applause(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = np.zeros(samples, dtype=np.float32)
    clap = rng.standard_normal(int(0.02 * rate)).astype(np.float32)
    clap *= np.exp(-np.linspace(0, 6, len(clap))).astype(np.float32)
    for _ in range(int(samples / rate * rng.uniform(30, 200))):
        place(out, clap, int(rng.integers(samples)), float(rng.exponential(0.4)))
    return normalise(band(out, 500, 4500, rate) * _swell(samples, rng, 0.3, 2.0, rate))


# Machines and things.


def _engine(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Buzz of a motor whose speed drifts: chainsaw, motorcycle, mower."""
    f0_T = float(rng.uniform(35, 160)) * 2 ** (float(rng.uniform(0.05, 0.4)) * wander(rng, samples, 0.7, rate))
    f0_T = f0_T * (1 + 0.02 * wander(rng, samples, 50, rate))
    count = int(min(40, 0.45 * rate / f0_T.max()))
    buzz = harmonic_sum(f0_T, (np.arange(1, count + 1, dtype=np.float64) ** -0.5)[None, :].repeat(2, 0), rate)
    buzz = buzz * (1 + 0.5 * wander(rng, samples, 40, rate)).astype(np.float32)
    return mix(buzz, coloured_noise(rng, samples, 0.5, rate), float(rng.uniform(-3, 15)))


def _helicopter(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    t = _time(samples, rate)
    pulse = np.maximum(0, np.sin(2 * np.pi * float(rng.uniform(8, 22)) * t)) ** 3
    return normalise(coloured_noise(rng, samples, 1.2, rate) * (0.25 + pulse).astype(np.float32))


def _hum(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Mains hum and transformers: steady harmonics, nothing ever changes."""
    base = float(rng.choice([50.0, 60.0, 100.0, 120.0]) if rng.random() < 0.6 else rng.uniform(40, 400))
    count = int(rng.integers(3, 14))
    gains = rng.exponential(1.0, count) * np.arange(1, count + 1) ** -0.5
    hum = harmonic_sum(np.full(samples, base), gains[None, :].repeat(2, 0), rate)
    return mix(hum, coloured_noise(rng, samples, 0.8, rate), float(rng.uniform(0, 30)))


def _fan(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    noise = coloured_noise(rng, samples, float(rng.uniform(0.3, 1.4)), rate)
    low = float(rng.uniform(100, 800))
    return mix(band(noise, low, low * 6, rate), _hum(samples, rate, rng), float(rng.uniform(0, 15)))


def _traffic(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = coloured_noise(rng, samples, 1.6, rate) * _swell(samples, rng, 0.2, 3.0, rate)
    for start in _events(samples, rate, rng, (2.0, 6.0), 0.7):
        length = int(rng.uniform(2, 5) * rate)
        passing = coloured_noise(rng, length, float(rng.uniform(0.6, 1.2)), rate)
        place(
            out, passing * np.hanning(length).astype(np.float32) ** 2, start - length // 2, float(rng.uniform(0.3, 1))
        )
    return normalise(out)


def _ticks(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """A clock: the most regular of all sounds that are no music."""
    out = 0.01 * coloured_noise(rng, samples, 1.0, rate)
    length = int(0.03 * rate)
    t = _time(length, rate)
    sounds = [
        (np.sin(2 * np.pi * f * t) * np.exp(-t * 250)).astype(np.float32) + 0.3 * band(
            rng.standard_normal(length).astype(np.float32), 1500, 6000, rate) * np.exp(-t * 400).astype(np.float32)
        for f in rng.uniform(1500, 4500, 2)
    ]  # fmt: skip
    for index, start in enumerate(_events(samples, rate, rng, (0.2, 1.0), 0.0)):
        place(out, sounds[index % 2], start)
    return normalise(out)


def _typing(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = 0.01 * coloured_noise(rng, samples, 1.0, rate)
    for start in _events(samples, rate, rng, (0.08, 0.3), 0.7):
        length = int(rng.uniform(0.01, 0.04) * rate)
        key = band(rng.standard_normal(length).astype(np.float32), 800, 5000, rate)
        place(out, key * np.exp(-np.linspace(0, 7, length)).astype(np.float32), start, float(rng.uniform(0.3, 1)))
    return normalise(out)


def _steps(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = 0.01 * coloured_noise(rng, samples, 1.0, rate)
    for start in _events(samples, rate, rng, (0.4, 0.8), 0.12):
        length = int(rng.uniform(0.08, 0.2) * rate)
        step = coloured_noise(rng, length, float(rng.uniform(0.5, 1.5)), rate)
        place(out, step * np.exp(-np.linspace(0, 6, length)).astype(np.float32), start, float(rng.uniform(0.4, 1)))
    return normalise(reverb(out, rng, 0.4, 0.3, rate))


def _hammering(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    out = 0.02 * coloured_noise(rng, samples, 1.0, rate)
    partials = rng.uniform(400, 4000, 5)
    for start in _events(samples, rate, rng, (0.3, 1.5), 0.4):
        length = int(0.3 * rate)
        t = _time(length, rate)
        ring = sum(np.sin(2 * np.pi * f * t) * np.exp(-t * rng.uniform(15, 60)) for f in partials)
        knock = np.asarray(ring, dtype=np.float32) * 0.2 + rng.standard_normal(length).astype(np.float32) * np.exp(
            -t * 120
        ).astype(np.float32)
        place(out, knock, start, float(rng.uniform(0.5, 1)))
    return normalise(reverb(out, rng, 0.5, 0.3, rate))


def _alarm(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Beeps and sirens: tonal, regular, and no music."""
    t = _time(samples, rate)
    base, period = float(rng.uniform(500, 2500)), float(rng.uniform(0.25, 3.0))
    phase = (t / period + rng.uniform()) % 1.0
    form = int(rng.integers(3))
    if form == 0:
        wave = np.sin(2 * np.pi * base * t) * (phase < rng.uniform(0.2, 0.6))
    elif form == 1:
        wave = _tone(base * np.where(phase < 0.5, 1.0, rng.uniform(1.1, 1.5)), rate)
    else:
        wave = _tone(base * 2 ** (rng.uniform(0.3, 1.0) * np.sin(2 * np.pi * phase)), rate)
    return mix(wave.astype(np.float32), coloured_noise(rng, samples, 1.0, rate), float(rng.uniform(5, 40)))


def _tones(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Test tones and sweeps."""
    t = _time(samples, rate)
    if rng.random() < 0.5:
        low, high = float(rng.uniform(60, 300)), float(rng.uniform(1500, 6000))
        return normalise(_tone(low * (high / low) ** (t / (t[-1] + 1e-9) % 1.0), rate))
    frequencies = rng.uniform(100, 3000, int(rng.integers(1, 3)))
    total = sum(np.sin(2 * np.pi * f * t) for f in frequencies)
    return normalise(np.asarray(total, dtype=np.float32))


def _noise(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    return coloured_noise(rng, samples, float(rng.uniform(0, 2.2)), rate)


def _static(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    clicks = np.zeros(samples, dtype=np.float32)
    count = int(samples / rate * rng.uniform(2, 80))
    clicks[rng.integers(0, samples, count)] = rng.standard_normal(count).astype(np.float32)
    return mix(clicks, coloured_noise(rng, samples, 0.2, rate), float(rng.uniform(-5, 15)))


def _room(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Nearly nothing: the noise of a quiet room, or digital silence."""
    if rng.random() < 0.25:
        return np.zeros(samples, dtype=np.float32)
    return coloured_noise(rng, samples, float(rng.uniform(0.8, 2.0)), rate) * np.float32(10 ** rng.uniform(-3.5, -1.5))


def _thuds(samples: int, rate: int, rng: np.random.Generator) -> Wave:
    """Doors, drops and rustling."""
    out = 0.02 * coloured_noise(rng, samples, 1.0, rate)
    for start in _events(samples, rate, rng, (0.3, 2.0), 0.9):
        length = int(rng.uniform(0.05, 0.8) * rate)
        thud = coloured_noise(rng, length, float(rng.uniform(0, 2)), rate)
        place(out, thud * np.exp(-np.linspace(0, 7, length)).astype(np.float32), start, float(rng.exponential(0.5)))
    return normalise(reverb(out, rng, float(rng.uniform(0.2, 1.0)), 0.3, rate))


SCENES: dict[str, Scene] = {
    scene.name: scene
    for scene in (
        Scene(name="speech", words=("a person speaking",), make=_speech),
        Scene(name="reading", words=("a voice reading aloud", "narration"), make=_reading),
        Scene(name="dialogue", words=("two people talking", "conversation"), make=_dialogue),
        Scene(name="words", words=("single spoken words", "spoken digits"), make=_words),
        Scene(name="whisper", words=("whispering",), make=_whisper),
        Scene(name="child speech", words=("a child talking",), make=_child),
        Scene(name="babble", words=("a crowd talking", "many voices at once"), make=_babble),
        Scene(name="radio speech", words=("a voice over a radio link",), make=_radio_speech),
        Scene(name="speech in the street", words=("a person speaking beside traffic",), make=_speech_in_street),
        Scene(name="rain", words=("rain falling",), make=_rain),
        Scene(name="wind", words=("wind blowing",), make=_wind),
        Scene(name="sea", words=("waves on a beach",), make=_sea),
        Scene(name="thunder", words=("thunder and rain",), make=_thunder),
        Scene(name="stream", words=("a bubbling stream",), make=_stream),
        Scene(name="fire", words=("a crackling fire",), make=_fire),
        Scene(name="dog", words=("a dog barking",), make=_dog),
        Scene(name="baby", words=("a baby crying",), make=_baby),
        Scene(name="rooster", words=("a rooster crowing",), make=_rooster),
        Scene(name="cattle", words=("cattle lowing",), make=_cattle),
        Scene(name="laughter", words=("people laughing",), make=_laughter),
        Scene(name="birds", words=("birds chirping",), make=_birds),
        Scene(name="crickets", words=("crickets at night",), make=_crickets),
        Scene(name="cough", words=("coughs and sneezes",), make=_cough),
        Scene(name="applause", words=("applause",), make=_applause),
        Scene(name="engine", words=("a motor running",), make=_engine),
        Scene(name="helicopter", words=("a helicopter",), make=_helicopter),
        Scene(name="hum", words=("electric hum",), make=_hum),
        Scene(name="fan", words=("a fan",), make=_fan),
        Scene(name="traffic", words=("cars passing",), make=_traffic),
        Scene(name="clock", words=("a clock ticking",), make=_ticks),
        Scene(name="typing", words=("typing on a keyboard",), make=_typing),
        Scene(name="footsteps", words=("footsteps",), make=_steps),
        Scene(name="hammering", words=("hammering",), make=_hammering),
        Scene(name="alarm", words=("an alarm beeping", "a siren"), make=_alarm),
        Scene(name="test tones", words=("test tones",), make=_tones),
        Scene(name="noise", words=("steady noise",), make=_noise),
        Scene(name="static", words=("crackle and static",), make=_static),
        Scene(name="room tone", words=("a quiet room",), make=_room),
        Scene(name="thuds", words=("thuds and rustling",), make=_thuds),
    )
}
