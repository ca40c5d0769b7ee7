"""Milvus Lite answers as USearch does."""

from pathlib import Path

import pytest

import openmulan
from tests.trainer.search.worlds import KnowingModel, near, write_index
from tests.trainer.test_embed_command import write_music
from tests.trainer.test_recordings import FOLDER
from trainer.search import layout
from trainer.search.entries import Entry
from trainer.search.index import Index
from trainer.search.milvus import MilvusStore, collection_name
from trainer.search.nearest import open_matrix

pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
pymilvus = pytest.importorskip("pymilvus", reason="pymilvus is not installed")


@pytest.mark.slow
def test_the_same_ten_answers_to_a_hundred_queries(tmp_path: Path) -> None:
    recordings = [(Entry(recording_id=f"r{number}"), near(str(number % 20), number)) for number in range(1_000)]
    store = f"milvus:{tmp_path / 'vectors.db'}"
    exact = Index.open(write_index(tmp_path / "exact", recordings), model=KnowingModel())
    folder = write_index(tmp_path / "stored", recordings, store=store)
    generation, about = layout.read_pointer(folder)
    writer = MilvusStore(store, collection_name(str(folder.resolve()), about.identity))
    writer.write(open_matrix(generation / layout.VECTORS, about.dimension))
    writer.close()
    stored = Index.open(folder, model=KnowingModel())
    for number in range(100):
        text = str(number) if number < 20 else f"other {number}"
        assert stored.search(text, k=10) == exact.search(text, k=10), text


def test_a_store_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it is milvus:ADDRESS"):
        MilvusStore("redis:x", "name")
    (tmp_path / "x.db").write_bytes(b"no database")
    with pytest.raises(ValueError, match="cannot be used") as error:
        MilvusStore(f"milvus:{tmp_path / 'x.db'}", "name").open()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_an_index_that_is_made_in_it_leaves_one_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_music(tmp_path / "music", 6)
    monkeypatch.chdir(tmp_path)
    words = ["search", "index", str(FOLDER), "music", "--output", "index", "--store", "milvus:x.db", "--device", "cpu"]
    for _ in range(2):
        assert openmulan.main(words) == 0
        (tmp_path / "music" / "000 [take].flac").unlink(missing_ok=True)
    index = Index.open("index")
    assert index.count == 5
    assert len(index.similar("003 [take].flac")) == 4
    client = pymilvus.MilvusClient(str(tmp_path / "x.db"))
    assert client.list_collections() == [collection_name(str(tmp_path / "index"), index.about.identity)]
    client.close()
