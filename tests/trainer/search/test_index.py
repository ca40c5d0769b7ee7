"""What an index answers: by sound, by name, by both; what is asked badly; that it is exact."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import openmulan
from tests.trainer.search.worlds import DIMENSION, KnowingModel, direction, near, write_index
from trainer.search import layout
from trainer.search.entries import Entry
from trainer.search.index import Hit, Index, IndexError_
from trainer.search.nearest import Exact

NAMES = ("piano", "drums", "choir", "flute", "sad", "fast")
HOSTILE = (
    "<script>alert(1)</script>\"'",
    "\u202eright to left \u2066",
    'NEAR(a b) OR "x" AND * NOT title:piano ^ {"a": [1]} -- ; DROP TABLE entries',
    "a" * 10_000,
    "word " * 2_000,
    "\x00\x1b[2J",
    "\ud800 lone",
    "___ *** !!!",
    "日本語 العربية",
)
RECORDINGS = [
    (
        Entry(
            recording_id=f"r{number}",
            title=HOSTILE[number] if number < len(HOSTILE) else f"Song {number}",
            artist="Björk" if number % 2 else "A band",
            tags=(NAMES[number % 6], "live"[: number % 5]),
            licence="CC-BY",
            year=1980 + number % 40,
            duration_s=float(number),
        ),
        near(NAMES[number % 6], number),
    )
    for number in range(240)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_index(tmp_path_factory.mktemp("search") / "index", RECORDINGS, windows=True)


@pytest.fixture(scope="module")
def index(folder: Path) -> Index:
    found: Index = openmulan.Index.open(folder, model=KnowingModel())
    return found


def kinds(hits: list[Hit]) -> set[str]:
    return {NAMES[int(hit.recording_id[1:]) % 6] for hit in hits}


def test_a_text_finds_what_sounds_so_and_the_moment(index: Index) -> None:
    hits = index.search("drums", k=20)
    assert len(hits) == 20
    assert kinds(hits) == {"drums"}
    assert {hit.start_s for hit in hits} == {10.0}  # the first window is the opposite
    sound = index.search("loud drums")  # a text that no name has
    assert {hit.how for hit in sound} == {"sound"}
    assert [hit.score for hit in sound] == sorted((hit.score for hit in sound), reverse=True)


def test_a_name_finds_a_song_and_a_way_of_writing_it(index: Index) -> None:
    (first, *_) = index.search("song 17", k=3)
    assert (first.recording_id, first.how) == ("r17", "name")
    assert index.search("BJORK songs 21", k=1)[0].recording_id == "r21"  # without accent, by its stem
    assert {hit.how for hit in index.search("choir", k=30)} == {"both"}


def test_more_like_and_less_like(index: Index) -> None:
    assert kinds(index.similar("r6", k=20)) == {"piano"}
    assert "r6" not in {hit.recording_id for hit in index.similar("r6", k=100)}
    both = index.search("zzz", like=["r0"], unlike=["r1"], away_from=["sad"], k=15)
    assert kinds(both) == {"piano"}
    least = index.search(away_from=["drums"], k=240)
    assert kinds(least[-20:]) == {"drums"}


@pytest.mark.parametrize(
    ("condition", "true_of"),
    [
        ("year >= 1990", lambda entry: entry.year >= 1990),
        ("year < 1985 or year = 2019", lambda entry: entry.year < 1985 or entry.year == 2019),
        ("not (artist = 'björk') and duration_s > 9.5", lambda e: e.artist != "Björk" and e.duration_s > 9.5),
        ("artist contains 'BAND' and tags = \"Piano\"", lambda e: e.artist == "A band" and "piano" in e.tags),
        ("tags contains 'iv' and not tags = 'live'", lambda e: any("iv" in t for t in e.tags) and "live" not in e.tags),
        ("not album = 'x'", lambda entry: True),
        ("source = 'x'", lambda entry: False),
    ],
)
def test_a_condition(condition: str, true_of: Callable[[Entry], bool], index: Index) -> None:
    expected = {entry.recording_id for entry, _ in RECORDINGS if true_of(entry)}
    hits = index.search("piano", k=240, where=condition)
    assert {hit.recording_id for hit in hits} == expected


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("", "is no column"),
        ("rowid = 1", "'rowid' is no column"),
        ("year = 'x'", "year is compared with a number"),
        ("year = 1; DROP TABLE entries", "cannot be read from '; DROP TABLE entries' on"),
        ("title = x", "compared with a text in quotes"),
        ("title = 'a' 'b'", "'b' is one too many"),
        ("(year = 1", "a bracket is not closed"),
        ("year like 1", "after year comes one of"),
        ("tags < 'a'", "tags may be = or contains"),
        ("not " * 60 + "year = 1", "too many parts"),
        ("(" * 60, "too many parts"),
        (" or ".join(["year = 1"] * 200), "too many parts"),
        ("x" * 5_000, "5000 characters"),
        ("year = (select 1)", "year is compared with a number"),
        ("year = 1e999", "cannot be read|one too many"),
    ],
)
def test_a_condition_that_is_none_is_one_line(condition: str, said: str, index: Index) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")) as error:
        index.search("piano", where=condition)
    assert "\n" not in str(error.value)


def test_a_value_of_a_condition_is_never_code(index: Index) -> None:
    assert index.search("piano", where="title = '); DROP TABLE entries; --'") == []
    assert len(index.search("piano", k=240)) == 240


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_are_words(text: str, index: Index) -> None:
    number = HOSTILE.index(text)
    hits = index.search(text, k=10)
    assert len(hits) == 10
    entry = index.row(f"r{number}")
    assert entry.title == text.encode("utf-8", "backslashreplace").decode()
    assert index.tags(f"r{number}", k=1)[0].name == NAMES[number % 6]


def test_no_word_of_a_query_is_an_operator_of_the_full_text_index(index: Index) -> None:
    # As operators they would find whatever has either word, or has not.
    for text in ("song OR drums", "song NOT 17", "title:17", "so*", "NEAR(song 17)", '"song 17"'):
        found = {hit.recording_id for hit in index.search(text, k=240) if hit.how != "sound"}
        assert found == ({"r17"} if text == '"song 17"' else set()), text


@pytest.mark.parametrize(
    "ask",
    [
        lambda index: index.search(),
        lambda index: index.search("   "),
        lambda index: index.search("piano", k=0),
        lambda index: index.search("piano", k=100_000),
        lambda index: index.similar("nobody"),
        lambda index: index.similar("../../etc/passwd\n" * 1_000),
        lambda index: index.tags("nobody"),
        lambda index: index.row("nobody"),
        lambda index: index.audio("r0"),
        lambda index: list(index.duplicates(threshold=float("nan"))),
        lambda index: index.path("r0", "r1", n=1),
        lambda index: index.path("r0", "nobody"),
    ],
)
def test_what_cannot_be_asked_is_one_line(ask: Callable[[Index], object], index: Index) -> None:
    with pytest.raises(ValueError, match=r"\w") as error:
        ask(index)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_the_exact_answers_are_those_of_float32_products(folder: Path, index: Index) -> None:
    generation, about = layout.read_pointer(folder)
    matrix = np.fromfile(generation / layout.VECTORS, np.float16).reshape(-1, DIMENSION)
    for text in ("loud", "quiet", "blue"):
        query = direction(text).astype(np.float16).astype(np.float32)
        products = matrix.astype(np.float32) @ query
        hits = index.search(text, k=50)
        rows = [int(hit.recording_id[1:]) for hit in hits]
        np.testing.assert_allclose([hit.score for hit in hits], products[rows], atol=1e-6)
        best = np.sort(products)[::-1][:50]
        np.testing.assert_allclose(products[rows], best, atol=1e-3)
    assert about.count == len(matrix) == index.count


def test_rows_that_a_condition_leaves_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((50, DIMENSION)).astype(np.float16)
    query = rng.standard_normal(DIMENSION).astype(np.float32)
    allowed = np.arange(1, 50, 2)
    whole = Exact(matrix)(query, 10, allowed)
    monkeypatch.setattr("trainer.search.nearest._GATHERED", 4)
    some = Exact(matrix)(query, 10, allowed)
    assert whole.rows_K.tolist() == some.rows_K.tolist()
    assert set(whole.rows_K.tolist()) <= set(allowed.tolist())


def test_duplicates_are_pairs_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [direction(str(number)) for number in range(30)]
    rows[17], rows[29] = rows[3], rows[3]
    recordings = [(Entry(recording_id=f"r{number}"), row) for number, row in enumerate(rows)]
    index = Index.open(write_index(tmp_path / "i", recordings))
    monkeypatch.setattr("trainer.search.index._BLOCK", 7)
    pairs = [(one.recording_id, two.recording_id) for one, two in index.duplicates(threshold=0.99)]
    assert sorted(pairs) == [("r17", "r29"), ("r3", "r17"), ("r3", "r29")]


def test_a_playlist_leads_from_one_to_the_other_and_takes_each_once(index: Index) -> None:
    hits = index.path("r0", "r1", "piano to drums", 10)
    ids = [hit.recording_id for hit in hits]
    assert (ids[0], ids[-1], len(set(ids))) == ("r0", "r1", 10)
    assert kinds(hits[:4]) == {"piano"}
    assert kinds(hits[-4:]) == {"drums"}
    whole = index.path("r0", "r1", n=500)
    assert len({hit.recording_id for hit in whole}) == len(whole) == 240


@pytest.mark.slow
def test_umap_keeps_neighbours_together_in_a_process_of_its_own(tmp_path: Path) -> None:
    places = Index.open(write_index(tmp_path, RECORDINGS, umap=True)).map()
    kinds_N = np.asarray([entry.tags[0] for entry, _ in RECORDINGS])
    places_N2 = np.asarray([[x, y] for _, x, y in places])
    distances_NN = np.linalg.norm(places_N2[:, None] - places_N2[None], axis=-1)
    nearest_N = np.argsort(distances_NN, axis=1)[:, 1]
    assert (kinds_N[nearest_N] == kinds_N).mean() > 0.9
    assert "umap" not in sys.modules  # it loads TensorFlow, beside which torch has aborted


def test_the_map_is_the_same_each_time(folder: Path, tmp_path: Path, index: Index) -> None:
    again = Index.open(write_index(tmp_path / "again", RECORDINGS))
    assert index.map() == again.map()
    places = np.asarray([[x, y] for _, x, y in index.map()])
    assert places.shape == (240, 2)
    assert places.std(axis=0).min() > 0.1
    assert [recording_id for recording_id, _, _ in index.map()] == [entry.recording_id for entry, _ in RECORDINGS]


def test_a_graph_says_its_recall_and_finds_the_same(tmp_path: Path, index: Index) -> None:
    graph = Index.open(write_index(tmp_path / "graph", RECORDINGS, hnsw=True), model=KnowingModel())
    assert graph.about.recall is not None
    assert graph.about.recall > 0.95
    assert [hit.recording_id for hit in graph.search("loud")] == [hit.recording_id for hit in index.search("loud")]


def test_threads_ask_at_once(index: Index) -> None:
    expected = {name: index.search(name) for name in NAMES}
    wrong: list[object] = []

    def ask(name: str) -> None:
        for _ in range(10):
            if index.search(name) != expected[name]:
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_index_that_is_open_stays_whole_when_another_takes_its_place(tmp_path: Path) -> None:
    folder = write_index(tmp_path / "i", RECORDINGS[:20], identity="a" * 32)
    old = Index.open(folder, model=KnowingModel())
    first = layout.read_pointer(folder)[0]
    write_index(folder, RECORDINGS[20:], identity="b" * 32)
    assert not first.exists()
    assert {int(hit.recording_id[1:]) for hit in old.search("piano", k=20)} == set(range(20))
    assert Index.open(folder).count == 220


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / layout.POINTER).unlink(), "there is no index; `mulan search index` makes one"),
        (lambda folder: (folder / layout.POINTER).write_text("{"), "cannot be read"),
        (lambda folder: (folder / layout.POINTER).write_text('{"format_version": 1}'), "not the record of an index"),
        (lambda folder: (folder / layout.POINTER).write_text("[]"), "not the record of an index"),
        (lambda folder: _rewrite(folder, "format_version", 99), "format_version 99, this openmulan reads 1"),
        (lambda folder: _rewrite(folder, "generation", "../../etc"), "not the record of an index"),
        (lambda folder: next(folder.glob("g-*/vectors.f16")).write_bytes(b"x" * 512), "2 vectors, not 5"),
        (lambda folder: next(folder.glob("g-*/vectors.f16")).write_bytes(b"x" * 3), "3 bytes"),
        (lambda folder: next(folder.glob("g-*/entries.sqlite")).write_bytes(b"x" * 4096), "not a database"),
        (lambda folder: next(folder.glob("g-*/map.f32")).unlink(), "make the index again"),
    ],
)
def test_an_index_that_is_harmed_is_one_line(harm: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    folder = write_index(tmp_path / "i", RECORDINGS[:5])
    harm(folder)
    with pytest.raises(IndexError_, match=said) as error:
        Index.open(folder)
    assert "\n" not in str(error.value)


def test_a_text_needs_the_model_that_made_the_index(tmp_path: Path) -> None:
    index = Index.open(write_index(tmp_path / "i", RECORDINGS[:5]))
    assert index.similar("r0", k=1)  # none of it
    with pytest.raises(IndexError_, match="the index needs the model that made it"):
        index.search("piano")


def _rewrite(folder: Path, name: str, value: object) -> None:
    path = folder / layout.POINTER
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
