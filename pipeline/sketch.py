"""Bottom-k sketches: what a recording keeps of its texts is bounded by construction, however many they are.

A sketch holds the entries with the k smallest hashes, k being the source's cap, and exact counts of everything it has
seen. Two sketches merge into the one that the union would have given; so a recording with a million comments costs no
more memory than one with a thousand, in any order and on any number of workers. An entry that is among the smallest of
the union is among the smallest of each part, hence its number of occurrences is exact.
"""

from typing import NamedTuple

from schemas.accounting import Account
from schemas.digest import hash64
from schemas.reasons import Reason

# Plain tuples and dicts, since sketches cross workers: entries by hash, what was left out by reason, what was counted.
# An entry is (text, occurrences, tokens).
Entry = tuple[str, int, int]
Sketch = tuple[dict[int, Entry], dict[str, int], list[int]]
_ANNOTATIONS, _TOKENS, _ADDED = range(3)


def empty_sketch() -> Sketch:
    """Counted are annotations and tokens before anything is left out, and how many entries went in."""
    return {}, {}, [0, 0, 0]


def text_key(identity: str) -> int:
    """What texts share that are one entry: a signed 64-bit integer, which Beam's coders write as it is."""
    return hash64(identity) >> 1


def add_text(sketch: Sketch, key: int, text: str, tokens: int, cap: int) -> None:
    """Count a text and keep it, as far as the cap allows; texts of one key are one entry."""
    entries, _, counted = sketch
    counted[_ANNOTATIONS] += 1
    counted[_TOKENS] += tokens
    counted[_ADDED] += 1
    _merge_entry(entries, key, (text, 1, tokens))
    if len(entries) >= 2 * cap:
        _prune(entries, cap)


def leave_out(sketch: Sketch, reason: Reason, tokens: int) -> None:
    """Count a text that a rule decided against."""
    _, left_out, counted = sketch
    counted[_ANNOTATIONS] += 1
    counted[_TOKENS] += tokens
    left_out[str(reason)] = left_out.get(str(reason), 0) + 1


def merge_sketches(into: Sketch, other: Sketch, cap: int) -> Sketch:
    """`into`, with all of `other` added."""
    if into[0]:
        for key, entry in other[0].items():
            _merge_entry(into[0], key, entry)
    else:
        into[0].update(other[0])
    _prune(into[0], cap)
    for reason, count in other[1].items():
        into[1][reason] = into[1].get(reason, 0) + count
    for i, count in enumerate(other[2]):
        into[2][i] += count
    return into


def _merge_entry(entries: dict[int, Entry], key: int, entry: Entry) -> None:
    mine = entries.get(key)
    if mine is not None:
        smaller = min(mine, entry, key=lambda e: e[0])
        entry = (smaller[0], mine[1] + entry[1], smaller[2])
    entries[key] = entry


def _prune(entries: dict[int, Entry], cap: int) -> None:
    if len(entries) > cap:
        for key in sorted(entries)[cap:]:
            del entries[key]


class Counted(NamedTuple):
    """What a sketch comes to: entries in the order of their hashes, and the account of all that it saw."""

    entries: list[Entry]
    account: Account
    annotations: int
    tokens: int


def annotations_in(sketch: Sketch) -> int:
    """How many it has seen, kept or not."""
    return sketch[2][_ANNOTATIONS]


def count_sketch(sketch: Sketch, cap: int) -> Counted:
    entries, left_out, counted = sketch
    _prune(entries, cap)
    kept = [entries[key] for key in sorted(entries)]
    occurrences = sum(entry[1] for entry in kept)
    account = Account(kept=len(kept))
    for reason, count in left_out.items():
        account.leave_out(Reason.named(reason), count)
    account.leave_out(Reason.DUPLICATE_TEXT, occurrences - len(kept))
    account.leave_out(Reason.OVER_CAP, counted[_ADDED] - occurrences)
    return Counted(kept, account, counted[_ANNOTATIONS], counted[_TOKENS])
