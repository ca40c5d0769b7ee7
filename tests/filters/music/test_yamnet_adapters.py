"""YAMNet's two adapters: one frame grid, Music by its MID, and one clear line where something is missing.

The models are made here, with YAMNet's signature (`tiny_yamnet`), and the shared `.tflite` file is used where present.
"""

import contextlib
import csv
import functools
import http.server
import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from beam_runner import main
from filters.music.builtin.synthesis import synthesise
from filters.music.detector import DetectorError
from filters.music.gate import music_fraction
from filters.music.load import TFHUB_YAMNET, load_detector
from filters.music.native_log import notes_dropped
from filters.music.yamnet import FIRST_GRID, MUSIC_MID, YAMNET_GRID, music_index
from filters.music.yamnet_batches import BATCH
from filters.music.yamnet_savedmodel import PARITY_BOUND, YamnetSavedModel
from filters.music.yamnet_tflite import CLASS_MAP_NAME, YamnetTflite
from tests.filters.music.tiny_yamnet import (
    CLASSES,
    PUBLISHED_HOP,
    class_map,
    loaded_tensorflow,
    music_score,
    save_integer_tflite,
    save_savedmodel,
    save_tflite,
)
from tests.frozen_outputs import complaint, of_detector
from tests.shared_files import SharedFolder

# Looked for, not imported: every process of the tests collects this file, and few run it.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("ai_edge_litert", "tensorflow_hub"))),
        reason="needs LiteRT and TensorFlow",
    ),
]

Array = NDArray[np.float32]
SHUFFLED = tuple(reversed(CLASSES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def savedmodel(folder: Path) -> Path:
    return save_savedmodel(folder / "savedmodel")


@pytest.fixture(scope="module")
def tflite(folder: Path) -> Path:
    return save_tflite(folder / "lite" / "model.tflite")


@functools.cache
def clip_T(duration_s: float = 6.3) -> Array:
    """Bursts of noise and tones at other levels every 0.3 s, so that no two windows have one score."""
    random = np.random.default_rng(1)
    time_T = np.arange(round(duration_s * 16_000)) / 16_000
    part_T = (time_T / 0.3).astype(int)
    level_P, hz_P, noise_P = (
        random.uniform(low, high, part_T[-1] + 1) for low, high in ((-3, 0), (200, 6_000), (0, 1))
    )
    tone_T = np.sin(2 * np.pi * np.cumsum(hz_P[part_T] / 16_000))
    noise_T = random.standard_normal(len(time_T)) * noise_P[part_T]
    clip_T: Array = ((tone_T + noise_T) * 10 ** level_P[part_T] / 4).astype(np.float32)
    return clip_T


def refusal(spec: str | Path, hop_s: float | None = None) -> str:
    with pytest.raises(DetectorError) as caught:
        load_detector(str(spec), hop_s)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_what_native_libraries_note_is_dropped_and_what_they_warn_of_is_not(
    tflite: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_detector(str(tflite))
    assert capfd.readouterr().err == "", "LiteRT tells of each delegate that it makes"
    with notes_dropped():
        os.write(2, b"INFO: a thing.\nERROR: no memory\nI0000 00:00 a.cc:1] note\nW0000 00:00 a.cc:1] warning\n")
    os.write(2, b"INFO: afterwards\n")
    said = capfd.readouterr().err
    assert said == "ERROR: no memory\nW0000 00:00 a.cc:1] warning\nINFO: afterwards\n"


# --- The frame grid ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 15_600, 15_601, 100_800, 160_000])
def test_both_adapters_score_each_window_of_the_grid_as_the_plain_reference(
    samples: int, savedmodel: Path, tflite: Path
) -> None:
    wave_T = clip_T(10.0)[:samples]
    expected_F = np.array([music_score(window_W) for window_W in YAMNET_GRID.windows(wave_T)])
    saved_F = load_detector(str(savedmodel)).scores(wave_T)
    lite_F = load_detector(str(tflite)).scores(wave_T)
    assert saved_F.dtype == lite_F.dtype == np.float32
    assert len(saved_F) == len(lite_F) == YAMNET_GRID.frames(samples)
    assert np.abs(saved_F - expected_F).max() <= PARITY_BOUND
    assert np.abs(lite_F - expected_F).max() <= PARITY_BOUND
    assert np.abs(saved_F - lite_F).max() <= PARITY_BOUND
    if len(expected_F) > 10:
        assert np.ptp(expected_F) > 0.2  # or agreement would mean nothing


def test_the_bound_tells_the_grid_from_the_model_s_own_hop(savedmodel: Path) -> None:
    """Scored whole, the model gives as many frames, but 7.5 ms further apart with each: not the same numbers."""
    detector = YamnetSavedModel.from_folder(savedmodel, hop_s=FIRST_GRID.hop_s)
    own_F = detector._model(clip_T())[0].numpy()[:, CLASSES.index("Music")]
    assert FIRST_GRID.hop_samples > PUBLISHED_HOP
    scores_F = detector.scores(clip_T())
    frames = min(len(own_F), len(scores_F))
    assert np.abs(own_F[:frames] - scores_F[:frames]).max() > 10 * PARITY_BOUND


@pytest.mark.parametrize("name", ["tflite", "savedmodel"])
def test_a_version_of_an_adapter_scores_as_it_always_did(name: str, request: pytest.FixtureRequest) -> None:
    outputs = of_detector(load_detector(str(request.getfixturevalue(name))))
    assert (said := complaint(f"yamnet-{name}", outputs)) is None, said


@pytest.mark.parametrize("name", ["tflite", "savedmodel"])
def test_on_the_first_grid_an_adapter_is_its_first_version(name: str, request: pytest.FixtureRequest) -> None:
    path = str(request.getfixturevalue(name))
    first, now = load_detector(path, FIRST_GRID.hop_s), load_detector(path)
    assert (first.version, first.grid, now.grid) == (1, FIRST_GRID, YAMNET_GRID)
    assert now.version > 1
    assert now.digest not in {first.digest, load_detector(path, 0.65).digest}
    assert (said := complaint(f"yamnet-{name}", of_detector(first), version=1)) is None, said
    # A window is scored as ever: those side by side are every second one of the others, and one at the end.
    apart_F, beside_F = first.scores(clip_T())[::2], now.scores(clip_T())
    assert len(apart_F) == 6
    assert np.array_equal(apart_F, beside_F[:6])


@pytest.mark.parametrize("hop_s", [0.0, -1.0, 1.0, 0.48751, float("nan"), float("inf")])
def test_a_hop_that_cannot_be_is_refused(hop_s: float, tflite: Path) -> None:
    assert refusal(tflite, hop_s).startswith("--music_hop ")


@pytest.mark.parametrize("spec", ["builtin", "package.module:factory"])
def test_windows_of_other_detectors_do_not_move(spec: str) -> None:
    assert refusal(spec, 0.975).startswith(f"--music_hop 0.975: the windows of '{spec}'")


def test_a_run_goes_on_with_the_hop_that_it_began_with(
    tflite: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    catalogue = tmp_path / "catalog.jsonl"
    catalogue.write_text('{"recording_id": "a", "audio_uri": "a.wav"}\n')
    command = ["--catalog", str(catalogue), "--output", str(tmp_path / "run"), "--tokenizer=none", "--quiet"]
    command += ["--music_detector", str(tflite), "--max_failure_rate=1"]
    first = "--music_hop=0.4875"
    assert main([*command, first]) == 0
    capfd.readouterr()
    assert main(command) == 2
    assert "give --music_hop 0.4875, or another --output" in capfd.readouterr().err
    assert main([*command, first]) == 0


def test_a_score_depends_on_its_own_window_alone(tflite: Path, savedmodel: Path) -> None:
    later_T = clip_T()[3 * YAMNET_GRID.hop_samples :]
    for path in (tflite, savedmodel):
        detector = load_detector(str(path))
        assert np.array_equal(detector.scores(clip_T())[3:], detector.scores(later_T))
        assert np.array_equal(detector.scores(clip_T()), detector.scores(clip_T()))


def test_a_network_of_integers_has_the_same_scores_in_batches_and_one_of_floats_stays_whole(
    tflite: Path, tmp_path: Path
) -> None:
    detector = YamnetTflite.load(save_integer_tflite(tmp_path / "integers.tflite"))
    assert detector._batches is not None
    assert YamnetTflite.load(tflite)._batches is None
    wave_T = clip_T(2.5 * BATCH)
    for samples in (1, 15_600 * BATCH, len(wave_T)):
        in_batches_F = detector.scores(wave_T[:samples])
        alone_F = [float(detector.scores(window_W)[0]) for window_W in detector.grid.windows(wave_T[:samples])]
        assert in_batches_F.tolist() == alone_F
    assert len(set(alone_F)) > len(alone_F) / 2
    batches, detector._batches = detector._batches, None
    assert batches is not None
    assert detector.scores(wave_T).tolist() == alone_F, "the whole file, a window at a time"


def test_waves_that_are_not_finite_or_not_there_are_refused(tflite: Path, savedmodel: Path) -> None:
    broken_T = clip_T().copy()
    broken_T[7] = np.nan
    for path in (tflite, savedmodel):
        detector = load_detector(str(path))
        with pytest.raises(ValueError, match="finite"):
            detector.scores(broken_T)
        with pytest.raises(ValueError, match="at least one"):
            detector.scores(np.zeros(0, np.float32))


# --- The class, by its MID ---------------------------------------------------------------------------------------


def test_shuffled_classes_give_the_same_scores(tflite: Path, savedmodel: Path, tmp_path: Path) -> None:
    lite_F = load_detector(str(save_tflite(tmp_path / "shuffled.tflite", SHUFFLED))).scores(clip_T())
    assert np.array_equal(lite_F, load_detector(str(tflite)).scores(clip_T()))
    saved_F = load_detector(str(save_savedmodel(tmp_path / "shuffled", SHUFFLED))).scores(clip_T())
    assert np.abs(saved_F - load_detector(str(savedmodel)).scores(clip_T())).max() < 1e-6


def test_rows_of_the_class_map_may_stand_in_any_order(tflite: Path, tmp_path: Path) -> None:
    head, *rows = class_map(CLASSES).splitlines(keepends=True)
    turned = tmp_path / "turned.csv"
    turned.write_text("".join([head, *reversed(rows)]), encoding="utf-8")
    detector = YamnetTflite.load(tflite, turned)
    assert np.array_equal(detector.scores(clip_T()), YamnetTflite.load(tflite).scores(clip_T()))
    assert detector.digest != YamnetTflite.load(tflite).digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("index,mid,display_name\n0,/m/09x0r,Music\n", "0 rows have the MID"),
        (f"index,mid,display_name\n0,{MUSIC_MID},Music\n1,{MUSIC_MID},Music\n", "2 rows have the MID"),
        (f"index,mid,display_name\n5,{MUSIC_MID},Music\n", "index 5"),
        (f"index,mid,display_name\n-1,{MUSIC_MID},Music\n", "index -1"),
        (f"index,mid,display_name\nx,{MUSIC_MID},Music\n", "not a class map"),
        ("<!doctype html>\n<p>Sign in\n", "not a class map"),
    ],
)
def test_class_maps_that_do_not_say_it_once_are_refused(content: str, message: str) -> None:
    with pytest.raises(DetectorError, match=message):
        music_index(content.encode(), "map.csv")


def test_a_class_map_of_a_larger_model_is_refused(tflite: Path, tmp_path: Path) -> None:
    beyond = tmp_path / "large.csv"
    beyond.write_text(class_map((*[name for name in CLASSES if name != "Music"], "Music")).replace("6,", "20,", 1))
    beyond.write_text(beyond.read_text() + "".join(f"{index},/m/{index},x\n" for index in range(30)))
    with pytest.raises(DetectorError, match="gives 7 scores"):
        YamnetTflite.load(tflite, beyond)


# --- The published file ------------------------------------------------------------------------------------------


def test_shared_yamnet_scores_music_by_its_mid_and_speech_by_its_own(
    shared_folder: SharedFolder, tmp_path: Path
) -> None:
    yamnet = shared_folder.need("models/yamnet.tflite")
    rows = list(csv.DictReader(yamnet.with_name("yamnet_class_map.csv").open(encoding="utf-8")))
    index_of = {row["mid"]: int(row["index"]) for row in rows}
    detector = YamnetTflite.load(yamnet)
    music_F, rain_F = detector.scores(synthesise("jazz trio", 1, 30.0)), detector.scores(synthesise("rain", 1, 30.0))
    assert music_F.shape == rain_F.shape == (31,)
    # What runs were made with before windows stood side by side.
    assert YamnetTflite.load(yamnet, hop_s=FIRST_GRID.hop_s).digest == "57ef5b170b9eab4ec9f5610903896e99"
    assert detector._batches is not None
    detector._batches = None
    assert np.array_equal(detector.scores(synthesise("jazz trio", 1, 30.0)), music_F)
    assert music_fraction(music_F, detector.grid, threshold=0.3, duration_s=30.0) > 0.9
    assert music_fraction(rain_F, detector.grid, threshold=0.3, duration_s=30.0) < 0.1
    # The same model with a map that calls its first class Music: another class's scores, so the map decides.
    swapped = tmp_path / CLASS_MAP_NAME
    swap = {MUSIC_MID: "0", rows[0]["mid"]: str(index_of[MUSIC_MID])}
    with swapped.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows([{**row, "index": swap.get(row["mid"], row["index"])} for row in rows])
    speech_F = YamnetTflite.load(yamnet, swapped).scores(synthesise("jazz trio", 1, 30.0))
    assert index_of[MUSIC_MID] != 0
    assert speech_F.max() < 0.5 < music_F.mean()


# --- TF-Hub ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def hub_server(savedmodel: Path) -> Iterator[str]:
    """Serves the folder as TF-Hub does: a compressed archive under a handle."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in sorted(savedmodel.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(savedmodel)), recursive=False)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(packed.getvalue())))
            self.end_headers()
            self.wfile.write(packed.getvalue())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/google/yamnet/1"
        finally:
            server.shutdown()
            thread.join()


def test_a_handle_is_downloaded_once_and_then_taken_from_the_cache(
    savedmodel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    with hub_server(savedmodel) as handle:
        first = load_detector(handle)
    again = load_detector(handle)  # the server is gone
    local = load_detector(str(savedmodel))
    assert first.digest == again.digest == local.digest
    assert np.array_equal(again.scores(clip_T()), local.scores(clip_T()))


def test_without_network_and_cache_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is closed by a proxy that nobody serves."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    line = refusal(TFHUB_YAMNET)
    assert line.startswith(
        f"{TFHUB_YAMNET}: neither in TFHUB_CACHE_DIR={tmp_path / 'cache'}, nor could it be downloaded"
    )
    assert "give a folder that holds the SavedModel" in line


# --- What is missing or wrong ------------------------------------------------------------------------------------


def test_missing_files_are_named(tflite: Path, tmp_path: Path) -> None:
    assert "no.tflite: cannot be read" in refusal(tmp_path / "no.tflite")
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(tflite.read_bytes())
    line = refusal(alone)
    assert str(tmp_path / CLASS_MAP_NAME) in line
    assert "put YAMNet's class map there: https://" in line
    assert "no saved_model.pb" in refusal(tmp_path)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    (tmp_path / CLASS_MAP_NAME).write_text(class_map(CLASSES))
    for name, content in {
        "html.tflite": b"<!doctype html><p>Sign in",
        "empty.tflite": b"",
        "zeros.tflite": bytes(5000),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert f"{name}: not a model that LiteRT can run" in refusal(tmp_path / name)
    assert "input is not 15600 float32 samples" in refusal(save_tflite(tmp_path / "longer.tflite", samples=16_000))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"not a protocol buffer\nat all")
    assert f"{broken}: cannot be loaded as YAMNet" in refusal(broken)


def test_a_savedmodel_of_something_else_is_named(tmp_path: Path) -> None:
    tf = loaded_tensorflow()

    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    assert "a SavedModel with class_map_path()" in refusal(tmp_path / "other")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton, which torch brings for GPUs")
def test_torch_may_compile_after_a_savedmodel_was_loaded(savedmodel: Path) -> None:
    """A worker that judges audio by TensorFlow scores sentences by torch."""
    lines = (
        "from pathlib import Path",
        "from filters.music.yamnet_savedmodel import YamnetSavedModel",
        f"YamnetSavedModel.from_folder(Path({str(savedmodel)!r}))",
        "import triton._C.libtriton",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "extra", "spec"),
    [
        ("ai_edge_litert.interpreter", "litert", "tflite"),
        ("tensorflow", "tensorflow", "savedmodel"),
        ("tensorflow_hub", "tensorflow", TFHUB_YAMNET),
    ],
)
def test_a_missing_package_names_its_extra(
    module: str, extra: str, spec: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spec if spec.startswith("https:") else request.getfixturevalue(spec)
    monkeypatch.setitem(sys.modules, module, None)
    line = refusal(path)
    assert module in line
    assert f"pip install 'openmulan[{extra}]'" in line


def test_the_command_says_it_in_one_line_and_leaves_with_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    catalogue = tmp_path / "catalog.jsonl"
    catalogue.write_text('{"recording_id": "a", "audio_uri": "a.wav"}\n')
    output = tmp_path / "run"
    code = main(
        [
            "--catalog",
            str(catalogue),
            "--output",
            str(output),
            "--tokenizer",
            "none",
            "--music_detector",
            str(tmp_path / "no.tflite"),
        ]
    )
    assert code == 2
    error = capfd.readouterr().err
    assert "no.tflite: cannot be read" in error
    assert error.count(os.linesep) == 1
    assert "Traceback" not in error
