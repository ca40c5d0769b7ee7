"""GTZAN, FMA small, MTG-Jamendo's five splits, MagnaTagATune's negations and synonyms, graded captions: an oracle has
1, a random model chance, a CLAP of random weights every figure; and what is wrong with a file is one line."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.evaluation.clap_world import write_clap
from tests.trainer.evaluation.test_evaluation_readers import JAMENDO, write_annotations, write_jamendo
from tests.trainer.evaluation.tone_sets import Tones
from trainer.evaluation.cli import main
from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.declare import evaluator_from_json
from trainer.evaluation.embedding import FrozenModel
from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.metrics import Bootstrap, accuracy, mean_with_interval
from trainer.evaluation.model import FloatArray, RandomModel
from trainer.evaluation.models import load_model
from trainer.evaluation.readers import fma, gtzan
from trainer.evaluation.readers.jamendo import Jamendo
from trainer.evaluation.readers.magnatagatune import SYNONYMS
from trainer.evaluation.wording import denied, group_correlations, rank_correlations

pytestmark = pytest.mark.slow

# The header of MagnaTagATune's annotations_final.csv, as github.com/keunwoochoi/magnatagatune-list has it.
REAL_TAGS = re.split(
    r",\s+",
    """no voice, singer, duet, plucking, hard rock, world, bongos, harpsichord, female singing, clasical, sitar,
    chorus, female opera, male vocal, vocals, clarinet, heavy, silence, beats, men, woodwind, funky, no strings,
    chimes, foreign, no piano, horns, classical, female, no voices, soft rock, eerie, spacey, jazz, guitar, quiet,
    no beat, banjo, electric, solo, violins, folk, female voice, wind, happy, ambient, new age, synth, funk,
    no singing, middle eastern, trumpet, percussion, drum, airy, voice, repetitive, birds, space, strings, bass,
    harpsicord, medieval, male voice, girl, keyboard, acoustic, loud, classic, string, drums, electronic,
    not classical, chanting, no violin, not rock, no guitar, organ, no vocal, talking, choral, weird, opera,
    soprano, fast, acoustic guitar, electric guitar, male singer, man singing, classical guitar, country, violin,
    electro, reggae, tribal, dark, male opera, no vocals, irish, electronica, horn, operatic, arabic, lol, low,
    instrumental, trance, chant, strange, drone, synthesizer, heavy metal, modern, disco, bells, man, deep,
    fast beat, industrial, hard, harp, no flute, jungle, pop, lute, female vocal, oboe, mellow, orchestral, viola,
    light, echo, piano, celtic, male vocals, orchestra, eastern, old, flutes, punk, spanish, sad, sax, slow, male,
    blues, vocal, indian, no singer, scary, india, woman, woman singing, rock, dance, piano solo, guitars,
    no drums, jazzy, singing, cello, calm, female vocals, voices, different, techno, clapping, house, monks, flute,
    not opera, not english, oriental, beat, upbeat, soft, noise, choir, female singer, rap, metal, hip hop, quick,
    water, baroque, women, fiddle, english""",
)
# The header of FMA's tracks.csv: 52 columns and the id, by the names that its readers use.
FMA_HEADER = (
    ["", *["album"] * 13, *["artist"] * 17, "set", "set", *["track"] * 20],
    [
        *("", "comments", "date_created", "date_released", "engineer", "favorites", "id", "information", "listens"),
        *("producer", "tags", "title", "tracks", "type", "active_year_begin", "active_year_end", "associated_labels"),
        *("bio", "comments", "date_created", "favorites", "id", "latitude", "location", "longitude", "members", "name"),
        *("related_projects", "tags", "website", "wikipedia_page", "split", "subset", "bit_rate", "comments"),
        *("composer", "date_created", "date_recorded", "duration", "favorites", "genre_top", "genres", "genres_all"),
        *("information", "interest", "language_code", "license", "listens", "lyricist", "number", "publisher", "tags"),
        "title",
    ],
    ["track_id", *[""] * 52],
)
SPLITS = {"train": 1, "validation": 1, "test": 2}  # clips of each genre
JAMENDO_TAGS = ("ambient", "blues", "country", "folk", "jazz", "metal", "punk", "soul")
Declaration = dict[str, Any]


def write_gtzan(folder: Path, tones: Tones) -> None:
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    for place, genre in enumerate(gtzan.GENRES):
        number = 0
        for split, count in SPLITS.items():
            for _ in range(count):
                name = f"{genre}.{number:05d}"
                suffix = ".au" if place == 0 else ".wav"
                tones.write(
                    folder / "genres_original" / genre / f"{name}{suffix}", ["hip hop" if genre == "hiphop" else genre]
                )
                # Of two published forms.
                lists[split].append(f"{genre}/{name}.wav" if split == "test" else f"    {100 * place + number + 1}")
                number += 1
    lists["train"].append("jazz/jazz.00054.wav")
    (folder / "genres_original" / "jazz" / "jazz.00054.wav").write_bytes(b"RIFF corrupt")
    for split, lines in lists.items():
        (folder / gtzan.LISTS[split]).write_text("\n".join(lines) + "\n")


def fma_row(track_id: str, split: str, subset: str, genre: str) -> list[str]:
    said = {
        ("set", "split"): split,
        ("set", "subset"): subset,
        ("track", "genre_top"): genre,
        ("track", "tags"): "['a']",
    }
    return [track_id, *(said.get(column, "") for column in list(zip(*FMA_HEADER[:2], strict=True))[1:])]


def write_fma(folder: Path, rows: list[list[str]], header: tuple[list[str], ...] = FMA_HEADER) -> None:
    (folder / "fma_metadata").mkdir(parents=True, exist_ok=True)
    with (folder / "fma_metadata" / "tracks.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([*header, *rows])


def write_mtat(folder: Path, tones: Tones) -> None:
    """Three clips without and three with what each group of negations denies, and one that says both."""
    for group in (*SYNONYMS, ("vocal", "singer")):
        tones.same_as.update({name: tones.same_as.get(group[0], group[0]) for name in group})
    tones.same_as.update({"singing": tones.same_as["singer"], **dict.fromkeys(("beat", "beats"), "drum")})
    rows = []
    for negation in ("no vocals", "no strings", "no piano", "no drums", "not rock", "no violin", "not classical"):
        noun = denied(negation) or ""
        for i, tags in enumerate([{negation}] * 3 + [{noun}] * 3):
            path = f"d/{negation.replace(' ', '_')}-{i}.mp3"
            tones.write(folder / path, sorted(tags))
            rows.append((f"{negation}-{i}", tags, path))
    tones.write(folder / "e" / "both.mp3", ["rock", "not rock"])
    rows.append(("both", {"rock", "not rock"}, "e/both.mp3"))
    write_annotations(folder, rows, REAL_TAGS)


def write_jamendo_splits(folder: Path, tones: Tones) -> None:
    """Of each tag's ten tracks every split tests two others and validates on two more."""
    names = {tag: [f"{place}{track}/{track}.mp3" for track in range(10)] for place, tag in enumerate(JAMENDO_TAGS)}
    for tag, tracks in names.items():
        for name in tracks:
            tones.write(folder / "audio" / name, [tag])
    row = "track_{0}\tartist\talbum\t{0}\t0.5\tgenre---{1}\n"
    for number in range(5):
        order = ("test", "validation", "train", "train", "train")
        splits = dict.fromkeys(order, "")
        for tag, tracks in names.items():
            for track, name in enumerate(tracks):
                splits[order[(track + number) % 5]] += row.format(name, tag)
        write_jamendo(folder, "genre", number, **splits)


def write_graded(folder: Path, tones: Tones) -> None:
    rows = []
    for query in range(16):
        for grade in (2, 1):
            name = f"{query}-{grade}.wav"
            tones.write(folder / name, [f"query {query}"] * grade + [f"only {name}"])
            rows.append((name, f"query {query}", grade))
    with (folder / "graded.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "caption", "grade"), *rows, ("0-2.wav", "nothing fits", 0)])


@dataclass(frozen=True, kw_only=True)
class World:
    folder: Path
    oracle: FrozenModel
    random: FrozenModel
    clap: FrozenModel

    def measure(self, declared: Declaration, model: object, **changed: object) -> Measurement:
        evaluator = evaluator_from_json({**declared, **changed}, self.folder)
        evaluator.check()
        return evaluator.measure(model)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder, tones = tmp_path_factory.mktemp("sets"), Tones()
    write_gtzan(folder / "gtzan", tones)
    rows = [fma_row("9", "test", "medium", "Jazz")]
    for place, genre in enumerate(fma.GENRES):
        for number, split in enumerate(name for name, count in SPLITS.items() for _ in range(count)):
            track = 1000 * place + number + 2
            tones.write(folder / "fma" / "fma_small" / f"{track // 1000:03d}" / f"{track:06d}.mp3", [genre])
            rows.append(fma_row(str(track), "training" if split == "train" else split, "small", genre))
    write_fma(folder / "fma", rows)
    write_mtat(folder / "mtat", tones)
    write_jamendo_splits(folder / "jamendo", tones)
    (folder / "graded").mkdir()
    write_graded(folder / "graded", tones)
    clap = load_model(f"clap:{write_clap(folder / 'clap')}", device="cpu")[0]
    return World(
        folder=folder, oracle=FrozenModel(tones.oracle()), random=FrozenModel(RandomModel(1)), clap=FrozenModel(clap)
    )


GTZAN: Declaration = {"kind": "gtzan", "folder": "gtzan"}
FMA: Declaration = {"kind": "fma_small", "folder": "fma"}
MTAT: Declaration = {"kind": "magnatagatune", "folder": "mtat", "tags": "all188"}
FIVE_SPLITS: Declaration = {"kind": "jamendo", "folder": "jamendo", "audio_folder": "jamendo/audio", "subset": "genre"}
GRADED: Declaration = {"kind": "graded_table", "file": "graded/graded.csv"}
# What is declared; the figures that an oracle has at 1.
MEASURED: list[tuple[Declaration, tuple[str, ...]]] = [
    ({"task": "zero_shot", "data": GTZAN}, ("accuracy", "roc_auc")),
    ({"task": "zero_shot", "data": FMA}, ("accuracy", "roc_auc")),
    ({"task": "linear_probe", "data": GTZAN}, ("accuracy", "roc_auc")),
    ({"task": "linear_probe", "data": FMA}, ("accuracy", "roc_auc")),
    *(({"task": "zero_shot", "data": {**FIVE_SPLITS, "split_number": n}}, ("roc_auc",)) for n in range(5)),
    ({"task": "linear_probe", "data": {**FIVE_SPLITS, "split_number": 4}}, ("roc_auc",)),
    ({"task": "negation", "data": MTAT}, ("roc_auc", "roc_auc_of_noun")),
    ({"task": "synonyms", "data": MTAT}, ("rank_correlation",)),
    ({"task": "graded", "data": GRADED}, ("ndcg_at_10", "ndcg")),
]


@pytest.mark.parametrize(("declared", "figures"), MEASURED, ids=lambda value: str(value))
def test_an_oracle_has_1_a_random_model_chance_and_clap_every_figure(
    world: World, declared: Declaration, figures: tuple[str, ...]
) -> None:
    few = {"resamples": 20}
    best = world.measure(declared, world.oracle, bootstrap=few)
    # Equal rows may have products that differ in their last digit, which orders clips of one score.
    within = 1e-5 if figures == ("rank_correlation",) else 1e-6
    assert [best.metrics[name].value for name in figures] == pytest.approx([1.0] * len(figures), rel=within)
    by_chance = world.measure(declared, world.random, bootstrap={"confidence": 0.999, "resamples": 300})
    for name in figures:
        value, chance = by_chance.metrics[name], by_chance.chance.get(name, 0.5)
        assert value.low is not None
        assert value.high is not None
        assert value.low <= chance <= value.high
        assert value.value < 0.8  # an oracle's figures are no accident of the set
    heard = world.measure(declared, world.clap, bootstrap=few)
    assert heard.metrics.keys() == best.metrics.keys()
    assert np.isfinite([heard.metrics[name].value for name in figures]).all()
    assert heard.units == best.units


def test_what_the_results_say(world: World) -> None:
    bootstrap = {"resamples": 0}
    gtzan_probe = world.measure({"task": "linear_probe", "data": GTZAN}, world.oracle, bootstrap=bootstrap)
    assert gtzan_probe.units == {
        "clips": 20,
        "train_clips": 10,
        "validation_clips": 10,
        "missing_clips": 0,
        "failed_clips": 1,
        "classes": 10,
    }
    assert [entry.clip_id for entry in gtzan_probe.unmeasured] == ["jazz.00054"]
    assert gtzan_probe.chance["accuracy"] == pytest.approx(0.1)
    zero_shot = world.measure({"task": "zero_shot", "data": FMA, "text_template": "{} music"}, world.oracle)
    assert zero_shot.notes["prompts"].startswith("Electronic music; Experimental music; ")
    assert (zero_shot.chance["accuracy"], zero_shot.units["clips"]) == (1 / 8, 16)
    negation = world.measure({"task": "negation", "data": MTAT}, world.oracle, bootstrap=bootstrap)
    assert negation.units["negations"] == 13  # seven of voices, two of beat and drums; English, flute … have no clip
    assert all(c.positives == 3 for c in negation.classes)
    assert set(negation.skipped) == {"no guitar", "no flute", "not opera", "not english"}
    synonyms = world.measure({"task": "synonyms", "data": MTAT}, world.random, bootstrap=bootstrap)
    assert synonyms.units["groups"] == 29 == len(synonyms.settings["rank_correlation_of_groups"])
    graded = world.measure({"task": "graded", "data": GRADED}, world.random, bootstrap=bootstrap)
    assert (graded.units["queries"], graded.units["clips"]) == (16, 32)
    assert graded.skipped == {"nothing fits": "no clip of a grade above 0"}


def test_a_model_that_says_the_same_of_everything_has_chance(world: World) -> None:
    class Same:
        def embed_text(self, texts: list[str]) -> FloatArray:
            return np.ones((len(texts), 4), np.float32)

        def embed_audio(self, waves: Sequence[Any]) -> FloatArray:
            return np.ones((len(waves), 4), np.float32)

    same = FrozenModel(Same())
    for declared, figures in MEASURED:
        if declared["task"] != "linear_probe":
            result = world.measure(declared, same, bootstrap={"resamples": 0})
            expected = [result.chance.get(name, 0.5) for name in figures]
            assert [result.metrics[name].value for name in figures] == pytest.approx(expected)


def test_a_model_that_hears_only_the_noun_ranks_negations_the_wrong_way_round(world: World) -> None:
    class Deaf:
        """The oracle, to whom "no vocals" is "vocals"."""

        embed_audio = world.oracle.embed_audio

        def embed_text(self, texts: list[str]) -> FloatArray:
            return world.oracle.embed_text([denied(text) or text for text in texts])

    found = world.measure({"task": "negation", "data": MTAT}, FrozenModel(Deaf()), bootstrap={"resamples": 0}).metrics
    assert (found["roc_auc"].value, found["roc_auc_of_noun"].value) == (0.0, 1.0)


def test_rank_correlations_are_spearmans() -> None:
    from scipy.stats import spearmanr

    scores = np.random.default_rng(0).integers(0, 5, (40, 4)).astype(np.float32)
    np.testing.assert_allclose(rank_correlations(scores), spearmanr(scores).statistic, atol=1e-12)
    assert rank_correlations(np.ones((5, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


def test_the_interval_of_synonyms_holds_chance_as_often_as_it_says() -> None:
    words = [word for group in SYNONYMS for word in group]
    sizes = [len(group) for group in SYNONYMS]
    held = 0
    for seed in range(60):
        model = RandomModel(seed)
        within, _ = group_correlations(
            model.embed_names([f"clip {i}" for i in range(40)]) @ model.embed_text(words).T, sizes
        )
        value = mean_with_interval(within, Bootstrap())
        assert value.low is not None
        assert value.high is not None
        held += value.low <= 0 <= value.high
    assert 53 <= held < 60


def test_accuracy_shares_a_tie() -> None:
    scores = np.array([[1, 1, 0], [0, 2, 1], [3, 0, 0]], np.float32)
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    assert accuracy(scores, labels, Bootstrap(resamples=0)).value == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_five_splits_in_one_command(tmp_path: Path, tones: Tones, capsys: pytest.CaptureFixture[str]) -> None:
    clips = []
    for i in range(12):
        tones.write(tmp_path / "audio" / "0" / f"{i}.mp3", [])
        clips.append(f"track_{i}\ta\tb\t0/{i}.mp3\t0.5\tgenre---{('rock', 'pop')[i % 2]}\n")
    for number in range(5):
        folder = tmp_path / "data" / "splits" / f"split-{number}"
        folder.mkdir(parents=True)
        for split in ("train", "validation", "test"):
            (folder / f"autotagging_genre-{split}.tsv").write_text(JAMENDO + "".join(clips[number : number + 8]))
    asked = ["--jamendo", str(tmp_path), "--jamendo_audio", str(tmp_path / "audio"), "--jamendo_subsets", "genre"]
    asked += ["--jamendo_splits", "0", "1", "2", "3", "4"]
    peer = "tests.trainer.evaluation.test_evaluation_cli:peer"
    assert main([peer, *asked, "--bootstrap", "10", "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    models = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    assert [m["fold"] for m in models[0]["measurements"]] == [f"split-{n}" for n in range(5)]
    for model in models:
        values = [m["metrics"]["roc_auc"]["value"] for m in model["measurements"]]
        assert len(set(values)) > 1
        (row,) = (line for line in shown.splitlines() if line.startswith(f"{model['model']}, mean of 5 splits"))
        assert f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" in row
        assert f"{model['model']}, split-4 " in shown
    assert shown.count(f"random (control) less {peer}, split-") == 5
    assert f"{peer}, split-3" in (tmp_path / "out" / "report.html").read_text()
    again = ["random", *asked, "--no_control", "--bootstrap", "0", "--compare", str(tmp_path / "out" / "results.json")]
    assert main(again) == 0
    excluded = tmp_path / "exclude.jsonl"
    assert main([*asked, "--write_exclude", str(excluded)]) == 0
    ids = {json.loads(line).get("recording_id") for line in excluded.read_text().splitlines()}
    assert ids >= {f"track_{i}" for i in range(12)}  # of the last split too


def test_every_tag_of_jamendo_in_one_set(tmp_path: Path) -> None:
    folder = tmp_path / "splits" / "split-3"
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        row = f"track_{split}\ta\tb\t0/1.mp3\t9\tgenre---{split}\tmood/theme---calm\n"
        (folder / f"autotagging-{split}.tsv").write_text(JAMENDO + row)
    data = Jamendo(folder=tmp_path, audio_folder=tmp_path, subset="all", split_number=3).read()
    assert (data.name, data.fold, data.notes["split"]) == ("mtg_jamendo/all", "split-3", "the published split-3")
    assert data.class_texts == ("test", "train", "validation", "calm")
    with pytest.raises(ValueError, match="split_number is 0 to 4"):
        Jamendo(folder=tmp_path, audio_folder=tmp_path, split_number=5)


def test_a_command_over_all_of_them(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [
        ("--gtzan", "gtzan"),
        ("--fma_small", "fma"),
        ("--magnatagatune", "mtat"),
        ("--graded", "graded/graded.csv"),
    ]
    asked = [word for option, at in sets for word in (option, str(world.folder / at))]
    assert main(["random", *asked, "--bootstrap", "5", "--output", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for title in ("Negated tags: magnatagatune/all188", "Synonymous tags: magnatagatune/all188"):
        assert title in shown
    table = shown[shown.index("Zero-shot tagging: gtzan") : shown.index("Zero-shot tagging: fma_small")]
    assert "accuracy" in table.splitlines()[1]
    assert table.splitlines()[4].split()[:2] == ["chance", "0.100"]
    assert "prompts: blues; classical; country; disco; hip hop; jazz; metal; pop; reggae; rock" in table
    page = (tmp_path / "report.html").read_text()
    for figure in ("accuracy with its interval: zero_shot/gtzan", "rank correlation with", "ndcg at 10 with"):
        assert figure in page
    assert "chance" in (tmp_path / "tables.md").read_text()


def test_files_that_a_list_names_and_that_are_not_there(
    tmp_path: Path, tones: Tones, capsys: pytest.CaptureFixture[str]
) -> None:
    write_gtzan(tmp_path, tones)
    (tmp_path / "genres_original" / "rock" / "rock.00003.wav").unlink()
    assert main(["random", "--gtzan", str(tmp_path), "--bootstrap", "0"]) == 2
    assert "gtzan: 1 of 20 audio files are missing" in capsys.readouterr().err
    assert main(["random", "--gtzan", str(tmp_path), "--bootstrap", "0", "--skip_missing"]) == 0
    assert "1 missing clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"test_filtered.txt": None}, "test_filtered.txt: not found; it should be the test list"),
        ({"test_filtered.txt": "polka/polka.00001.wav\n"}, "test_filtered.txt:1: polka is none of the genres"),
        ({"test_filtered.txt": "\n1001\n"}, "test_filtered.txt:2: 1001 is no number of a clip, 1 to 1000"),
        ({"valid_filtered.txt": "blues the first\n"}, "valid_filtered.txt:1: 'blues the first' is neither"),
        ({"test_filtered.txt": "1\n", "train_filtered.txt": "blues/blues.00000.wav"}, "blues.00000 stands in .*train"),
    ],
)
def test_what_is_wrong_with_lists_of_gtzan_is_one_line(
    tmp_path: Path, changed: dict[str, str | None], says: str
) -> None:
    for number, name in enumerate(gtzan.LISTS.values()):
        content = changed.get(name, f"{number + 11}\n")
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(EvaluationDataError, match=says) as caught:
        gtzan.Gtzan(folder=tmp_path).read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (fma_row("2", "training", "small", "Polka"), "tracks.csv:4: 'Polka' is none of the genres Electronic"),
        (fma_row("2", "training", "small", ""), "tracks.csv:4: '' is none"),
        (fma_row("2", "dev", "small", "Pop"), "tracks.csv:4: set.split is 'dev', not training"),
        (fma_row("../2", "test", "small", "Pop"), "tracks.csv:4: track_id '../2' is no number"),
        (["2", "short"], "tracks.csv:4: the row has not as many fields"),
    ],
)
def test_what_is_wrong_with_fmas_tracks_is_one_line(tmp_path: Path, row: list[str], says: str) -> None:
    write_fma(tmp_path, [row])
    with pytest.raises(EvaluationDataError, match=says) as caught:
        fma.FmaSmall(folder=tmp_path).read()
    assert "\n" not in str(caught.value)
    write_fma(tmp_path, [], header=(["track_id", "genre"],))
    with pytest.raises(EvaluationDataError, match=r"not FMA's tracks\.csv"):
        fma.FmaSmall(folder=tmp_path).read()
    with pytest.raises(EvaluationDataError, match=r"fma_metadata/tracks\.csv: not found"):
        fma.FmaSmall(folder=tmp_path / "elsewhere").read()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path,caption\na.wav,x\n", "graded.csv:1: the header lacks grade"),
        ("path,caption,grade\na.wav,x,good\n", "graded.csv:2: grade is 'good', not a number"),
        ("path,caption,grade\na.wav,x,-1\n", "graded.csv:2: grade is '-1'"),
        ("path,caption,grade\na.wav,x,nan\n", "graded.csv:2: grade is 'nan'"),
        ("path,caption,grade\na.wav,x,1\na.wav,x,2\n", "graded.csv:3: a.wav has a second grade"),
    ],
)
def test_what_is_wrong_with_grades_is_one_line(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "graded.csv").write_text(content)
    declared = {"task": "graded", "data": {"kind": "graded_table", "file": "graded.csv"}}
    with pytest.raises(EvaluationDataError, match=says) as caught:
        evaluator_from_json(declared, tmp_path).check()
    assert "\n" not in str(caught.value)
