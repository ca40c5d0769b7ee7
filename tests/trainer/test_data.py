"""Rows, splits, streams and batches: exact passes, exact resume, clear refusals."""

import collections
import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from schemas.run import RunError
from schemas.shard_format import FORMATS
from schemas.sources import TextSource
from tests.trainer.fixture_runs import shard_row, write_run
from trainer.audio import Audio
from trainer.data import Corpus, DataConfig
from trainer.dist import Ranks
from trainer.mixture import Mixture, MixtureError
from trainer.split import Split, Splitter
from trainer.streams import Example, Lanes, lanes_of

pytestmark = pytest.mark.slow

EVERYTHING: dict[str, Any] = {"validation_fraction": 0.0}


def text_rows(count: int) -> list[dict[str, Any]]:
    """Every combination of sources, texts of its own for each row."""
    return [
        shard_row(
            f"r{i:05d}",
            sf=[f"tag {i} {k}" for k in range(i % 4)],
            lf=[(f"sentence {i} {k}", 0.1 + 0.2 * k) for k in range(i % 5)],
            pl=[f"playlist {i}"] if i % 3 == 0 else [],
            aset=["Piano", "Guitar"] if i % 4 == 1 else [],
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("text") / "run", text_rows(600), shards=4)


def test_each_eligible_row_is_drawn_once_a_pass(text_run: Path) -> None:
    corpus = Corpus.open([text_run], DataConfig(**EVERYTHING, buffer_rows=50))
    rules: dict[TextSource, Callable[[int], bool]] = {
        TextSource.SF: lambda i: i % 4 > 0,
        TextSource.LF: lambda i: i % 5 >= 3,  # the sentences of 0.5 and more
        TextSource.PL: lambda i: i % 3 == 0,
        TextSource.ASET: lambda i: i % 4 == 1,
    }
    for source, rule in rules.items():
        eligible = {f"r{i:05d}" for i in range(600) if rule(i)}
        lanes = Lanes(corpus, Mixture.of({source: 1}), 1, 1, seed=3)
        orders = []
        for _ in range(4):
            drawn = [lanes.next()[0].row.recording_id for _ in eligible]
            assert set(drawn) == eligible
            orders.append(tuple(drawn))
        assert len(set(orders)) == 4


def test_rows_are_counted_once_however_many_sources_reach_them(text_run: Path) -> None:
    corpus = Corpus.open([text_run], DataConfig(**EVERYTHING))
    unfiltered = Corpus.open([text_run], DataConfig(**EVERYTHING, filtered=False))
    everything, long_forms = Mixture().sources, Mixture.parse("0:1:0:0").sources
    assert corpus.rows_of(long_forms, Split.TRAIN) == 600 * 2 // 5  # those with a sentence of 0.5 and more
    assert unfiltered.rows_of(long_forms, Split.TRAIN) == 600 * 4 // 5
    assert corpus.rows_of(TextSource.PL | TextSource.ASET, Split.TRAIN) == 600 // 2  # of each 12 rows 4 + 3 − 1
    nothing = [i for i in range(600) if i % 4 == 0 and i % 5 < 3 and i % 3]
    assert corpus.rows_of(everything, Split.TRAIN) == 600 - len(nothing) < corpus.recordings[Split.TRAIN]


def test_ten_thousand_batches_have_their_quota_and_their_passes(text_run: Path) -> None:
    corpus = Corpus.open([text_run], DataConfig(**EVERYTHING, buffer_rows=64))
    batches = Lanes(corpus, Mixture(), 10, 1, seed=0)
    drawn: dict[TextSource, collections.Counter[str]] = {source: collections.Counter() for source in TextSource}
    for step in range(10_000):
        batch = batches.next()
        assert collections.Counter(example.source for example in batch) == batches.quotas.of(step)
        for example in batch:
            drawn[example.source][example.row.recording_id] += 1
    assert {source: sum(times.values()) * 6 for source, times in drawn.items()} == pytest.approx(
        {source: 100_000 * weight for source, weight in Mixture().weights.items() if weight}, abs=6
    )
    for times in drawn.values():  # k whole passes and a part of the next
        assert max(times.values()) - min(times.values()) <= 1


def test_windows_and_texts_are_uniform(tmp_path: Path) -> None:
    rows = [shard_row(f"r{i}", sf=[f"{i} {k}" for k in range(5)], duration_s=30.0) for i in range(40)]
    corpus = Corpus.open([write_run(tmp_path / "run", rows)], DataConfig(**EVERYTHING))
    batches = Lanes(corpus, Mixture.of({TextSource.SF: 1}), 40, 1, seed=1)
    examples = [example for _ in range(250) for example in batches.next()]
    starts = np.array([example.start_sample for example in examples])
    assert starts.min() >= 0
    assert starts.max() <= 20 * 16_000
    window_counts = np.histogram(starts, bins=20, range=(0, 20 * 16_000 + 1))[0]
    text_counts = np.bincount([int(example.text.split()[1]) for example in examples], minlength=5)
    assert stats.chisquare(window_counts).pvalue > 0.001
    assert stats.chisquare(text_counts).pvalue > 0.001
    places = np.array([[example.row.recording_id == f"r{i}" for example in examples] for i in range(40)])
    order = np.array([places[:, step * 40 : step * 40 + 20].sum(axis=1).sum() for step in range(250)])
    assert (order == 20).all()


def test_planning_resumes_exactly_in_mid_pass(text_run: Path) -> None:
    corpus = Corpus.open([text_run], DataConfig(**EVERYTHING, buffer_rows=64))

    straight = Lanes(corpus, Mixture(), 60, 4, seed=5)
    for _ in range(37):
        straight.next()
    saved = json.dumps(straight.to_json(straight.state()))
    resumed = Lanes(corpus, Mixture(), 60, 4, seed=5)
    resumed.restore([json.loads(saved)])
    ahead = [list(map(key, straight.next())) for _ in range(40)]
    assert [list(map(key, resumed.next())) for _ in range(40)] == ahead


def test_text_options(tmp_path: Path) -> None:
    row = shard_row(
        "a", sf=["kept"], sf_unfiltered=["kept", "http://x"], lf=[("good", 0.9), ("poor", 0.3), ("unscored", None)]
    )
    run = write_run(tmp_path / "run", [row], shards=1)

    def texts(source: TextSource, **options: Any) -> list[str]:
        corpus = Corpus.open([run], DataConfig(**EVERYTHING, **options))
        groups = corpus.candidates(source, Split.TRAIN)
        return [t for g in groups for r in corpus.read(int(g), source, Split.TRAIN) for t in r.texts]

    assert texts(TextSource.SF) == ["kept"]
    assert texts(TextSource.SF, filtered=False) == ["kept", "http://x"]
    assert texts(TextSource.LF) == ["good"]
    assert texts(TextSource.LF, lf_threshold=0.2) == ["good", "poor"]
    assert texts(TextSource.LF, lf_threshold=0.95) == []
    assert texts(TextSource.LF, filtered=False) == ["good", "poor", "unscored"]


def test_split_is_by_group_and_the_same_in_all_runs(tmp_path: Path) -> None:
    rows = [shard_row(f"r{i:03d}", sf=["x"]) for i in range(300)]
    pairs = {f"r{i:03d}": f"g{i // 2}" for i in range(300)}
    first = write_run(tmp_path / "one", rows, groups=pairs)
    second = write_run(tmp_path / "two", [shard_row(f"r{i:03d}", aset=["y"]) for i in range(300)])
    corpus = Corpus.open([first, second], DataConfig(validation_fraction=0.2, held_out_ids=("r000",)))
    splits = [Splitter(corpus.runs, corpus.config).split_of(f"r{i:03d}") for i in range(300)]
    assert splits[:2] == [Split.HELD_OUT] * 2  # r001 is a copy of r000
    assert splits[2::2] == splits[3::2]
    assert 30 < splits.count(Split.VALIDATION) < 90
    assert corpus.recordings[Split.VALIDATION] == 2 * splits.count(Split.VALIDATION)
    seen = {
        (split, row.recording_id)
        for split in Split
        for source in (TextSource.SF, TextSource.ASET)
        for group in corpus.candidates(source, split)
        for row in corpus.read(int(group), source, split)
    }
    assert len(seen) == 300  # no recording is in two splits


def test_missing_sources_are_refused_or_reweighted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [shard_row(f"r{i}", sf=["a"], pl=["b"]) for i in range(20)])
    with pytest.raises(MixtureError, match="no training row has text of LF, ASET"):
        Corpus.open([run], DataConfig(**EVERYTHING)).mixture()
    assert Corpus.open([run], DataConfig(**EVERYTHING, missing_sources="reweight")).mixture().text == "2:0:1:0"


def test_two_runs_mix(text_run: Path, tmp_path: Path) -> None:
    aset = write_run(tmp_path / "aset", [shard_row(f"a{i}", aset=["Drum"], duration_s=10) for i in range(30)])
    corpus = Corpus.open([text_run, aset], DataConfig(**EVERYTHING))
    assert corpus.rows_of(TextSource.ASET, Split.TRAIN) == 150 + 30
    batch = Lanes(corpus, Mixture(), 300, 1, seed=0).next()
    assert {e.row.recording_id[0] for e in batch if e.source == TextSource.ASET} == {"r", "a"}
    assert all(e.start_sample == 0 for e in batch if e.row.recording_id[0] == "a")


def test_every_format_gives_the_rows_of_parquet(tmp_path: Path) -> None:
    rows = text_rows(120)
    for row in rows:
        row["audio"] = row["recording_id"].encode()

    def drawn(shard_format: str) -> set[tuple[Any, ...]]:
        run = write_run(tmp_path / shard_format, rows, shards=3, shard_format=shard_format)
        corpus = Corpus.open([run], DataConfig(**EVERYTHING, verify_shards=True))
        found = {
            (source, row.recording_id, row.texts, row.samples)
            for source in TextSource
            for group in corpus.candidates(source, Split.TRAIN)
            for row in corpus.read(int(group), source, Split.TRAIN)
        }
        audio = Audio(corpus)
        batch = Lanes(corpus, Mixture(), 60, 1, seed=0, audio=audio).next()
        assert all(audio.take(example.row.place) == example.row.recording_id.encode() for example in batch)
        audio.close()
        return found

    assert len({frozenset(drawn(shard_format)) for shard_format in FORMATS}) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_broken_shard_is_named_and_refused_or_skipped(tmp_path: Path, damage: str) -> None:
    run = write_run(tmp_path / "run", text_rows(100), shards=4)
    shard = run / "shards" / "g0001-00002.parquet"
    content = bytearray(shard.read_bytes())
    if damage == "cut":
        shard.write_bytes(content[:-100])
    elif damage == "flipped":
        content[len(content) // 3] ^= 0xFF
        shard.write_bytes(content)
    else:
        shard.unlink()
    with pytest.raises(RunError, match=r"g0001-00002\.parquet"):
        Corpus.open([run], DataConfig(**EVERYTHING, verify_shards=True))
    corpus = Corpus.open([run], DataConfig(**EVERYTHING, verify_shards=True, skip_corrupt=True))
    assert corpus.recordings[Split.TRAIN] == 75


def drawn_by(ranks: int, corpus: Corpus, steps: int, parts: list[Any] | None = None) -> tuple[list[Any], list[Any]]:
    """(the pairs of each lane at each step, what a checkpoint keeps) of so many ranks."""
    lanes = [Lanes(corpus, Mixture(), 48, 8, seed=2, ranks=Ranks(rank=r, count=ranks)) for r in range(ranks)]
    for rank in lanes if parts else ():
        rank.restore(parts or [])
    batches = []
    for _ in range(steps):
        by_lane = {}
        for r, rank in enumerate(lanes):
            pairs = rank.next()
            for i, lane in enumerate(lanes_of(8, Ranks(rank=r, count=ranks))):
                by_lane[lane] = [key(example) for example in pairs[6 * i : 6 * i + 6]]
        batches.append([by_lane[lane] for lane in range(8)])
    saved = [json.loads(json.dumps(rank.to_json(rank.state()))) for rank in lanes]
    for rank in lanes:
        rank.close()
    return batches, saved


def key(example: Example) -> Any:
    return (example.source, example.row.recording_id, example.text, example.start_sample, example.masks)


def test_the_number_of_ranks_changes_nothing_and_may_change(text_run: Path) -> None:
    corpus = Corpus.open([text_run], DataConfig(**EVERYTHING, buffer_rows=64))
    alone, _ = drawn_by(1, corpus, 30)
    for ranks in (2, 4, 8):
        assert drawn_by(ranks, corpus, 30)[0] == alone
    first, saved = drawn_by(2, corpus, 13)
    for ranks in (1, 4):
        assert first + drawn_by(ranks, corpus, 17, saved)[0] == alone
    with pytest.raises(ValueError, match="8 lanes do not divide over 3 ranks; 1, 2, 4, 8 ranks fit"):
        Lanes(corpus, Mixture(), 48, 8, seed=2, ranks=Ranks(count=3))
    with pytest.raises(ValueError, match="does not say where lane 1"):
        Lanes(corpus, Mixture(), 48, 8, seed=2).restore(saved[:1])


def test_lanes_draw_each_row_once_in_every_pass(text_run: Path) -> None:
    corpus = Corpus.open([text_run], DataConfig(**EVERYTHING, buffer_rows=64))
    eligible = {f"r{i:05d}" for i in range(600) if i % 4}
    lanes = Lanes(corpus, Mixture.of({TextSource.SF: 1}), 8, 8, seed=1)
    drawn = collections.Counter(
        example.row.recording_id for _ in range(3 * len(eligible) // 8 + 1) for example in lanes.next()
    )
    assert drawn.keys() == eligible
    assert set(drawn.values()) <= {2, 3, 4}  # a lane may be a row ahead or behind
    assert sum(times != 3 for times in drawn.values()) <= 3 * 8
    shares = [[lanes.passes[0].share(passed, lane) for lane in range(8)] for passed in range(3)]
    for dealt in shares:
        pieces = [share[i] for share in dealt for i in range(len(share))]
        rows = collections.Counter((piece.group, row) for piece in pieces for row in range(piece.first, piece.end))
        assert set(rows.values()) == {1}
        assert len(rows) == len(eligible)
        sizes = [sum(share[i].end - share[i].first for i in range(len(share))) for share in dealt]
        assert max(sizes) - min(sizes) <= 1


def test_fewer_rows_than_lanes_are_drawn_alike(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [shard_row(f"r{i}", sf=["x"]) for i in range(5)])
    lanes = Lanes(Corpus.open([run], DataConfig(**EVERYTHING)), Mixture.of({TextSource.SF: 1}), 8, 8, seed=1)
    drawn = collections.Counter(example.row.recording_id for _ in range(200) for example in lanes.next())
    assert len(drawn) == 5
    assert max(drawn.values()) < 1.1 * min(drawn.values())


def drawn_ids(lanes: Lanes, steps: int) -> list[set[str]]:
    return [{example.row.recording_id for example in lanes.next()} for _ in range(steps)]


def test_training_goes_on_without_a_shard_that_is_lost(tmp_path: Path) -> None:
    """Positions are those of the index that the run began with: no other row is taken for a lost one."""
    rows = [shard_row(f"r{i:03d}", sf=["x"]) for i in range(200)]
    run, index_at, only_sf = write_run(tmp_path / "run", rows, shards=5), tmp_path / "rows.parquet", {TextSource.SF: 1}
    config = DataConfig(**EVERYTHING, mixture=Mixture.of(only_sf), buffer_rows=40)
    lanes = Lanes(Corpus.open([run], config, index_at=index_at), config.mixture, 8, 4, seed=0)
    before = drawn_ids(lanes, 10)
    saved = json.loads(json.dumps(lanes.to_json(lanes.state())))
    (run / "shards" / "g0001-00001.parquet").unlink()
    with pytest.raises(RunError, match=r"g0001-00001\.parquet: the shard is missing.*--skip_corrupt"):
        Corpus.open([run], config, index_at=index_at)
    without = dataclasses.replace(config, skip_corrupt=True)
    corpus = Corpus.open([run], without, index_at=index_at)
    resumed = Lanes(corpus, config.mixture, 8, 4, seed=0)
    resumed.restore([saved])
    lost = {f"r{i:03d}" for i in range(1, 200, 5)}
    rest = drawn_ids(resumed, 15)  # to the end of the pass, and a little more
    assert not set().union(*rest) & lost
    assert set().union(*before, *rest) >= {row["recording_id"] for row in rows} - lost
    assert corpus.index.digest() == Corpus.open([run], without, index_at=index_at).index.digest()


def test_a_shard_that_is_lost_while_it_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [shard_row(f"r{i:03d}", sf=["x"]) for i in range(60)], shards=3)
    config = DataConfig(**EVERYTHING, mixture=Mixture.of({TextSource.SF: 1}))
    corpora = [Corpus.open([run], dataclasses.replace(config, skip_corrupt=skip)) for skip in (False, True)]
    (run / "shards" / "g0001-00002.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(RunError, match=r"g0001-00002\.parquet, row group 0: cannot be read.*--skip_corrupt"):
        drawn_ids(Lanes(corpora[0], config.mixture, 6, 1, seed=0), 10)
    drawn = drawn_ids(Lanes(corpora[1], config.mixture, 6, 1, seed=0), 10)
    assert set().union(*drawn) == {f"r{i:03d}" for i in range(60) if i % 3 != 2}


def test_an_index_of_other_data_or_settings_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, index_at = write_run(tmp_path / "run", text_rows(60)), tmp_path / "rows.parquet"
    config = DataConfig(**EVERYTHING)
    known = Corpus.open([run], config, index_at=index_at)
    again = Corpus.open([run], config, index_at=index_at)
    assert (again.index.digest(), again.recordings) == (known.index.digest(), known.recordings)
    for source in TextSource:
        assert np.array_equal(again.index.counts(Split.TRAIN, source), known.index.counts(Split.TRAIN, source))
    caplog.set_level("INFO")
    other = Corpus.open([run], DataConfig(validation_fraction=0.5), index_at=index_at, keep_index=False)
    assert other.recordings[Split.VALIDATION] > 10
    assert "scanned again" in caplog.text
    index_at.write_bytes(index_at.read_bytes()[:-50])
    assert Corpus.open([run], config, index_at=index_at).index.digest() == known.index.digest()


def test_rows_of_a_group_do_not_meet_pass_after_pass(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [shard_row(f"r{i:05d}", sf=["x"]) for i in range(2048)], shards=32)
    config = DataConfig(**EVERYTHING, buffer_rows=1024)
    lanes = Lanes(Corpus.open([run], config), Mixture.of({TextSource.SF: 1}), 64, 2, seed=0)
    met: list[set[tuple[str, str]]] = []
    for _ in range(3):
        mates = set()
        for _ in range(2048 // 64):
            by_group = collections.defaultdict(list)
            for example in lanes.next():
                by_group[example.row.place.group].append(example.row.recording_id)
            mates |= {pair for names in by_group.values() for pair in itertools.combinations(sorted(names), 2)}
        met.append(mates)
    possible = 32 * 64 * 63 // 2
    assert 0 < len(met[0]) < 0.1 * possible
    assert len(met[0] & met[1] & met[2]) < 0.001 * possible
