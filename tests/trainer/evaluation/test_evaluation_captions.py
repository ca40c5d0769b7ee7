"""Retrieval by captions, both ways: an oracle finds everything, a random model is at chance, and every file is read as
its publisher lays it out."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.trainer.evaluation.tone_sets import Tones
from trainer.evaluation.captions import DIRECTIONS
from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.declare import evaluator_from_json
from trainer.evaluation.embedding import FrozenModel
from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.model import FloatArray, RandomModel
from trainer.evaluation.ranking import query_scores, rank_relevant

CLIPS = 40


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tones]:
    """Tones of which each even one has two captions, the third a file that is no sound."""
    folder, tones = tmp_path_factory.mktemp("captions"), Tones()
    rows = []
    for i in range(CLIPS):
        texts = [f"caption {i}", *([f"other words for {i}"] if i % 2 == 0 else [])]
        tones.write(folder / f"{i}.wav", texts)
        rows += [(f"{i}.wav", text) for text in texts]
    (folder / "broken.wav").write_bytes(b"RIFF no sound")
    write_csv(folder / "mine.csv", ("path", "caption"), [*rows, ("broken.wav", "nothing to hear")])
    return folder, tones


def measure(folder: Path, model: object, direction: str, **fields: object) -> Measurement:
    data = {"kind": "caption_table", "file": "mine.csv"}
    return evaluator_from_json({"task": "captions", "data": data, "direction": direction, **fields}, folder).measure(
        model
    )


@pytest.mark.slow
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_oracle_finds_everything_and_what_has_no_sound_is_counted(
    captioned: tuple[Path, Tones], direction: str
) -> None:
    folder, tones = captioned
    result = measure(folder, FrozenModel(tones.oracle()), direction)
    assert {name: value.value for name, value in result.metrics.items()} == pytest.approx(
        {
            **{f"recall_at_{k}": 1.0 for k in (1, 5, 10)},
            "median_rank": 1.0,
            "mean_average_precision_at_10": 1.0,
        }
    )
    captions = CLIPS + CLIPS // 2
    queries, pool = (captions, f"{CLIPS} clips") if direction == "text_to_music" else (CLIPS, f"{captions} captions")
    assert (result.units["queries"], result.notes["pool"], result.units["failed_clips"]) == (queries, pool, 1)
    assert [entry.clip_id for entry in result.unmeasured] == ["broken.wav"]


@pytest.mark.slow
def test_a_random_model_is_at_chance(captioned: tuple[Path, Tones]) -> None:
    folder, _ = captioned
    wide = {"confidence": 0.999, "resamples": 300}
    value = measure(folder, RandomModel(0), "text_to_music", bootstrap=wide).metrics["recall_at_10"]
    assert value.low is not None
    assert value.high is not None
    assert value.low <= 10 / CLIPS <= value.high


def test_a_model_that_says_the_same_of_everything_finds_nothing(captioned: tuple[Path, Tones]) -> None:
    class Same:
        def embed_text(self, texts: list[str]) -> FloatArray:
            return np.ones((len(texts), 4), np.float32)

        def embed_audio(self, waves: list[FloatArray]) -> FloatArray:
            return np.ones((len(waves), 4), np.float32)

    assert measure(captioned[0], Same(), "text_to_music").metrics["recall_at_10"].value == 0.0


def test_average_precision_at_ten_is_that_of_the_first_ten() -> None:
    rng = np.random.default_rng(0)
    text, audio = (rng.normal(size=(n, 8)).astype(np.float32) for n in (30, 12))
    relevant = [sorted(rng.choice(12, size=rng.integers(1, 4), replace=False)) for _ in range(30)]
    found = query_scores(rank_relevant(text, audio, relevant, 7)).average_precision_at_10
    for query, wanted in enumerate(relevant):
        order = np.argsort(-(audio @ text[query]))[:10]
        hit = np.isin(order, wanted)
        # Of the hits alone scikit-learn averages over; what is further down counts as zero.
        expected = average_precision_score(hit, -np.arange(10)) * hit.sum() / len(wanted) if hit.any() else 0.0
        assert found[query] == pytest.approx(expected)


@pytest.mark.slow
def test_the_publishers_files(tmp_path: Path, tones: Tones) -> None:
    header = ("caption_id", "track_id", "caption", "is_valid_subset", "familiarity", "artist_id", "album_id", "path")
    (tmp_path / "audio").mkdir()
    rows = []
    for i, (track, valid) in enumerate((("101", "True"), ("102", "True"), ("103", "False"))):
        tones.write(tmp_path / "audio" / "00" / f"{track}.2min.wav", [f"text {i}"])
        (tmp_path / "audio" / "00" / f"{track}.2min.wav").rename(tmp_path / "audio" / "00" / f"{track}.2min.mp3")
        rows.append((i, track, f"text {i}", valid, 0, 1, 1, f"00/{track}.mp3"))
    write_csv(tmp_path / "song_describer.csv", header, rows)
    for subset, clips in (("valid", 2), ("all", 3)):
        data = {"kind": "song_describer", "folder": ".", "subset": subset}
        result = evaluator_from_json({"task": "captions", "data": data}, tmp_path).measure(tones.oracle())
        assert result.units["clips"] == clips
        assert result.metrics["recall_at_1"].value == 1.0

    names = ("ytid", "start_s", "end_s", "audioset_positive_labels", "aspect_list", "caption", "author_id")
    marks = ("is_balanced_subset", "is_audioset_eval")
    tones.write(tmp_path / "clips" / "-0Gj8-vB1q4_30.wav", ["low"])
    tones.write(tmp_path / "clips" / "Yabcdefghijk.wav", ["high"])
    write_csv(
        tmp_path / "caps.csv",
        (*names, *marks),
        [
            ("-0Gj8-vB1q4", 30, 40, "/m/01", "['a']", "low", 4, False, True),
            ("abcdefghijk", 10, 20, "/m/01", "['a']", "high", 4, True, False),
        ],
    )
    for subset, clips in (("all", 2), ("eval", 1), ("balanced", 1)):
        data = {"kind": "musiccaps", "file": "caps.csv", "audio_folder": "clips", "subset": subset}
        result = evaluator_from_json({"task": "captions", "data": data}, tmp_path).measure(tones.oracle())
        assert (result.units["clips"], result.metrics["recall_at_1"].value) == (clips, 1.0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path,text\na.wav,x\n", "mine.csv:1: the header lacks caption"),
        ("path,caption\na.wav\n", "mine.csv:2: the row has not as many fields"),
        ("path,caption\n../a.wav,x\n", "mine.csv:2: the audio path"),
        ("path,caption\na.wav, \n", "a.wav has an empty caption"),
        ("path,caption,clip_id\na.wav,x,1\nb.wav,y,1\n", "1 names two clips"),
        ("path,caption\n", "there is no caption"),
        ('path,caption\na.wav,"x\n', "not a csv"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "mine.csv").write_text(content)
    with pytest.raises(EvaluationDataError, match=says) as caught:
        measure(tmp_path, RandomModel(0), "text_to_music")
    assert "\n" not in str(caught.value)
