"""Leakage: what an evaluation set has must not be in a run that is trained on.

Three checks, each by its own key:

- `recording_id`: a recording of an evaluation set is a row of the run
- `audio_sha256`: a row's clip has the same decoded samples as an evaluation recording, whatever its id, container or
  lossless encoding
- `title`: the title of an evaluation playlist is among a row's playlist titles, but for case, punctuation and spacing

A row's hash is that of its decoded int16 clip (30-60 s of the recording by default). So the evaluation's audio is cut
in the same way, at every (start, duration) that the run has, and hashed again; its audio as a whole is hashed too, for
a run whose recordings *are* the evaluation clips. Equal hashes are found for sure. Not found: another lossy encoding,
another master, a cut at another place (a 10 s or 29 s evaluation clip from a recording of which the run has 30-60 s).
Those need the ids, or the fingerprints of the run's groups.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from schemas.eval_playlist import EvalPlaylist
from schemas.exclusion import Exclusion, ExclusionList, title_key
from schemas.run import Run
from trainer.evaluation.clips import (
    SHOWN_MISSING,
    ClipSource,
    EvaluationDataError,
    FileClips,
    RunClips,
    TooShortError,
    UndecodableError,
    cut_file,
    whole_file_sha256,
)
from trainer.evaluation.readers.mined import run_rows

logger = logging.getLogger(__name__)

Cut = tuple[float, float]  # start_s, duration_s
DEFAULT_CUT: Cut = (30.0, 30.0)


@dataclass(frozen=True, kw_only=True, order=True)
class Leak:
    """One row of a run that an evaluation set has, and by which check."""

    check: str  # recording_id, audio_sha256 or title
    recording_id: str
    value: str
    origin: str


def clip_exclusions(clips: ClipSource, origin: str, cuts: Sequence[Cut]) -> Iterator[Exclusion]:
    """Ids and audio hashes of an evaluation set's clips; a file that cannot be decoded has its ids alone."""
    if isinstance(clips, RunClips):
        wanted = set(clips.ids)
        for _, _, values in run_rows(clips.run, ["recording_id", "audio_sha256"]):
            if values["recording_id"] in wanted:
                yield Exclusion(recording_id=values["recording_id"], origin=origin)
                yield Exclusion(audio_sha256=values["audio_sha256"], origin=origin)
        return
    if not isinstance(clips, FileClips):
        raise TypeError(f"{type(clips).__name__} has no audio to hash")
    for clip in clips.clips:
        for recording_id in clip.recording_ids:
            yield Exclusion(recording_id=recording_id, origin=origin)
    undecodable: list[UndecodableError] = []
    for path in tqdm(sorted({clip.path for clip in clips.clips}), desc="hashing", unit="file", disable=None):
        try:
            hashes = sorted(file_hashes(path, cuts))
        except UndecodableError as error:
            undecodable.append(error)
            continue
        for sha256 in hashes:
            yield Exclusion(audio_sha256=sha256, origin=origin)
    if undecodable:
        listed = "; ".join(str(error) for error in undecodable[:SHOWN_MISSING])
        logger.warning("%d files are checked by their ids alone: %s", len(undecodable), listed)


def file_hashes(path: Path, cuts: Sequence[Cut]) -> set[str]:
    """SHA-256 of the decoded samples at each cut that the file is long enough for, and of the whole file.

    As in mining, a file that ends a few milliseconds before its cut does counts as long enough.
    """
    from pipeline.media.protocol import CLIP_RATE_HZ, DecodeConfig

    tolerated = round(DecodeConfig().end_tolerance_s * CLIP_RATE_HZ)
    found = set()
    for start_s, duration_s in cuts:
        try:
            clip = cut_file(path, start_s, duration_s)
        except TooShortError:
            continue
        if clip.padded_samples <= tolerated:
            found.add(clip.sha256)
    return found | {whole_file_sha256(path)}


def playlist_exclusions(playlists: Iterable[EvalPlaylist], origin: str) -> Iterator[Exclusion]:
    """Titles of evaluation playlists, and the recordings that are relevant to them."""
    for playlist in playlists:
        yield Exclusion(title=playlist.title, origin=origin)
        for recording_id in playlist.recording_ids:
            yield Exclusion(recording_id=recording_id, origin=origin)


def run_cuts(runs: Sequence[str]) -> list[Cut]:
    """Every (start_s, duration_s) that the rows of the runs have."""
    cuts = {
        (float(values["start_s"]), float(values["duration_s"]))
        for run in runs
        for _, _, values in run_rows(Run.open(run), ["start_s", "duration_s"])
    }
    return sorted(cuts)


def find_leaks(runs: Sequence[str], exclusions: Sequence[Exclusion]) -> list[Leak]:
    """Every row of the runs that an exclusion names, once for each check that finds it."""
    listed = ExclusionList.of(exclusions)
    origins: dict[tuple[str, str], str] = {}
    for e in exclusions:
        for check, value in (
            ("recording_id", e.recording_id),
            ("audio_sha256", e.audio_sha256),
            ("title", None if e.title is None else title_key(e.title)),
        ):
            if value is not None:
                origins.setdefault((check, value), e.origin)
    leaks = set()
    for run in runs:
        for _, _, values in run_rows(Run.open(run), ["recording_id", "audio_sha256", "pl"]):
            recording_id = values["recording_id"]
            hits = [
                ("recording_id", recording_id, recording_id) if recording_id in listed.recording_ids else None,
                ("audio_sha256", values["audio_sha256"], values["audio_sha256"])
                if values["audio_sha256"] in listed.audio_sha256
                else None,
                *(("title", title, title_key(title)) for title in values["pl"] if listed.has_title(title)),
            ]
            for hit in hits:
                if hit is not None:
                    check, value, key = hit
                    leaks.add(Leak(check=check, recording_id=recording_id, value=value, origin=origins[(check, key)]))
    return sorted(leaks)


def refuse_leaks(leaks: Sequence[Leak], shown: int = 20) -> None:
    """Raises EvaluationDataError with count and list where there is any."""
    if not leaks:
        return
    counts = {check: sum(leak.check == check for leak in leaks) for check in ("recording_id", "audio_sha256", "title")}
    summary = ", ".join(f"{count} by {check}" for check, count in counts.items() if count)
    listed = "".join(f"\n  {k.check}: {k.recording_id} ({k.value}), in {k.origin}" for k in leaks[:shown])
    more = f"\n  … and {len(leaks) - shown} more" if len(leaks) > shown else ""
    raise EvaluationDataError(
        f"the run has what is evaluated: {summary}{listed}{more}"
        "\nWrite the list with --write_exclude FILE, mine again with `mulan mine --exclude FILE`, and train on that."
    )
