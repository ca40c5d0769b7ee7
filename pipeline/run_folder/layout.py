"""Where things are in a run folder: the one place that knows the names.

run.json                         settings of the run, fixed by its first command that was no dry run
lock                             the one writer
suppressed.json                  keyed hashes of recordings that must not come back
readers/….json                   trainings that read the run, each by its own hand
plans/g0001/rejects-….jsonl      rows of catalogue, comments and playlists that were not used
plans/g0001/removed-….jsonl      recordings that left, with the part that has them, until `mulan prune`
plans/g0001/part-00017-….parquet rows of one future shard, without audio
plans/g0001/plan.json            says that the plan is whole, and names its files
plans/g0001/attempt-0003-…/      what the holder of fence 3 has written while it planned: totals, commits of parts
plans/g0001/attempt-0003-…/exchange/ text on its way to its recording; gone when the plan is whole
shards/g0001-00017-….parquet     rows with audio; or as another of schemas/shard_format.py, with its sidecars
rejects/g0001-00017-….jsonl      recordings that were left out, and why
commits/g0001-00017.json         says that the shard is whole
pieces/g0001-00017-…/            what is settled of a shard while it is built (see pieces.py); no part of the run
fingerprints/g0001-00017-….parquet of the rows of a shard, where `--fingerprint` was asked for; and its record
fingerprints/pairs-….parquet     clips that are copies of one another by their fingerprints
fingerprints/joined.json         says which fingerprints are joined, and names the pairs
groups-….parquet                 recordings with the same audio, or with copies of it
manifest-0001.json manifest.json what a trainer may read, and the pointer to the newest
readers/….json                   the trainings that read it, by their own word (schemas/readers.py)
report.json report.html
catalog/catalog.parquet          the catalogue that `mulan mine FOLDER` makes, and its side tables
catalog/catalog.scan/            what was found in each file of FOLDER, for the next time
audioset/catalog.jsonl           the catalogue that --audioset makes
audioset/left-out.jsonl          segments that did not get into it, and why
audioset/report.json             segments by class and by what became of them
"""

import re

from pipeline.storage import TMP_FOLDER, TMP_NAME, join
from schemas.commit import part_key
from schemas.manifest import POINTER_NAME
from schemas.shard_format import FORMATS

RUN = "run.json"
LOCK = "lock"
SUPPRESSED = "suppressed.json"
PLANS = "plans"
SHARDS = "shards"
REJECTS = "rejects"
COMMITS = "commits"
EXCHANGE = "exchange"
PIECES = "pieces"
FINGERPRINTS = "fingerprints"
REPORT_JSON = "report.json"
REPORT_HTML = "report.html"

GENERATION_NAME = re.compile(r"g(\d{4,})")
ATTEMPT_NAME = re.compile(r"attempt-\d{4,}-[0-9a-f]{8}")
MANIFEST_NAME = re.compile(r"manifest-(\d{4,})\.json")
_HASH = "[0-9a-f]{12}"
PIECES_NAME = re.compile(rf"(?P<key>g\d{{4,}}-\d{{5,}})-{_HASH}")
PIECE_NAME = re.compile(rf"(?P<sha256>{_HASH})\.(?P<kind>parquet|jsonl)")
_SHARD_ENDINGS = "|".join(re.escape(ending) for known in FORMATS.values() for ending in known.endings)
# What a kill on a local disk leaves of a small file beside its place. Those of lock and report are left alone: another
# thread or process may be writing them.
_UNFINISHED = r"\.json\.[0-9a-f]{32}\.tmp"
# By folder, the names that may be swept once nothing names them; all others are somebody else's.
SWEPT_NAMES = {
    SHARDS: re.compile(rf"(?P<key>g\d{{4,}}-\d{{5,}})-{_HASH}({_SHARD_ENDINGS})"),
    REJECTS: re.compile(rf"(?P<key>g\d{{4,}}-\d{{5,}})-{_HASH}\.jsonl"),
    COMMITS: re.compile(rf"g\d{{4,}}-\d{{5,}}{_UNFINISHED}"),
    "": re.compile(rf"groups-{_HASH}\.parquet|(run|manifest(-\d{{4,}})?|suppressed){_UNFINISHED}"),
    TMP_FOLDER: TMP_NAME,
}
# And those that go once a later plan part has taken their part's place.
# Those of fingerprints: what neither the record of a live shard nor that of the join names.
FINGERPRINT_NAMES = re.compile(rf"(?P<key>g\d{{4,}}-\d{{5,}})(-{_HASH}\.parquet|\.json)|pairs-{_HASH}\.parquet")
REPLACED_NAMES = {COMMITS: re.compile(r"(?P<key>g\d{4,}-\d{5,})\.json")}
SWEPT_PLAN_NAMES = re.compile(
    rf"part-\d{{5,}}-{_HASH}\.parquet|(rejects|removed)-[\w-]+-{_HASH}\.jsonl|plan{_UNFINISHED}"
)


def plan_dir(run_dir: str, generation: int) -> str:
    return join(run_dir, PLANS, f"g{generation:04d}")


def plan_path(run_dir: str, generation: int) -> str:
    return join(plan_dir(run_dir, generation), "plan.json")


def attempt_dir(run_dir: str, generation: int, attempt: str) -> str:
    """What is written here counts for this attempt alone: an overtaken job cannot add to its successor's plan."""
    return join(plan_dir(run_dir, generation), f"attempt-{attempt}")


def part_name_pattern(generation: int, index: int) -> str:
    """Relative to the run folder, with a place for the hash."""
    return f"{PLANS}/g{generation:04d}/part-{index:05d}-{{}}.parquet"


def lines_name_pattern(generation: int, name: str) -> str:
    """Of rejects of a table, or of removed recordings; relative to the run folder, with a place for the hash."""
    return f"{PLANS}/g{generation:04d}/{name}-{{}}.jsonl"


def shard_commit_path(run_dir: str, key: str) -> str:
    return join(run_dir, COMMITS, f"{key}.json")


def shard_name_pattern(generation: int, index: int, suffix: str) -> str:
    return f"{SHARDS}/{part_key(generation, index)}-{{}}.{suffix}"


def rejects_name_pattern(generation: int, index: int) -> str:
    return f"{REJECTS}/{part_key(generation, index)}-{{}}.jsonl"


PAIRS_NAME_PATTERN = f"{FINGERPRINTS}/pairs-{{}}.parquet"


def fingerprint_name_pattern(key: str) -> str:
    """Relative to the run folder, with a place for the hash."""
    return f"{FINGERPRINTS}/{key}-{{}}.parquet"


def fingerprint_record_path(run_dir: str, key: str) -> str:
    return join(run_dir, FINGERPRINTS, f"{key}.json")


def joined_path(run_dir: str) -> str:
    return join(run_dir, FINGERPRINTS, "joined.json")


def joining_dir(run_dir: str, attempt: str) -> str:
    """What is written here counts for this attempt alone."""
    return join(run_dir, FINGERPRINTS, f"attempt-{attempt}")


def pieces_folder(key: str, digest: str) -> str:
    """Relative to the run folder."""
    return f"{PIECES}/{key}-{digest[:12]}"


def pointer_path(run_dir: str) -> str:
    return join(run_dir, POINTER_NAME)


def audioset_path(run_dir: str, name: str) -> str:
    return join(run_dir, "audioset", name)


def catalogue_path(run_dir: str) -> str:
    return join(run_dir, "catalog", "catalog.parquet")
