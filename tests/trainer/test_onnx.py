"""The towers as ONNX give what torch gives, from samples and from WordPieces, at any batch and length."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.test_recordings import FOLDER, chord
from trainer.cuts import cut, to_int16
from trainer.model import load
from trainer.onnx_export import AUDIO_NAME, TEXT_NAME
from trainer.tokens import load_tokenizer

TOLERANCE = 1e-4


@pytest.mark.slow
def test_both_towers_within_a_ten_thousandth_of_torch(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed (openmulan[onnx])")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (openmulan[onnx])")
    model = load(FOLDER)
    model.export_onnx(tmp_path)
    audio, text = (
        runtime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        for name in (AUDIO_NAME, TEXT_NAME)
    )
    size = int(audio.get_modelmeta().custom_metadata_map["window_samples"])
    for seconds in (0.5, 1.5):
        windows = cut(chord(seconds), size)
        (rows,) = audio.run(None, {"wave_BS": np.stack(windows)})
        with torch.inference_mode():
            expected = model.towers.audio(torch.from_numpy(np.stack(windows))).numpy()
        assert np.abs(rows - expected).max() < TOLERANCE
        mean = rows.sum(axis=0) / np.linalg.norm(rows.sum(axis=0))
        assert mean @ model.embed_audio([to_int16(chord(seconds))])[0] > 0.99  # which are rounded to 16 bits
    tokenizer = load_tokenizer(str(tmp_path))
    for texts in (["slow"], ["slow", "a slow tune for strings and drums", "loud drums"]):
        tokens = tokenizer(texts, padding=True, return_tensors="np")
        feed = {
            "tokens_BL": tokens["input_ids"].astype(np.int64),
            "attention_BL": tokens["attention_mask"].astype(np.int64),
        }
        (rows,) = text.run(None, feed)
        assert np.abs(rows - model.embed_text(texts)).max() < TOLERANCE
