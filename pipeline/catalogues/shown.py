"""What a catalogue has come to, as a table for a terminal."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.catalogues.made import Made, Paths
from schemas.reasons import Reason, legible

_WITH = ("title", "artist", "tags", "description", "comments", "playlists")
_PASSED_OVER = {
    "hidden": "hidden, or of the system",
    "partial": "downloads that are not whole",
    "empty": "without a byte",
    "links": "links to what is read where it lies",
    "others": "of other kinds",
}
_SHOWN = ("recording_id", "audio_uri", "title", "artist", "album", "tags", "description", "comments")
_LONGEST = 96


def render(made: Made, paths: Paths, counts: Mapping[str, int] = Counter()) -> str:
    lines = [f"recordings   {made.recordings:>10,}"]
    shares = {f"with {name}" if name != "playlists" else "in playlists": made.having[name] for name in _WITH}
    for label, count in {**shares, "without any text": made.having["no text"]}.items():
        lines.append(f"  {label:18} {count:>10,}  {_share(count, made.recordings)}")
    if made.playlists:
        matched = made.entries - made.unmatched.total()
        lines.append(f"playlists    {made.playlists:>10,}  with {made.entries:,} entries, {matched:,} of them matched")
        lines += _reasons(made.unmatched, paths.unmatched)
    if made.rejects:
        lines.append(f"left out     {made.rejects.total():>10,}")
        lines += _reasons(made.rejects, paths.rejects)
    over = [(counts[name], said) for name, said in _PASSED_OVER.items() if counts.get(name)]
    if over:
        lines.append(f"passed over  {sum(count for count, _ in over):>10,}  files and folders")
        lines += [f"  {count:>10,}  {said}" for count, said in over]
    if "gone" in counts:
        read, gone = counts.get("read", 0), counts["gone"]
        lines.append(f"read anew    {read:>10,}  files; {gone:,} are gone since the last scan")
    for row in made.samples:
        lines.append("")
        lines += [f"  {name:13} {_text(value)}" for name in _SHOWN if (value := row.get(name))]
    lines += ["", f"The catalogue: {paths.catalogue}"] if made.recordings else []
    return "\n".join([*lines, ""])


def _reasons(counts: Mapping[str, int], where: Path) -> list[str]:
    most = sorted(((str(reason), count) for reason, count in counts.items()), key=lambda pair: (-pair[1], pair[0]))
    said = [f"  {count:>10,}  {reason}  {Reason.named(reason).explanation}" for reason, count in most]
    return [*said, f"  see {where}"] if said else []


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:5.1f}%" if total else ""


def _text(value: Any) -> str:
    text = ", ".join(value[:5]) if isinstance(value, list) else str(value)
    shown = legible(" ".join(text.split()))
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
