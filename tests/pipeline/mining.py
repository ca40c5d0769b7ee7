"""What the tests of the mining job share: small catalogues of real files, and ways to run the job on them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from beam_runner import main
from tests.pipeline.quick_beam import spare_beam

spare_beam()

RATE_HZ = 16_000
START_S, DURATION_S = 1.0, 4.0
WORDS = ("slow", "fast", "bright", "dark", "warm", "cold", "soft", "loud")


def write_chord(path: Path, seed: int, seconds: float = 6.0) -> None:
    """A few steady partials with a beat: real audio, quickly made."""
    rng = np.random.default_rng(seed)
    time_T = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave_T = sum(np.sin(2 * np.pi * pitch * time_T) for pitch in rng.choice([220, 277, 330, 440, 554, 660], 3, False))
    wave_T = wave_T * (0.6 + 0.4 * np.sign(np.sin(2 * np.pi * 2 * time_T))) * 0.2
    soundfile.write(path, wave_T.astype(np.float32), RATE_HZ)


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A catalogue row over `audio/<number>.flac`."""
    word = WORDS[number % len(WORDS)]
    return {
        "recording_id": f"rec-{number:03d}",
        "audio_uri": f"audio/{number:03d}.flac",
        "title": f"A {word} tune (Official Video) [HD]",
        "artist": f"The {word} band",
        "tags": [word, "chords", f"take {number}"],
        "description": f"A {word} piece for three steady tones. It was recorded at home in one take.",
        "comments": [f"What a {word} sound this has!", "check out my channel http://spam.example"],
        "start_s": START_S,
        "duration_s": DURATION_S,
        "music_gate": "score_only",
        **changes,
    }


def write_catalogue(folder: Path, rows: Iterable[Mapping[str, Any]], name: str = "catalog.jsonl") -> Path:
    """Rows as JSONL beside the audio files that they name; a file that is there already is kept."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    lines = []
    for value in rows:
        lines.append(json.dumps(value))
        media = folder / str(value["audio_uri"])
        if media.suffix == ".flac" and not media.exists():
            write_chord(media, seed=int(media.stem))
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def mine(catalogue: Path | str, output: Path | str, *options: str) -> int:
    """`mulan mine` in this process; no tokens are counted unless `options` name a tokenizer."""
    tokenizer = () if "--tokenizer" in options else ("--tokenizer", "none")
    return main(["--catalog", str(catalogue), "--output", str(output), "--quiet", *tokenizer, *options])


def report(output: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return value


def manifest(output: Path) -> dict[str, Any]:
    pointer = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    value: dict[str, Any] = json.loads((output / pointer["manifest"]).read_text(encoding="utf-8"))
    return value


def shard_hashes(output: Path) -> dict[str, str]:
    """Name and content hash of every file that the manifest names."""
    named = [shard["path"] for shard in manifest(output)["shards"]] + [manifest(output)["groups_path"]]
    return {name: hashlib.sha256((output / name).read_bytes()).hexdigest() for name in named}


def rejects(output: Path) -> list[dict[str, Any]]:
    """What was left out, of the catalogue and of the recordings."""
    files = [*sorted(output.glob("plans/*/rejects-*.jsonl")), *sorted(output.glob("rejects/*.jsonl"))]
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
