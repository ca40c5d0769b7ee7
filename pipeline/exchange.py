"""Exchange: what is said of one key meets, in memory that does not grow with the tables.

An engine shuffles, and spills as it sees fit. The local runner holds whatever it groups, so that here values go to
files by *partition*, a hash of their key, and the runner is only told where they lie: each value is written once and
read once, and one partition after the other is in memory. The files are the attempt's own; they go when the plan is
whole.
"""

import json
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows

from pipeline import storage
from schemas.digest import hash64

# Of a bundle, before they go to a file.
BUFFER_BYTES = 32 << 20
CODEC = "zstd"
_SIZES = struct.Struct("<II")
# Before a value that orjson does not take: texts with lone surrogates, whole numbers beyond 64 bits.
_PLAIN = b" "

# Where values of one partition lie: a file, its first byte there, how many bytes, and how many they unpack to.
Segment = tuple[str, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Files of this machine in `folder`, in so many partitions; without a folder the runner's own shuffle."""

    folder: str | None = None
    partitions: int = 1

    def partition(self, key: str) -> int:
        return hash64(key) % self.partitions


class Spill(beam.PTransform):
    """(key, value) in, (partition, segment) out: values that JSON can hold are in files of the exchange."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._spill = _Spill(exchange)

    def expand(self, values: Any) -> Any:
        return values | beam.ParDo(self._spill)


class _Spill(beam.DoFn):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def setup(self) -> None:
        storage.make_folder(str(self._exchange.folder))

    def start_bundle(self) -> None:
        self._buffers: dict[int, bytearray] = {}
        self._held = 0

    def process(self, element: tuple[str, Any]) -> Iterator[tuple[int, Segment]]:
        key, value = element
        name = _to_bytes(key)
        content = _encoded(value)
        buffer = self._buffers.setdefault(self._exchange.partition(key), bytearray())
        buffer += _SIZES.pack(len(name), len(content))
        buffer += name
        buffer += content
        self._held += _SIZES.size + len(name) + len(content)
        if self._held >= BUFFER_BYTES:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        for segment in self._flush():
            yield GlobalWindows.windowed_value(segment)

    def _flush(self) -> Iterator[tuple[int, Segment]]:
        buffers, self._buffers, self._held = self._buffers, {}, 0
        if not buffers:
            return
        path = storage.join(str(self._exchange.folder), uuid.uuid4().hex)
        with open(path, "xb") as stream:
            for partition, buffer in buffers.items():
                packed = pa.compress(buffer, codec=CODEC, asbytes=True)
                yield partition, (path, stream.tell(), len(packed), len(buffer))
                stream.write(packed)


class Meet(beam.PTransform):
    """(partition, segment) in, (key, all its values) out, each value by `decode` from what JSON made of it."""

    def __init__(self, decode: Callable[[Any], Any]) -> None:
        super().__init__()
        self._meet = _Meet(decode)

    def expand(self, segments: Any) -> Any:
        return segments | beam.GroupByKey() | beam.ParDo(self._meet)


class _Meet(beam.DoFn):
    def __init__(self, decode: Callable[[Any], Any]) -> None:
        self._decode = decode

    def process(self, group: tuple[int, Iterable[Segment]]) -> Iterator[tuple[str, list[Any]]]:
        contents: dict[bytes, list[memoryview]] = {}
        for segment in sorted(group[1]):
            for name, content in _read(segment):
                contents.setdefault(name, []).append(content)
        for name in sorted(contents):
            yield _to_text(name), [self._decode(_decoded(content)) for content in contents.pop(name)]


def _read(segment: Segment) -> Iterator[tuple[bytes, memoryview]]:
    path, start, packed, size = segment
    with open(path, "rb") as stream:
        stream.seek(start)
        plain = memoryview(pa.decompress(stream.read(packed), decompressed_size=size, codec=CODEC, asbytes=True))
    at = 0
    while at < size:
        name_bytes, content_bytes = _SIZES.unpack_from(plain, at)
        at += _SIZES.size
        end = at + name_bytes
        yield bytes(plain[at:end]), plain[end : end + content_bytes]
        at = end + content_bytes


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        return _PLAIN + _to_bytes(json.dumps(value, ensure_ascii=False, separators=(",", ":"), check_circular=False))


def _decoded(content: memoryview) -> Any:
    return json.loads(_to_text(content)) if content[:1] == _PLAIN else orjson.loads(content)


# Names of files and JSON's `\ud800` may hold lone surrogates.
def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _to_text(content: bytes | memoryview) -> str:
    return str(content, "utf-8", "surrogatepass")


class WriteSegments(beam.PTransform):
    """Note where values lie, for a later pipeline (`read_segments`)."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def expand(self, segments: Any) -> Any:
        return segments | beam.combiners.ToList() | beam.Map(_write_segments, self._path)


def _write_segments(segments: list[tuple[int, Segment]], path: str) -> None:
    storage.write_json(path, {"segments": sorted(segments)})


def read_segments(path: str) -> Iterator[tuple[int, Segment]]:
    found = storage.parse_json(path, storage.read_bytes(path))
    return ((partition, tuple(segment)) for partition, segment in found["segments"])
