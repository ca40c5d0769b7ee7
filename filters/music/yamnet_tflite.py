"""YAMNet as a `.tflite` file, run by LiteRT on one thread: a network of integers several windows at a time.

The file takes 15,600 samples (0.975 s) and gives one score a class. It names its classes but not their MIDs, so
`yamnet_class_map.csv` must lie beside it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.music.detector import DetectorError, FrameGrid, detector_digest, judgeable, named_line
from filters.music.native_log import notes_dropped
from filters.music.yamnet import import_or_explain, music_index, version_on, yamnet_grid
from filters.music.yamnet_batches import YamnetBatches

CLASS_MAP_NAME = "yamnet_class_map.csv"
CLASS_MAP_URL = (
    "https://raw.githubusercontent.com/tensorflow/models/master/research/audioset/yamnet/yamnet_class_map.csv"
)


class YamnetTflite:
    """A `MusicDetector`: the score is that of the Music class."""

    name = "yamnet-tflite"
    version = 2  # raised when the same weights score otherwise (tests/test_versions.py)
    demo_grade = False

    def __init__(
        self, interpreter: Any, batches: YamnetBatches | None, music: int, grid: FrameGrid, files: list[bytes]
    ) -> None:
        self._interpreter = interpreter
        self._batches = batches
        self._music = music
        self._shape = interpreter.get_input_details()[0]["shape"]
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        self.grid = grid
        self.version = version_on(grid, self.version)
        self.digest = detector_digest(adapter=self.name, version=self.version, grid=grid, files=files)

    @classmethod
    def load(cls, model: Path, class_map: Path | None = None, *, hop_s: float | None = None) -> "YamnetTflite":
        """`class_map` None means `yamnet_class_map.csv` beside the model. Raises DetectorError."""
        grid = yamnet_grid(hop_s)
        map_path = class_map or model.with_name(CLASS_MAP_NAME)
        model_bytes = _read(model, "download it as docs/music-detection.md says")
        map_bytes = _read(map_path, f"put YAMNet's class map there: {CLASS_MAP_URL}")
        music = music_index(map_bytes, str(map_path))
        litert = import_or_explain("ai_edge_litert.interpreter", "litert")
        try:
            with notes_dropped():
                interpreter = litert.Interpreter(model_content=model_bytes, num_threads=1)
                interpreter.allocate_tensors()
                batches = YamnetBatches.of(litert, model_bytes)
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise DetectorError(f"{model}: not a model that LiteRT can run ({named_line(error)})") from error
        window = grid.window_samples
        if [int(detail["shape"].prod()) for detail in inputs] != [window] or inputs[0]["dtype"] is not np.float32:
            raise DetectorError(f"{model}: its input is not {window} float32 samples, so it is not YAMNet")
        classes = int(outputs[0]["shape"].prod())
        if not music < classes:
            raise DetectorError(f"{map_path}: Music has the index {music}, but {model} gives {classes} scores")
        return cls(interpreter, batches, music, grid, [model_bytes, map_bytes])

    def scores(self, wave_T: NDArray[np.float32]) -> NDArray[np.float32]:
        windows_FW = self.grid.windows(judgeable(wave_T))
        if self._batches is not None:
            return self._batches.scores(windows_FW)[:, self._music]
        scores_F = np.empty(len(windows_FW), dtype=np.float32)
        for frame, window_W in enumerate(windows_FW):
            self._interpreter.set_tensor(self._input, window_W.reshape(self._shape))
            self._interpreter.invoke()
            scores_F[frame] = self._interpreter.get_tensor(self._output).reshape(-1)[self._music]
        return scores_F


def _read(path: Path, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DetectorError(f"{path}: cannot be read ({error.strerror}); {advice}") from error
