"""The builtin detector: small, the same everywhere, made by its training command, and better than chance by far."""

import dataclasses
import functools
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from filters.music.builtin.detector import WEIGHTS_NAME, Weights, load
from filters.music.builtin.features import GRID, features, names
from filters.music.builtin.synthesis import KINDS, degrade, describe, synthesise
from filters.music.builtin.training import FAMILY_SHARES, TrainConfig, make_examples, recipe, roc_auc
from filters.music.detector import DetectorError
from filters.music.gate import MusicGateConfig, music_fraction
from filters.music.load import BUILTIN, load_detector

pytestmark = pytest.mark.slow

Array = NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[4]
WEIGHTS = resources.files("filters.music.builtin").joinpath(WEIGHTS_NAME)
# Training draws seeds from 0; these it never sees.
UNSEEN_SEED = 1_000_000
RATE_HZ = 16_000


@functools.cache
def unseen_clip_T(kind: str) -> Array:
    """Six seconds of unseen sound, every other kind as degraded as real recordings are."""
    wave_T = synthesise(kind, UNSEEN_SEED, 6.0)
    index = list(KINDS).index(kind)
    return degrade(wave_T, RATE_HZ, np.random.default_rng(index)) if index % 2 else wave_T


@functools.cache
def unseen_scores() -> dict[str, Array]:
    detector = load()
    return {kind: detector.scores(unseen_clip_T(kind)) for kind in KINDS}


# --- The file ----------------------------------------------------------------------------------------------------


def test_weights_are_small_and_plain_numbers() -> None:
    content = WEIGHTS.read_bytes()
    assert len(content) < 300_000
    value = json.loads(content)
    assert Weights.from_json(content.decode()).to_json(value["training"]).encode() == content


def test_weights_follow_from_the_recipe_as_it_stands() -> None:
    """Another configuration, kind of sound or feature asks for another training."""
    assert json.loads(WEIGHTS.read_text())["training"]["recipe"] == recipe(TrainConfig()), (
        "the recipe has changed: run `python -m filters.music.builtin.training`"
    )
    assert recipe(TrainConfig(seed=1)) != recipe(TrainConfig())


def test_weights_were_fitted_to_this_sound_by_these_features() -> None:
    """The centre and scale in the file are those of the training features; a small draw of them is near."""
    weights = Weights.from_json(WEIGHTS.read_text())
    some_NI = np.concatenate([features(unseen_clip_T(kind))[:4] for kind in KINDS])
    off_I = np.abs(np.median(some_NI, axis=0) - weights.centre_I) / weights.scale_I
    assert off_I.max() < 0.5
    ratio_I = (some_NI.std(axis=0) + 1e-6) / weights.scale_I
    assert 0.5 < ratio_I.min() <= ratio_I.max() < 2


def test_training_in_the_small_gives_the_same_weights_twice_and_learns(tmp_path: Path) -> None:
    written = []
    for name in ("one.json", "two.json"):
        command = [sys.executable, "-m", "filters.music.builtin.training", "--seeds_per_kind", "1", "--processes", "1"]
        done = subprocess.run(
            [*command, "--steps", "150", "--output", str(tmp_path / name)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    said = json.loads(done.stdout)
    assert said["held_out_kinds_clip_auc"] > 0.85
    assert said["recipe"] == recipe(TrainConfig(seeds_per_kind=1, steps=150))
    small = Weights.from_json(written[0].decode())
    logits = np.array([small.logits(features(unseen_clip_T(kind))).mean() for kind in KINDS])
    assert roc_auc(np.array([kind.is_music for kind in KINDS.values()]), logits) > 0.85


def test_families_share_the_training_weight_as_stated() -> None:
    config = TrainConfig(seeds_per_kind=1, clip_s=3.0)
    examples = make_examples(config, processes=1)
    for family, share in FAMILY_SHARES.items():
        of_family_N = np.array([KINDS[kind].family == family for kind in examples.kind_N])
        assert examples.weight_N[of_family_N].sum() == pytest.approx(share)


def test_files_of_other_features_or_without_weights_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = json.loads(WEIGHTS.read_text())
    monkeypatch.setattr("filters.music.builtin.detector.resources.files", lambda _: tmp_path)
    for content in (None, "", "{}", json.dumps({**value, "features": names()[1:]}), json.dumps({**value, "extra": 1})):
        if content is not None:
            (tmp_path / WEIGHTS_NAME).write_text(content)
        with pytest.raises(DetectorError, match=WEIGHTS_NAME) as caught:
            load()
        assert "\n" not in str(caught.value)


# --- The judgement -----------------------------------------------------------------------------------------------


def test_unseen_sound_is_told_apart() -> None:
    is_music = np.array([kind.is_music for kind in KINDS.values()])
    means = np.array([scores_F.mean() for scores_F in unseen_scores().values()])
    assert roc_auc(is_music, means) >= 0.97
    gate = MusicGateConfig()
    kept = np.array(
        [
            gate.keeps(music_fraction(scores_F, GRID, threshold=gate.threshold, duration_s=6.0))
            for scores_F in unseen_scores().values()
        ]
    )
    assert kept[is_music].mean() >= 0.9
    assert kept[~is_music].mean() <= 0.1


def test_the_share_of_music_in_a_mixed_clip_is_found() -> None:
    detector = load_detector(BUILTIN)
    for music_s in (6, 15, 24):
        clip_T = np.concatenate([synthesise("jazz trio", 5, music_s), synthesise("reading", 5, 30 - music_s)])
        fraction = music_fraction(detector.scores(clip_T), detector.grid, threshold=0.3, duration_s=30.0)
        assert fraction == pytest.approx(music_s / 30, abs=0.1)


def test_scores_are_the_same_in_every_process_and_named_by_the_digest() -> None:
    detector = load_detector(BUILTIN)
    assert detector.demo_grade
    code = (
        "from filters.music.load import load_detector\nfrom filters.music.builtin.synthesis import synthesise\n"
        "d = load_detector('builtin'); print(d.digest, d.scores(synthesise('ambient', 3, 5.0)).tobytes().hex())"
    )
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    own_F = detector.scores(synthesise("ambient", 3, 5.0))
    assert other.stdout.split() == [detector.digest, own_F.tobytes().hex()]
    assert np.array_equal(own_F, detector.scores(synthesise("ambient", 3, 5.0)))


def test_a_score_depends_on_its_own_window_alone() -> None:
    clip_T = np.concatenate([unseen_clip_T("reggae"), unseen_clip_T("dialogue")])
    detector = load_detector(BUILTIN)
    shifted_F = detector.scores(clip_T[2 * GRID.hop_samples :])
    assert np.abs(detector.scores(clip_T)[2:] - shifted_F).max() < 1e-4


def test_the_level_of_the_sound_hardly_matters() -> None:
    detector = load_detector(BUILTIN)
    for kind in ("jazz trio", "reading"):
        loud_T = unseen_clip_T(kind)
        assert np.abs(detector.scores(loud_T) - detector.scores(loud_T * np.float32(0.1))).max() < 0.15


@pytest.mark.parametrize("samples", [1, 100, 16_000, 47_999, 48_000, 48_001])
def test_short_clips_have_the_frames_of_the_grid(samples: int) -> None:
    scores_F = load_detector(BUILTIN).scores(unseen_clip_T("reggae")[:samples])
    assert scores_F.shape == (GRID.frames(samples),)
    assert np.isfinite(scores_F).all()


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.5, -1.0])
def test_silence_and_a_constant_are_no_music(level: float) -> None:
    scores_F = load_detector(BUILTIN).scores(np.full(30 * RATE_HZ, level, np.float32))
    assert (scores_F < MusicGateConfig().threshold).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    wave_T = np.zeros(RATE_HZ, np.float32)
    wave_T[5] = value
    with pytest.raises(ValueError, match="finite"):
        load_detector(BUILTIN).scores(wave_T)


# --- The sound that it is trained on -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jazz trio", "rain", "speech over music"])
def test_a_kind_and_a_seed_are_one_sound(kind: str) -> None:
    wave_T = synthesise(kind, 7, 2.0)
    assert np.array_equal(wave_T, synthesise(kind, 7, 2.0))
    assert not np.array_equal(wave_T, synthesise(kind, 8, 2.0))
    assert len(synthesise(kind, 7, 2.0, sample_rate_hz=44_100)) == 88_200


def test_every_kind_is_audible_finite_and_described() -> None:
    for name, kind in KINDS.items():
        wave_T = unseen_clip_T(name)
        assert wave_T.dtype == np.float32
        assert len(wave_T) == 96_000
        assert np.isfinite(wave_T).all()
        assert 0.001 < np.abs(wave_T).max() <= 1.0, name
        sound = describe(name, UNSEEN_SEED)
        assert sound.kind is kind
        assert all(sound.words)
        assert (sound.piece is not None) == (kind.family == "music")


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="jazz trio"):
        synthesise("polka from mars", 1, 1.0)
    with pytest.raises(ValueError, match="clip_s"):
        dataclasses.replace(TrainConfig(), clip_s=1.0)
