"""Sound that the project makes itself: music in many styles, voices, environment, mixtures; numpy only, seeded.

    wave = synthesise("jazz trio", seed=7, duration_s=30.0)
    about = describe("jazz trio", seed=7)        # what was drawn: instruments, tempo, mood

The builtin detector is trained on it and the demo's corpus is made of it, with text written from the same draw.
"""

from dataclasses import dataclass

import numpy as np

from filters.music.builtin.synthesis.degrade import degrade
from filters.music.builtin.synthesis.dsp import Wave, mix
from filters.music.builtin.synthesis.environment import SCENES
from filters.music.builtin.synthesis.music import play
from filters.music.builtin.synthesis.styles import STYLES, Piece, compose
from filters.music.builtin.synthesis.voice import draw_speaker, speak
from schemas.digest import hash64

__all__ = ["KINDS", "Kind", "Sound", "Wave", "degrade", "describe", "synthesise"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of sound. Of a mixture, `is_music` says whether the music in it is at least as loud as the rest."""

    name: str
    is_music: bool
    family: str  # music, voice, environment, mixture


@dataclass(frozen=True, kw_only=True)
class Sound:
    """What one sound is, in words that are true of it."""

    kind: Kind
    words: tuple[str, ...]  # what is heard
    piece: Piece | None  # the draw, where it is music alone


_VOICES = (
    "speech", "reading", "dialogue", "words", "whisper", "child speech", "babble", "radio speech",
    "speech in the street",
)  # fmt: skip
_MIXTURES = ("speech over music", "noise over music")

KINDS: dict[str, Kind] = {
    **{name: Kind(name=name, is_music=True, family="music") for name in STYLES},
    **{name: Kind(name=name, is_music=False, family="voice" if name in _VOICES else "environment") for name in SCENES},
    **{name: Kind(name=name, is_music=True, family="mixture") for name in _MIXTURES},
}


def synthesise(kind: str, seed: int, duration_s: float, sample_rate_hz: int = 16_000) -> Wave:
    """(T,) float32 in [-1, 1]; the same for the same arguments. Raises ValueError for a kind that is not in KINDS."""
    rng = _generator(kind, seed)
    samples = int(duration_s * sample_rate_hz)
    if kind in STYLES:
        return play(compose(STYLES[kind], rng), duration_s, sample_rate_hz, rng)[:samples]
    if kind in SCENES:
        return SCENES[kind].make(samples, sample_rate_hz, rng)
    style = list(STYLES.values())[int(rng.integers(len(STYLES)))]
    music = play(compose(style, rng), duration_s, sample_rate_hz, rng)
    if kind == "speech over music":
        front = speak(duration_s, sample_rate_hz, draw_speaker(rng), rng)
    else:
        names = [name for name in SCENES if name not in _VOICES and name != "room tone"]
        front = SCENES[names[int(rng.integers(len(names)))]].make(samples, sample_rate_hz, rng)
    return mix(music, front, float(rng.uniform(0, 15)))


def describe(kind: str, seed: int) -> Sound:
    """What `synthesise` makes with the same arguments. Raises ValueError for a kind that is not in KINDS."""
    rng = _generator(kind, seed)
    if kind in STYLES:
        piece = compose(STYLES[kind], rng)
        return Sound(kind=KINDS[kind], words=(f"{piece.mood} {kind}",), piece=piece)
    words = SCENES[kind].words if kind in SCENES else (kind,)
    return Sound(kind=KINDS[kind], words=words, piece=None)


def _generator(kind: str, seed: int) -> np.random.Generator:
    if kind not in KINDS:
        raise ValueError(f"no kind of sound is called {kind!r}; there are {', '.join(KINDS)}")
    return np.random.default_rng([hash64(kind), seed])
