"""Log-mel against Kaldi's definition, against librosa, and against AST's own feature extractor."""

import math

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.logmel import LogMel, LogMelConfig


@pytest.fixture(scope="module")
def wave() -> NDArray[np.float32]:
    """Ten seconds of a decaying sweep in noise, with an offset that Kaldi's mean removal has to take out."""
    generator = np.random.default_rng(0)
    time_s = np.arange(160_000) / 16_000
    sweep = 0.5 * np.exp(-time_s / 4) * np.sin(2 * np.pi * (100 + 350 * time_s) * time_s)
    return (sweep + generator.normal(0, 0.02, len(time_s)) + 0.1).astype(np.float32)


def kaldi_fbank(wave: NDArray[np.float32], mel_bins: int) -> NDArray[np.float64]:
    """Kaldi's compute-fbank-feats, read from feature-window.cc, mel-computations.cc and feature-fbank.cc, with
    --window-type=hanning --dither=0 --snip-edges=true --low-freq=20 --use-energy=false, frame by frame."""
    frame, hop, fft = 400, 160, 512
    low, high = 1127.0 * math.log(1 + 20 / 700.0), 1127.0 * math.log(1 + 8000 / 700.0)
    step = (high - low) / (mel_bins + 1)
    weights = np.zeros((mel_bins, fft // 2 + 1))
    for m in range(mel_bins):
        left, centre, right = low + m * step, low + (m + 1) * step, low + (m + 2) * step
        for k in range(fft // 2):
            mel = 1127.0 * math.log(1 + k * 16_000 / fft / 700.0)
            if left < mel < right:
                weights[m, k] = (mel - left) / (centre - left) if mel <= centre else (right - mel) / (right - centre)
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / (frame - 1)) for i in range(frame)])
    rows = []
    for start in range(0, len(wave) - frame + 1, hop):
        samples = wave[start : start + frame].astype(np.float64)
        samples -= samples.mean()
        for i in range(frame - 1, 0, -1):
            samples[i] -= 0.97 * samples[i - 1]
        samples[0] -= 0.97 * samples[0]
        power = np.abs(np.fft.rfft(samples * window, fft)) ** 2
        rows.append(np.log(np.maximum(weights @ power, np.finfo(np.float32).eps)))
    return np.array(rows)


@pytest.mark.parametrize("mel_bins", [64, 128])
def test_kaldi_convention_is_kaldi_s_fbank(wave: NDArray[np.float32], mel_bins: int) -> None:
    ours = LogMel(LogMelConfig(mel_bins=mel_bins)).raw(torch.tensor(wave)[None])[0].numpy()
    theirs = kaldi_fbank(wave, mel_bins)
    assert ours.shape == theirs.shape == (998, mel_bins)
    assert np.abs(ours - theirs).max() < 2e-3
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-5


@pytest.mark.slow
def test_htk_convention_is_librosa_s(wave: NDArray[np.float32]) -> None:
    config = LogMelConfig(mel_bins=64, convention="htk", min_frequency_hz=60, max_frequency_hz=7800)
    ours = LogMel(config).raw(torch.tensor(wave)[None])[0].numpy()
    # librosa centres a 400-sample window in its 512-sample frame, 56 samples in.
    padded = np.pad(wave, (56, 56)).astype(np.float64)
    power = librosa.feature.melspectrogram(
        y=padded, sr=16_000, n_fft=512, win_length=400, hop_length=160, window="hann", center=False, power=2.0,
        n_mels=64, fmin=60, fmax=7800, htk=True, norm=None,
    )  # fmt: skip
    theirs = np.log(np.maximum(power, np.finfo(np.float32).eps)).T
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 2e-3
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-5


def test_normalised_log_mel_is_what_ast_s_extractor_gives(wave: NDArray[np.float32]) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.ASTFeatureExtractor(max_length=1000)(wave, sampling_rate=16_000, return_tensors="np")
    ours = LogMel(LogMelConfig())(torch.tensor(wave)[None]).transpose(1, 2).numpy()
    assert ours.shape == theirs["input_values"].shape == (1, 1000, 128)
    assert np.abs(ours - theirs["input_values"]).max() < 1e-3


def test_int16_is_the_same_wave(wave: NDArray[np.float32]) -> None:
    pcm = np.round(wave * 32768).clip(-32768, 32767).astype(np.int16)
    mel = LogMel(LogMelConfig(mel_bins=64))
    assert torch.equal(mel(torch.tensor(pcm)[None]), mel(torch.tensor(pcm.astype(np.float32) / 32768)[None]))


def test_a_short_wave_is_padded_to_the_frames() -> None:
    assert LogMel(LogMelConfig(frames=200))(torch.zeros(2, 8000)).shape == (2, 128, 200)
