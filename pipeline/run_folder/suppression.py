"""The suppression list of a run folder, and what may be written down of a row where there is one.

The list is what a removal is: it is written first, and from then on every command that plans or rewrites leaves these
recordings out, so that a removal which was killed goes on by whatever command comes next.
"""

from collections.abc import Iterable
from typing import Any

from pipeline import storage
from pipeline.run_folder import layout
from pipeline.run_folder.lock import Hold, LostLockError
from pipeline.storage import DamagedError
from schemas.reasons import Reason
from schemas.suppression import SuppressionList


def suppression_path(run_dir: str) -> str:
    return storage.join(run_dir, layout.SUPPRESSED)


def read_suppression(run_dir: str) -> SuppressionList | None:
    """None where nothing was ever removed. Raises DamagedError."""
    value = storage.read_json(path := suppression_path(run_dir))
    return None if value is None else _parse(path, value)


def suppress(hold: Hold, recording_ids: Iterable[str]) -> SuppressionList:
    """Put ids on the list. Raises LostLockError where another job has changed it."""
    return _change(hold, recording_ids, lift=False)


def lift(hold: Hold, recording_ids: Iterable[str]) -> SuppressionList:
    """Take ids off the list: the next mine may have them again."""
    return _change(hold, recording_ids, lift=True)


def _change(hold: Hold, recording_ids: Iterable[str], *, lift: bool) -> SuppressionList:
    path = suppression_path(hold.run_dir)
    found = storage.read_version(path)
    before = SuppressionList.new() if found is None else _parse(path, storage.parse_json(path, found[0]))
    after = before.without_ids(recording_ids) if lift else before.with_ids(recording_ids)
    if after == before:
        return before
    hold.check()
    content = storage.json_bytes(after.to_json())
    written = storage.create(path, content) if found is None else storage.swap(path, content, found[1])
    if written is None:
        raise LostLockError(f"{path} was written by another job meanwhile; this job stops")
    storage.failpoint("suppression_written")
    return after


def _parse(path: str, value: dict[str, Any]) -> SuppressionList:
    try:
        return SuppressionList.from_json(value)
    except ValueError as error:
        raise DamagedError(f"{path}: not a suppression list ({error}); restore this file from a copy") from error


def quiet_reject(reject: dict[str, Any], suppressed: SuppressionList) -> dict[str, Any]:
    """What may be written down of a row that was not used, once something was removed from the run.

    The list cannot tell what a row is about that has no id, nor which ids an excerpt mentions; so no excerpt is kept,
    and no detail of a row without an id. File, line and reason are enough to find it.
    """
    recording_id = reject.get("recording_id")
    if recording_id is not None and recording_id not in suppressed:
        return {**reject, "excerpt": ""} if reject.get("excerpt") else reject
    changes: dict[str, Any] = {"recording_id": None, "detail": Reason.named(reject["reason"]).explanation}
    if "excerpt" in reject:
        changes["excerpt"] = ""
    if "classes" in reject:
        changes["classes"] = []
    return {**reject, **changes}


def removed_reject(file: str, line: int) -> dict[str, Any]:
    """A row of a table that is about a removed recording."""
    return {
        "file": file,
        "line": line,
        "reason": str(Reason.REMOVED),
        "outcome": str(Reason.REMOVED.outcome),
        "detail": Reason.REMOVED.explanation,
        "excerpt": "",
        "recording_id": None,
    }
