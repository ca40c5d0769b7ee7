"""The detector that `--music_detector` names: one of ours, or an object of the user's own that keeps the contract."""

from pathlib import Path

import numpy as np

from filters.music import builtin
from filters.music.detector import DetectorError, FrameGrid, MusicDetector, named_line
from filters.music.yamnet_savedmodel import YamnetSavedModel
from filters.music.yamnet_tflite import YamnetTflite
from schemas.lookup import UnknownNameError, find_factory, is_factory, lacking

BUILTIN = builtin.NAME
TFHUB_YAMNET = "https://tfhub.dev/google/yamnet/1"
DETECTORS = {BUILTIN: "filters.music.builtin.detector:load"}


def load_detector(spec: str, hop_s: float | None = None) -> MusicDetector:
    """`builtin`, a `.tflite` file of YAMNet, a folder with YAMNet as a SavedModel, a TF-Hub handle such as
    https://tfhub.dev/google/yamnet/1, or `package.module:factory`, which is called without arguments.

    `hop_s` is how far apart YAMNet's windows stand, side by side if None. Raises DetectorError.
    """
    if spec.startswith(("https://", "http://")):
        return YamnetSavedModel.from_handle(spec, hop_s=hop_s)
    path = Path(spec)
    if spec not in DETECTORS and path.is_dir():
        return YamnetSavedModel.from_folder(path, hop_s=hop_s)
    if path.suffix == ".tflite":
        return YamnetTflite.load(path, hop_s=hop_s)
    if spec in DETECTORS or is_factory(spec):
        if hop_s is not None:
            raise DetectorError(
                f"--music_hop {hop_s:g}: the windows of {spec!r} stand as it has them, YAMNet's can move"
            )
        return _made(spec)
    raise DetectorError(
        f"music detector {spec!r}: neither '{BUILTIN}', nor a .tflite file, nor a folder that is there, nor a TF-Hub "
        f"handle such as {TFHUB_YAMNET}, nor package.module:factory of your own"
    )


def _made(spec: str) -> MusicDetector:
    what = f"music detector {spec!r}"
    try:
        factory = find_factory(spec, DETECTORS, "music detector")
        made = factory()
    except (DetectorError, UnknownNameError) as error:
        raise DetectorError(str(error)) from error
    # What code of the user's does wrong is said as shortly as what is known of.
    except Exception as error:
        raise DetectorError(f"{what}: cannot be made ({named_line(error)})") from error
    if missing := lacking(made, MusicDetector):
        raise DetectorError(f"{what}: what it makes has no {', '.join(missing)}, as a MusicDetector has")
    kinds = {"name": str, "digest": str, "version": int, "demo_grade": bool, "grid": FrameGrid}
    for name, kind in kinds.items():
        value = getattr(made, name)
        if not isinstance(value, kind) or value == "":
            raise DetectorError(f"{what}: its {name} is {value!r}, which is no {kind.__name__} that says anything")
    detector: MusicDetector = made
    silence_T = np.zeros(detector.grid.window_samples + 1, np.float32)  # the last frame mostly looks beyond the end
    frames = detector.grid.frames(len(silence_T))
    try:
        scores_F = np.asarray(detector.scores(silence_T), np.float32)
    except Exception as error:
        raise DetectorError(f"{what}: cannot score silence ({named_line(error)})") from error
    if scores_F.shape != (frames,) or not ((scores_F >= 0) & (scores_F <= 1)).all():
        raise DetectorError(f"{what}: {frames} frames of silence give {scores_F}, and not a score in [0, 1] each")
    return detector
