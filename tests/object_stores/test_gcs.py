"""The whole job on Google Cloud Storage (a server that speaks like it), equal to a local run.

Run by `make test-s3`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.exits import DONE, INTERRUPTED
from tests.object_stores.gcs import BUCKET, OPTIONS, server
from tests.pipeline.killing import Suspended, mine_and_die_at
from tests.pipeline.mining import manifest, mine, row, shard_hashes, write_catalogue

pytestmark = pytest.mark.stores

SHARDS = ("--rows_per_shard=3", "--max_failure_rate=0.5", "--lock_lease_s=1", "--lock_renew_s=0.2")
CATALOGUE = f"gs://{BUCKET}/corpus/catalog.jsonl"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_catalogue(folder, [row(number) for number in range(5)])
    return folder


@pytest.fixture(scope="module")
def client(corpus: Path) -> Iterator[Any]:
    with server() as found:
        for path in corpus.rglob("*"):
            if path.is_file():
                name = f"corpus/{path.relative_to(corpus).as_posix()}"
                found.bucket(BUCKET).blob(name).upload_from_filename(str(path))
        yield found


@pytest.fixture(scope="module")
def local(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("local") / "run"
    assert mine(corpus / "catalog.jsonl", output, *SHARDS) == DONE
    return output


def assert_same(client: Any, prefix: str, local: Path, folder: Path) -> None:
    for blob in client.list_blobs(BUCKET, prefix=f"{prefix}/"):
        target = folder / blob.name.removeprefix(f"{prefix}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        blob.download_to_filename(str(target))
    assert shard_hashes(folder) == shard_hashes(local)
    assert manifest(folder) == manifest(local)


def test_the_bytes_of_a_local_run(client: Any, local: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert mine(CATALOGUE, f"gs://{BUCKET}/run", *SHARDS, *OPTIONS) == DONE
    assert_same(client, "run", local, tmp_path / "copy")


def test_killed_and_overtaken(client: Any, local: Path, tmp_path: Path) -> None:
    output, options = f"gs://{BUCKET}/disturbed", (*SHARDS, *OPTIONS)
    mine_and_die_at("shard_published", CATALOGUE, output, options)
    with Suspended("pointer_checked", CATALOGUE, output, options, tmp_path / "said") as first:
        assert mine(CATALOGUE, output, *options) == DONE
        code, said = first.wake()
    assert code == INTERRUPTED
    assert "taken over by job" in said or "moved by another job" in said
    assert_same(client, "disturbed", local, tmp_path / "copy")
