"""Instruments and drums: one note of a named timbre, by adding up partials.

An instrument is a row of numbers, not a function: how partials fall off, how they decay, attack, vibrato. `note`
renders any of them, `drum` renders the unpitched ones.
"""

from dataclasses import dataclass

import numpy as np

from filters.music.builtin.synthesis.dsp import Wave, band, normalise

# First three resonances of sung vowels, Hz and relative gain.
VOWELS_HZ: dict[str, tuple[float, float, float]] = {
    "a": (750, 1200, 2600),
    "e": (500, 1800, 2500),
    "i": (300, 2200, 2900),
    "o": (450, 850, 2600),
    "u": (330, 750, 2500),
}


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """A timbre. With `decay_per_s` 0 it sustains; else partial k loses `decay_per_s * (1 + damping * k)` nepers/s."""

    name: str  # as a listener would call it
    rolloff: float = 1.0  # partial k has amplitude k^-rolloff
    even: float = 1.0  # gain of the even partials
    partials: int = 16
    attack_s: float = 0.01
    release_s: float = 0.08
    decay_per_s: float = 0.0
    damping: float = 0.2
    stretch: float = 0.0  # inharmonicity: partial k stands at k * sqrt(1 + stretch * k^2)
    ratios: tuple[float, ...] = ()  # partials of bells and bars, which are no harmonics
    vibrato_cents: float = 0.0
    vibrato_hz: float = 5.5
    voices: int = 1  # copies, detuned against each other
    detune_cents: float = 0.0
    breath: float = 0.0
    tremolo: float = 0.0
    vowel: str = ""
    drive: float = 0.0  # distortion


INSTRUMENTS: dict[str, Instrument] = {
    entry.name: entry
    for entry in (
        Instrument(name="piano", rolloff=1.3, attack_s=0.004, release_s=0.15, decay_per_s=1.2, stretch=0.0004),
        Instrument(name="electric piano", rolloff=1.9, partials=8, attack_s=0.005, decay_per_s=1.4, tremolo=0.15),
        Instrument(name="acoustic guitar", rolloff=1.1, attack_s=0.003, decay_per_s=2.0, damping=0.3, even=0.8),
        Instrument(name="nylon guitar", rolloff=1.5, attack_s=0.005, decay_per_s=2.4, damping=0.35),
        Instrument(name="distorted guitar", rolloff=0.9, attack_s=0.006, decay_per_s=0.4, drive=6.0, partials=12),
        Instrument(name="harp", rolloff=1.6, attack_s=0.004, release_s=0.4, decay_per_s=1.8, damping=0.4),
        Instrument(name="lute", rolloff=1.0, attack_s=0.003, decay_per_s=3.0, damping=0.4, even=0.6),
        Instrument(name="strings", rolloff=1.2, attack_s=0.12, release_s=0.25, vibrato_cents=14, voices=3,
                   detune_cents=8),
        Instrument(name="violin", rolloff=1.0, attack_s=0.06, release_s=0.12, vibrato_cents=22, breath=0.01),
        Instrument(name="cello", rolloff=1.15, attack_s=0.08, release_s=0.15, vibrato_cents=16, breath=0.01),
        Instrument(name="pizzicato strings", rolloff=1.5, attack_s=0.004, decay_per_s=7.0, damping=0.3),
        Instrument(name="flute", rolloff=2.0, partials=6, attack_s=0.05, vibrato_cents=12, breath=0.06),
        Instrument(name="clarinet", rolloff=1.3, even=0.15, attack_s=0.04, vibrato_cents=4, breath=0.02),
        Instrument(name="oboe", rolloff=0.8, partials=14, attack_s=0.04, vibrato_cents=10),
        Instrument(name="saxophone", rolloff=0.9, attack_s=0.03, vibrato_cents=15, breath=0.03),
        Instrument(name="brass", rolloff=0.75, attack_s=0.05, release_s=0.1, vibrato_cents=6, voices=2, detune_cents=6),
        Instrument(name="trumpet", rolloff=0.6, attack_s=0.03, vibrato_cents=8),
        Instrument(name="organ", rolloff=0.7, partials=8, attack_s=0.015, release_s=0.05),
        Instrument(name="accordion", rolloff=0.8, attack_s=0.04, voices=2, detune_cents=10),
        Instrument(name="choir", rolloff=1.0, partials=24, attack_s=0.2, release_s=0.4, vibrato_cents=18, voices=4,
                   detune_cents=14, vowel="a"),
        Instrument(name="humming choir", rolloff=1.3, partials=16, attack_s=0.25, release_s=0.4, vibrato_cents=14,
                   voices=3, detune_cents=12, vowel="u"),
        Instrument(name="synth pad", rolloff=1.5, attack_s=0.5, release_s=0.8, voices=4, detune_cents=12),
        Instrument(name="glass pad", rolloff=2.4, partials=8, attack_s=0.7, release_s=1.0, voices=2, detune_cents=7),
        Instrument(name="saw lead", rolloff=1.0, partials=24, attack_s=0.008, voices=2, detune_cents=9),
        Instrument(name="square lead", rolloff=1.0, even=0.0, partials=20, attack_s=0.003, release_s=0.02),
        Instrument(name="pulse lead", rolloff=0.8, even=0.6, partials=20, attack_s=0.003, release_s=0.02),
        Instrument(name="triangle bass", rolloff=2.0, even=0.0, partials=9, attack_s=0.003, release_s=0.02),
        Instrument(name="synth pluck", rolloff=1.0, attack_s=0.003, decay_per_s=6.0, damping=0.25, voices=2,
                   detune_cents=8),
        Instrument(name="acid bass", rolloff=0.8, attack_s=0.003, decay_per_s=4.0, damping=0.5, drive=2.0),
        Instrument(name="synth bass", rolloff=1.2, attack_s=0.004, decay_per_s=1.0, damping=0.3),
        Instrument(name="sub bass", rolloff=3.0, partials=3, attack_s=0.01),
        Instrument(name="double bass", rolloff=1.5, attack_s=0.008, decay_per_s=2.2, damping=0.3),
        Instrument(name="electric bass", rolloff=1.3, attack_s=0.005, decay_per_s=1.5, damping=0.25),
        Instrument(name="music box", ratios=(1.0, 2.98, 5.9, 9.1), rolloff=1.2, attack_s=0.002, decay_per_s=2.2),
        Instrument(name="bells", ratios=(0.5, 1.0, 1.19, 1.5, 2.0, 2.74, 3.76), rolloff=0.7, attack_s=0.003,
                   release_s=0.8, decay_per_s=0.9),
        Instrument(name="marimba", ratios=(1.0, 3.93, 9.2), rolloff=1.5, attack_s=0.002, decay_per_s=6.0),
        Instrument(name="vibraphone", ratios=(1.0, 4.0, 10.1), rolloff=1.6, attack_s=0.003, decay_per_s=1.2,
                   tremolo=0.3, release_s=0.4),
        Instrument(name="kalimba", ratios=(1.0, 2.0, 5.4, 8.2), rolloff=1.7, attack_s=0.002, decay_per_s=3.5),
        Instrument(name="gamelan", ratios=(1.0, 2.32, 2.76, 4.25, 5.4), rolloff=0.9, attack_s=0.003, decay_per_s=2.0),
        Instrument(name="bagpipe", rolloff=0.5, partials=18, attack_s=0.02, release_s=0.03),
        Instrument(name="bowed drone", rolloff=0.9, partials=24, attack_s=0.8, release_s=1.0, voices=3, detune_cents=6),
    )
}  # fmt: skip


def midi_hz(midi: float) -> float:
    return float(440.0 * 2.0 ** ((midi - 69) / 12))


def note(
    instrument: Instrument,
    midi: float,
    duration_s: float,
    sample_rate_hz: int,
    rng: np.random.Generator,
    error_cents: float = 1.5,
) -> Wave:
    """One note, its release after `duration_s` included, out of tune by `error_cents`; its peak is 1."""
    f0_hz = midi_hz(midi)
    samples = int((duration_s + instrument.release_s) * sample_rate_hz)
    t_s = np.arange(samples) / sample_rate_hz
    out = np.zeros(samples, dtype=np.float32)
    ratios = instrument.ratios or tuple(
        k * float(np.sqrt(1 + instrument.stretch * k * k)) for k in range(1, instrument.partials + 1)
    )
    # Partials of a harmonic tone are powers of the first, which is much cheaper than a sine each.
    harmonic = not instrument.ratios and not instrument.stretch
    for voice in range(instrument.voices):
        spread = (voice - (instrument.voices - 1) / 2) * instrument.detune_cents
        cents = np.full(samples, spread + rng.normal(0, error_cents))
        if instrument.vibrato_cents:
            rate_hz = instrument.vibrato_hz * rng.uniform(0.85, 1.15)
            depth = instrument.vibrato_cents * np.minimum(1.0, t_s / 0.35)
            cents += depth * np.sin(2 * np.pi * (rate_hz * t_s + rng.uniform()))
        cycles = np.cumsum(f0_hz * 2 ** (cents / 1200)) / sample_rate_hz
        turn = np.exp(2j * np.pi * (cycles % 1.0)).astype(np.complex64)
        power = np.ones_like(turn)
        for k, ratio in enumerate(ratios, start=1):
            if ratio * f0_hz > 0.45 * sample_rate_hz:
                break
            amplitude = k**-instrument.rolloff * (instrument.even if k % 2 == 0 else 1.0)
            if instrument.vowel:
                amplitude *= vowel_gain(instrument.vowel, ratio * f0_hz)
            if harmonic:
                power = power * turn
                partial = (power * np.complex64(np.exp(2j * np.pi * rng.uniform()))).imag
            else:
                partial = np.sin(((cycles * ratio + rng.uniform()) % 1.0 * 2 * np.pi).astype(np.float32))
            if instrument.decay_per_s:
                fall = instrument.decay_per_s * (1 + instrument.damping * k)
                partial = partial * np.exp(np.float32(-fall) * t_s.astype(np.float32))
            out += np.float32(amplitude) * partial
    if instrument.breath:
        hiss = band(rng.standard_normal(samples).astype(np.float32), f0_hz, 6 * f0_hz, sample_rate_hz)
        out += instrument.breath * hiss
    if instrument.drive:
        out = np.tanh(instrument.drive * out / max(1e-6, float(np.abs(out).max()))).astype(np.float32)
    if instrument.tremolo:
        out *= (1 - instrument.tremolo * (0.5 + 0.5 * np.sin(2 * np.pi * 5.0 * t_s))).astype(np.float32)
    envelope = np.minimum(1.0, t_s / instrument.attack_s) * np.minimum(
        1.0, np.maximum(0.0, (t_s[-1] - t_s) / instrument.release_s) if samples else 1.0
    )
    return normalise(out * envelope.astype(np.float32), 1.0)


def vowel_gain(vowel: str, frequency_hz: float) -> float:
    """How a sung vowel's resonances weigh a partial."""
    return 0.05 + sum(
        gain / (1 + ((frequency_hz - centre) / 110.0) ** 2)
        for centre, gain in zip(VOWELS_HZ[vowel], (1.0, 0.6, 0.3), strict=True)
    )


def drum(name: str, sample_rate_hz: int, rng: np.random.Generator) -> Wave:
    """One hit of a drum, with some variation of its tuning."""
    length_s = {"kick": 0.35, "tom": 0.4, "timpani": 1.2, "open hat": 0.4, "ride": 0.6, "snare": 0.25}.get(name, 0.15)
    t_s = np.arange(int(length_s * sample_rate_hz)) / sample_rate_hz
    noise = rng.standard_normal(len(t_s)).astype(np.float32)
    tune = rng.uniform(0.85, 1.2)
    nyquist_hz = 0.45 * sample_rate_hz

    def swept(top_hz: float, base_hz: float, fall_per_s: float, decay_per_s: float) -> Wave:
        frequency = tune * (base_hz + (top_hz - base_hz) * np.exp(-fall_per_s * t_s))
        tone = np.sin(2 * np.pi * np.cumsum(frequency) / sample_rate_hz) * np.exp(-decay_per_s * t_s)
        return tone.astype(np.float32)

    def hiss(low_hz: float, decay_per_s: float) -> Wave:
        return band(noise, low_hz, nyquist_hz, sample_rate_hz) * np.exp(-decay_per_s * t_s).astype(np.float32)

    sounds = {
        "kick": swept(160, 48, 30, 11) + 0.05 * hiss(1500, 200),
        "snare": 0.6 * swept(250, 180, 20, 22) + 0.5 * hiss(1200, 18),
        "hat": hiss(5000, 55),
        "open hat": hiss(4500, 10),
        "ride": 0.4 * hiss(3500, 7) + 0.1 * swept(3400, 3400, 1, 6),
        "clap": band(noise, 900, 3500, sample_rate_hz) * np.exp(-24 * t_s).astype(np.float32),
        "tom": swept(180, 95, 15, 9) + 0.05 * hiss(800, 60),
        "shaker": hiss(4000, 28),
        "timpani": swept(115, 98, 20, 3.5) + 0.4 * swept(170, 147, 20, 5),
        "rim": 0.7 * swept(900, 700, 50, 60) + 0.2 * hiss(2000, 120),
        "conga": swept(330, 240, 25, 16),
    }
    return normalise(sounds[name], 1.0)
