"""Commit records say the same after a file, and add up."""

import dataclasses
import json
from typing import Any

import pytest

from schemas.accounting import Account
from schemas.commit import HISTOGRAM_BINS, FileEntry, PartRecord, ShardRecord, TextTotals, part_key
from schemas.reasons import Reason
from schemas.shard import COUNTS
from schemas.sources import TextSource

FILE = FileEntry(path="shards/one", sha256="ab" * 32, bytes=12, rows=3)


def sentence(score: float | None, tokens: int, occurrences: int) -> dict[str, Any]:
    return {"text": "Such a warm bass.", "score": score, "tokens": tokens, "occurrences": occurrences}


def row(sources: int, lf: list[dict[str, Any]] | None = None, **counts: int) -> dict[str, Any]:
    zeros = {field.name: 0 for field in COUNTS}
    assert counts.keys() <= zeros.keys()
    return {"text_sources": sources, "lf": lf or [], "counts": {**zeros, **counts}}


def test_a_part_has_one_name_wherever_it_is_named() -> None:
    part = PartRecord(generation=2, index=31, file=FILE, annotations={}, rule_hits={})
    assert part.key == part_key(2, 31) == "g0002-00031"


def test_records_are_what_they_were_after_a_file() -> None:
    account = Account(kept=2, left_out={Reason.NOT_MUSIC: 1, Reason.TOO_SLOW: 3})
    part = PartRecord(
        generation=1, index=0, file=FILE, annotations={"sf": account}, rule_hits={"url": 4}, replaces="g0001-00001"
    )
    assert PartRecord.from_json(json.loads(json.dumps(part.to_json()))) == part
    texts = TextTotals()
    texts.add_row(row(TextSource.SF, sf_annotations=2), None)
    histogram = tuple(range(HISTOGRAM_BINS))
    shard = ShardRecord(
        generation=1,
        index=0,
        part_sha256="ab",
        config_digest="cd",
        shard=FILE,
        rejects=dataclasses.replace(FILE, path="rejects/one"),
        recordings=account,
        music_fractions=histogram,
        texts=texts,
        clip_s=90.5,
        seconds={"decode": 0.25},
    )
    assert ShardRecord.from_json(json.loads(json.dumps(shard.to_json()))) == shard
    empty = dataclasses.replace(shard, shard=None, rejects=None)
    assert ShardRecord.from_json(json.loads(json.dumps(empty.to_json()))) == empty


@pytest.mark.parametrize("field", ["recordings", "shard", "texts", "part_sha256"])
def test_a_record_that_is_not_whole_is_an_error(field: str) -> None:
    whole = ShardRecord(
        generation=1, index=0, part_sha256="ab", config_digest="cd", shard=FILE, rejects=None,
        recordings=Account(kept=1), music_fractions=(0,) * HISTOGRAM_BINS, texts=TextTotals(), clip_s=30.0,
    ).to_json()  # fmt: skip
    with pytest.raises((KeyError, TypeError, ValueError)):
        ShardRecord.from_json({name: value for name, value in whole.items() if name != field})
    with pytest.raises(ValueError, match="does not close"):
        ShardRecord.from_json({**whole, "recordings": {**whole["recordings"], "read": 2}})


def test_texts_are_counted_by_recording_by_annotation_and_by_source() -> None:
    """Two recordings with text and one without; three sentences at the threshold or above it, said seven times."""
    said = [sentence(0.5, 4, 3), sentence(0.9, 10, 2), sentence(0.49, 100, 50), sentence(None, 100, 50)]
    first, second = TextTotals(), TextTotals()
    first.add_row(row(TextSource.SF | TextSource.LF, said, sf_annotations=2, sf_tokens=9, lf_annotations=105), 0.5)
    first.add_row(row(TextSource(0)), 0.5)
    second.add_row(row(TextSource.LF, [sentence(0.6, 5, 2)], lf_annotations=2), 0.5)
    second.add_row(row(TextSource.LF, [sentence(0.1, 5, 2)], lf_annotations=2), 0.5)
    first.add(second)
    assert {name: count for name, count in first.counts.items() if count} == {
        "sf_annotations": 2,
        "sf_tokens": 9,
        "lf_annotations": 109,
    }
    assert {name: count for name, count in first.recordings_with.items() if count} == {
        "sf": 1,
        "lf": 3,
        "any": 3,
        "lf_above_threshold": 2,
    }
    assert first.lf_above_threshold == {"annotations": 7, "tokens": 3 * 4 + 2 * 10 + 2 * 5}
    assert first.text_sources == {"3": 1, "0": 1, "2": 2}


def test_without_a_threshold_no_sentence_is_above_it() -> None:
    texts = TextTotals()
    texts.add_row(row(TextSource.LF, [sentence(0.9, 4, 1)], lf_annotations=1), None)
    assert texts.recordings_with["lf"] == 1
    assert texts.recordings_with["lf_above_threshold"] == texts.lf_above_threshold["annotations"] == 0


def test_nothing_is_counted_before_a_row() -> None:
    texts = TextTotals()
    assert {*texts.counts.values(), *texts.recordings_with.values(), *texts.lf_above_threshold.values()} == {0}
    assert texts.text_sources == {}
