"""Exchange: what is said of one key meets, in memory that does not grow with the tables.

An engine shuffles, and spills as it sees fit. The local runner holds whatever it groups, so that here values go to
files by *partition*, a hash of their key, and the runner is only told where they lie: each value is written once and
read once, and one partition after the other is in memory. The files are the attempt's own; they go when the plan is
whole.
"""

import collections
import json
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows

from pipeline import storage
from pipeline.batches import as_it_is

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

    def partition(self, name: bytes) -> int:
        """Of a key: the same in every process. It decides nothing that comes out."""
        return zlib.crc32(name) % self.partitions


# Of a batch the keys and values, which JSON can hold.
Pairs = Callable[[Any], Iterable[tuple[str, Any]]]


class Spill(beam.PTransform):
    """Batches in, (partition, segment) out: what `pairs` makes of them is in files of the exchange."""

    def __init__(self, exchange: Exchange, pairs: Pairs = as_it_is) -> None:
        super().__init__()
        self._spill = _Spill(exchange, pairs)

    def expand(self, batches: Any) -> Any:
        return batches | beam.ParDo(self._spill)


class _Spill(beam.DoFn):
    def __init__(self, exchange: Exchange, pairs: Pairs) -> None:
        self._exchange = exchange
        self._pairs = pairs

    def setup(self) -> None:
        storage.make_folder(str(self._exchange.folder))

    def start_bundle(self) -> None:
        self._buffers: dict[int, bytearray] = collections.defaultdict(bytearray)
        self._held = 0

    def process(self, batch: Any) -> Iterator[tuple[int, Segment]]:
        for key, value in self._pairs(batch):
            name = _to_bytes(key)
            content = _encoded(value)
            record = b"".join((_SIZES.pack(len(name), len(content)), name, content))
            self._buffers[self._exchange.partition(name)] += record
            self._held += len(record)
            if self._held >= BUFFER_BYTES:
                yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        for segment in self._flush():
            yield GlobalWindows.windowed_value(segment)

    def _flush(self) -> Iterator[tuple[int, Segment]]:
        buffers, self._buffers, self._held = self._buffers, collections.defaultdict(bytearray), 0
        if not buffers:
            return
        path = storage.join(str(self._exchange.folder), uuid.uuid4().hex)
        with open(path, "xb") as stream:
            for partition, plain in buffers.items():
                packed = pa.compress(plain, codec=CODEC, asbytes=True)
                yield partition, (path, stream.tell(), len(packed), len(plain))
                stream.write(packed)


# What the keys of a partition come to, each with all its values; a value is what JSON has made of it.
Met = Callable[[Iterator[tuple[str, list[Any]]]], Iterable[Any]]


class Meet(beam.PTransform):
    """(partition, segment) in, what `met` makes of the partition's keys out."""

    def __init__(self, met: Met) -> None:
        super().__init__()
        self._meet = _Meet(met)

    def expand(self, segments: Any) -> Any:
        return segments | beam.GroupByKey() | beam.ParDo(self._meet)


class _Meet(beam.DoFn):
    def __init__(self, met: Met) -> None:
        self._met = met

    def process(self, group: tuple[int, Iterable[Segment]]) -> Iterable[Any]:
        return self._met(_keys(group[1]))


def _keys(segments: Iterable[Segment]) -> Iterator[tuple[str, list[Any]]]:
    contents: dict[bytes, list[bytes]] = collections.defaultdict(list)
    for segment in sorted(segments):
        for name, content in _read(segment):
            contents[name].append(content)
    for name in sorted(contents):
        yield _to_text(name), list(map(_decoded, contents.pop(name)))


def _read(segment: Segment) -> Iterator[tuple[bytes, bytes]]:
    """Names and values are copies: views of a buffer would be larger, and are looked through by the collector."""
    path, start, packed, size = segment
    with open(path, "rb") as stream:
        stream.seek(start)
        plain = pa.decompress(stream.read(packed), decompressed_size=size, codec=CODEC, asbytes=True)
    at = 0
    while at < size:
        name_bytes, content_bytes = _SIZES.unpack_from(plain, at)
        start = at + _SIZES.size
        end = start + name_bytes
        at = end + content_bytes
        yield plain[start:end], plain[end:at]


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        return _PLAIN + _to_bytes(json.dumps(value, ensure_ascii=False, separators=(",", ":"), check_circular=False))


def _decoded(content: bytes) -> Any:
    return json.loads(_to_text(content)) if content[:1] == _PLAIN else orjson.loads(content)


# Names of files and JSON's `\ud800` may hold lone surrogates.
def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _to_text(content: bytes) -> str:
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
