"""YAMNet as TensorFlow publishes it: a SavedModel folder, or a handle that tensorflow-hub resolves.

The model has its own hop (0.48 s). It is fed one window at a time instead, 15,600 samples for which it gives exactly
one frame, so that its scores stand on the same grid as the `.tflite` file's.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.music.detector import DetectorError, FrameGrid, detector_digest, judgeable, named_line
from filters.music.native_log import notes_dropped
from filters.music.yamnet import import_or_explain, music_index, version_on, yamnet_grid
from schemas.native import before_tensorflow

# On one grid, with the same weights, the two adapters' scores differ by no more than this: the same float32 network,
# its spectrogram and convolutions summed in another order.
PARITY_BOUND = 1e-3


class YamnetSavedModel:
    """A `MusicDetector`: the score is that of the Music class."""

    name = "yamnet-savedmodel"
    version = 2  # raised when the same weights score otherwise (tests/test_versions.py)
    demo_grade = False

    def __init__(self, tensorflow: Any, model: Any, music: int, grid: FrameGrid, files: list[bytes]) -> None:
        self._tensorflow = tensorflow
        self._model = model
        self._music = music
        self.grid = grid
        self.version = version_on(grid, self.version)
        self.digest = detector_digest(adapter=self.name, version=self.version, grid=grid, files=files)

    @classmethod
    def from_handle(cls, handle: str, *, hop_s: float | None = None) -> "YamnetSavedModel":
        """A TF-Hub handle; downloaded once and kept under TFHUB_CACHE_DIR. Raises DetectorError."""
        before_tensorflow()
        hub = import_or_explain("tensorflow_hub", "tensorflow")
        try:
            folder = hub.resolve(handle)
        # What a failed download raises depends on tensorflow-hub's resolver and on TensorFlow's file systems.
        except Exception as error:
            cache = os.environ.get("TFHUB_CACHE_DIR")
            where = f"TFHUB_CACHE_DIR={cache}" if cache else "the default cache; TFHUB_CACHE_DIR is not set"
            raise DetectorError(
                f"{handle}: neither in {where}, nor could it be downloaded ({named_line(error)}); "
                "give a folder that holds the SavedModel, or run where there is a network"
            ) from error
        return cls.from_folder(Path(folder), hop_s=hop_s)

    @classmethod
    def from_folder(cls, folder: Path, *, hop_s: float | None = None) -> "YamnetSavedModel":
        """A folder with `saved_model.pb`, `variables/` and the class map among `assets/`. Raises DetectorError."""
        grid = yamnet_grid(hop_s)
        if not (folder / "saved_model.pb").is_file():
            raise DetectorError(f"{folder}: no saved_model.pb in it, so it is not a SavedModel")
        before_tensorflow()
        tensorflow = import_or_explain("tensorflow", "tensorflow")
        _use_one_thread(tensorflow)
        try:
            with notes_dropped():
                model = tensorflow.saved_model.load(str(folder))
            map_path = Path(model.class_map_path().numpy().decode("utf-8"))
            map_bytes = map_path.read_bytes()
        # TensorFlow raises many kinds of errors for a folder that is broken; all mean the same to the user.
        except Exception as error:
            raise DetectorError(
                f"{folder}: cannot be loaded as YAMNet, a SavedModel with class_map_path() ({named_line(error)})"
            ) from error
        music = music_index(map_bytes, str(map_path))
        files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
        detector = cls(tensorflow, model, music, grid, files)
        try:
            detector._window_scores(np.zeros(grid.window_samples, dtype=np.float32))
        except Exception as error:
            raise DetectorError(f"{folder}: does not take a waveform as YAMNet does ({named_line(error)})") from error
        return detector

    def scores(self, wave_T: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(
            [self._window_scores(window_W)[self._music] for window_W in self.grid.windows(judgeable(wave_T))],
            dtype=np.float32,
        )

    def _window_scores(self, window_W: NDArray[np.float32]) -> NDArray[np.float32]:
        """(classes,) scores of one window; a model that makes other than one frame of it is not YAMNet."""
        scores_1C: NDArray[np.float32] = self._model(self._tensorflow.constant(window_W))[0].numpy()
        if scores_1C.ndim != 2 or scores_1C.shape[0] != 1 or scores_1C.shape[1] <= self._music:
            raise ValueError(f"{self.grid.window_samples} samples give scores of shape {scores_1C.shape}")
        window_C: NDArray[np.float32] = scores_1C[0]
        return window_C


def _use_one_thread(tensorflow: Any) -> None:
    """One thread a process: workers are the parallelism. TensorFlow allows the choice only before its first use."""
    try:
        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return
