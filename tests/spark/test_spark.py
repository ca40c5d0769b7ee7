"""The mining job on a real Spark: the same shards, byte for byte, as in the memory of one process.

A job server (`pom.xml` beside this file) runs Spark with a local master; the job is handed to it as a user would. Spark
calls Python back either in the launching process (LOOPBACK) or in a pool of workers started beforehand (EXTERNAL). With
`--runner=SparkRunner` Beam starts the job server itself, from a jar which names the same parts.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from tests.pipeline.jobs import running as running_job
from tests.pipeline.jobs import wait_until
from tests.pipeline.mining import manifest, row, shard_hashes, write_catalogue
from tests.pipeline.misbehaving import Misbehaving
from tests.shared_files import SharedFolder

CLASS_PATH_FILE = "SPARK_CLASSPATH_FILE"
CHECKOUT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S, STOP_TIMEOUT_S, JOB_TIMEOUT_S = 180, 20, 500
MAIN_CLASS = "org.apache.beam.runners.spark.SparkJobServerDriver"
# What Spark 3.5 reaches into of a JVM of version 17.
OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util"),
    *("java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action"),
    "sun.util.calendar",
)

pytestmark = [
    pytest.mark.spark,
    pytest.mark.timeout(2 * JOB_TIMEOUT_S + START_TIMEOUT_S),
    pytest.mark.skipif(CLASS_PATH_FILE not in os.environ, reason="needs Java and Maven: run `make test-spark`"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port: int = probe.getsockname()[1]
    return port


def environment() -> dict[str, str]:
    """This interpreter first on PATH, since Beam's worker pool starts `python`; and the checkout to import from."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT)}


@contextmanager
def running(name: str, command: Sequence[str], port: int, folder: Path) -> Iterator[None]:
    """A server in a process group of its own, from when it listens on `port` until the body is done."""
    log_path = folder / f"{name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment(),
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{name} does not listen on port {port} (exit code {process.poll()}):\n{tail(log_path)}")
            time.sleep(0.2)
        try:
            yield
        except BaseException:
            sys.stderr.write(f"--- {name}\n{tail(log_path)}\n")
            raise
    finally:
        stop(process)


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("localhost", port), timeout=1):
            return True
    except OSError:
        return False


def stop(process: "subprocess.Popen[bytes]") -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue


def tail(path: Path, lines: int = 60) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@pytest.fixture(scope="module")
def job_server_jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A jar without classes, whose manifest says where they are."""
    parts = Path(os.environ[CLASS_PATH_FILE]).read_text(encoding="utf-8").strip().split(os.pathsep)
    attributes = {
        "Manifest-Version": "1.0",
        "Main-Class": MAIN_CLASS,
        "Add-Opens": " ".join(f"java.base/{package}" for package in OPENED),
        "Class-Path": " ".join(Path(part).as_uri() for part in parts),
    }
    lines = []
    for name, value in attributes.items():
        line = f"{name}: {value}"
        # A line of a manifest has at most 72 bytes; the next one goes on after a space.
        lines += [line[:70], *(f" {line[i : i + 69]}" for i in range(70, len(line), 69))]
    path = tmp_path_factory.mktemp("jar") / "job-server.jar"
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "\n".join([*lines, ""]))
    return path


@pytest.fixture(scope="module")
def job_endpoint(job_server_jar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("job-server")
    port = free_port()
    command = [
        *("java", "-Xmx2g"),
        f"-Djava.io.tmpdir={folder}",
        f"-Dspark.local.dir={folder}",
        "-Dspark.ui.enabled=false",
        "-Dspark.driver.host=localhost",
        *("-jar", str(job_server_jar)),
        "--job-host=localhost",
        f"--job-port={port}",
        f"--artifact-port={free_port()}",
        "--expansion-port=-1",
        f"--artifacts-dir={folder / 'artifacts'}",
        "--spark-master-url=local[2]",
    ]
    with running("job server", command, port, folder):
        yield f"localhost:{port}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings with comments and playlists of their own, one that is missing, and a line that is no JSON."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [row(number, music_gate=("apply", "score_only")[number % 2]) for number in range(12)]
    catalogue = write_catalogue(folder, [*rows, row(12, audio_uri="audio/missing.ogg")])
    with catalogue.open("a", encoding="utf-8") as stream:
        stream.write("{no json\n")
    ids = [value["recording_id"] for value in rows]
    comments = [
        {"recording_id": name, "text": f"Comment {i} on it. I like how it goes."} for i in range(3) for name in ids
    ]
    playlists = [{"playlist_id": f"list-{i}", "title": f"evenings {i}", "recording_ids": ids[i::2]} for i in range(4)]
    for name, values in (("comments", comments), ("playlists", playlists)):
        lines = "".join(f"{json.dumps(value)}\n" for value in values)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def detector(shared_folder: SharedFolder) -> str:
    """YAMNet where its file is at hand, which each worker has to find under its name."""
    yamnet = shared_folder.find("models/yamnet.tflite")
    return str(yamnet) if yamnet is not None else "builtin"


def mined(corpus: Path, output: Path, detector: str, *options: str) -> Path:
    """`mulan mine` in a process of its own, with `options` for Beam."""
    command = [
        *(sys.executable, str(CHECKOUT / "beam_runner.py")),
        *("--catalog", str(corpus / "catalog.jsonl")),
        *("--comments", str(corpus / "comments.jsonl")),
        *("--playlists", str(corpus / "playlists.jsonl")),
        *(
            "--output",
            str(output),
            "--tokenizer",
            "none",
            "--music_detector",
            detector,
            "--rows_per_shard",
            "4",
            "--max_failure_rate",
            "0.2",
        ),
        *options,
    ]
    log_path = output.with_suffix(".log")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=output.parent,
            env=environment(),
            start_new_session=True,
        )
        try:
            code = process.wait(JOB_TIMEOUT_S)
        finally:
            stop(process)
    assert code == 0, tail(log_path)
    return output


def plan_files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("plans/*/part-*.parquet")}


def reject_files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("**/rejects*/*.jsonl")}


@pytest.fixture(scope="module")
def in_memory(corpus: Path, detector: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined(corpus, tmp_path_factory.mktemp("in-memory") / "run", detector)


def assert_same(output: Path, expected: Path) -> None:
    assert len(manifest(expected)["shards"]) >= 3
    assert shard_hashes(output) == shard_hashes(expected)
    assert manifest(output) == manifest(expected)
    assert plan_files(output) == plan_files(expected)
    assert reject_files(output) == reject_files(expected)


def test_the_same_bytes_with_python_in_the_launcher(
    corpus: Path, in_memory: Path, detector: str, job_endpoint: str, tmp_path: Path
) -> None:
    options = ("--runner=PortableRunner", f"--job_endpoint={job_endpoint}", "--environment_type=LOOPBACK")
    assert_same(mined(corpus, tmp_path / "run", detector, *options), in_memory)


def test_the_same_bytes_with_python_in_a_worker_pool(
    corpus: Path, in_memory: Path, detector: str, job_endpoint: str, tmp_path: Path
) -> None:
    port = free_port()
    pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with running("worker pool", pool, port, tmp_path):
        options = (
            *("--runner=PortableRunner", f"--job_endpoint={job_endpoint}"),
            *("--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"),
        )
        assert_same(mined(corpus, tmp_path / "run", detector, *options), in_memory)


def test_the_same_bytes_where_beam_starts_the_job_server(
    corpus: Path, in_memory: Path, detector: str, job_server_jar: Path, tmp_path: Path
) -> None:
    options = (
        *("--runner=SparkRunner", "--spark_master_url=local[2]", f"--spark_job_server_jar={job_server_jar}"),
        *("--job_port=0", "--artifact_port=0", "--expansion_port=0"),
    )
    assert_same(mined(corpus, tmp_path / "run", detector, *options), in_memory)


def job_states(job_endpoint: str) -> dict[str, str]:
    """What the job server says of each job that it has had."""
    with grpc.insecure_channel(job_endpoint) as channel:
        jobs = beam_job_api_pb2_grpc.JobServiceStub(channel).GetJobs(beam_job_api_pb2.GetJobsRequest())
    return {job.job_id: beam_job_api_pb2.JobState.Enum.Name(job.state) for job in jobs.job_info}


def test_sigterm_cancels_the_job_there(corpus: Path, job_endpoint: str, tmp_path: Path) -> None:
    """While a worker waits for a recording that does not come."""
    gate = threading.Event()
    known = job_states(job_endpoint)
    with Misbehaving() as server:
        server.before = lambda path: (gate.wait(JOB_TIMEOUT_S), None)[1]
        catalogue = write_catalogue(tmp_path, [row(0), row(1, audio_uri=server.url("/held"))])
        beam = ("--runner=PortableRunner", f"--job_endpoint={job_endpoint}", "--environment_type=LOOPBACK")
        options = ("--allow_private_hosts", server.host_and_port, *beam)
        with running_job(tmp_path, catalogue, tmp_path / "run", *options) as job:
            wait_until(lambda: server.requests["/held"], "the recording is not asked for")
            os.kill(job.process.pid, signal.SIGTERM)
            assert job.end() == 3, job.said()
            assert "Traceback" not in job.said()
            assert job.said_lines()[-1].startswith("mulan mine: interrupted")
        gate.set()
    states = {name: state for name, state in job_states(job_endpoint).items() if name not in known}
    assert list(states.values()).count("CANCELLED") == 1, states
    assert "RUNNING" not in states.values()
