"""http(s) against servers that do wrong, over real sockets."""

import dataclasses
import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pipeline.media.fetch import FetchConfig, Fetcher, FetchError
from pipeline.media.fetching import addresses
from schemas.reasons import Outcome, Reason
from tests.pipeline.misbehaving import Misbehaving

GOOD = bytes(range(256)) * 400
QUICK = FetchConfig(
    deadline_s=3.0,
    connect_timeout_s=1.0,
    idle_timeout_s=0.8,
    min_bytes_per_s=1_000,
    speed_window_s=1.0,
    attempts=1,
    backoff_s=0.05,
    longest_rest_s=0.05,
)
LIMIT = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[Misbehaving]:
    paths = ("/good", "/a b/ü.ogg", "/a%20b/%C3%BC.ogg", quote("/音/Åé.ogg"), "/%E9.ogg")
    with Misbehaving(dict.fromkeys(paths, GOOD)) as running:
        yield running


def fetcher(server: Misbehaving, folder: Path, **changes: Any) -> closing[Fetcher]:
    config = dataclasses.replace(
        QUICK, allow_private_hosts=(server.host_and_port,), lanes_dir=str(folder / "lanes"), **changes
    )
    return closing(Fetcher(config, max_bytes=LIMIT))


def failure(server: Misbehaving, folder: Path, path: str, **changes: Any) -> FetchError:
    with fetcher(server, folder, **changes) as made, pytest.raises(FetchError) as caught:
        made.fetch(server.url(path) if path.startswith("/") else path, base_uri="/")
    return caught.value


def test_a_file_arrives_whole_and_the_connection_is_used_again(server: Misbehaving, tmp_path: Path) -> None:
    with fetcher(server, tmp_path) as made:
        assert made.fetch(server.url("/good"), base_uri="/") == GOOD
        kept = list(made._http._idle.values())  # type: ignore[union-attr]
        assert made.fetch(server.url("/good?x=1"), base_uri="/") == GOOD
        assert list(made._http._idle.values()) == kept  # type: ignore[union-attr]


def test_a_path_with_spaces_and_letters_of_any_script_is_encoded(server: Misbehaving, tmp_path: Path) -> None:
    with fetcher(server, tmp_path) as made:
        assert made.fetch(server.url("/a b/ü.ogg"), base_uri="/") == GOOD


@pytest.mark.parametrize(
    "path",
    [
        "/packed",
        *(
            f"/says?{quote(said)}"
            for said in ("utf-8", "binary", "none", "", "identity, UTF-8", "x-gzip", "deflate", "br")
        ),
        f"/part?0-{len(GOOD) - 1}/{len(GOOD)}",
        # Where a redirect points: in UTF-8, in Latin-1, with spaces, relative, and both at once.
        f"/rawto?{quote('/音/Åé.ogg')}",
        "/rawto?/%e9.ogg",
        "/rawto?/a b/%C3%BC.ogg",
        "/rawto?good",
        "/rawto?a%2520b/%25C3%25BC.ogg",
        "/rawto?./x/../good#there",
    ],
)
def test_odd_but_legal_answers_are_read(server: Misbehaving, tmp_path: Path, path: str) -> None:
    with fetcher(server, tmp_path) as made:
        assert made.fetch(server.url(path), base_uri="/") == GOOD


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", Reason.NOT_FOUND),
        ("/status?410", Reason.NOT_FOUND),
        ("/status?401", Reason.ACCESS_DENIED),
        ("/status?403", Reason.ACCESS_DENIED),
        ("/status?451", Reason.ACCESS_DENIED),
        ("/status?400", Reason.BAD_RESPONSE),
        ("/status?204", Reason.BAD_RESPONSE),
        ("/status?206", Reason.BAD_RESPONSE),
        ("/status?408", Reason.SERVER_ERROR),
        ("/status?500", Reason.SERVER_ERROR),
        ("/status?503", Reason.SERVER_ERROR),
        ("/status?503&Retry-After=60", Reason.RATE_LIMITED),
        ("/status?429", Reason.RATE_LIMITED),
        ("/reset", Reason.CONNECTION_FAILED),
        ("/resetbody", Reason.CONNECTION_FAILED),
        ("/stall", Reason.FETCH_TIMEOUT),
        ("/stallbody", Reason.FETCH_TIMEOUT),
        ("/dribblehead", Reason.FETCH_TIMEOUT),
        ("/dribble", Reason.TOO_SLOW),
        ("/endless", Reason.MEDIA_TOO_LARGE),
        ("/endlesschunks", Reason.MEDIA_TOO_LARGE),
        ("/huge", Reason.MEDIA_TOO_LARGE),
        ("/short", Reason.TRUNCATED_BODY),
        ("/shortchunk", Reason.TRUNCATED_BODY),
        ("/nonsense", Reason.BAD_RESPONSE),
        ("/manyheaders", Reason.BAD_RESPONSE),
        ("/gzip", Reason.BAD_RESPONSE),
        ("/packed?2", Reason.MEDIA_TOO_LARGE),
        (f"/part?0-99/{len(GOOD)}", Reason.BAD_RESPONSE),
        ("/empty", Reason.MEDIA_EMPTY),
        ("/loop", Reason.TOO_MANY_REDIRECTS),
        ("/nowhere", Reason.BAD_RESPONSE),
        ("/to?file:///etc/passwd", Reason.UNSUPPORTED_URI),
        ("/to?ftp://example.org/x", Reason.UNSUPPORTED_URI),
        ("http://no-such-host.invalid/x", Reason.NAME_NOT_RESOLVED),
        ("http://[::1/x", Reason.UNSUPPORTED_URI),
        ("http://host:99999/x", Reason.UNSUPPORTED_URI),
        ("http://user:hunter2@example.org/x", Reason.CREDENTIALS_IN_URI),
        ("ftp://example.org/x", Reason.UNSUPPORTED_URI),
        ("file:///etc/passwd", Reason.UNSUPPORTED_URI),
    ],
)
def test_what_goes_wrong_has_its_reason(server: Misbehaving, tmp_path: Path, path: str, reason: Reason) -> None:
    start = time.monotonic()
    error = failure(server, tmp_path, path)
    assert error.reason == reason, error
    assert time.monotonic() - start < QUICK.deadline_s + 1.5
    assert "hunter2" not in str(error)


@pytest.mark.slow
def test_a_body_without_an_end_is_cut_at_the_deadline(server: Misbehaving, tmp_path: Path) -> None:
    start = time.monotonic()
    error = failure(server, tmp_path, "/dribblenolength", min_bytes_per_s=0, deadline_s=1.0)
    assert error.reason == Reason.FETCH_TIMEOUT
    assert time.monotonic() - start < 2


def test_more_than_was_announced_is_not_read(server: Misbehaving, tmp_path: Path) -> None:
    with fetcher(server, tmp_path) as made:
        assert made.fetch(server.url("/long"), base_uri="/") == b"x" * 100


def test_a_page_in_place_of_media_comes_through_for_the_decoder_to_refuse(server: Misbehaving, tmp_path: Path) -> None:
    with fetcher(server, tmp_path) as made:
        assert made.fetch(server.url("/html"), base_uri="/").startswith(b"<!DOCTYPE html>")


def test_what_failed_for_now_is_asked_for_again_and_what_failed_for_good_is_not(
    server: Misbehaving, tmp_path: Path
) -> None:
    with fetcher(server, tmp_path, attempts=3) as made:
        assert made.fetch(server.url("/once/a?503"), base_uri="/") == GOOD
    assert server.requests["/once/a"] == 2
    failure(server, tmp_path, "/status/b?500", attempts=3)
    assert server.requests["/status/b"] == 3
    failure(server, tmp_path, "/status/c?404", attempts=3)
    assert server.requests["/status/c"] == 1


@pytest.mark.slow
def test_retry_after_is_kept_within_the_deadline(server: Misbehaving, tmp_path: Path) -> None:
    start = time.monotonic()
    with fetcher(server, tmp_path, attempts=2) as made:
        assert made.fetch(server.url("/once/wait?429&Retry-After=1"), base_uri="/") == GOOD
    assert time.monotonic() - start >= 1
    start = time.monotonic()
    error = failure(server, tmp_path, "/status/later?429&Retry-After=3600", attempts=3)
    assert error.retry_after_s == 3600
    assert server.requests["/status/later"] == 1
    assert time.monotonic() - start < 1


def test_only_allowed_hosts_may_be_private_and_redirects_are_no_way_around(server: Misbehaving, tmp_path: Path) -> None:
    with Misbehaving({"/secret": b"metadata"}) as inner:
        error = failure(server, tmp_path, f"/to?{inner.url('/secret')}")
        assert error.reason == Reason.PRIVATE_ADDRESS
        for host in ("localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0"):
            error = failure(server, tmp_path, f"http://{host}:{inner.port}/secret")
            assert error.reason in (Reason.PRIVATE_ADDRESS, Reason.NAME_NOT_RESOLVED), host
        error = failure(server, tmp_path, f"/rawto?{quote(f'http://１２７.0.0.1:{inner.port}/é')}")
        assert error.reason == Reason.PRIVATE_ADDRESS
        assert not inner.requests


def test_the_address_that_was_checked_is_the_one_connected_to(
    server: Misbehaving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that says something else the second time is not asked a second time."""
    answers = iter([("93.184.216.34", 80), ("127.0.0.1", server.port)])
    asked = []

    def rebinding(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", next(answers))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    connected = []

    def refusing(self: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket.socket, "connect", refusing)
    error = failure(server, tmp_path, f"http://rebind.example:{server.port}/good")
    assert error.reason == Reason.CONNECTION_FAILED
    assert asked == ["rebind.example"]
    assert connected == [("93.184.216.34", 80)]


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("2002:7f00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_are_public(address: str) -> None:
    assert addresses.is_public(address)


def test_a_server_whose_certificate_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    with Misbehaving({"/good": GOOD}) as server:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server._http.socket = context.wrap_socket(server._http.socket, server_side=True)
        error = failure(server, tmp_path, f"https://{server.host_and_port}/good")
        assert error.reason == Reason.CONNECTION_FAILED
        assert "certificate" in error.detail
        assert not server.requests


@pytest.mark.slow
def test_a_tls_handshake_that_dribbles_is_cut_at_the_deadline(tmp_path: Path) -> None:
    import threading

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def dribble() -> None:
        connection, _ = listener.accept()
        connection.sendall(b"\x16\x03\x03\x40\x00")
        try:
            while True:
                connection.sendall(b"\x02")
                time.sleep(0.1)
        except OSError:
            connection.close()

    threading.Thread(target=dribble, daemon=True).start()
    config = dataclasses.replace(
        QUICK, allow_private_hosts=(f"127.0.0.1:{port}",), lanes_dir=str(tmp_path / "lanes"), deadline_s=1.0
    )
    start = time.monotonic()
    with closing(Fetcher(config, max_bytes=LIMIT)) as made, pytest.raises(FetchError) as caught:
        made.fetch(f"https://127.0.0.1:{port}/x", base_uri="/")
    listener.close()
    assert caught.value.reason == Reason.FETCH_TIMEOUT
    assert time.monotonic() - start < 2


ASK_SOME = """
import sys
from pipeline.media.fetching.config import FetchConfig
from pipeline.media.fetching.http import HttpFetcher
from pipeline.media.fetching.lanes import Lanes
url, host, folder = sys.argv[1:]
fetcher, lanes = HttpFetcher(FetchConfig(allow_private_hosts=(host,))), Lanes(folder, 2)
for index in range(6):
    with lanes.turn(host):
        fetcher.fetch(f"{url}?{index}", 1 << 20)
"""


@pytest.mark.slow
def test_lanes_hold_for_all_processes_together(tmp_path: Path) -> None:
    with Misbehaving({"/good": GOOD}) as server:
        server.before = lambda path: time.sleep(0.02)
        command = [sys.executable, "-c", ASK_SOME, server.url("/good"), server.host_and_port, str(tmp_path / "lanes")]
        workers = [subprocess.Popen(command, cwd=Path(__file__).parents[3]) for _ in range(4)]
        assert [worker.wait(120) for worker in workers] == [0] * 4
        assert server.requests["/good"] == 24
        assert 1 <= server.most_in_flight <= 2


@pytest.mark.slow
def test_a_lane_that_was_asked_to_come_back_later_rests(tmp_path: Path) -> None:
    with Misbehaving({"/good": GOOD}) as server:
        changes: dict[str, Any] = {"lanes_per_host": 1, "longest_rest_s": 1.0}
        failure(server, tmp_path, "/status?429&Retry-After=3600", **changes)
        start = time.monotonic()
        with fetcher(server, tmp_path, **changes) as made:
            made.fetch(server.url("/good"), base_uri="/")
        assert 0.8 <= time.monotonic() - start < 2.5


def test_the_cache_answers_for_the_network(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    with Misbehaving({"/good": GOOD}) as server:
        for _ in range(2):
            with fetcher(server, tmp_path, cache_dir=cache) as made:
                assert made.fetch(server.url("/good"), base_uri="/") == GOOD
        failure(server, tmp_path, "/missing", cache_dir=cache)
        assert server.requests == {"/good": 1, "/missing": 1}
        (file,) = [path for path in Path(cache, "media").rglob("*") if path.is_file()]
        assert file.name == hashlib.sha256(GOOD).hexdigest()
        file.write_bytes(file.read_bytes()[:-1])
        with fetcher(server, tmp_path, cache_dir=cache) as made:
            assert made.fetch(server.url("/good"), base_uri="/") == GOOD
        assert server.requests["/good"] == 2


def test_the_cache_keeps_its_bound(tmp_path: Path) -> None:
    from pipeline.media.fetching.cache import MediaCache

    cache = MediaCache(str(tmp_path), 100_000)
    for index in range(50):
        cache.put(f"http://host/{index}", bytes([index]) * 10_000)
        time.sleep(0.002)
    total = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert 0 < total <= 100_000
    assert cache.get("http://host/49") is not None
    assert cache.get("http://host/0") is None


def test_the_cache_keeps_one_copy_of_what_two_addresses_have(tmp_path: Path) -> None:
    from pipeline.media.fetching.cache import MediaCache

    cache = MediaCache(str(tmp_path), 1_000_000)
    for uri in ("http://host/a", "http://mirror/a"):
        cache.put(uri, GOOD)
    assert len([path for path in (tmp_path / "media").rglob("*") if path.is_file()]) == 1
    assert cache.get("http://host/a") == cache.get("http://mirror/a") == GOOD
    (reference, _) = [path for path in (tmp_path / "uris").rglob("*") if path.is_file()]
    reference.write_text("../" * 20 + "etc")
    assert [cache.get(uri) for uri in ("http://host/a", "http://mirror/a")].count(None) == 1


def test_every_reason_of_a_status_says_whether_it_is_for_good() -> None:
    assert Reason.RATE_LIMITED.outcome == Reason.SERVER_ERROR.outcome == Outcome.FAILED_TRANSIENT
    assert Reason.NOT_FOUND.outcome == Reason.ACCESS_DENIED.outcome == Outcome.FAILED_PERMANENT
