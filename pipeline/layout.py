"""Where things are in a run folder: the one place that knows the names.

run.json                         settings of the run, fixed by its first command
lock                             the one writer
plans/g0001/survey.json          what the catalogue holds
plans/g0001/rejects-….jsonl      rows of catalogue, comments and playlists that were not used
plans/g0001/part-00017-….parquet rows of one future shard, without audio
plans/g0001/commits/00017.json   says that the part is whole
plans/g0001/plan.json            says that the plan is whole
shards/g0001-00017-….parquet     rows with audio; or ….tfrecord, with ….tfrecord.index.parquet
rejects/g0001-00017-….jsonl      recordings that were left out, and why
commits/g0001-00017.json         says that the shard is whole
groups-….parquet                 recordings with the same audio
manifest-0001.json manifest.json what a trainer may read, and the pointer to the newest
readers/….json                   the trainings that read it, by their own word (schemas/readers.py)
report.json report.html
audioset/catalog.jsonl           the catalogue that --audioset makes
audioset/left-out.jsonl          segments that did not get into it, and why
audioset/report.json             segments by class and by what became of them
"""

from pipeline.storage import join
from schemas.commit import part_key

RUN = "run.json"
LOCK = "lock"
SHARDS = "shards"
REJECTS = "rejects"
COMMITS = "commits"
REPORT_JSON = "report.json"
REPORT_HTML = "report.html"


def plan_dir(run_dir: str, generation: int) -> str:
    return join(run_dir, "plans", f"g{generation:04d}")


def plan_path(run_dir: str, generation: int) -> str:
    return join(plan_dir(run_dir, generation), "plan.json")


def survey_path(run_dir: str, generation: int, name: str = "survey") -> str:
    return join(plan_dir(run_dir, generation), f"{name}.json")


def part_commit_path(run_dir: str, generation: int, index: int) -> str:
    return join(plan_dir(run_dir, generation), COMMITS, f"{index:05d}.json")


def part_name_pattern(generation: int, index: int) -> str:
    """Relative to the run folder, with a place for the hash."""
    return f"plans/g{generation:04d}/part-{index:05d}-{{}}.parquet"


def shard_commit_path(run_dir: str, key: str) -> str:
    return join(run_dir, COMMITS, f"{key}.json")


def shard_name_pattern(generation: int, index: int, shard_format: str) -> str:
    return f"{SHARDS}/{part_key(generation, index)}-{{}}.{shard_format}"


def rejects_name_pattern(generation: int, index: int) -> str:
    return f"{REJECTS}/{part_key(generation, index)}-{{}}.jsonl"


def table_rejects_path(run_dir: str, generation: int, table: str) -> str:
    """Rows of the catalogue or of a side table that were not used."""
    return join(plan_dir(run_dir, generation), f"rejects-{table}.jsonl")


def removed_path(run_dir: str, generation: int, pass_index: int) -> str:
    """Recordings that left the catalogue or changed since an earlier generation, with the part that holds them."""
    return join(plan_dir(run_dir, generation), f"removed-{pass_index:03d}.jsonl")


def removed_pattern(run_dir: str, generation: int) -> str:
    return join(plan_dir(run_dir, generation), "removed-*.jsonl")


def audioset_path(run_dir: str, name: str) -> str:
    return join(run_dir, "audioset", name)
