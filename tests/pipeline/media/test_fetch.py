"""The dispatch: which room a URI goes to, what it may reach, and S3 by a real server of moto."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.media.fetch import FetchConfig, Fetcher, FetchError, shown
from schemas.reasons import Reason

LIMIT = 1 << 20


def fetch(uri: str, base: str, *, roots: tuple[str, ...] = (), max_bytes: int = LIMIT) -> bytes:
    with closing(Fetcher(FetchConfig(deadline_s=20), allow_roots=roots, max_bytes=max_bytes)) as made:
        return made.fetch(uri, base_uri=base)


def failure(uri: str, base: str, **options: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch(uri, base, **options)
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.ogg").write_bytes(b"good")
    (tmp_path / "secret").write_bytes(b"secret")
    return tmp_path


def test_a_path_reaches_its_catalogues_folder_and_the_allowed_roots_alone(folder: Path) -> None:
    base = str(folder / "in")
    assert fetch("good.ogg", base) == b"good"
    assert fetch("./good.ogg", base) == b"good"
    for uri in ("../secret", str(folder / "secret"), "sub/../../secret", str(folder / "in" / "good.ogg")):
        assert failure(uri, base).reason == Reason.OUTSIDE_ROOT, uri
    assert fetch(str(folder / "secret"), base, roots=(str(folder),)) == b"secret"
    assert fetch("../secret", base, roots=(str(folder),)) == b"secret"


def test_a_link_is_judged_by_where_it_ends(folder: Path) -> None:
    (folder / "in" / "link").symlink_to(folder / "secret")
    (folder / "in" / "inner").symlink_to("good.ogg")
    (folder / "in" / "broken").symlink_to("nothing")
    (folder / "in" / "round").symlink_to("round")
    base = str(folder / "in")
    assert failure("link", base).reason == Reason.OUTSIDE_ROOT
    assert fetch("inner", base) == b"good"
    assert failure("broken", base).reason == Reason.NOT_FOUND
    assert failure("round", base).reason == Reason.NOT_FOUND


def test_what_is_not_a_readable_file_has_its_reason(folder: Path) -> None:
    base = str(folder / "in")
    os.mkfifo(folder / "in" / "pipe")
    (folder / "in" / "empty").write_bytes(b"")
    assert failure("pipe", base).reason == Reason.NOT_A_FILE
    assert failure(".", base).reason == Reason.NOT_A_FILE
    assert failure("empty", base).reason == Reason.MEDIA_EMPTY
    assert failure("missing", base).reason == Reason.NOT_FOUND
    assert failure("good.ogg/x", base).reason == Reason.NOT_FOUND
    assert failure("n" * 300, base).reason == Reason.NOT_FOUND
    assert failure("good.ogg", base, max_bytes=3).reason == Reason.MEDIA_TOO_LARGE
    assert failure("/dev/zero", base, roots=("/dev",)).reason == Reason.NOT_A_FILE


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "data://x", "hdfs://x/y", "https://", "https://youtube.com/feed"]
)
def test_other_kinds_of_uri_are_refused(folder: Path, uri: str) -> None:
    assert failure(uri, str(folder)).reason == Reason.UNSUPPORTED_URI


def test_nothing_that_is_shown_holds_a_secret() -> None:
    for uri in ("https://user:hunter2@host/a?X-Signature=hunter2#hunter2", "https://hunter2@host/", "http://[hunter2"):
        assert "hunter2" not in shown(uri)
    assert shown("https://host:81/a%20b?x=1") == "https://host:81/a%20b?…"
    assert shown("a/b c.ogg") == "a/b c.ogg"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    import boto3
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    for bucket in ("music", "private"):
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key="a/good.ogg", Body=b"good" * 1000)
    client.put_object(Bucket="music", Key="a/empty.ogg", Body=b"")
    before = FileSystems._pipeline_options
    FileSystems.set_options(
        PipelineOptions(
            [
                f"--s3_endpoint_url={endpoint}",
                "--s3_access_key_id=test",
                "--s3_secret_access_key=test",
                "--s3_region_name=us-east-1",
            ]
        )
    )
    yield endpoint
    FileSystems._pipeline_options = before
    server.stop()


@pytest.mark.slow
def test_objects_of_a_store(s3: str, folder: Path) -> None:
    assert fetch("good.ogg", "s3://music/a") == b"good" * 1000
    assert fetch("s3://music/a/good.ogg", str(folder), roots=("s3://music",)) == b"good" * 1000
    assert failure("missing.ogg", "s3://music/a").reason == Reason.NOT_FOUND
    assert failure("s3://none/x.ogg", str(folder), roots=("s3://none",)).reason == Reason.NOT_FOUND
    assert failure("empty.ogg", "s3://music/a").reason == Reason.MEDIA_EMPTY
    assert failure("good.ogg", "s3://music/a", max_bytes=100).reason == Reason.MEDIA_TOO_LARGE


def test_a_catalogue_does_not_choose_what_is_read_with_the_jobs_credentials(s3: str, folder: Path) -> None:
    for uri, base in (
        ("s3://private/a/good.ogg", "s3://music/a"),
        ("s3://private/a/good.ogg", str(folder)),
        ("../../private/a/good.ogg", "s3://music/a"),
        ("s3://music/a/../../private/a/good.ogg", "s3://music/a"),
        ("s3://music2/a/good.ogg", "s3://music"),
    ):
        assert failure(uri, base).reason == Reason.OUTSIDE_ROOT, uri
