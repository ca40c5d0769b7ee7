"""How a recording becomes windows, and its samples numbers: one policy for API, validation, evaluation and search.

A recording's embedding is the mean over its non-overlapping windows, made unit length again, as in the paper. The paper
does not say what becomes of a shorter rest, as in the 29 s clips of MagnaTagATune. Here: a rest of at least half a
window adds the recording's last whole window (29 s in windows of 10 s are 0-10, 10-20 and 19-29 s), a shorter rest is
dropped, and a recording below one window is padded with zeros at its end.

int16 and float samples are 2¹⁵ apart, as the log-mel and the decoder have it, so that a float made of int16 becomes the
same int16 again.

Legend: T samples of a recording, N windows, S samples of a window.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a saved model and a table of vectors say of it; raised when other windows or samples come out of a recording.
CUTS_VERSION = 2
INT16_SCALE = 1 << 15
_MIN_REST_SHARE = 0.5


def window_starts(samples: int, window: int) -> list[int]:
    """First samples of the windows; a recording shorter than a window has the one at 0."""
    if samples <= window:
        return [0]
    starts = list(range(0, samples - window + 1, window))
    if samples - (starts[-1] + window) >= _MIN_REST_SHARE * window:
        starts.append(samples - window)
    return starts


def cut(wave_T: NDArray[Any], window: int) -> list[NDArray[Any]]:
    """The windows, each of exactly `window` samples; views where nothing is padded. Raises ValueError where there is no
    sample."""
    if not len(wave_T):
        raise ValueError("it has no samples")
    if len(wave_T) < window:
        wave_T = np.pad(wave_T, (0, window - len(wave_T)))
    return [wave_T[start : start + window] for start in window_starts(len(wave_T), window)]


def to_float(pcm_T: NDArray[np.int16]) -> NDArray[np.float32]:
    """int16 samples as float32 in [-1, 1)."""
    return pcm_T.astype(np.float32) / np.float32(INT16_SCALE)


def to_int16(wave_T: NDArray[Any]) -> NDArray[np.int16]:
    """Floats in [-1, 1] as int16; what lies outside is clipped."""
    return np.asarray(np.rint(wave_T * INT16_SCALE).clip(-INT16_SCALE, INT16_SCALE - 1), np.int16)
