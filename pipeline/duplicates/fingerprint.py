"""A fingerprint of a clip: what stays of it in another encoding, and when it begins a little earlier or later.

After Haitsma and Kalker ("A Highly Robust Audio Fingerprinting System", 2002), over the log-mel of the builtin
detector. A word of 31 bits is made every STEP_S: a bit says whether the difference between two neighbouring mel bands,
each the mean over SMOOTH_S, has grown by more than LEAST_DB within LAG_S. Levels, equalisers and codecs change little
of that, and what is steady or silent has no bits.

A few of the words are *keys*, by which copies find one another: those whose bits lie farthest from being otherwise,
since they are the likeliest to be the same in a copy, wherever it begins. A clip without such words, silence or a
steady tone, has no keys and is compared with nothing.

Shape suffixes: T samples, N words, B mel bands or the bits between them, K keys.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filters.music.builtin.features import decibels, mel_power
from schemas.shard import CLIP_SAMPLE_RATE_HZ

VERSION = 1  # raised when other words or keys come out of the same clip
MAX_KEYS = 64

_HOP = 400
_HOP_S = _HOP / CLIP_SAMPLE_RATE_HZ
_STEP, _SMOOTH, _LAG = 2, 24, 11  # in hops; the lag in words
STEP_S, SMOOTH_S, LAG_S = _STEP * _HOP_S, _SMOOTH * _HOP_S, _LAG * _STEP * _HOP_S
LEAST_DB = 0.5
_KEY_MARGIN_DB = 0.05  # a word of which a bit is nearer to the other side is no key
_WEIGHT_B = np.left_shift(np.uint32(1), np.arange(31, dtype=np.uint32))
_INT16_SCALE = 1 / 32768

# More of the bits that either clip has set are different: another recording.
MAX_DISTANCE = 0.45
MIN_BITS = 1_000  # that either has set, where the clips overlap: about 3 s of music


@dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprint:
    """words_N: uint32. keys_K: words that are keys, each once; places_K: where each stands in words_N."""

    words_N: NDArray[np.uint32]
    keys_K: NDArray[np.uint32]
    places_K: NDArray[np.int32]


def fingerprint(pcm_T: NDArray[np.int16]) -> Fingerprint:
    """Of a 16 kHz mono clip; one that is too short has no words."""
    nothing = np.zeros(0, np.uint32)
    if len(pcm_T) < (SMOOTH_S + LAG_S + 2 * STEP_S) * CLIP_SAMPLE_RATE_HZ:
        return Fingerprint(words_N=nothing, keys_K=nothing, places_K=np.zeros(0, np.int32))
    power_NB = mel_power(pcm_T.astype(np.float32) * np.float32(_INT16_SCALE), _HOP)
    sums_NB = np.vstack([np.zeros((1, power_NB.shape[1])), power_NB.cumsum(axis=0, dtype=np.float64)])
    smooth_NB = (sums_NB[_SMOOTH::_STEP] - sums_NB[:-_SMOOTH:_STEP]) / _SMOOTH
    level_NB = decibels(np.maximum(smooth_NB, 0))
    tilt_NB = level_NB[:, :-1] - level_NB[:, 1:]
    growth_NB = tilt_NB[_LAG:] - tilt_NB[:-_LAG] - LEAST_DB
    words_N = ((growth_NB > 0) * _WEIGHT_B).sum(axis=1, dtype=np.uint32)
    margin_N = np.abs(growth_NB).min(axis=1)
    # In the order of their certainty; of equal words the first.
    order = np.argsort(-margin_N, kind="stable")
    order = order[(margin_N[order] >= _KEY_MARGIN_DB) & (words_N[order] != 0)]
    _, first = np.unique(words_N[order], return_index=True)
    places_K = order[np.sort(first)[:MAX_KEYS]].astype(np.int32)
    return Fingerprint(words_N=words_N, keys_K=words_N[places_K], places_K=places_K)


def distance(one_N: NDArray[np.uint32], other_N: NDArray[np.uint32], offset: int) -> float | None:
    """Share of the bits set in either that are not set in both, where word `offset` of one stands beside the first of
    the other. None where the clips have too little in common to tell."""
    here_N, there_N = one_N[max(0, offset) :], other_N[max(0, -offset) :]
    length = min(len(here_N), len(there_N))
    here_N, there_N = here_N[:length], there_N[:length]
    either = int(np.bitwise_count(here_N | there_N).sum())
    if either < MIN_BITS:
        return None
    return int(np.bitwise_count(here_N ^ there_N).sum()) / either
