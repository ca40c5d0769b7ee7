"""Settings of the mining job: the one place for its defaults.

`MineConfig` holds what decides the bytes of the shards; the digest of its identity goes into every commit record and
manifest. `JobSettings` holds what does not: where things are, how hard to try, what to print.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from filters.long_form import gates, redaction, sentences
from filters.music.gate import MusicGateConfig
from filters.music.load import BUILTIN
from filters.short_form import rules
from filters.tokens import DEFAULT_TOKENIZER
from pipeline.media.fetching.config import FetchConfig
from pipeline.media.protocol import DECODER_VERSION, DecodeConfig
from schemas.checks import at_least
from schemas.digest import canonical_json, digest_json
from schemas.exclusion import ExclusionList
from schemas.exits import InputError
from schemas.manifest import DetectorEntry
from schemas.record import record_of
from schemas.shard import AudioEncoding
from schemas.shard_format import DEFAULT_FORMAT, FORMATS
from schemas.sources import SOURCES, Source

DEFAULT_ROWS_PER_SHARD = 512
NONE = "none"

# Text of one partition of the plan on a local runner: a worker holds one at a time.
DEFAULT_PASS_BYTES = 32 << 20
GZIP_RATIO = 6


REFUSE, TOMBSTONE, KEEP = "refuse", "tombstone", "keep"


_Caps: Any = dataclasses.make_dataclass(
    "_Caps",
    [(source.cap_name, int, source.cap) for source in SOURCES if source.cap is not None],
    frozen=True,
    kw_only=True,
)


@dataclass(frozen=True, kw_only=True)
class TextConfig(_Caps):
    """Caps per recording, a field for each source that has one (`max_sf`, `max_lf`, `max_pl`): the first short forms,
    and the sentences and titles with the smallest hashes.

    Sentences that are surely in none of `lf_languages` are left out; without any all languages are kept.
    """

    lf_languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(self, 1, *(source.cap_name for source in SOURCES if source.cap is not None))

    def cap(self, source: Source) -> int:
        """How many texts of a source a recording keeps."""
        cap: int = sys.maxsize if source.cap is None else getattr(self, source.cap_name)
        return cap


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Of the code that decides bytes. Each number stands beside its code and is raised when the code puts out other
    things, which `tests/test_versions.py` watches. A run that names none was made when all of them were 1.
    """

    rules: int = rules.VERSION
    sentences: int = sentences.VERSION
    redaction: int = redaction.VERSION
    gates: int = gates.VERSION
    decoder: int = DECODER_VERSION
    detector: int = 1  # of the detector that is used


# No part of what two runs must share: places of what a digest stands for, and how hard a machine tries. What becomes of
# an item at a deadline or for want of memory depends on the machine whatever the setting is.
_NOT_IDENTITY = frozenset(
    {
        *("detector", "detector_hop_s", "lf_model", "tokenizer"),
        *("decode.deadline_s", "decode.start_timeout_s", "decode.memory_bytes"),
        *("decode.recycle_after", "decode.recycle_rss_bytes"),
        "rules_digest",  # of source text, in runs from before there were versions
    }
)


@dataclass(frozen=True, kw_only=True)
class MineConfig:
    """What decides the bytes of the shards. Digests stand for weights and lists that live in other files, versions for
    code."""

    rows_per_shard: int = DEFAULT_ROWS_PER_SHARD
    limit: int | None = None
    audio_encoding: AudioEncoding = AudioEncoding.FLAC
    shard_format: str = DEFAULT_FORMAT
    text: TextConfig = field(default_factory=TextConfig)
    gate: MusicGateConfig = field(default_factory=MusicGateConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    detector: str = BUILTIN
    detector_hop_s: float | None = None  # None: as the detector has it
    detector_digest: str = ""
    lf_model: str = NONE
    lf_digest: str | None = None
    lf_threshold: float | None = None
    tokenizer: str = DEFAULT_TOKENIZER
    tokenizer_digest: str = ""
    exclude_digest: str = ""
    versions: Versions = field(default_factory=Versions)

    def __post_init__(self) -> None:
        at_least(self, 1, "rows_per_shard", "limit")
        if self.shard_format not in FORMATS:
            raise ValueError(f"shard_format is {self.shard_format!r}; it may be {' or '.join(FORMATS)}")

    def to_json(self) -> dict[str, Any]:
        """All settings, flat, as a user would name them and as they are read back from JSON."""
        flat = {
            f"{group}.{name}" if group else name: value
            for group, values in _grouped(dataclasses.asdict(self))
            for name, value in values.items()
        }
        read_back: dict[str, Any] = json.loads(canonical_json(flat))
        return read_back

    def identity(self) -> dict[str, Any]:
        """What two runs must share to give the same bytes."""
        return {name: value for name, value in self.to_json().items() if name not in _NOT_IDENTITY}

    def digest(self) -> str:
        return digest_json(self.identity())

    def differences(self, recorded: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What of a run's identity is another than here: name → what it was and what it is.

        `recorded` is what `to_json` gave when the run was begun, perhaps by an older openmulan: what was no setting yet
        was done as the default has it, by version 1 of what has versions.
        """
        first = {name: 1 if name.startswith("versions.") else value for name, value in MineConfig().to_json().items()}
        before, now = {**first, **recorded}, self.to_json()
        return {
            name: (before.get(name), now.get(name))
            for name in sorted((before.keys() | now.keys()) - _NOT_IDENTITY)
            if before.get(name) != now.get(name)
        }


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """What a shard's rows are written by once they are made, and what a manifest says of them.

    All of it is read from `run.json`: a manifest says the same whatever the paths of a later command, and a shard can
    be written anew without any.
    """

    config_digest: str
    shard_format: str
    audio_encoding: str
    lf_model: str
    lf_digest: str | None
    lf_threshold: float | None


def _grouped(value: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    flat = {name: item for name, item in value.items() if not isinstance(item, dict)}
    return [("", flat), *((name, item) for name, item in value.items() if isinstance(item, dict))]


@dataclass(frozen=True, kw_only=True)
class LockConfig:
    """`lease_s`: how long a holder may go without a sign of life; `renew_s`: how often it gives one."""

    lease_s: float = 150.0
    renew_s: float = 30.0
    take_over: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.renew_s <= self.lease_s / 2:
            raise ValueError(
                f"lock_renew_s is {self.renew_s:g} and lock_lease_s {self.lease_s:g}; a lease must be renewed twice "
                "in its time"
            )


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """`run.json`: the settings of a run's first command that was no dry run, whose identity later ones must share."""

    config: dict[str, Any]
    config_digest: str
    detector: dict[str, Any]

    @classmethod
    def from_json(cls, value: dict[str, Any], path: str) -> "RunRecord":
        """Raises InputError where the file is not whole, or a newer openmulan wrote it."""
        try:
            return record_of(cls, value, path)
        except ValueError as error:
            raise InputError(str(error)) from error

    def of_shards(self, path: str) -> tuple[ShardSettings, DetectorEntry]:
        """What the run's shards are written by, and which detector judges them. Raises InputError."""
        names = [name for name in ShardSettings.__dataclass_fields__ if name != "config_digest"]
        try:
            settings = ShardSettings(config_digest=self.config_digest, **{name: self.config[name] for name in names})
            return settings, DetectorEntry(**self.detector)
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: not settings that this version of openmulan reads ({error})") from error


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Where things are and how the job goes about its work; none of it changes a shard."""

    output: str
    catalogues: tuple[str, ...]
    comments: tuple[str, ...] = ()
    playlists: tuple[str, ...] = ()
    columns: dict[str, dict[str, str]] = field(default_factory=dict)  # table kind -> field -> column
    tags_separator: str | None = None
    allow_roots: tuple[str, ...] = ()
    fetch: FetchConfig = field(default_factory=FetchConfig)
    exclude: ExclusionList = field(default_factory=ExclusionList)
    on_removed: str = REFUSE
    max_failure_rate: float = 0.05
    dry_run: bool = False
    fingerprint: bool = False
    lock: LockConfig = field(default_factory=LockConfig)
    pass_bytes: int | None = None  # text of one partition; None: the runner shuffles

    def __post_init__(self) -> None:
        if self.tags_separator == "":
            raise ValueError("tags_separator is empty; it must be what stands between two tags")
        if not 0 <= self.max_failure_rate <= 1:
            raise ValueError(f"max_failure_rate is {self.max_failure_rate}; it must be in [0, 1]")

    @property
    def reading(self) -> str:
        """How tables are read, as a user says it."""
        renamed = sorted(
            f"--map {'' if kind == 'catalogue' else f'{kind}.'}{field}={column}"
            for kind, columns in self.columns.items()
            for field, column in columns.items()
            if field != column
        )
        separator = [f"--tags_separator {self.tags_separator!r}"] if self.tags_separator is not None else []
        return " ".join(renamed + separator)
