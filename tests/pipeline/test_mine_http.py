"""The job over a web server that fails in every way: what is dropped, what is tried again, and that accounts close."""

import json
from pathlib import Path

import pytest

from tests.pipeline.killing import mine_and_die_at
from tests.pipeline.mining import mine, rejects, report, row, write_chord
from tests.pipeline.misbehaving import Misbehaving

pytestmark = pytest.mark.slow

EACH = 3
# What the first word of a path does (see `Misbehaving`), and what becomes of the recording.
PERMANENT = {
    "status?404": "not_found",
    "status?403": "access_denied",
    "status?400": "bad_response",
    "html": "unknown_container",
    "huge": "media_too_large",
    "empty": "media_empty",
    "loop": "too_many_redirects",
    "nonsense": "bad_response",
}
TRANSIENT = {
    "status?500": "server_error",
    "status?503&Retry-After=5": "rate_limited",
    "status?429&Retry-After=3": "rate_limited",
    "reset": "connection_failed",
    "resetbody": "connection_failed",
    "short": "truncated_body",
    "shortchunk": "truncated_body",
    "stall": "fetch_timeout",
}
FLAGS = ("--fetch_attempts=1", "--fetch_deadline_s=2", "--max_failure_rate=1", "--rows_per_shard=32")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("media") / "chord.flac"
    write_chord(path, seed=1, seconds=3.0)
    return path.read_bytes()


def test_the_second_run_asks_only_for_what_failed_for_now(media: bytes, tmp_path: Path) -> None:
    with Misbehaving() as server, Misbehaving({"/secret": media}) as private:
        server.files = {f"/good/{number}.flac": media for number in range(2 * EACH)}
        uris = [server.url(path) for path in server.files]
        transient = set()
        for kinds in (PERMANENT, TRANSIENT):
            for index, kind in enumerate(kinds):
                word, _, query = kind.partition("?")
                paths = [f"/{word}/{'pt'[kinds is TRANSIENT]}{index}-{i}" for i in range(EACH)]
                uris += [server.url(f"{path}?{query}") for path in paths]
                transient |= set(paths) if kinds is TRANSIENT else set()
        uris += [server.url(f"/to/{i}?{private.url('/secret')}") for i in range(EACH)]
        catalogue = tmp_path / "catalog.jsonl"
        rows = (row(i, audio_uri=uri, start_s=0.5, duration_s=1.0) for i, uri in enumerate(uris))
        catalogue.write_text("".join(json.dumps(value) + "\n" for value in rows), encoding="utf-8")
        flags = (*FLAGS, "--allow_private_hosts", server.host_and_port)
        output = tmp_path / "run"

        assert mine(catalogue, output, *flags) == 0
        recordings = report(output)["recordings"]
        assert recordings["kept"] == 2 * EACH
        assert recordings["failed_permanent"] == {**_counts(PERMANENT), "private_address": EACH}
        assert recordings["failed_transient"] == _counts(TRANSIENT)
        assert recordings["read"] == len(uris)
        assert sum(server.requests.values()) == len(uris) + (5 - 1) * EACH + EACH
        assert server.requests["/loop"] == 5 * EACH  # a loop is followed five times

        # The server has recovered: what failed for now is kept, and nothing else was asked for.
        server.requests.clear()
        server.files |= dict.fromkeys(transient, media)
        assert mine(catalogue, output, *flags) == 0
        assert set(server.requests) == transient
        assert set(server.requests.values()) == {1}
        recordings = report(output)["recordings"]
        assert recordings["kept"] == (2 + len(TRANSIENT)) * EACH
        assert "failed_transient" not in recordings
        assert recordings["read"] == len(uris)

        server.requests.clear()
        assert mine(catalogue, output, *flags) == 0
        assert not server.requests
        assert not private.requests
        assert all("Retry-After" not in reject["audio_uri"] for reject in rejects(output))


def test_a_shard_that_was_killed_does_not_fetch_again(media: bytes, tmp_path: Path) -> None:
    with Misbehaving({f"/good/{number}.flac": media for number in range(6)}) as server:
        catalogue = tmp_path / "catalog.jsonl"
        rows = (row(i, audio_uri=server.url(path), start_s=0.5, duration_s=1.0) for i, path in enumerate(server.files))
        catalogue.write_text("".join(json.dumps(value) + "\n" for value in rows), encoding="utf-8")
        flags = (*FLAGS, "--allow_private_hosts", server.host_and_port, "--cache_dir", str(tmp_path / "cache"))
        mine_and_die_at("shard_written", catalogue, tmp_path / "run", flags)
        assert server.requests == dict.fromkeys(server.files, 1)
        assert mine(catalogue, tmp_path / "run", *flags) == 0
        assert server.requests == dict.fromkeys(server.files, 1)
    assert report(tmp_path / "run")["recordings"]["kept"] == 6


def _counts(kinds: dict[str, str]) -> dict[str, int]:
    return {reason: EACH * list(kinds.values()).count(reason) for reason in sorted(set(kinds.values()))}
