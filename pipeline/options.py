"""The options of `mulan mine`: each flag, its help and the setting that it becomes stand beside each other.

A group of options is a function that adds them, and one that makes settings of what was given. Defaults are those of
the settings. Nothing here loads Beam, so that `--help` need not wait for it.
"""

import argparse
import os
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from filters.long_form.language import check_languages
from filters.long_form.scorer import describe_scorer
from filters.music.gate import MusicGateConfig
from filters.music.load import BUILTIN, DETECTORS, TFHUB_YAMNET, load_detector
from filters.tokens import DEFAULT_TOKENIZER, NO_TOKENIZER, load_tokenizer
from pipeline.media.clip import DecodeConfig, ShortPolicy
from pipeline.media.fetching.config import FetchConfig, YouTubeConfig
from pipeline.settings import (
    DEFAULT_PASS_BYTES,
    KEEP,
    NONE,
    REFUSE,
    TOMBSTONE,
    JobSettings,
    LockConfig,
    MineConfig,
    TextConfig,
    Versions,
)
from schemas.digest import digest_json
from schemas.exclusion import ExclusionList, read_exclusions
from schemas.exits import InputError
from schemas.lookup import is_factory
from schemas.manifest import DetectorEntry
from schemas.shard import AudioEncoding
from schemas.shard_format import DEFAULT_FORMAT, FORMATS
from schemas.sources import SOURCES

Group = argparse._ActionsContainer
JOB = JobSettings(output="", catalogues=())  # for its defaults


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="mulan mine",
        usage="mulan mine [FOLDER] --output DIR [options]",
        description="Mine a catalogue of recordings into shards. Run the same command again and it resumes. With a "
        "FOLDER of media in place of --catalog, which comes first, a catalogue of it is made in the run folder (see "
        "docs/making-a-catalogue.md).",
        epilog="Options of Beam (--runner, --direct_num_workers, --project …) can be given as well; "
        "`--runner` without anything else is a local run in this process.",
        allow_abbrev=False,
    )
    _add_table_options(made.add_argument_group("what to read and where to write"))
    _add_audioset_options(
        made.add_argument_group("AudioSet in place of --catalog, in a run folder of its own (see docs/audioset.md)")
    )
    _add_fetch_options(made.add_argument_group("how media is fetched (see docs/fetching.md)"))
    _add_shard_options(made.add_argument_group("what the shards hold (fixed by the first command of a run)"))
    _add_job_options(made.add_argument_group("how the job goes about it"))
    made.set_defaults(folder=None)
    return made


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our arguments, and those of Beam. A folder can only come first: elsewhere it may be the value of an option of
    Beam's that is not known here."""
    has_folder = bool(argv) and not argv[0].startswith("-")
    arguments, beam_arguments = parser().parse_known_args(argv[has_folder:])
    arguments.folder = local_absolute(argv[0]) if has_folder else None
    return arguments, beam_arguments


def _add(group: Group, flag: str, default: float | str, what: str, **more: Any) -> None:
    """An option that has a default: of its type, and named in its help."""
    group.add_argument(flag, type=type(default), default=default, help=f"{what} (default: %(default)s)", **more)


def _add_repeated(group: Group, flag: str, metavar: str, what: str) -> None:
    group.add_argument(flag, action="append", default=[], metavar=metavar, help=what)


def local_absolute(path: str) -> str:
    """Workers may stand in another folder than the launcher."""
    return path.rstrip("/") if "://" in path else os.path.abspath(path)


def named_or_absolute(part: str, names: Container[str]) -> str:
    """What names a part: one of our names or package.module:factory as it is, a path so that every worker finds it."""
    return part if part in names or is_factory(part) else local_absolute(part)


def _found(flag: str, globs: Iterable[str]) -> tuple[str, ...]:
    """The files of a table. Raises InputError where there is none."""
    from pipeline.catalogue import find_tables

    return tuple(find_tables(map(local_absolute, globs), flag))


def _add_table_options(group: Group) -> None:
    _add_repeated(group, "--catalog", "GLOB", "recordings; may be repeated")
    group.add_argument("--output", required=True, metavar="DIR", help="run folder, local or in an object store")
    _add_repeated(group, "--comments", "GLOB", "table recording_id, text")
    _add_repeated(group, "--playlists", "GLOB", "table playlist_id, title, recording_ids")
    _add_repeated(
        group,
        "--map",
        "FIELD=COLUMN",
        "where a column has another name; comments.FIELD= and playlists.FIELD= for the side tables",
    )
    group.add_argument(
        "--tags_separator",
        metavar="TEXT",
        help="what stands between tags that are one text, in any format (default: | in CSV; elsewhere tags are a list)",
    )
    _add_repeated(
        group,
        "--exclude",
        "FILE",
        "what evaluation sets have (`mulan evaluate --write_exclude`): its recordings and titles are left out",
    )
    group.add_argument("--limit", type=int, metavar="N", help="only N recordings, those with the smallest hashes")
    _add_repeated(group, "--allow_root", "DIR", "absolute audio paths under DIR may be read")
    _add(
        group,
        "--on_removed",
        JOB.on_removed,
        "what to do with recordings of the run that the catalogue no longer has",
        choices=(REFUSE, TOMBSTONE, KEEP),
    )


def job_settings(arguments: argparse.Namespace, is_local: bool) -> JobSettings:
    """Raises ValueError and InputError."""
    from pipeline.catalogues.in_run import of_folder

    roots = [*arguments.allow_root, *(arguments.audioset_audio if arguments.audioset else ())]
    roots += [arguments.folder] if arguments.folder is not None else []
    beside = of_folder(local_absolute(arguments.output)) if arguments.folder is not None else None
    return JobSettings(
        output=local_absolute(arguments.output),
        catalogues=_catalogues(arguments),
        comments=(*_found("--comments", arguments.comments), *((str(beside.comments),) if beside else ())),
        playlists=(*_found("--playlists", arguments.playlists), *((str(beside.playlists),) if beside else ())),
        columns=_columns(arguments.map),
        tags_separator=arguments.tags_separator,
        allow_roots=tuple(map(local_absolute, roots)),
        fetch=fetch_config(arguments),
        exclude=_exclusions(arguments.exclude),
        on_removed=arguments.on_removed,
        max_failure_rate=arguments.max_failure_rate,
        dry_run=arguments.dry_run,
        fingerprint=arguments.fingerprint,
        lock=lock_config(arguments),
        pass_bytes=arguments.pass_bytes if is_local else None,
    )


def _columns(mappings: list[str]) -> dict[str, dict[str, str]]:
    from pipeline.catalogue import CATALOGUE, COMMENTS, PLAYLISTS, Table

    columns: dict[str, dict[str, str]] = {}
    tables: dict[str, Table[Any]] = {"": CATALOGUE, COMMENTS.kind: COMMENTS, PLAYLISTS.kind: PLAYLISTS}
    for mapping in mappings:
        target, separator, column = mapping.partition("=")
        kind, _, field = target.rpartition(".")
        table = tables.get(kind)
        if not separator or not column or table is None or field not in table.fields:
            known = ", ".join(table.fields if table is not None else CATALOGUE.fields)
            raise InputError(f"--map {mapping}: must be FIELD=COLUMN, where FIELD is one of {known}")
        columns.setdefault(table.kind, {})[field] = column
    return columns


def _exclusions(paths: list[str]) -> ExclusionList:
    """Of all files together. Raises ValueError and InputError that name the file and the line."""
    for path in paths:
        if not os.path.isfile(path):
            raise InputError(f"--exclude {path}: there is no such file")
    return ExclusionList.of(line for path in paths for line in read_exclusions(Path(path)))


def _add_audioset_options(group: Group) -> None:
    _add_repeated(group, "--audioset", "GLOB", "AudioSet's segment files (csv)")
    group.add_argument(
        "--audioset_ontology", metavar="FILE", help="ontology.json or class_labels_indices.csv, for the names"
    )
    _add_repeated(group, "--audioset_audio", "DIR", "its recordings: YTID.*, YTID_START_END.* … (docs/audioset.md)")
    group.add_argument("--audioset_by_id", action="store_true", help="ask YouTube for segments that have no local copy")


def _catalogues(arguments: argparse.Namespace) -> tuple[str, ...]:
    from pipeline.run_folder.layout import audioset_path, catalogue_path

    if sum(map(bool, (arguments.catalog, arguments.audioset, arguments.folder))) != 1:
        raise InputError(
            "name either --catalog or --audioset, or a FOLDER before all options; an AudioSet run has its own folder"
        )
    if arguments.folder is not None:
        if "://" in arguments.output:
            raise InputError(f"--output {arguments.output}: the run of a FOLDER lies on this machine's disk")
        if not os.path.isdir(arguments.folder):
            raise InputError(f"{arguments.folder}: there is no such folder")
        return (catalogue_path(local_absolute(arguments.output)),)
    if arguments.audioset:
        return (audioset_path(local_absolute(arguments.output), "catalog.jsonl"),)
    return _found("--catalog", arguments.catalog)


def catalogue_maker(arguments: argparse.Namespace) -> Callable[[], object] | None:
    """Writes the catalogue that a FOLDER or --audioset asks for. Raises InputError where its arguments are wrong."""
    if arguments.folder is not None:
        from pipeline.catalogues import in_run

        return partial(in_run.write_catalogue, arguments.folder, local_absolute(arguments.output))
    if not arguments.audioset:
        return None
    from pipeline.catalogues.audioset import AudioSetInput, write_catalogue

    if not arguments.audioset_ontology:
        raise InputError("--audioset needs --audioset_ontology FILE (ontology.json or class_labels_indices.csv)")
    source = AudioSetInput(
        segments=_found("--audioset", arguments.audioset),
        classes=local_absolute(arguments.audioset_ontology),
        folders=tuple(map(local_absolute, arguments.audioset_audio)),
        by_id=arguments.audioset_by_id,
    )
    return partial(write_catalogue, source, local_absolute(arguments.output))


def _add_fetch_options(group: Group) -> None:
    fetch = FetchConfig()
    group.add_argument("--cache_dir", metavar="DIR", help="keep what was fetched from elsewhere here")
    _add(group, "--cache_bytes", fetch.cache_bytes, "its bound", metavar="N")
    _add(
        group,
        "--fetch_lanes",
        fetch.lanes_per_host,
        "requests in flight to one host, over the whole job",
        metavar="N",
    )
    _add(group, "--fetch_machines", 1, "machines that share these lanes; each gets its part", metavar="N")
    _add(group, "--fetch_deadline_s", fetch.deadline_s, "for one recording", metavar="S")
    _add(group, "--fetch_attempts", fetch.attempts, "requests", metavar="N")
    _add_repeated(group, "--allow_private_hosts", "HOST:PORT", "this host may be at a private or loopback address")
    group.add_argument("--youtube_cookies", metavar="FILE", help="cookies.txt (Netscape format) for yt-dlp")
    group.add_argument("--youtube_proxy", metavar="URL", help="proxy for yt-dlp")
    group.add_argument("--youtube_bytes_per_s", type=int, metavar="N", help="speed limit of one video")
    _add(group, "--youtube_interval_s", fetch.youtube.interval_s, "rest of a lane between two videos", metavar="S")


def fetch_config(arguments: argparse.Namespace) -> FetchConfig:
    """Raises ValueError and InputError."""
    if arguments.fetch_machines < 1 or arguments.fetch_lanes < arguments.fetch_machines:
        raise InputError(
            f"--fetch_lanes {arguments.fetch_lanes} cannot be shared by --fetch_machines {arguments.fetch_machines}: "
            "each machine needs a lane of its own"
        )
    cookies = arguments.youtube_cookies
    if cookies is not None and not os.path.isfile(cookies):
        raise InputError(f"--youtube_cookies {cookies}: there is no such file")
    return FetchConfig(
        deadline_s=arguments.fetch_deadline_s,
        attempts=arguments.fetch_attempts,
        lanes_per_host=arguments.fetch_lanes // arguments.fetch_machines,
        allow_private_hosts=tuple(arguments.allow_private_hosts),
        cache_dir=os.path.abspath(arguments.cache_dir) if arguments.cache_dir else None,
        cache_bytes=arguments.cache_bytes,
        youtube=YouTubeConfig(
            cookies=os.path.abspath(cookies) if cookies else None,
            proxy=arguments.youtube_proxy,
            bytes_per_s=arguments.youtube_bytes_per_s,
            interval_s=arguments.youtube_interval_s,
        ),
    )


def _add_shard_options(group: Group) -> None:
    config = MineConfig()
    gate = config.gate
    _add(group, "--rows_per_shard", config.rows_per_shard, "recordings of one shard", metavar="N")
    _add(group, "--format", DEFAULT_FORMAT, "of the shards", choices=[*FORMATS])
    _add(group, "--audio", str(config.audio_encoding), "encoding of the clips", choices=[*map(str, AudioEncoding)])
    _add(
        group,
        "--short_policy",
        str(config.decode.short_policy),
        "recordings that end before their clip does: drop, cut from the end, or pad",
        choices=[*map(str, ShortPolicy)],
    )
    _add(
        group,
        "--music_detector",
        BUILTIN,
        f"builtin (demo-grade), FILE.tflite, SAVEDMODEL_DIR, a TF-Hub handle such as YAMNet's {TFHUB_YAMNET}, or "
        "package.module:factory of your own",
        metavar="D",
    )
    group.add_argument(
        "--music_hop",
        type=float,
        metavar="S",
        help="seconds from one of YAMNet's windows to the next, at most its 0.975 (default: side by side)",
    )
    _add(group, "--music_threshold", gate.threshold, "a frame that scores this or above is music", metavar="T")
    _add(group, "--min_music_fraction", gate.min_fraction, "a clip with less music than this is left out", metavar="F")
    _add(
        group,
        "--lf_model",
        NONE,
        "of `mulan lf-filter fit`, package.module:factory of your own, or none: sentences stay unscored",
        metavar="DIR",
    )
    _add(
        group,
        "--tokenizer",
        DEFAULT_TOKENIZER,
        f"what Table 2 counts with: a name on the hub, a vocab.txt or tokenizer.json, or {NO_TOKENIZER}",
        metavar="T",
    )
    for source in SOURCES:
        if source.cap is not None:
            _add(group, f"--{source.cap_name}", source.cap, f"{source.texts} a recording", metavar="N")
    group.add_argument(
        "--lf_languages",
        type=lambda codes: tuple(sorted(set(codes.split(",")))),
        default=(),
        metavar="en,de",
        help="leave out sentences that are surely in another language (default: keep all)",
    )


def mine_config(arguments: argparse.Namespace, exclude: ExclusionList) -> tuple[MineConfig, str, DetectorEntry]:
    """Configuration, serialised tokenizer, detector. Loads both once, so that what is wrong with them is said here."""
    counter = load_tokenizer(arguments.tokenizer)
    tokenizer = counter.to_str() if counter is not None else ""
    spec = named_or_absolute(arguments.music_detector, DETECTORS)
    detector = load_detector(spec, arguments.music_hop)
    lf_model = named_or_absolute(arguments.lf_model, (NONE,))
    scorer = describe_scorer(lf_model)
    if arguments.lf_languages:
        check_languages(frozenset(arguments.lf_languages))
    gate = MusicGateConfig(threshold=arguments.music_threshold, min_fraction=arguments.min_music_fraction)
    config = MineConfig(
        rows_per_shard=arguments.rows_per_shard,
        limit=arguments.limit,
        audio_encoding=AudioEncoding(arguments.audio),
        shard_format=arguments.format,
        text=TextConfig(
            **{source.cap_name: getattr(arguments, source.cap_name) for source in SOURCES if source.cap is not None},
            lf_languages=arguments.lf_languages,
        ),
        gate=gate,
        decode=DecodeConfig(short_policy=ShortPolicy(arguments.short_policy)),
        detector=spec,
        detector_hop_s=arguments.music_hop,
        detector_digest=detector.digest,
        lf_model=lf_model,
        lf_digest=scorer.digest,
        lf_threshold=scorer.threshold,
        tokenizer=arguments.tokenizer,
        tokenizer_digest=digest_json([tokenizer]),
        exclude_digest=exclude.digest(),
        versions=Versions(detector=detector.version),
    )
    entry = DetectorEntry(
        name=detector.name,
        digest=detector.digest,
        window_s=detector.grid.window_s,
        hop_s=detector.grid.hop_s,
        threshold=gate.threshold,
        min_fraction=gate.min_fraction,
        demo_grade=detector.demo_grade,
    )
    return config, tokenizer, entry


def _add_job_options(group: Group) -> None:
    group.add_argument("--dry_run", action="store_true", help="plan only: print shards, bytes and estimated work")
    group.add_argument(
        "--fingerprint",
        action="store_true",
        help="group re-encoded and shifted copies too, not only equal audio (see docs/duplicates.md); once given "
        "to a run, it holds for its later jobs",
    )
    _add(group, "--max_failure_rate", JOB.max_failure_rate, "exit with 1 above this", metavar="R")
    _add(group, "--pass_bytes", DEFAULT_PASS_BYTES, "local runner: text that a worker joins at a time", metavar="N")
    add_lock_options(group)
    group.add_argument(
        "--metrics_file",
        metavar="FILE",
        help="keep how far the job is in FILE, in Prometheus' text format (see docs/runners.md)",
    )
    group.add_argument("--quiet", action="store_true", help="warnings and the report only")


def add_lock_options(group: Group) -> None:
    lock = LockConfig()
    group.add_argument(
        "--take_over", action="store_true", help="take the run folder from a job that you know to be dead"
    )
    _add(
        group,
        "--lock_lease_s",
        lock.lease_s,
        "a job that gave no sign of life for so long has lost its run folder",
        metavar="S",
    )
    _add(group, "--lock_renew_s", lock.renew_s, "between two signs", metavar="S")


def lock_config(arguments: argparse.Namespace) -> LockConfig:
    """Raises ValueError."""
    return LockConfig(lease_s=arguments.lock_lease_s, renew_s=arguments.lock_renew_s, take_over=arguments.take_over)
