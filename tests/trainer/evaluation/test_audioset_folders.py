"""A folder of AudioSet's recordings is read alike by mining and by evaluation, under the names that people have."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.catalogues.audioset import LocalCopies
from pipeline.catalogues.audioset import Segment as MinedSegment
from tests.trainer.evaluation.tone_sets import RATE_HZ, Tones, heard, tone
from trainer.evaluation.clips import EvaluationDataError, FileClips
from trainer.evaluation.readers.audioset import AudioSet, Segment, segment_clips
from trainer.evaluation.readers.table import ClipTable

START_S, END_S = 30.0, 40.0
BEFORE, INSIDE = 1, 2  # tones
# Name behind the id in braces → whether the file is the whole recording.
NAMES = {
    "{}.wav": False,
    "deep/{}.flac": True,
    "Y{}.wav": False,
    "Y{}.flac": True,
    "{}_30.wav": False,
    "{}_30.000.flac": False,
    "{}_30000.flac": False,
    "{}_000030.wav": False,
    "{}_30_40.flac": False,
    "{}_30.000_40.000.wav": False,
    "{}_30000_40000.flac": False,
    "{}_30-40.wav": False,
    "{}_30.0-40.0.flac": False,
    "Y{}_30.000_40.000.wav": False,
    "[{}]-[30-40].wav": False,
    "{}.low.mp3": True,
    "{}_30.low.mp3": False,
}


def segments() -> list[Segment]:
    """One a name; some ids end as a start does, or begin as a prefix."""
    ids = [f"{('Y', '-', '_')[i % 3]}ab{i:02d}{('_10_10', '-30_30', 'cdefgh')[i % 3]}" for i in range(len(NAMES))]
    return [Segment(ytid=ytid, start_s=START_S, end_s=END_S, mids=frozenset()) for ytid in ids]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audioset")
    (folder / "deep").mkdir()
    cut_out = tone(INSIDE, END_S - START_S)
    whole = np.concatenate([tone(BEFORE, START_S), cut_out, tone(BEFORE, 2.0)])
    for segment, (name, is_whole) in zip(segments(), NAMES.items(), strict=True):
        soundfile.write(folder / name.format(segment.ytid), whole if is_whole else cut_out, RATE_HZ)
    return folder


def test_both_find_the_same_part_of_the_same_file(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = segment_clips(segments(), folder, "told")
    assert "1 more of 5 files that were looked at are no longer than their segment" in caplog.text
    with LocalCopies([str(folder)]) as copies:
        for segment, clip, (name, is_whole) in zip(segments(), clips, NAMES.items(), strict=True):
            path = folder / name.format(segment.ytid)
            found = copies.find(MinedSegment(ytid=segment.ytid, start_s=START_S, mids=()))
            assert (found, clip.path) == ((str(path), START_S if is_whole else 0.0), path)
    assert "2 files named YTID.* are no longer than their segment" in caplog.text


def test_the_part_that_is_heard_is_the_segment(folder: Path) -> None:
    chosen = [place for place, (name, _) in enumerate(NAMES.items()) if "_" not in name]
    clips = FileClips(clips=tuple(segment_clips([segments()[place] for place in chosen], folder, "told")))
    for place in range(len(chosen)):
        wave = clips.audio(place).decode()
        assert len(wave) == pytest.approx((END_S - START_S) * RATE_HZ, abs=2000)  # an mp3 has a little more
        assert heard(wave) == INSIDE
    # Said to be whole recordings, those that were cut out end before their segment.
    (first, *_) = segment_clips(segments(), folder, "recording")
    with pytest.raises(EvaluationDataError, match="too_short"):
        FileClips(clips=(first,)).audio(0).decode()


def test_a_segment_at_the_beginning_needs_no_look(tmp_path: Path, tones: Tones) -> None:
    tones.write(tmp_path / "abcdefghijk.wav", [])
    with LocalCopies([str(tmp_path)]) as copies:
        found = copies.find(MinedSegment(ytid="abcdefghijk", start_s=0.0, mids=()))
    assert found == (str(tmp_path / "abcdefghijk.wav"), 0.0)


def test_one_file_for_two_splits_is_refused(tmp_path: Path) -> None:
    for name in ("ontology.json", "classes.csv", "eval.csv", "again.csv"):
        (tmp_path / name).write_text("# YTID, start, end, labels\n")
    (tmp_path / "train.csv").write_text("# another\n")
    (tmp_path / "ontology.json").write_text(
        '[{"id": "/m/1", "name": "Music", "description": "", "child_ids": ["/m/2"]},'
        ' {"id": "/m/2", "name": "Bell", "description": "", "child_ids": []}]'
    )
    (tmp_path / "classes.csv").write_text("index,mid,display_name\n0,/m/1,Music\n")

    def read(train: str, validation: str) -> None:
        AudioSet(
            ontology=tmp_path / "ontology.json",
            class_labels=tmp_path / "classes.csv",
            segments=tmp_path / "eval.csv",
            audio_folder=tmp_path,
            train_segments=tmp_path / train,
            validation_segments=tmp_path / validation,
        ).read()

    with pytest.raises(ValueError, match="three files"):
        read("train.csv", "eval.csv")
    with pytest.raises(EvaluationDataError, match="two have one content"):
        read("train.csv", "again.csv")
    path = tmp_path / "mine.csv"
    path.write_text("path,split,calm\na.flac,train,1\nb.flac,test,0\na.flac,test,1\n")
    with pytest.raises(EvaluationDataError, match=r"mine\.csv:4: a\.flac is in test and in train"):
        ClipTable(file=path).read()
