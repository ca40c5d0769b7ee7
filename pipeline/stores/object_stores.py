"""Object stores: S3 (and what speaks like it) by boto3, Google's by google-cloud-storage.

Beam has file systems for both, without conditional writes; and its S3 writer sends even an empty file as a multipart
upload, which S3 refuses, and which a killed worker leaves open. So the clients are used directly, with the options
that Beam's file systems take (`--s3_endpoint_url`, `--project` …). An object is written by one request, which is
atomic; only beyond `MAX_PUT_BYTES` it goes in parts.
"""

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from apache_beam.io.filesystems import FileSystems

from pipeline.stores.store import AT_ONCE, READ_BYTES, FileInfo, StoreError, tried
from schemas.one_line import one_line

MAX_PUT_BYTES = 5 << 30  # of S3
CONFLICT_ATTEMPTS = 5


def _given() -> dict[str, Any]:
    """The options of the job, as the launcher and each worker gave them to Beam; none where a command has no job."""
    options = FileSystems._pipeline_options
    return options.get_all_options() if hasattr(options, "get_all_options") else {}


def split(path: str) -> tuple[str, str]:
    """Bucket and key. Raises StoreError."""
    bucket, _, key = path.partition("://")[2].partition("/")
    if not bucket:
        raise StoreError(f"{path}: names no bucket")
    return bucket, key


class _Ranges(io.RawIOBase):
    """A seekable stream over an object that is read by ranges."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, target: Any) -> int:
        end = min(self._at + len(target), self._size)
        if end <= self._at:
            return 0
        content = tried(lambda: self._fetch(self._at, end))
        target[: len(content)] = content
        self._at += len(content)
        return len(content)


class S3Store:
    """`s3://bucket/key`; a version is an object's ETag."""

    # S3 has them; `pipeline.storage.keeps_writers_apart` asks the store at hand, which may only speak like it.
    conditional = True

    _ABSENT = ("404", "NoSuchKey")
    _LOST = ("412", "PreconditionFailed")
    _CONFLICT = ("409", "ConditionalRequestConflict")

    @cached_property
    def _client(self) -> Any:
        # Imported where it is used: an extra, which a local run does without.
        import boto3
        from botocore.config import Config

        given = _given()
        return boto3.session.Session().client(
            service_name="s3",
            region_name=given.get("s3_region_name"),
            api_version=given.get("s3_api_version"),
            use_ssl=not given.get("s3_disable_ssl"),
            verify=given.get("s3_verify"),
            endpoint_url=given.get("s3_endpoint_url"),
            aws_access_key_id=given.get("s3_access_key_id"),
            aws_secret_access_key=given.get("s3_secret_access_key"),
            aws_session_token=given.get("s3_session_token"),
            config=Config(max_pool_connections=AT_ONCE),
        )

    def stat(self, path: str) -> FileInfo | None:
        with self._errors(path, "cannot be looked at"):
            head = self._if_there(self._client.head_object, path)
        if head is None:
            return None
        return FileInfo(path=path, size=head["ContentLength"], modified_s=head["LastModified"].timestamp())

    def files(self, folder: str, *, deep: bool = False) -> list[FileInfo]:
        bucket, key = split(folder)
        prefix = f"{key.rstrip('/')}/" if key else ""
        found = []
        with self._errors(folder, "cannot be listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, **({} if deep else {"Delimiter": "/"})
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    if not entry["Key"].endswith("/"):
                        path = f"s3://{bucket}/{entry['Key']}"
                        found.append(
                            FileInfo(path=path, size=entry["Size"], modified_s=entry["LastModified"].timestamp())
                        )
        return found

    def folders(self, folder: str) -> list[str]:
        bucket, key = split(folder)
        prefix = f"{key.rstrip('/')}/" if key else ""
        with self._errors(folder, "cannot be listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]
        return [name.removeprefix(prefix).rstrip("/") for name in found]

    def open(self, path: str, *, ahead_bytes: int = READ_BYTES) -> Any:
        bucket, key = split(path)
        info = self.stat(path)
        if info is None:
            raise FileNotFoundError(path)

        def fetch(start: int, end: int) -> bytes:
            with self._errors(path, "cannot be read"):
                answer = self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}")
                content: bytes = answer["Body"].read()
                return content

        return io.BufferedReader(_Ranges(info.size, fetch), ahead_bytes)

    def read(self, path: str) -> tuple[bytes, str] | None:
        with self._errors(path, "cannot be read"):
            answer = self._if_there(self._client.get_object, path)
            return None if answer is None else (answer["Body"].read(), answer["ETag"])

    def _if_there(self, ask: Callable[..., Any], path: str) -> Any | None:
        bucket, key = split(path)
        try:
            return ask(Bucket=bucket, Key=key)
        except Exception as error:
            if _code(error) in self._ABSENT:
                return None
            raise

    def write(self, path: str, content: bytes) -> None:
        self._put(path, content)

    def upload(self, staged: str, path: str) -> None:
        bucket, key = split(path)
        with self._errors(path, "cannot be written"), open(staged, "rb") as stream:
            if stream.seek(0, io.SEEK_END) > MAX_PUT_BYTES:
                self._client.upload_file(staged, bucket, key)
                return
            stream.seek(0)
            self._client.put_object(Bucket=bucket, Key=key, Body=stream)

    def create(self, path: str, content: bytes) -> str | None:
        return self._put(path, content, IfNoneMatch="*")

    def swap(self, path: str, content: bytes, version: str) -> str | None:
        return self._put(path, content, IfMatch=version)

    def _put(self, path: str, content: bytes, **condition: str) -> str | None:
        bucket, key = split(path)
        with self._errors(path, "cannot be written"):
            for attempt in range(1, CONFLICT_ATTEMPTS + 1):
                try:
                    etag: str = self._client.put_object(Bucket=bucket, Key=key, Body=content, **condition)["ETag"]
                    return etag
                except Exception as error:
                    if _code(error) in self._LOST or (condition and _code(error) in self._ABSENT):
                        return None
                    # Two writers at one moment: the store asks to try again.
                    if _code(error) not in self._CONFLICT or attempt == CONFLICT_ATTEMPTS:
                        raise
        raise AssertionError("unreachable")

    def delete(self, path: str) -> None:
        bucket, key = split(path)
        with self._errors(path, "cannot be deleted"):
            self._client.delete_object(Bucket=bucket, Key=key)

    @contextlib.contextmanager
    def _errors(self, path: str, what: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError, HTTPClientError, OSError) as error:
            raise StoreError(f"{path}: {what} ({one_line(error)})") from error


def _code(error: Exception) -> str:
    """The store's own word for what went wrong, or its HTTP status."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


class GcsStore:
    """`gs://bucket/name`; a version is an object's generation."""

    conditional = True

    @cached_property
    def _client(self) -> Any:
        from apache_beam.io.gcp.gcsio import GcsIO
        from requests.adapters import HTTPAdapter

        client = GcsIO(pipeline_options=FileSystems._pipeline_options).client
        # It keeps ten connections, and has no option for more.
        for scheme in ("https://", "http://"):
            client._http.mount(scheme, HTTPAdapter(pool_maxsize=AT_ONCE))
        return client

    def stat(self, path: str) -> FileInfo | None:
        bucket, name = split(path)
        with self._errors(path, "cannot be looked at"):
            blob = self._client.bucket(bucket).get_blob(name)
        return None if blob is None else self._info(bucket, blob)

    def files(self, folder: str, *, deep: bool = False) -> list[FileInfo]:
        bucket, name = split(folder)
        prefix = f"{name.rstrip('/')}/" if name else ""
        with self._errors(folder, "cannot be listed"):
            blobs = self._client.list_blobs(bucket, prefix=prefix, delimiter=None if deep else "/")
            return [self._info(bucket, blob) for blob in blobs if not blob.name.endswith("/")]

    def folders(self, folder: str) -> list[str]:
        bucket, name = split(folder)
        prefix = f"{name.rstrip('/')}/" if name else ""
        with self._errors(folder, "cannot be listed"):
            blobs = self._client.list_blobs(bucket, prefix=prefix, delimiter="/")
            for _ in blobs:  # the prefixes come with the pages
                pass
            return [found.removeprefix(prefix).rstrip("/") for found in blobs.prefixes]

    @staticmethod
    def _info(bucket: str, blob: Any) -> FileInfo:
        modified = blob.updated
        return FileInfo(
            path=f"gs://{bucket}/{blob.name}",
            size=blob.size,
            modified_s=modified.timestamp() if modified is not None else None,
        )

    def open(self, path: str, *, ahead_bytes: int = READ_BYTES) -> Any:
        bucket, name = split(path)
        with self._errors(path, "cannot be opened"):
            blob = self._client.bucket(bucket).get_blob(name)
        if blob is None:
            raise FileNotFoundError(path)

        def fetch(start: int, end: int) -> bytes:
            with self._errors(path, "cannot be read"):
                content: bytes = blob.download_as_bytes(start=start, end=end - 1)
                return content

        return io.BufferedReader(_Ranges(blob.size, fetch), ahead_bytes)

    def read(self, path: str) -> tuple[bytes, str] | None:
        bucket, name = split(path)
        with self._errors(path, "cannot be read"):
            blob = self._client.bucket(bucket).get_blob(name)
            if blob is None:
                return None
            # The very generation that was looked at, so that content and version belong together.
            return blob.download_as_bytes(if_generation_match=blob.generation), str(blob.generation)

    def write(self, path: str, content: bytes) -> None:
        self._put(path, content)

    def upload(self, staged: str, path: str) -> None:
        bucket, name = split(path)
        with self._errors(path, "cannot be written"):
            self._client.bucket(bucket).blob(name).upload_from_filename(staged)

    def create(self, path: str, content: bytes) -> str | None:
        return self._put(path, content, if_generation_match=0)

    def swap(self, path: str, content: bytes, version: str) -> str | None:
        return self._put(path, content, if_generation_match=int(version))

    def _put(self, path: str, content: bytes, **condition: int) -> str | None:
        from google.api_core.exceptions import PreconditionFailed

        bucket, name = split(path)
        blob = self._client.bucket(bucket).blob(name)
        with self._errors(path, "cannot be written"):
            try:
                blob.upload_from_string(content, content_type="application/octet-stream", **condition)
            except PreconditionFailed:
                return None
        return str(blob.generation)

    def delete(self, path: str) -> None:
        from google.api_core.exceptions import NotFound

        bucket, name = split(path)
        with self._errors(path, "cannot be deleted"), contextlib.suppress(NotFound):
            self._client.bucket(bucket).blob(name).delete()

    @contextlib.contextmanager
    def _errors(self, path: str, what: str) -> Iterator[None]:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except (GoogleAPIError, GoogleAuthError, OSError) as error:
            raise StoreError(f"{path}: {what} ({one_line(error)})") from error


_KINDS: dict[str, type[S3Store] | type[GcsStore]] = {"s3": S3Store, "gs": GcsStore}
_stores: dict[tuple[str, str], S3Store | GcsStore] = {}
_lock = threading.Lock()


def object_store(scheme: str) -> S3Store | GcsStore | None:
    """The store of a scheme with the job's options, or None. It is kept, since a client is slow to make."""
    kind = _KINDS.get(scheme)
    if kind is None:
        return None
    key = scheme, repr(sorted(_given().items()))
    with _lock:
        if key not in _stores:
            _stores[key] = kind()
        return _stores[key]
