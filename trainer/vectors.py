"""A table of vectors, made in parts so that a killed command goes on: the parts that are whole are not made again.

A part is written under another name and renamed; it has a row for everything that was read, with a vector or with the
reason why there is none. The table is put together at the end, beside a list of what failed:

vectors.parquet                  what was embedded, in the order of the input
vectors.parquet.failures.jsonl   what was not, with reason and detail
vectors.parquet.parts/           while the command is not done
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.digest import canonical_json
from trainer.towers import EMBEDDING_SIZE

_VECTOR = pa.field("vector", pa.list_(pa.float32(), EMBEDDING_SIZE))
AUDIO_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("recording_id", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("duration_s", pa.float64()),
        _VECTOR,
        pa.field("model", pa.string()),
    ]
)
TEXT_SCHEMA = pa.schema([pa.field("text", pa.string()), _VECTOR, pa.field("model", pa.string())])
_FAILURE = [pa.field("reason", pa.string()), pa.field("detail", pa.string())]
_NO_VECTOR = (0.0,) * EMBEDDING_SIZE
_NOTES = b"mulan_embed"
_WORK = "work.json"


@dataclass(frozen=True, kw_only=True)
class Account:
    """Read = embedded + failed, by reason."""

    embedded: int
    failed: Mapping[str, int]

    @property
    def read(self) -> int:
        return self.embedded + sum(self.failed.values())


class VectorTable:
    """`identity` is what decides the vectors; work that was begun with another one is refused by ValueError."""

    def __init__(self, output: Path, schema: pa.Schema, identity: Mapping[str, Any]) -> None:
        self.output, self.schema, self.identity = output, schema, identity
        self.failures = output.with_name(f"{output.name}.failures.jsonl")
        self._folder = output.with_name(f"{output.name}.parts")

    def finished(self) -> Account | None:
        """What an earlier command counted where it has made the table already. Raises ValueError."""
        if not self.output.exists():
            return None
        try:
            notes = json.loads(pq.read_metadata(self.output).metadata[_NOTES])
            self._refuse_other(notes["identity"], f"{self.output}: was made")
            return Account(embedded=notes["embedded"], failed=notes["failed"])
        except (KeyError, TypeError, OSError, pa.ArrowException) as error:
            raise ValueError(f"{self.output}: is there and not of `mulan embed`; give another --output") from error

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """While parts are written. Raises ValueError where another command writes them, or has begun something else."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(f"{self.output}: another `mulan embed` is writing it") from error
            work = self._folder / _WORK
            if work.exists():
                self._refuse_other(json.loads(work.read_text(encoding="utf-8")), f"{self._folder}: was begun")
            else:
                _replace(work, lambda path: path.write_text(canonical_json(self.identity), encoding="utf-8"))
            yield

    def has(self, part: int) -> bool:
        return self._part(part).exists()

    def write(self, part: int, rows: list[dict[str, Any]]) -> None:
        # Zeros for what has no vector: Parquet has no lists of a fixed size that are null.
        whole = [{"vector": _NO_VECTOR, **row} for row in rows]
        table = pa.Table.from_pylist(whole, pa.schema([*self.schema, *_FAILURE]))
        _replace(self._part(part), lambda path: pq.write_table(table, path))

    def finish(self, parts: int) -> Account:
        """Put the parts together, then give their space back."""
        embedded, failed = 0, Counter[str]()
        partial, listed = (path.with_name(f"{path.name}.tmp") for path in (self.output, self.failures))
        with pq.ParquetWriter(partial, self.schema) as writer, listed.open("w", encoding="utf-8") as failures:
            for part in range(parts):
                table = pq.read_table(self._part(part))
                good = table.filter(table["reason"].is_null()).select(self.schema.names)
                writer.write_table(good)
                embedded += good.num_rows
                for row in table.filter(table["reason"].is_valid()).to_pylist():
                    failed[row["reason"]] += 1
                    names = ("path", "recording_id", "reason", "detail")
                    failures.write(canonical_json({name: row[name] for name in names if row.get(name)}) + "\n")
            account = Account(embedded=embedded, failed=dict(sorted(failed.items())))
            notes = {"identity": self.identity, **dataclasses.asdict(account)}
            writer.add_key_value_metadata({_NOTES.decode(): canonical_json(notes)})
        listed.replace(self.failures)
        partial.replace(self.output)
        shutil.rmtree(self._folder)
        return account

    def _part(self, part: int) -> Path:
        return self._folder / f"part-{part:07d}.parquet"

    def _refuse_other(self, found: Mapping[str, Any], what: str) -> None:
        names = [name for name, value in self.identity.items() if found.get(name) != value]
        if names:
            raise ValueError(f"{what} with another {', another '.join(names)}; delete it or give another --output")


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """All of a file or nothing."""
    partial = path.with_name(f"{path.name}.tmp")
    write(partial)
    os.replace(partial, path)
