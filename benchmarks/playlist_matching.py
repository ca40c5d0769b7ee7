"""What it costs to match playlists to many recordings, in CPU time and memory, and whether a match is ever a wrong one.

    python -m benchmarks.playlist_matching --recordings 1000000 --entries 10000

The recordings are made: 20 titles, each also live, of every artist. Entries name theirs by a path of another machine,
by its video, by artist and title with what streaming services add, by another version that there is, and by one that
there is not, a fifth each; the last have to be listed.
"""

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.machine import write_result
from schemas.playlist_files.entries import Entry, ListedPlaylist
from schemas.playlist_files.matching import Key, Matcher, Unmatched

PER_ARTIST = 40
KINDS = ("path", "video", "remaster", "live", "remix that is not there")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=10_000)
    given = parser.parse_args()
    started = time.process_time()
    listed = ListedPlaylist(playlist_id="p", title="t", where="w")
    found: Counter[str] = Counter()
    with Matcher(keys(given.recordings)) as matcher:
        filled_s = time.process_time() - started
        started = time.process_time()
        for number in range(given.entries):
            kind, wanted, entry = asked(number * given.recordings // given.entries, number)
            got = matcher.match(entry, listed)
            outcome = "listed" if isinstance(got, Unmatched) else "right" if got == wanted else "wrong"
            found[f"{kind}: {outcome}"] += 1
        matched_s = time.process_time() - started
    result = {
        "recordings": given.recordings,
        "entries": given.entries,
        "fill_cpu_s": round(filled_s, 1),
        "fill_cpu_us_per_recording": round(1e6 * filled_s / given.recordings, 1),
        "match_cpu_ms_per_entry": round(1e3 * matched_s / given.entries, 3),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "entries_by_kind": dict(sorted(found.items())),
    }
    command = "python -m benchmarks.playlist_matching " + " ".join(sys.argv[1:])
    write_result("playlist_matching", result, packages=(), command=command.strip())
    return 0


def key(number: int) -> Key:
    artist, song = divmod(number, PER_ARTIST)
    title = f"Song {song // 2}" + (" (Live)" if song % 2 else "")
    return Key(
        recording_id=f"r{number}",
        path=f"/music/Artist {artist}/{song:02d} {title}.flac",
        names=(f"youtube:{number:011d}",),
        artist=f"Artist {artist}",
        title=title,
        duration_s=180.0 + song,
    )


def keys(count: int) -> Iterator[Key]:
    return (key(number) for number in range(count))


def asked(number: int, turn: int) -> tuple[str, str | None, Entry]:
    """What is asked for, the recording that it means, and the entry."""
    kind = KINDS[turn % len(KINDS)]
    number += (kind == "live") - number % 2  # songs are even, their live versions odd
    known = key(number)
    plain = str(known.title).removesuffix(" (Live)")
    if kind == "path":
        path = str(known.path).replace("/music", "D:\\Old").replace("/", "\\")
        return kind, known.recording_id, Entry(where="w", path=path)
    if kind == "video":
        return kind, known.recording_id, Entry(where="w", names=known.names)
    said = {"remaster": f"{plain} - 2011 Remaster", "live": f"{plain} [LIVE]"}.get(kind, f"{plain} (Remix)")
    wanted = None if "not there" in kind else known.recording_id
    return kind, wanted, Entry(where="w", artist=str(known.artist).upper(), title=said)


if __name__ == "__main__":
    sys.exit(main())
