"""Windows of clips, decoding, missing files, and that a shared clip is embedded once."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.trainer.evaluation.tone_sets import RATE_HZ, Tones, tone
from trainer.cuts import cut, window_starts
from trainer.evaluation.clips import EvaluationDataError, FileClip, FileClips, WindowConfig, decode_file, require_audio
from trainer.evaluation.embedding import FrozenModel, embed_clips
from trainer.evaluation.model import EmbeddingError, FloatArray, RandomModel, embed_texts, unit_rows

CONFIG = WindowConfig()


class Recorder:
    """Embeds a wave as its mean and length, and counts what it is given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed_audio(self, waves: Sequence[Any]) -> FloatArray:
        self.batches.append(len(waves))
        return np.array([[float(w.mean()), 1.0] for w in waves], np.float32)

    def embed_text(self, texts: list[str]) -> FloatArray:
        return np.ones((len(texts), 2), np.float32)


def test_clip_is_the_unit_mean_of_its_windows_whatever_the_batch(tmp_path: Path) -> None:
    clips = []
    for number, seconds in enumerate((29, 10, 3)):
        path = tmp_path / f"{number}.flac"
        ramp = np.linspace(0.1, 0.8, seconds * RATE_HZ).astype(np.float32)
        soundfile.write(path, ramp, RATE_HZ)
        clips.append(FileClip(clip_id=str(number), path=path))
    one, many = (
        embed_clips(Recorder(), FileClips(clips=tuple(clips)), WindowConfig(batch_windows=n)).rows for n in (1, 32)
    )
    np.testing.assert_allclose(one, many, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)
    rows = [Recorder().embed_audio([w])[0] for w in cut(decode_file(clips[0].path), 10 * RATE_HZ)]
    mean = unit_rows(np.stack(rows), "rows", 3).sum(axis=0)
    np.testing.assert_allclose(one[0], mean / np.linalg.norm(mean), atol=1e-6)


class FiveSeconds(Recorder):
    window_s = 5.0


def test_a_model_gets_the_windows_that_it_asks_for(tmp_path: Path, tones: Tones) -> None:
    tones.write(tmp_path / "a.flac", [])
    seconds = len(decode_file(tmp_path / "a.flac")) / RATE_HZ
    clips = FileClips(clips=(FileClip(clip_id="a", path=tmp_path / "a.flac"),))
    found = []
    for model, config in ((Recorder(), CONFIG), (FiveSeconds(), CONFIG), (FiveSeconds(), WindowConfig(window_s=2.0))):
        embed_clips(FrozenModel(model), clips, config)
        found.append(sum(model.batches))
    assert found == [len(window_starts(round(seconds * RATE_HZ), w * RATE_HZ)) for w in (10, 5, 2)]


def test_frozen_model_embeds_a_shared_clip_once(tmp_path: Path, tones: Tones) -> None:
    tones.write(tmp_path / "a.flac", [])
    tones.write(tmp_path / "b.flac", [])
    a, b = (FileClip(clip_id=name, path=tmp_path / f"{name}.flac") for name in "ab")
    recorder = Recorder()
    frozen = FrozenModel(recorder)
    first = embed_clips(frozen, FileClips(clips=(a,)), CONFIG).rows
    both = embed_clips(frozen, FileClips(clips=(b, a)), CONFIG).rows
    assert recorder.batches == [1, 1]
    np.testing.assert_array_equal(first[0], both[1])


@pytest.mark.parametrize("seconds", [2.0, 64.0, 100.0, 130.0])
def test_whole_file_is_decoded_whatever_its_length(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, tone(3, seconds), RATE_HZ)
    wave = decode_file(path)
    assert len(wave) == round(seconds * RATE_HZ)
    np.testing.assert_allclose(wave, tone(3, seconds), atol=2 / (1 << 15))


def test_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.concatenate([tone(1, 5), tone(2, 5)]), RATE_HZ)
    np.testing.assert_allclose(decode_file(path, 5.0, 3.0), tone(2, 3), atol=2 / (1 << 15))
    assert len(decode_file(path, 8.0, 30.0)) == 2 * RATE_HZ
    with pytest.raises(EvaluationDataError, match=r"a\.flac"):
        decode_file(path, 20.0, 3.0)


def test_undecodable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp3"
    path.write_bytes(b"not audio at all" * 100)
    with pytest.raises(EvaluationDataError, match=r"noise\.mp3"):
        decode_file(path)


def test_missing_audio_is_an_error_with_count_and_list(tmp_path: Path, tones: Tones) -> None:
    tones.write(tmp_path / "0.flac", [])
    clips = FileClips(clips=tuple(FileClip(clip_id=str(i), path=tmp_path / f"{i}.flac") for i in range(30)))
    with pytest.raises(EvaluationDataError, match=r"29 of 30 audio files are missing:(?s:.*)1\.flac(?s:.*)9 more"):
        require_audio("set", clips, skip_missing=False)
    assert require_audio("set", clips, skip_missing=True) == [0]
    shutil.move(tmp_path / "0.flac", tmp_path / "gone.flac")
    with pytest.raises(EvaluationDataError, match="30 of 30"):
        require_audio("set", clips, skip_missing=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((3, 2)), "shape"),
        (np.array([[1, np.nan], [1, 1]]), "row 0 .* not finite"),
        (np.array([[1, 1], [0, 0]]), "row 1 .* zero"),
    ],
)
def test_rows_that_cannot_be_ranked_are_refused(rows: FloatArray, message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        unit_rows(rows, "model", 2)


def test_texts_are_embedded_once_and_put_back_in_order() -> None:
    seen: list[str] = []

    class Counting(RandomModel):
        def embed_text(self, texts: list[str]) -> FloatArray:
            seen.extend(texts)
            return super().embed_text(texts)

    rows = embed_texts(Counting(), ["b", "a", "b"], batch_size=1)
    assert sorted(seen) == ["a", "b"]
    np.testing.assert_allclose(rows, RandomModel().embed_text(["b", "a", "b"]), atol=1e-6)
