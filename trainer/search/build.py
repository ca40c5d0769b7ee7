"""`mulan search index`: list what there is, embed what is new, write a generation, let it count.

Killed at any moment, the old index is still there or the new one is; what was embedded is kept but for a batch, and the
same command goes on.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.digest import canonical_json
from schemas.reasons import Reason, legible
from trainer.cuts import CUTS_VERSION
from trainer.embed_inputs import Progress
from trainer.evaluation.model import digest_folder
from trainer.model import Changes
from trainer.recordings import Audio, Reader, UnusableAudioError
from trainer.search import layout
from trainer.search.entries import Entry
from trainer.search.generation import GenerationWriter, Vectors
from trainer.search.known import Catalogue
from trainer.search.layout import IndexAbout, IndexError_
from trainer.search.milvus import MilvusStore, absolute_store, collection_name
from trainer.search.models import OpenedModel, folder_of, open_model
from trainer.search.nearest import open_matrix
from trainer.search.sources import Inputs, Sound
from trainer.search.work import Kept, Work

log = logging.getLogger(__name__)

_BATCH = 64  # so many recordings are embedded anew after a kill, at most


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    model: str
    inputs: tuple[str, ...]
    output: Path
    catalogue: Path | None = None
    windows: bool = False
    hnsw: bool = False
    umap: bool = False
    store: str | None = None
    device: str | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}; at least one reads")
        if self.store is not None:
            object.__setattr__(self, "store", absolute_store(self.store))


@dataclass(frozen=True, kw_only=True)
class Account:
    """Of the recordings that are there: `embedded` by this command, `failed` by reason, `repeated` have an id that
    another one has; `gone` are those that an earlier index had. `about` says how many are in the index."""

    about: IndexAbout
    embedded: int
    gone: int
    failed: Mapping[str, int]
    repeated: int
    is_new: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failure:
    where: str
    reason: Reason
    detail: str


def build(options: IndexOptions) -> Account:
    """Raises ValueError and RunError."""
    with layout.one_writer(options.output):
        return _Build(options).run()


class _Build:
    def __init__(self, options: IndexOptions) -> None:
        self.options = options
        self.inputs = Inputs(options.inputs, Catalogue(options.catalogue))
        self.digest = digest_folder(folder_of(options.model))
        self.failures: dict[str, _Failure] = {}
        self.embedded = self.gone = 0
        self._model: OpenedModel | None = None

    def run(self) -> Account:
        identity = {
            "model": self.digest,
            "window policy": str(CUTS_VERSION),
            "choice of --windows": str(self.options.windows),
        }
        before = _before(self.options.output)
        work = Work(self.options.output / layout.WORK, identity)
        try:
            self._embed(work)
            name = self._identity(identity)
            if before is not None and before.identity == name:
                return self._account(before, repeated=0, is_new=False)
            about, repeated = self._write(work, name)
        finally:
            work.close()
            layout.sweep(self.options.output, layout.current_name(self.options.output))
        if before is not None and before.store is not None:
            store = self._store(before.store, before.identity)
            store.drop()
            store.close()
        return self._account(about, repeated=repeated, is_new=True)

    @property
    def model(self) -> OpenedModel:
        """Loaded when it is needed."""
        if self._model is None:
            self._model = open_model(self.options.model, self.options.device)
        return self._model

    def _embed(self, work: Work) -> None:
        met: set[str] = set()
        for one in self.inputs.listed():
            if one.detail is not None:
                self._fail(one.key, one.where, Reason.UNREADABLE_FILE, one.detail)
        missing = work.missing(one.key for one in self.inputs.listed() if one.detail is None)
        self.gone = work.gone
        if not missing:
            return
        log.info("%d recordings are new", len(missing))
        batch: list[Kept] = []
        changes = Changes()
        try:
            with Reader(self.options.workers) as reader, Progress(len(missing)) as progress:
                waves = reader.waves(self.inputs.sounds(missing), _audio_of)
                for sound, found in self.model.model.embed_waves(waves):
                    met.add(sound.key)
                    if isinstance(found, UnusableAudioError):
                        self._fail(sound.key, sound.where, found.reason, found.detail)
                    else:
                        changes.add(found)
                        kept = found if self.options.windows else None
                        vectors = Vectors(
                            row=found.row,
                            windows_WD=kept.windows_WD if kept else None,
                            starts_s=kept.starts_s if kept else (),
                        )
                        batch.append(Kept(key=sound.key, vectors=vectors, duration_s=found.duration_s))
                        self.embedded += 1
                    if len(batch) == _BATCH:
                        work.keep(batch)
                        batch = []
                    progress.advance()
        finally:
            work.keep(batch)
        changes.warn()
        for key in sorted(missing - met):
            self._fail(key, key, Reason.UNREADABLE_FILE, "was listed, and could not be read")

    def _fail(self, key: str, where: str, reason: Reason, detail: str) -> None:
        self.failures[key] = _Failure(where=legible(where), reason=reason, detail=legible(detail))

    def _recordings(self) -> Iterator[tuple[str, Entry]]:
        """Those that are embedded, with their keys."""
        for one in self.inputs.listed():
            if one.key not in self.failures:
                yield one.key, one.entry

    def _identity(self, identity: Mapping[str, str]) -> str:
        """A digest of all that decides what the index says."""
        options = self.options
        choices = [options.hnsw, options.umap, options.store]
        fixed = [dict(identity), *choices, self.inputs.table_names(), self._catalogue_name()]
        digest = hashlib.blake2b(canonical_json(fixed).encode("utf-8", "surrogatepass"), digest_size=16)
        for key, entry in self._recordings():
            digest.update(canonical_json([key, dataclasses.asdict(entry)]).encode("utf-8", "surrogatepass"))
        for failure in self.failures.values():
            digest.update(canonical_json(dataclasses.asdict(failure)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def _catalogue_name(self) -> list[object]:
        path = self.options.catalogue
        return [] if path is None else [path.stat().st_size, path.stat().st_mtime_ns]

    def _write(self, work: Work, identity: str) -> tuple[IndexAbout, int]:
        output, options = self.options.output, self.options
        name = layout.generation_name(identity)
        layout.sweep(output, layout.current_name(output))
        model = self.model
        dimension = int(model.embed_text(["music"]).shape[1])
        repeated = 0
        with GenerationWriter(output / name, dimension, windows=options.windows) as writer:
            for key, entry in self._recordings():
                if (kept := work.get(key, dimension)) is None:
                    self._fail(key, entry.recording_id, Reason.UNREADABLE_FILE, "changed while it was embedded")
                    continue
                timed = entry if entry.duration_s else dataclasses.replace(entry, duration_s=kept.duration_s)
                repeated += not writer.add(timed, kept.vectors)
            for entry, vectors in self.inputs.vectors(self.digest, dimension):
                repeated += not writer.add(entry, vectors)
            if not writer.count:
                raise ValueError(f"{', '.join(options.inputs)}: nothing of it could be embedded{self._first_failure()}")
            self._write_failures(output / name / layout.FAILURES)
            fields = {
                **model.fields,
                "made_of": tuple(self.inputs.kinds),
                "identity": identity,
                "store": options.store,
            }
            about = writer.finish(fields, hnsw=options.hnsw, umap=options.umap)
        if options.store is not None:
            store = self._store(options.store, identity)
            store.write(open_matrix(output / name / layout.VECTORS, dimension))
            store.close()
        layout.commit(output, name, about)
        return about, repeated

    def _store(self, store: str, identity: str) -> MilvusStore:
        return MilvusStore(store, collection_name(str(self.options.output.resolve()), identity))

    def _write_failures(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as lines:
            for failure in self.failures.values():
                lines.write(canonical_json(dataclasses.asdict(failure)) + "\n")

    def _first_failure(self) -> str:
        failure = next(iter(self.failures.values()), None)
        return f" ({failure.where}: {failure.detail})" if failure else ""

    def _account(self, about: IndexAbout, *, repeated: int, is_new: bool) -> Account:
        failed: dict[str, int] = {}
        for failure in self.failures.values():
            failed[failure.reason] = failed.get(failure.reason, 0) + 1
        return Account(
            about=about,
            embedded=self.embedded,
            gone=self.gone,
            failed=dict(sorted(failed.items())),
            repeated=repeated,
            is_new=is_new,
        )


def _before(folder: Path) -> IndexAbout | None:
    if not (folder / layout.POINTER).exists():
        return None
    try:
        return layout.read_pointer(folder)[1]
    except IndexError_ as error:
        log.warning("%s", error)
        return None


def _audio_of(sound: Sound) -> Audio:
    return sound.audio
