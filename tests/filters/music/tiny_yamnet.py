"""A network with YAMNet's signature, small enough to be made in a test, and a plain reference of it in numpy.

`__call__(waveform of any length)` gives scores, embeddings and a spectrogram, one row for each 0.48 s, and
`class_map_path()` the csv with the classes, as the published SavedModel does. Inside: band energies by a bank of
filters, their mean over the window, and one linear layer with a sigmoid, in an order of classes that a test may choose.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.music.yamnet import MUSIC_MID, YAMNET_GRID
from schemas.native import before_tensorflow

Array = NDArray[np.float32]

WINDOW = YAMNET_GRID.window_samples
PUBLISHED_HOP = 7_680  # 0.48 s, the hop of the published SavedModel, which is not that of the frame grid
BANDS, TAPS, STRIDE = 12, 64, 40
FLOOR, CENTRE, SPREAD = 1e-9, -16.5, 1.5  # of log energies, so that sigmoids are not stuck at their ends
CLASSES = ("Speech", "Dog", "Music", "Rain", "Wind", "Silence", "Guitar")
_MIDS = {"Speech": "/m/09x0r", "Dog": "/m/0bt9lr", "Music": MUSIC_MID, "Rain": "/m/06mb1", "Wind": "/m/03m9d0z",
         "Silence": "/m/028v0c", "Guitar": "/m/0342h"}  # fmt: skip


def bank() -> Array:
    """(TAPS, BANDS) windowed cosines from 200 Hz to 6 kHz."""
    hz = np.geomspace(200, 6_000, BANDS)
    waves = np.cos(2 * np.pi * hz * np.arange(TAPS)[:, None] / 16_000) * np.hanning(TAPS)[:, None]
    return (waves / TAPS).astype(np.float32)


def weights(order: tuple[str, ...]) -> Array:
    """(BANDS, classes); a class has the same weights wherever it stands."""
    random = np.random.default_rng(3)
    columns = {name: random.normal(0, 0.6, BANDS) for name in CLASSES}
    return np.stack([columns[name] for name in order], axis=1).astype(np.float32)


def music_score(window_W: Array) -> float:
    """The plain reference, in float64, of one window."""
    frames = np.lib.stride_tricks.sliding_window_view(window_W.astype(np.float64), TAPS)[::STRIDE]
    energy = np.log((frames @ bank().astype(np.float64)) ** 2 + FLOOR).mean(axis=0)
    return float(1 / (1 + np.exp(-((energy - CENTRE) / SPREAD @ weights(("Music",)).astype(np.float64))[0])))


def class_map(order: tuple[str, ...]) -> str:
    lines = [f"{index},{_MIDS[name]},{name}\n" for index, name in enumerate(order)]
    return "".join(["index,mid,display_name\n", *lines])


def _window_scores(tensorflow: Any, windows_FW: Any, order: tuple[str, ...]) -> tuple[Any, Any]:
    tf = tensorflow
    kernel = tf.constant(bank()[:, None, :])
    filtered = tf.nn.conv1d(windows_FW[:, :, None], kernel, stride=STRIDE, padding="VALID")
    energy = tf.reduce_mean(tf.math.log(filtered**2 + FLOOR), axis=1)
    return tf.sigmoid((energy - CENTRE) / SPREAD @ tf.constant(weights(order))), energy


def loaded_tensorflow() -> Any:
    before_tensorflow()
    import tensorflow

    return tensorflow


def save_savedmodel(folder: Path, order: tuple[str, ...] = CLASSES) -> Path:
    tf = loaded_tensorflow()

    map_path = folder.with_name(f"{folder.name}_map.csv")
    map_path.write_text(class_map(order), encoding="utf-8")

    class Tiny(tf.Module):  # type: ignore[name-defined] # tensorflow is imported at run time
        def __init__(self) -> None:
            super().__init__()
            self.asset = tf.saved_model.Asset(str(map_path))

        def _score(self, waveform: Any) -> Any:
            after = tf.maximum(tf.shape(waveform)[0] - WINDOW, 0)
            frames = 1 + (after + PUBLISHED_HOP - 1) // PUBLISHED_HOP
            padded = tf.pad(waveform, [[0, (frames - 1) * PUBLISHED_HOP + WINDOW - tf.shape(waveform)[0]]])
            windows_FW = tf.reshape(tf.signal.frame(padded, WINDOW, PUBLISHED_HOP), [-1, WINDOW])
            scores, energy = _window_scores(tf, windows_FW, order)
            return scores, energy, windows_FW[:, ::160]

        def _class_map_path(self) -> Any:
            return self.asset.asset_path

        __call__ = tf.function(_score, input_signature=[tf.TensorSpec([None], tf.float32)])
        class_map_path = tf.function(_class_map_path, input_signature=[])

    tf.saved_model.save(Tiny(), str(folder))
    return folder


def save_tflite(path: Path, order: tuple[str, ...] = CLASSES, samples: int = WINDOW) -> Path:
    """The same network as a `.tflite` file for one window, with its class map beside it."""
    tf = loaded_tensorflow()

    def one_window(waveform: Any) -> Any:
        return _window_scores(tf, waveform[None, :], order)[0]

    traced = tf.function(one_window, input_signature=[tf.TensorSpec([samples], tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(converter.convert())
    path.with_name("yamnet_class_map.csv").write_text(class_map(order), encoding="utf-8")
    return path


def save_integer_tflite(path: Path) -> Path:
    """A file as MediaPipe's is made: spectrum of floats, then a network of int8 with convolutions, for one window."""
    tf = loaded_tensorflow()

    random = np.random.default_rng(5)
    filters = tf.constant(random.normal(0, 0.5, (3, 3, 1, 8)).astype(np.float32))
    last = tf.constant(random.normal(0, 0.7, (8, len(CLASSES))).astype(np.float32))

    def one_window(waveform: Any) -> Any:
        image = tf.math.log(tf.abs(tf.signal.rfft(tf.reshape(waveform, [30, 520])[:, :512]))[:, :256] + 0.01)
        maps = tf.nn.relu(tf.nn.conv2d(image[None, :, :, None], filters, strides=2, padding="SAME"))
        return tf.sigmoid(tf.reduce_mean(maps, axis=[1, 2]) @ last)

    def samples() -> Any:
        for level in np.geomspace(1e-3, 1, 20):
            yield [(random.standard_normal(WINDOW) * level).astype(np.float32)]

    traced = tf.function(one_window, input_signature=[tf.TensorSpec([WINDOW], tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    path.write_bytes(converter.convert())
    path.with_name("yamnet_class_map.csv").write_text(class_map(CLASSES), encoding="utf-8")
    return path
