"""The publishers' formats, read from small files of those formats and from AudioSet's real ones."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from schemas.run import Run
from tests.trainer.evaluation.tone_sets import RATE_HZ, WriteRun, tone
from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.readers.audioset import (
    AudioSet,
    Ontology,
    class_set,
    read_labelled_classes,
    read_segments,
)
from trainer.evaluation.readers.jamendo import Jamendo
from trainer.evaluation.readers.magnatagatune import TOP_50, MagnaTagATune
from trainer.evaluation.readers.mined import MinedRun
from trainer.evaluation.readers.table import ClipTable

TAGS_188 = [*TOP_50, *(f"rare {i}" for i in range(138))]


def write_annotations(folder: Path, rows: list[tuple[str, set[str], str]], tags: list[str] = TAGS_188) -> Path:
    """annotations_final.csv as published: tab-separated, every value in quotes."""
    lines = ["\t".join(f'"{name}"' for name in ["clip_id", *tags, "mp3_path"])]
    lines += [
        "\t".join(f'"{v}"' for v in [clip_id, *(str(int(tag in present)) for tag in tags), mp3])
        for clip_id, present, mp3 in rows
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "annotations_final.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


MTAT_ROWS = [(str(i), {TAGS_188[i]}, f"{digit}/song-{i}.mp3") for i, digit in enumerate("0123456789abcdef")]


def test_magnatagatune_splits_by_the_first_hexadecimal_digit(tmp_path: Path) -> None:
    write_annotations(tmp_path, MTAT_ROWS)
    data = MagnaTagATune(folder=tmp_path, tags="all188").read()
    assert {name: len(split.clips.ids) for name, split in data.splits.items()} == {
        "train": 12,
        "validation": 1,
        "test": 3,
    }
    assert list(data.split("test").clips.ids) == ["13", "14", "15"]
    assert data.class_names == tuple(TAGS_188)
    assert np.argwhere(data.split("test").labels).tolist() == [[0, 13], [1, 14], [2, 15]]


def test_magnatagatune_top_50_keeps_every_clip(tmp_path: Path) -> None:
    write_annotations(tmp_path, [("1", {"rare 3"}, "d/a.mp3"), ("2", {"opera"}, "e/b.mp3")])
    test = MagnaTagATune(folder=tmp_path).read().split("test")
    assert test.labels.shape == (2, 50)
    assert test.labels.sum(axis=1).tolist() == [0, 1]


def test_magnatagatune_minz_split_reads_its_lists(tmp_path: Path) -> None:
    write_annotations(tmp_path, MTAT_ROWS)
    # The published lists disagree with the digits on purpose here: the list decides.
    for name, rows in (("train", [15, 3]), ("valid", [4]), ("test", [0])):
        np.save(tmp_path / f"{name}.npy", np.array([f"{i}\t{MTAT_ROWS[i][2]}" for i in rows]))
    data = MagnaTagATune(folder=tmp_path, split="minz").read()
    assert [list(data.split(s).clips.ids) for s in ("train", "validation", "test")] == [["3", "15"], ["4"], ["0"]]
    assert "test.npy" in data.sources
    np.save(tmp_path / "test.npy", np.array(["0\tz/unknown.mp3"]))
    with pytest.raises(EvaluationDataError, match=r"test\.npy.*unknown"):
        MagnaTagATune(folder=tmp_path, split="minz").read()


def test_minz_lists_are_never_unpickled(tmp_path: Path) -> None:
    write_annotations(tmp_path, MTAT_ROWS)
    np.save(tmp_path / "train.npy", np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        MagnaTagATune(folder=tmp_path, split="minz").read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clip_id\tguitar\n", ":1: the header"),
        ("clip_id\tguitar\tmp3_path\n", "lacks the tags"),
        ("\t".join(["clip_id", *TOP_50, "mp3_path"]) + "\n1\t1\n", ":2: a row"),
        ("\t".join(["clip_id", *TOP_50, "mp3_path"]) + "\n" + "\t".join(["1", *"1" * 50, "x/a.mp3"]), "hexadecimal"),
        ("\t".join(["clip_id", *TOP_50, "mp3_path"]) + "\n" + "\t".join(["1", *"1" * 50, "d/../../a"]), "inside"),
    ],
)
def test_magnatagatune_errors_name_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "annotations_final.csv").write_text(content)
    with pytest.raises(EvaluationDataError, match=message):
        MagnaTagATune(folder=tmp_path).read()


def test_magnatagatune_all188_wants_188(tmp_path: Path) -> None:
    write_annotations(tmp_path, [], tags=TAGS_188[:-1])
    with pytest.raises(EvaluationDataError, match="187 tags"):
        MagnaTagATune(folder=tmp_path, tags="all188").read()


JAMENDO = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"


def write_jamendo(folder: Path, subset: str, number: int = 0, **splits: str) -> None:
    target = folder / "data" / "splits" / f"split-{number}"
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        (target / f"autotagging_{subset}-{split}.tsv").write_text(JAMENDO + splits.get(split, ""))


def test_jamendo_has_as_many_fields_as_tags(tmp_path: Path) -> None:
    write_jamendo(
        tmp_path,
        "moodtheme",
        train="track_0000001\tartist_1\talbum_1\t01/1.mp3\t100.0\tmood/theme---sad\n",
        test="track_0786434\tartist_368880\talbum_092222\t34/786434.mp3\t460.8\tmood/theme---deep\tmood/theme---sad\n",
    )
    data = Jamendo(folder=tmp_path, audio_folder=tmp_path / "audio", subset="moodtheme").read()
    assert data.class_texts == ("deep", "sad")
    assert data.split("test").labels.tolist() == [[True, True]]
    assert data.split("train").labels.tolist() == [[False, True]]
    (clip,) = data.split("test").clips.clips  # type: ignore[attr-defined] # a set of files has them
    assert clip.path == tmp_path / "audio" / "34" / "786434.mp3"
    assert (clip.start_s, clip.duration_s) == (0.0, None)


def test_jamendo_excerpt_is_the_middle(tmp_path: Path) -> None:
    write_jamendo(tmp_path, "genre", test="track_1\ta_1\tb_1\t01/1.mp3\t100.0\tgenre---rock\n")
    data = Jamendo(folder=tmp_path, audio_folder=tmp_path, subset="genre", excerpt_s=30, low_quality=True).read()
    (clip,) = data.split("test").clips.clips  # type: ignore[attr-defined] # a set of files has them
    assert (clip.start_s, clip.duration_s) == (35.0, 30)
    assert clip.path.name == "1.low.mp3"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("track_1\ta\tb\t01/1.mp3\t100.0\n", ":2: a track has five fields"),
        ("track_1\ta\tb\t01/1.mp3\t100.0\trock\n", ":2: tags are"),
        ("track_1\ta\tb\t01/1.mp3\tlong\tgenre---rock\n", "DURATION 'long'"),
        ("track_1\ta\tb\t/etc/passwd\t1\tgenre---rock\n", "inside"),
    ],
)
def test_jamendo_errors_name_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    write_jamendo(tmp_path, "genre", test=row)
    with pytest.raises(EvaluationDataError, match=message):
        Jamendo(folder=tmp_path, audio_folder=tmp_path, subset="genre").read()


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("clip_id,path,split,calm,loud\na,a.flac,train,1,0\nb,sub/b.flac,,0,1\n")
    data = ClipTable(file=path).read()
    assert list(data.splits) == ["train", "test"]
    assert data.split("test").labels.tolist() == [[False, True]]
    with pytest.raises(EvaluationDataError, match="no validation split"):
        data.split("validation")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("calm\n1\n", ":1: the header"),
        ("path,calm,calm\n", ":1: the header"),
        ("path,calm\na.flac,yes\n", ":2: every tag"),
        ("path,calm\na.flac\n", ":2: every tag"),
        ("path,calm\na.flac,1,1\n", ":2: every tag"),
        ("path,split,calm\na.flac,dev,1\n", ":2: every tag"),
    ],
)
def test_table_errors_name_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(EvaluationDataError, match=message):
        ClipTable(file=path).read()


def test_audioset_class_sets_of_the_real_ontology(audioset_files: tuple[Path, Path]) -> None:
    ontology, labels = Ontology.read(audioset_files[0]), read_labelled_classes(audioset_files[1])
    assert len(labels) == 527
    sets = {which: class_set(which, ontology, labels) for which in ("gen25", "mu141", "mu150")}
    assert {which: len(mids) for which, mids in sets.items()} == {"gen25": 25, "mu141": 141, "mu150": 150}
    names = {which: {ontology.nodes[m].name for m in mids} for which, mids in sets.items()}
    assert {"Jazz", "Reggae", "Hip hop music"} <= names["gen25"]
    assert names["mu150"] - names["mu141"] == ontology_names(ontology, ontology.subtree(ontology.by_name("Bell").mid))
    assert names["gen25"] < names["mu141"]


def ontology_names(ontology: Ontology, mids: set[str]) -> set[str]:
    return {ontology.nodes[mid].name for mid in mids}


def test_audioset_real_segments(audioset_files: tuple[Path, Path]) -> None:
    segments = read_segments(audioset_files[0].with_name("audioset_eval_segments.csv"))
    assert len(segments) == 20371
    assert sum(len(s.mids) for s in segments) == 51804  # as the file's own header says


def test_audioset_propagates_labels_and_finds_files(audioset_files: tuple[Path, Path], tmp_path: Path) -> None:
    ontology_path, labels_path = audioset_files
    ontology = Ontology.read(ontology_path)
    mid = {name: ontology.by_name(name).mid for name in ("Acoustic guitar", "Speech", "Guitar")}
    segments = tmp_path / "eval_segments.csv"
    segments.write_text(
        "# Segments csv\n# num_ytids=3\n# YTID, start_seconds, end_seconds, positive_labels\n"
        f'-abcdefghij, 30.000, 40.000, "{mid["Acoustic guitar"]},{mid["Speech"]}"\n'
        f'bbbbbbbbbbb, 0.000, 10.000, "{mid["Speech"]}"\n'
    )
    audio = tmp_path / "audio"
    audio.mkdir()
    (audio / "Y-abcdefghij_30000.flac").touch()

    def read(**options: object) -> AudioSet:
        return AudioSet(
            ontology=ontology_path,
            class_labels=labels_path,
            segments=segments,
            audio_folder=audio,
            **options,  # type: ignore[arg-type] # options of several types
        )

    test = read().read()
    assert list(test.split("test").clips.ids) == ["-abcdefghij_30"]
    present = {name for name, on in zip(test.class_texts, test.split("test").labels[0], strict=True) if on}
    assert {"Acoustic guitar", "Guitar", "Music"} <= present
    assert test.split("test").clips.clips[0].path.name == "Y-abcdefghij_30000.flac"  # type: ignore[attr-defined]
    bare = read(propagate=False, pool="all").read().split("test")
    assert bare.labels.sum(axis=1).tolist() == [1, 0]
    with pytest.raises(ValueError, match="three files"):
        read(train_segments=segments, validation_segments=tmp_path / "validation.csv")


def test_audioset_errors_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("# c\naaa, 0.0, 10.0\n")
    with pytest.raises(EvaluationDataError, match=r"s\.csv:2"):
        read_segments(path)
    path.write_text('aaa, 10.0, 0.0, "/m/1"\n')
    with pytest.raises(EvaluationDataError, match=r"s\.csv:1: .*ends before"):
        read_segments(path)
    bad = tmp_path / "ontology.json"
    bad.write_text('[{"id": "/m/1", "name": "x", "description": "", "child_ids": ["/m/2"]}]')
    with pytest.raises(EvaluationDataError, match="/m/2"):
        Ontology.read(bad)


def test_mined_run_is_a_tagging_set(tmp_path: Path, write_run: WriteRun) -> None:
    pcm = (tone(0, 1) * 20_000).astype(np.int16)
    rows = [
        {"recording_id": f"r{i}", "pcm": pcm + i, "aset": [label for label, n in (("Jazz", 5), ("Rock", 3)) if i < n]}
        for i in range(8)
    ]
    run = write_run(tmp_path / "run", rows)
    data = MinedRun(run=str(run), min_positives=3).read()
    assert data.class_names == ("Jazz", "Rock")
    counts = Counter(
        {name: int(n) for name, n in zip(data.class_names, data.split("test").labels.sum(axis=0), strict=True)}
    )
    assert counts == {"Jazz": 5, "Rock": 3}
    for index in (7, 0, 4):
        wave = data.split("test").clips.audio(index).decode()
        np.testing.assert_array_equal(wave, ((pcm + index) / np.float32(1 << 15)).astype(np.float32))
        assert len(wave) == RATE_HZ
    assert data.sources["manifest"] == Run.open(run).manifest.digest()
    held_out = tmp_path / "ids.txt"
    held_out.write_text("r1\nr6\n\n")
    few = MinedRun(run=str(run), recordings=held_out, min_positives=1).read()
    assert list(few.split("test").clips.ids) == ["r1", "r6"]
    with pytest.raises(EvaluationDataError, match="no aset label has 5"):
        MinedRun(run=str(run), recordings=held_out).read()
