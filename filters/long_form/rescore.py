"""A mined run with another classifier's scores, or another threshold: text is scored again, audio is only copied.

The new run has its own folder, which trainers and `audit` read like any other; the old one stays as it is. A threshold
needs not even that, since every sentence keeps its score: `long_form_row` counts what any threshold keeps.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from filters.long_form.data import DataError
from filters.long_form.scorer import SentenceScorer
from schemas.digest import canonical_json, digest_json
from schemas.manifest import POINTER_NAME, LongFormEntry, Manifest, ShardEntry, manifest_name
from schemas.run import RowGroup, Run
from schemas.shard_format import format_of


@dataclass(frozen=True, kw_only=True)
class LongFormRow:
    """The long-form row of Table 2: totals over all kept recordings, those without such text included."""

    recordings: int
    recordings_with: int
    annotations: int
    tokens: int

    def to_json(self) -> dict[str, Any]:
        per = max(self.recordings, 1)
        return {
            **dataclasses.asdict(self),
            "annotations_per_recording": self.annotations / per,
            "tokens_per_recording": self.tokens / per,
        }


def long_form_row(run: Run, threshold: float | None) -> LongFormRow:
    """What the threshold keeps of a run; None counts every sentence, gated and capped ones too."""
    recordings = having = annotations = tokens = 0
    for row in _rows(run, ["lf", "counts"]):
        recordings += 1
        if threshold is None:
            found, found_tokens = row["counts"]["lf_annotations"], row["counts"]["lf_tokens"]
        else:
            above = [s for s in row["lf"] if s["score"] is not None and s["score"] >= threshold]
            found = sum(s["occurrences"] for s in above)
            found_tokens = sum(s["occurrences"] * s["tokens"] for s in above)
        having += bool(found)
        annotations += found
        tokens += found_tokens
    return LongFormRow(recordings=recordings, recordings_with=having, annotations=annotations, tokens=tokens)


def _rows(run: Run, columns: list[str]) -> Iterator[dict[str, Any]]:
    for group in run.row_groups():
        yield from run.read(group, columns).to_pylist()


def rescore(run: Run, scorer: SentenceScorer, output: Path) -> Manifest:
    """Write the run again with this scorer's scores. Raises DataError where `output` is in use."""
    if output.exists() and any(output.iterdir()):
        raise DataError(f"{output}: the folder is not empty; a run that is scored again needs one of its own")
    (output / "shards").mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[RowGroup]] = {}
    for group in run.row_groups():
        groups.setdefault(group.shard.path, []).append(group)
    shards = []
    for shard in run.manifest.shards:
        scored = [_with_scores(run.read(group), scorer) for group in groups.get(shard.path, [])]
        shards.append(_write_shard(scored, shard, output))
    source = Path(run.root) / run.manifest.groups_path
    target = output / run.manifest.groups_path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    manifest = dataclasses.replace(
        run.manifest,
        number=1,
        config_digest=digest_json([run.manifest.config_digest, scorer.digest]),
        long_form=LongFormEntry(model=scorer.model, digest=scorer.digest, threshold=scorer.threshold),
        shards=tuple(shards),
        tombstones=(),
    )
    (output / manifest_name(1)).write_text(canonical_json(manifest.to_json()) + "\n", encoding="utf-8")
    (output / POINTER_NAME).write_text(canonical_json({"manifest": manifest_name(1)}) + "\n", encoding="utf-8")
    return manifest


def _with_scores(table: pa.Table, scorer: SentenceScorer) -> pa.Table:
    rows = table["lf"].to_pylist()
    scores = iter(scorer.score([sentence["text"] for row in rows for sentence in row]).tolist())
    for row in rows:
        for sentence in row:
            sentence["score"] = next(scores)
    best = [max((sentence["score"] for sentence in row), default=None) for row in rows]
    for name, values in (("lf", rows), ("max_lf_score", best)):
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pa.array(values, type=field.type))
    return table


def _write_shard(tables: list[pa.Table], shard: ShardEntry, output: Path) -> ShardEntry:
    """Row groups as they were, under a name that holds the content's hash."""
    endings = format_of(shard.path).endings
    unfinished = [output / "shards" / f"unfinished{ending}" for ending in endings]
    writer = format_of(shard.path).create(*map(str, unfinished))
    for table in tables:
        writer.write(table)
    writer.close()
    content = unfinished[0].read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"shards/g{shard.generation:04d}-{shard.index:05d}-{sha256[:16]}"
    for file, ending in zip(unfinished, endings, strict=True):
        file.rename(output / f"{name}{ending}")
    return dataclasses.replace(shard, path=f"{name}{endings[0]}", sha256=sha256, bytes=len(content))
