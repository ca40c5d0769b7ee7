"""The same recordings over local HTTP, fetched and cut by video2dataset and by `mulan mine`, on the same two cores.

    python benchmarks/video2dataset.py --data ../shared/data

video2dataset 1.3.0 comes from the package registry into an environment of its own (`--environment`, made once: 6 GB,
since it brings its own torch). It runs as its documentation shows for clips: WebDataset out, `clips` from the input.
What the two do with a recording:

* `stream copy`: video2dataset fetches the file, writes it to disk, and has an ffmpeg process cut 30 s out of it without
  decoding; the clip begins at a packet boundary and keeps codec, rate and channels. It takes .m4a only: of an .mp3
  it cannot put the cut into the one output format that it was told, and .ogg and .opus it hands to yt-dlp, which
  finds no .m4a there.
* `exact`: the same with `precision: exact`, where ffmpeg decodes and encodes AAC again to cut at the asked times.
  (Its resampler to 16 kHz cannot be used here: its download worker asks it for a field that it does not have.)
* `mulan`: fetches the file, decodes it in a helper process to the exact sample, resamples to 16 kHz mono, encodes FLAC,
  and writes a shard with a hash for each clip. Detection is off: a detector that looks at nothing takes its place.

`seconds` run from the first request that the server gets to the last file of the output, so that neither side pays for
starting Python and importing its libraries; `command_s` has those too. The runs of the sides take turns, and of each
the one in the middle is reported (`exact`, which takes minutes, is run once). The server, in this process, takes its
share of the same cores.

`command_cpu_s` is the CPU time of all of a side's processes, starts included. `load` is what the machine was doing
besides (its load average before the first run): rates that were taken on a busy machine say little.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from schemas.digest import hash64
from schemas.run import Run

ROOT = Path(__file__).resolve().parents[1]
PINS = ("video2dataset==1.3.0", "pyarrow<18", "setuptools<82")
MIX = (".m4a", ".mp3", ".ogg", ".opus")
TYPES = {".m4a": "audio/mp4", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg"}
START_S, DURATION_S = 30.0, 30.0
LONGEST_S = 1_800.0
LEAST_S = 29.0  # a stream copy begins and ends at packets
THEIRS = "import json, sys; from video2dataset import video2dataset; video2dataset(**json.loads(sys.argv[1]))"
# `mulan mine` with a detector that looks at nothing.
OURS = "import sys; from benchmarks.video2dataset import undetected; sys.exit(undetected(sys.argv[1:]))"


class Server:
    """Files from memory; it notes when it is first asked."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.first_request = 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.first_request = server.first_request or time.time()
                body = files.get(unquote(self.path).lstrip("/"))
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Type", TYPES.get(Path(self.path).suffix, "text/plain"))
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                if body is not None and self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients break off as they like."""

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall seconds of a command, and CPU seconds of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=LONGEST_S)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def recordings(data: Path, count: int, suffixes: tuple[str, ...]) -> list[Path]:
    """Recordings that are long enough for the clip, in an order that depends on their ids alone."""
    short = {
        line.split(",")[0]
        for line in (data / "music_truth.csv").read_text(encoding="utf-8").splitlines()
        if ",music_short," in line
    }
    rows = map(json.loads, (data / "catalog.jsonl").read_text(encoding="utf-8").splitlines())
    paths = {
        row["recording_id"]: data / row["audio_uri"]
        for row in rows
        if row["recording_id"] not in short and Path(row["audio_uri"]).suffix in suffixes
    }
    chosen = sorted(paths, key=hash64)[:count]
    # Where there are fewer, they are served again under other names.
    return [paths[chosen[i % len(chosen)]] for i in range(count)]


def make_environment(folder: Path) -> Path:
    """Its Python, with video2dataset in it."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    probe = [str(python), "-c", "from importlib.metadata import version; print(version('video2dataset'))"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PINS], check=True)
    return python


@contextlib.contextmanager
def served(paths: list[Path]) -> Iterator[tuple[Server, list[str]]]:
    names = [f"{index}/{path.name}" for index, path in enumerate(paths)]
    server = Server({name: path.read_bytes() for name, path in zip(names, paths, strict=True)})
    try:
        yield server, [f"http://{server.address}/{name}" for name in names]
    finally:
        server.close()


def newest(folder: Path, pattern: str) -> float:
    return max((path.stat().st_mtime for path in folder.glob(pattern)), default=0.0)


def seconds_of(audio: bytes) -> float:
    import av

    try:
        with av.open(io.BytesIO(audio), "r") as container:
            return float(
                sum(frame.samples / frame.sample_rate for frame in container.decode(container.streams.audio[0]))
            )
    except av.FFmpegError:
        return 0.0


def measured(server: Server, urls: list[str], end: float, delivered: int, ran: tuple[float, float]) -> dict[str, Any]:
    if not server.first_request or not end:
        raise RuntimeError("nothing was asked for, or nothing was written")
    seconds = end - server.first_request
    return {
        "asked": len(urls),
        "delivered": delivered,
        "seconds": round(seconds, 2),
        "delivered_per_s": round(delivered / seconds, 1),
        "command_s": round(ran[0], 1),
        "command_cpu_s": round(ran[1], 1),
    }


def theirs(python: Path, paths: list[Path], *, processes: int, threads: int, precision: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, served(paths) as (server, urls):
        table, output = Path(folder, "urls.json"), Path(folder, "out")
        table.write_text(json.dumps([{"url": url, "clips": [[START_S, START_S + DURATION_S]]} for url in urls]))
        config = {
            "subsampling": {"ClippingSubsampler": {"args": {"precision": precision}}},
            "reading": {
                "yt_args": {"download_size": 360, "download_audio_rate": 0, "yt_metadata_args": None},
                "timeout": 60,
                "sampler": None,
            },
            "storage": {
                "number_sample_per_shard": -(-len(urls) // processes),
                "oom_shard_count": 5,
                "captions_are_subtitles": False,
            },
            "distribution": {
                "processes_count": processes,
                "thread_count": threads,
                "subjob_size": 1_000,
                "distributor": "multiprocessing",
            },
        }
        arguments = {
            "url_list": str(table),
            "output_folder": str(output),
            "output_format": "webdataset",
            "input_format": "json",
            "encode_formats": {"audio": "m4a"},
            "url_col": "url",
            "clip_col": "clips",
            "tmp_dir": folder,
            "config": config,
        }
        ran = run([str(python), "-c", THEIRS, json.dumps(arguments)], Path(folder))
        delivered = 0
        statuses: Counter[str] = Counter()
        for path in sorted(output.glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if content is not None and not member.name.endswith(".json"):
                        delivered += seconds_of(content.read()) >= LEAST_S
        for path in output.glob("*_stats.json"):
            stats = json.loads(path.read_text())
            statuses.update({name: stats[name] for name in ("successes", "failed_to_download", "failed_to_subsample")})
        result = measured(server, urls, newest(output, "*.tar"), delivered, ran)
        return {**result, "its_own_account": dict(statuses)}


def undetected(argv: list[str]) -> int:
    """`mulan mine` without detection."""
    import numpy as np

    import beam_runner
    from filters.music.builtin.detector import BuiltinDetector

    def no_scores(self: BuiltinDetector, wave_T: Any) -> Any:
        return np.ones(self.grid.frames(len(wave_T)), np.float32)

    BuiltinDetector.scores = no_scores  # type: ignore[method-assign]  # the benchmark's own, and in its process alone
    return beam_runner.main(argv)


def ours(paths: list[Path], *, workers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, served(paths) as (server, urls):
        catalogue, output = Path(folder, "catalog.jsonl"), Path(folder, "run")
        rows = [
            {
                "recording_id": f"r{index:04d}",
                "audio_uri": url,
                "start_s": START_S,
                "duration_s": DURATION_S,
                "music_gate": "score_only",
            }
            for index, url in enumerate(urls)
        ]
        catalogue.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [
            *(sys.executable, "-c", OURS, "--catalog", str(catalogue), "--output", str(output), "--quiet"),
            *("--tokenizer", "none", "--allow_private_hosts", server.address),
            *("--direct_num_workers", str(workers), "--direct_running_mode", "multi_threading"),
            *("--rows_per_shard", str(-(-len(urls) // (4 * workers)))),
        ]
        ran = run(command, ROOT)
        shards = Run.open(output)
        clips = [clip for group in shards.row_groups() for clip in shards.read(group, ["audio"])["audio"].to_pylist()]
        delivered = sum(seconds_of(clip) >= LEAST_S for clip in clips)
        stages: Counter[str] = Counter()
        for path in output.glob("**/*.json"):
            record = json.loads(path.read_text())
            if "seconds" in record and "recordings" in record:
                stages.update(record["seconds"])
        result = measured(server, urls, newest(output, "shards/*"), delivered, ran)
        return {**result, "seconds_of_stages": {name: round(value, 2) for name, value in sorted(stages.items())}}


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run in the middle by rate, with the rates of all."""
    ordered = sorted(runs, key=lambda run: run["delivered_per_s"])
    middle = ordered[len(ordered) // 2]
    assert statistics.median_high(run["delivered_per_s"] for run in runs) == middle["delivered_per_s"]
    return {**middle, "rates_of_all_runs": [run["delivered_per_s"] for run in runs]}


STREAM_COPY, EXACT, MULAN = "video2dataset, stream copy", "video2dataset, exact", "mulan"


def compare(given: argparse.Namespace) -> dict[str, Any]:
    python = make_environment(given.environment)
    mix = recordings(given.data, given.recordings, MIX)
    m4a = recordings(given.data, given.recordings, (".m4a",))
    their = {"processes": given.their_processes, "threads": given.their_threads}
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        f"mix, {STREAM_COPY}": lambda: theirs(python, mix, **their, precision="low"),
        f"mix, {MULAN}": lambda: ours(mix, workers=given.workers),
        f"m4a, {STREAM_COPY}": lambda: theirs(python, m4a, **their, precision="low"),
        f"m4a, {MULAN}": lambda: ours(m4a, workers=given.workers),
        f"m4a, {EXACT}": lambda: theirs(python, m4a, **their, precision="exact"),
    }
    load = os.getloadavg()[0]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for repeat in range(given.repeats):
        for name, side in sides.items():
            if EXACT in name and repeat:
                continue
            made = side()
            runs[name].append(made)
            sys.stderr.write(f"{name}: {made}\n")
    return {
        "containers_of_the_mix": dict(sorted(Counter(path.suffix for path in mix).items())),
        "clip": {"start_s": START_S, "duration_s": DURATION_S},
        "load": round(load, 1),
        "workers": given.workers,
        "video2dataset": {"pins": PINS, **their},
        **summary(runs),
    }


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The run in the middle of each side, and how many times as fast `mulan` is."""
    middle = {name: median(of) for name, of in runs.items() if of}
    times: dict[str, float | None] = {}
    for name, run_of_ours in middle.items():
        for other, run_of_theirs in middle.items():
            if name.endswith(MULAN) and not other.endswith(MULAN):
                theirs_per_s = run_of_theirs["delivered_per_s"]
                times[f"{name}, to {other}"] = (
                    round(run_of_ours["delivered_per_s"] / theirs_per_s, 2) if theirs_per_s else None
                )
    return {"runs": middle, "times_as_fast": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data", help="folder of the recordings")
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv-video2dataset", help="where its Python lives")
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--workers", type=int, default=3, help="of `mulan mine`; threads, each with a decoder's process"
    )
    parser.add_argument("--their_processes", type=int, default=2)
    parser.add_argument("--their_threads", type=int, default=4)
    given = parser.parse_args()
    write_result(
        "video2dataset",
        compare(given),
        packages=("apache-beam", "av"),
        command=f"python benchmarks/video2dataset.py --data ../shared/data --repeats {given.repeats}",
    )


if __name__ == "__main__":
    main()
