"""Tables with as much text a recording as the paper's Table 2 has, made up and the same each time.

A row has 43 short forms (of 16 tokens before the rules), 71 sentences (of 10; eleven in its description, the others in
twelve comments) and 24 playlists (of 2 tokens) before any filter; `share` makes it less of each.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHORT_FORMS, SENTENCES, COMMENTS, PLAYLISTS = 43, 71, 12, 24
DESCRIBED = 11  # sentences of the description
POOL = 20_000
MEMBERS = 100  # of a playlist
WORDS = (
    *("slow", "bright", "warm", "low", "soft", "loud", "dark", "quick", "guitar", "piano", "violin", "drums", "bass"),
    *("voice", "choir", "organ", "live", "session", "remix", "cover", "winter", "river", "garden", "night", "morning"),
    *("road", "city", "harbour", "light", "shadow", "old", "new", "blue", "silver", "golden", "first", "last", "long"),
    *("little", "love", "dream", "time", "home", "heart", "fire", "rain", "stone", "wild", "free", "lost", "this"),
    *("that", "with", "from", "into", "over", "never", "always", "still", "again", "playing", "sounds", "makes"),
    *("feels", "reminds", "takes", "gives", "keeps", "turns", "brings"),
)
JUNK = ("(Official Video)", "[HD]", "| lyrics", "https://example.com/watch?v=1", "#viral", "out now on Spotify", "720p")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Texts of one recording."""

    short_forms: int = SHORT_FORMS
    described: int = DESCRIBED
    comments: int = COMMENTS
    sentences: int = (SENTENCES - DESCRIBED) // COMMENTS  # of a comment
    playlists: int = PLAYLISTS


PAPER = Volume()
TENTH = Volume(short_forms=4, described=2, comments=1, sentences=5, playlists=2)


class Texts:
    """What the tables draw from; a number makes each sentence another one."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._short = [self._short_form() for _ in range(POOL)]
        self._sentences = [self._sentence() for _ in range(POOL)]

    def _words(self, fewest: int, most: int) -> str:
        return " ".join(self._draw.choices(WORDS, k=self._draw.randint(fewest, most)))

    def _short_form(self) -> str:
        junk = f" {self._draw.choice(JUNK)}" if self._draw.random() < 0.4 else ""
        return f"{self._words(3, 18)}{junk}"

    def _sentence(self) -> str:
        return f"{self._words(4, 12).capitalize()}."

    def short_forms(self, count: int) -> list[str]:
        return self._draw.choices(self._short, k=count)

    def sentences(self, count: int) -> str:
        return " ".join(self._draw.choices(self._sentences, k=count))

    def title(self) -> str:
        return self._words(1, 3)


def identifier(number: int) -> str:
    return f"r{number:09d}"


def catalogue(recordings: int, volume: Volume, texts: Texts) -> Iterator[dict[str, Any]]:
    for number in range(recordings):
        title, artist, album, *tags = texts.short_forms(max(3, volume.short_forms))
        yield {
            "recording_id": identifier(number),
            "audio_uri": f"{number}.flac",
            "title": title,
            "artist": artist,
            "album": album,
            "tags": tags,
            "description": texts.sentences(volume.described),
        }


def comments(recordings: int, volume: Volume, texts: Texts) -> Iterator[dict[str, Any]]:
    """Each recording's comments far apart, as a crawl that comes back has them."""
    for _ in range(volume.comments):
        for number in range(recordings):
            yield {"recording_id": identifier(number), "text": texts.sentences(volume.sentences)}


def playlists(recordings: int, volume: Volume, texts: Texts) -> Iterator[dict[str, Any]]:
    step = 7_919  # a prime: the recordings of a playlist lie apart
    for number in range(recordings * volume.playlists // MEMBERS):
        members = [identifier((number * MEMBERS + member) * step % recordings) for member in range(MEMBERS)]
        yield {"playlist_id": f"p{number:08d}", "title": texts.title(), "recording_ids": members}


def write_tables(folder: Path, recordings: int, volume: Volume, *, seed: int = 0) -> dict[str, Path]:
    """A file a table, by the option that names it."""
    texts = Texts(seed)
    made = {"catalog": catalogue, "comments": comments, "playlists": playlists}
    return {name: write_lines(folder / f"{name}.jsonl", rows(recordings, volume, texts)) for name, rows in made.items()}


def write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return path
