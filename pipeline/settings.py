"""Settings of the mining job: the one place for its defaults.

`MineConfig` holds what decides the bytes of the shards; its digest goes into every commit record and manifest.
`JobSettings` holds what does not: where things are, how hard to try, what to print.
"""

import dataclasses
import sys
from dataclasses import dataclass, field
from typing import Any

from filters.music.detector import BUILTIN, MusicGateConfig
from filters.tokens import DEFAULT_TOKENIZER
from pipeline.media.clip import DecodeConfig
from pipeline.media.fetching.config import FetchConfig
from schemas.digest import digest_json
from schemas.exclusion import ExclusionList
from schemas.record import record_of
from schemas.shard import AudioEncoding
from schemas.shard_reader import FORMATS, PARQUET
from schemas.sources import SOURCES, Source

DEFAULT_ROWS_PER_SHARD = 512
NONE = "none"

# Text of one pass of the plan on a local runner, which keeps grouped text in memory.
DEFAULT_PASS_BYTES = 1 << 30
GZIP_RATIO = 6


REFUSE, TOMBSTONE, KEEP = "refuse", "tombstone", "keep"


class InputError(Exception):
    """Arguments or input that nothing can be done with; the message is one line for the user."""


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
        for source in SOURCES:
            if self.cap(source) < 1:
                raise ValueError(f"{source.cap_name} is {self.cap(source)}; it must be 1 or more")

    def cap(self, source: Source) -> int:
        """How many texts of a source a recording keeps."""
        cap: int = sys.maxsize if source.cap is None else getattr(self, source.cap_name)
        return cap


@dataclass(frozen=True, kw_only=True)
class MineConfig:
    """What decides the bytes of the shards. Digests stand for code and weights that live in other files."""

    rows_per_shard: int = DEFAULT_ROWS_PER_SHARD
    limit: int | None = None
    audio_encoding: AudioEncoding = AudioEncoding.FLAC
    shard_format: str = PARQUET
    text: TextConfig = field(default_factory=TextConfig)
    gate: MusicGateConfig = field(default_factory=MusicGateConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    detector: str = BUILTIN
    detector_digest: str = ""
    lf_model: str = NONE
    lf_digest: str | None = None
    lf_threshold: float | None = None
    tokenizer: str = DEFAULT_TOKENIZER
    tokenizer_digest: str = ""
    rules_digest: str = ""
    exclude_digest: str = ""

    def __post_init__(self) -> None:
        if self.rows_per_shard < 1:
            raise ValueError(f"rows_per_shard is {self.rows_per_shard}; it must be 1 or more")
        if self.shard_format not in FORMATS:
            raise ValueError(f"shard_format is {self.shard_format!r}; it may be {' or '.join(FORMATS)}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be 1 or more")

    def identity(self) -> dict[str, Any]:
        """What two runs must share to give the same bytes. Names of files are left out where a digest says more."""
        value = dataclasses.asdict(self)
        for name in ("detector", "lf_model", "tokenizer"):
            del value[name]
        return value

    def to_json(self) -> dict[str, Any]:
        """All settings, flat, as a user would name them."""
        return {
            f"{group}.{name}" if group else name: value
            for group, values in _grouped(dataclasses.asdict(self))
            for name, value in values.items()
        }

    def digest(self) -> str:
        return digest_json(self.identity())

    def of_shards(self) -> "ShardSettings":
        return ShardSettings(
            config_digest=self.digest(),
            shard_format=self.shard_format,
            audio_encoding=str(self.audio_encoding),
            lf_model=self.lf_model,
            lf_digest=self.lf_digest,
            lf_threshold=self.lf_threshold,
        )


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """What a shard's rows are written by once they are made, and what a manifest says of them.

    `run.json` has it too, so that a shard can be written anew without the command that it was made by.
    """

    config_digest: str
    shard_format: str
    audio_encoding: str
    lf_model: str
    lf_digest: str | None
    lf_threshold: float | None

    @classmethod
    def of_run(cls, fixed: "RunRecord") -> "ShardSettings":
        """Raises KeyError where `run.json` lacks one of these."""
        names = [name for name in cls.__dataclass_fields__ if name != "config_digest"]
        return cls(config_digest=fixed.config_digest, **{name: fixed.config[name] for name in names})


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
    """`run.json`: the settings of a run's first command, which later ones must share."""

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


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Where things are and how the job goes about its work; none of it changes a shard."""

    output: str
    catalogues: tuple[str, ...]
    comments: tuple[str, ...] = ()
    playlists: tuple[str, ...] = ()
    columns: dict[str, dict[str, str]] = field(default_factory=dict)  # table kind -> field -> column
    allow_roots: tuple[str, ...] = ()
    fetch: FetchConfig = field(default_factory=FetchConfig)
    exclude: ExclusionList = field(default_factory=ExclusionList)
    on_removed: str = REFUSE
    max_failure_rate: float = 0.05
    dry_run: bool = False
    lock: LockConfig = field(default_factory=LockConfig)
    pass_bytes: int | None = None  # None: one pass, the runner spills

    def __post_init__(self) -> None:
        if not 0 <= self.max_failure_rate <= 1:
            raise ValueError(f"max_failure_rate is {self.max_failure_rate}; it must be in [0, 1]")
