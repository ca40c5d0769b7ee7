"""What an interrupt or a kill in the middle of a long shard costs: recordings that are decoded a second time.

    python -m benchmarks.kill_cost

A job of 300 recordings in one shard, fetched from a local server that takes a quarter of a second for each, is ended a
minute after its first recording: by SIGINT and by SIGKILL, alone and with two worker processes, of which one is killed
as well. Then the same command is run to its end. What is decoded is counted where a worker asks its decode helper, in
all processes of both jobs. Beside it: what the pieces that make it cheap cost a job that nobody ends. Exit code 1 where
a case decodes more than max(8, 10 % of what was finished) again, where a shard or the manifest has other bytes than
without, or where the pieces take more than 2 % of the job's CPU time.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from tests.pipeline.jobs import hook, running, wait_until
from tests.pipeline.mining import manifest, row, shard_hashes, write_chord
from tests.pipeline.misbehaving import Misbehaving

ANSWER_S = 0.25
MEDIA = 20
MAX_COST = 0.02  # of a job's CPU time
COUNT = """
from pipeline.media import clip
ask = clip._Helper.ask
def count(*request):
    with open({path!r}, "a") as lines:
        lines.write("asked\\n")
    return ask(*request)
clip._Helper.ask = count
"""
# What the pieces take of the CPU time of a job in one process: each thing that is asked of them, by its own thread.
TIMED = """
import atexit, json, resource, threading, time
from pipeline.run_folder import pieces
spent = [0.0, 0]
inside = threading.local()
def timed(function):
    def run(*arguments):
        if getattr(inside, "is_so", False):
            return function(*arguments)
        inside.is_so, start_s = True, time.thread_time()
        try:
            return function(*arguments)
        finally:
            spent[0] += time.thread_time() - start_s
            spent[1] += function.__name__ == "keep"
            inside.is_so = False
    return run
for name in ("__init__", "keep", "leave_out", "save", "close", "delete"):
    setattr(pieces.Pieces, name, timed(getattr(pieces.Pieces, name)))
def tell():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(one.ru_utime + one.ru_stime for one in used)
    with open({path!r}, "w") as file:
        json.dump({{"pieces_cpu_s": spent[0], "rows": spent[1], "job_cpu_s": cpu_s}}, file)
atexit.register(tell)
"""
# Signal, to whom, number of worker processes.
CASES = (
    *(("SIGINT", "launcher", 1), ("SIGINT", "launcher", 2)),
    *(("SIGKILL", "launcher", 1), ("SIGKILL", "launcher", 2), ("SIGKILL", "worker", 2)),
)


class Corpus:
    """Recordings on a server, and a job that mines them into one shard."""

    def __init__(self, folder: Path, server: Misbehaving, recordings: int) -> None:
        self.folder, self.server, self.recordings = folder, server, recordings
        for number in range(MEDIA):
            write_chord(folder / "chord.flac", seed=number, seconds=40.0)
            server.files[f"/{number}.flac"] = (folder / "chord.flac").read_bytes()
        rows = (
            row(number, audio_uri=server.url(f"/{number % MEDIA}.flac"), duration_s=30.0)
            for number in range(recordings)
        )
        self.catalogue = folder / "catalog.jsonl"
        self.catalogue.write_text("".join(json.dumps(value) + "\n" for value in rows), encoding="utf-8")
        self.environment = hook(folder / "hook", COUNT.format(path=str(folder / "counts")))

    def asked(self) -> int:
        counts = self.folder / "counts"
        return len(counts.read_bytes().splitlines()) if counts.exists() else 0

    def job(self, output: Path, workers: int) -> Any:
        options = ("--rows_per_shard=512", f"--direct_num_workers={workers}")
        private = ("--allow_private_hosts", self.server.host_and_port)
        return running(self.folder, self.catalogue, output, *options, *private, **self.environment)

    def cost_of_pieces(self, output: Path) -> dict[str, Any]:
        """Of a whole job in one process."""
        path = self.folder / "cost.json"
        environment = hook(self.folder / "timed", TIMED.format(path=str(path)))
        options = ("--rows_per_shard=512", "--allow_private_hosts", self.server.host_and_port)
        with running(self.folder, self.catalogue, output, *options, **environment) as job:
            assert job.process.wait() == 0, job.said()
        cost: dict[str, Any] = json.loads(path.read_bytes())
        return cost | {
            "ms_a_row": 1e3 * cost["pieces_cpu_s"] / cost["rows"],
            "share": cost["pieces_cpu_s"] / cost["job_cpu_s"],
        }

    def mine(self, output: Path, workers: int) -> int:
        """To its end; how many were decoded by then."""
        self.server.before = lambda path: None
        with self.job(output, workers) as job:
            assert job.process.wait() == 0, job.said()
        return self.asked()


def go_through(
    corpus: Corpus, undisturbed: Path, name: str, target: str, workers: int, after_s: float
) -> dict[str, Any]:
    """End the job, run it again, and compare."""
    output = undisturbed.with_name(f"{name}-{target}-{workers}")
    (corpus.folder / "counts").unlink(missing_ok=True)
    corpus.server.before = lambda path: time.sleep(ANSWER_S)
    with corpus.job(output, workers) as job:
        wait_until(corpus.asked, "nothing is decoded")
        time.sleep(after_s)
        (in_hand,) = [sign.pid for sign in job.signs() if sign.recording_id] or [job.process.pid]
        os.kill(job.process.pid if target == "launcher" else in_hand, signal.Signals[name])
        asked = corpus.asked()
        job.end()
    again = corpus.mine(output, workers) - corpus.recordings
    finished = asked - 1
    return {
        "signal": name,
        "to": target,
        "workers": workers,
        "finished": finished,
        "decoded_again": again,
        "within_the_bar": 0 < finished < corpus.recordings and again <= max(8, 0.1 * finished),
        "same_bytes": shard_hashes(output) == shard_hashes(undisturbed) and manifest(output) == manifest(undisturbed),
        "pieces_left": len(list(output.glob("pieces/*"))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=300, metavar="N", help="default: %(default)s")
    parser.add_argument("--after_s", type=float, default=60.0, metavar="S", help="default: %(default)g")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], choices=[0, 1, 2], help="default: 1 2; with 0 none is ended"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-cost-") as folder, Misbehaving() as server:
        corpus = Corpus(Path(folder), server, arguments.recordings)
        undisturbed = Path(folder, "undisturbed")
        corpus.mine(undisturbed, 1)
        cost = corpus.cost_of_pieces(Path(folder, "timed-run"))
        sys.stderr.write(f"{cost}\n")
        results = []
        for case in [case for case in CASES if case[-1] in arguments.workers]:
            results.append(go_through(corpus, undisturbed, *case, arguments.after_s))
            sys.stderr.write(f"{results[-1]}\n")
    write_result(
        "_".join(["kill_cost", *map(str, arguments.workers)]),
        {"recordings": arguments.recordings, "after_s": arguments.after_s, "cases": results, "pieces": cost},
        packages=("apache-beam", "pyarrow"),
        command=" ".join(["python -m benchmarks.kill_cost", *sys.argv[1:]]),
    )
    held = all(result["within_the_bar"] and result["same_bytes"] and not result["pieces_left"] for result in results)
    return 0 if held and cost["share"] <= MAX_COST else 1


if __name__ == "__main__":
    sys.exit(main())
