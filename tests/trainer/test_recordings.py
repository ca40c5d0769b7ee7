"""What the embedding API takes, what it refuses, and what it warns of."""

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from trainer.cuts import cut, to_float, to_int16
from trainer.model import Model, load
from trainer.recordings import MAX_FILE_S, Audio, Reader, ShardClip, UnusableAudioError, Wave

FOLDER = Path(__file__).resolve().parents[1] / "compat" / "f40d036" / "trained" / "model"
RATE_HZ = 16_000
ROUNDING = 1e-6  # kernels add up in another order at another batch


@pytest.fixture(scope="module")
def model() -> Model:
    return load(FOLDER)


def chord(seconds: float, rate_hz: int = RATE_HZ, seed: int = 0) -> NDArray[np.float32]:
    """Below 7 kHz, so that it is the same at every rate."""
    time_T = np.arange(round(seconds * rate_hz)) / rate_hz
    pitches = np.random.default_rng(seed).uniform(100, 7000, 60)
    return np.asarray(0.01 * np.sin(2 * np.pi * pitches[:, None] * time_T).sum(axis=0), np.float32)


def test_a_recording_is_the_mean_over_the_windows_that_every_part_cuts(model: Model) -> None:
    wave = to_float(to_int16(chord(1.9)))
    rows = model.embed_audio(cut(wave, round(model.window_s * RATE_HZ)))
    assert len(rows) == 4  # 0, 0.5, 1 and, of the rest, 1.4 s
    mean = rows.sum(axis=0) / np.linalg.norm(rows.sum(axis=0))
    np.testing.assert_allclose(model.embed_audio([wave])[0], mean, atol=ROUNDING)
    np.testing.assert_allclose(model.embed_audio([wave]), model.embed_audio([to_int16(wave)]), atol=ROUNDING)


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000])
def test_another_rate_is_resampled(model: Model, rate_hz: int, tmp_path: Path) -> None:
    with Reader() as reader:
        ((_, wave),) = reader.waves([chord(1.0, rate_hz)], lambda item: item, rate_hz)
    assert isinstance(wave, Wave)
    inner = slice(200, -200)  # the filter sees silence beyond the ends
    error = to_float(wave.pcm_T)[inner] - chord(1.0)[inner]
    assert np.square(error).mean() < 1e-3 * np.square(chord(1.0)).mean()
    # A file has a rate of its own, whatever its name.
    path = tmp_path / "song [live].wav"
    soundfile.write(path, chord(1.0, rate_hz), rate_hz, subtype="FLOAT")
    rows = model.embed_audio([path, str(path)], sampling_rate=11_025)
    np.testing.assert_allclose(rows[0], rows[1], atol=ROUNDING)
    assert rows[0] @ model.embed_audio([chord(1.0)])[0] > 0.9


def test_stereo_either_way_round(model: Model) -> None:
    left, right = chord(0.6), chord(0.6, seed=1)
    (mono,) = model.embed_audio([(left + right) / 2])
    stereo = np.stack([left, right])
    rows = model.embed_audio([stereo, stereo.T, torch.tensor(stereo), left[None], to_int16(stereo)])
    np.testing.assert_allclose(rows[:3], np.stack([mono] * 3), atol=ROUNDING)
    np.testing.assert_allclose(rows[3], model.embed_audio([left])[0], atol=ROUNDING)
    assert rows[4] @ mono > 0.99


@pytest.mark.parametrize(
    ("wave", "said"),
    [
        (np.zeros((2, 2), np.float32), "shape"),
        (np.zeros((9, 16_000), np.float32), "shape"),
        (np.zeros((1, 2, 16_000), np.float32), "shape"),
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros((2, 0), np.float32), "shape|no samples"),
        (np.ones(9000, np.int32), "floats in"),
        (np.full(9000, np.nan, np.float32), "finite"),
        (np.full(9000, 30_000.0), "reaches 30000"),
    ],
)
def test_what_cannot_be_told_is_refused_by_its_place(model: Model, wave: NDArray[np.generic], said: str) -> None:
    with pytest.raises(UnusableAudioError, match=rf"item 1: .*({said})"):
        model.embed_audio([chord(0.5), wave])


@pytest.mark.parametrize("one", ["song.mp3", Path("song.mp3"), b"RIFF", np.zeros(16_000), torch.zeros(2, 16_000)])
def test_one_recording_for_a_list_is_refused(model: Model, one: str) -> None:
    with pytest.raises(ValueError, match="embed_audio takes a list, not one"):
        model.embed_audio(one)


def test_texts_that_are_none_are_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="embed_text takes a list, not one str"):
        model.embed_text("slow piano")
    with pytest.raises(ValueError, match="item 1 is a float"):
        model.embed_text(["slow", float("nan")])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="sampling_rate is 44"):
        model.embed_audio([chord(1)], sampling_rate=44.1)  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_is_changed_is_warned_of_once_a_call(
    model: Model, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    loud = 1.5 * chord(0.6) / np.abs(chord(0.6)).max()
    soundfile.write(tmp_path / "long.flac", np.zeros(round((MAX_FILE_S + 0.5) * RATE_HZ), np.int16), RATE_HZ)
    with caplog.at_level(logging.WARNING):
        model.embed_audio([loud, chord(0.1), loud, tmp_path / "long.flac"])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    for count, word in ((2, "clipped"), (1, "longer than 600 s"), (1, "shorter than one window")):
        assert [line for line in said if line.startswith(f"{count} ") and word in line]
    caplog.clear()
    model.embed_audio([chord(0.6)])
    assert not caplog.records


@pytest.mark.slow
def test_an_iterator_gives_rows_and_errors_in_order_and_holds_few(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, chord(0.7), RATE_HZ)
    (tmp_path / "noise.mp3").write_bytes(b"no sound at all" * 20)
    drawn = 0

    def many() -> Iterator[Path | bytes]:
        nonlocal drawn
        for number in range(400):
            drawn += 1
            yield (path, tmp_path / "noise.mp3", tmp_path / "absent.ogg", path.read_bytes())[number % 4]

    rows = model.embed_audio([path])
    found = model.iter_audio(many(), workers=3)
    taken = [next(found) for _ in range(8)]
    assert drawn < 120  # a batch of 32 windows and what is read ahead
    assert [type(row).__name__ for _, row in taken] == ["ndarray", *["UnusableAudioError"] * 2, "ndarray"] * 2
    np.testing.assert_allclose(taken[4][1], rows[0], atol=ROUNDING)  # type: ignore[arg-type]
    reasons = [getattr(row, "reason", None) for _, row in taken[:4]]
    assert reasons == [None, "unknown_container", "not_found", None]
    assert os.fspath(tmp_path / "absent.ogg") in str(taken[2][1])
    found.close()


def test_a_shards_clip_and_the_bytes_of_a_file_are_the_same(model: Model) -> None:
    pcm, stream = to_int16(chord(0.8)), io.BytesIO()
    soundfile.write(stream, pcm, RATE_HZ, format="FLAC", subtype="PCM_16")
    clips: list[Audio] = [stream.getvalue(), ShardClip(audio=pcm.tobytes(), encoding="pcm16"), pcm]
    rows = model.embed_audio(clips)
    np.testing.assert_allclose(rows[1], rows[2], atol=ROUNDING)
    np.testing.assert_allclose(rows[0], rows[2], atol=ROUNDING)
    with pytest.raises(UnusableAudioError, match="item 0: cannot be decoded"):
        model.embed_audio([ShardClip(audio=b"abc", encoding="pcm16")])
