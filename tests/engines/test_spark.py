"""The mining job on a real Spark with a local master: the same shards, byte for byte, as in the memory of one process.

The job server (`spark.pom.xml` beside this file) is handed the job as a user would. Spark calls Python back either in
the launching process (LOOPBACK) or in a pool of workers started beforehand (EXTERNAL). With `--runner=SparkRunner` Beam
starts the job server itself.
"""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from tests.engines import traps
from tests.engines.jobs import JOB_TIMEOUT_S, assert_same, mined
from tests.engines.servers import SPARK_JAR, job_server, worker_pool
from tests.pipeline.duplicates.sounds import contents, write_copies
from tests.pipeline.jobs import running as running_job
from tests.pipeline.jobs import wait_until
from tests.pipeline.mining import manifest, row, write_catalogue
from tests.pipeline.misbehaving import Misbehaving

pytestmark = [
    pytest.mark.spark,
    pytest.mark.timeout(2 * JOB_TIMEOUT_S),
    pytest.mark.skipif(SPARK_JAR not in os.environ, reason="needs Java and Maven: run `make test-spark`"),
]


@pytest.fixture(scope="module")
def job_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("job-server")
    properties = (f"-Dspark.local.dir={folder}", "-Dspark.ui.enabled=false", "-Dspark.driver.host=localhost")
    with job_server(SPARK_JAR, folder, "--spark-master-url=local[2]", properties=properties) as endpoint:
        yield endpoint


def test_the_same_bytes_with_python_in_the_launcher(
    corpus: Path, in_memory: Path, detector: tuple[str, str], job_endpoint: str, tmp_path: Path
) -> None:
    options = ("--runner=PortableRunner", f"--job_endpoint={job_endpoint}", "--environment_type=LOOPBACK")
    assert_same(mined(corpus, tmp_path / "run", *detector, *options), in_memory)


def test_the_same_bytes_with_python_in_a_worker_pool(
    corpus: Path, in_memory: Path, detector: tuple[str, str], job_endpoint: str, tmp_path: Path
) -> None:
    with worker_pool(tmp_path) as pool:
        options = ("--runner=PortableRunner", f"--job_endpoint={job_endpoint}", *pool)
        assert_same(mined(corpus, tmp_path / "run", *detector, *options), in_memory)


def test_the_same_bytes_where_beam_starts_the_job_server(
    corpus: Path, in_memory: Path, detector: tuple[str, str], tmp_path: Path
) -> None:
    options = (
        *("--runner=SparkRunner", "--spark_master_url=local[2]", f"--spark_job_server_jar={os.environ[SPARK_JAR]}"),
        *("--job_port=0", "--artifact_port=0", "--expansion_port=0"),
    )
    assert_same(mined(corpus, tmp_path / "run", *detector, *options), in_memory)
    log = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "Exception ignored in atexit" not in log, "the job server does not end with the run"


def test_the_same_copies_are_found(job_endpoint: str, tmp_path: Path) -> None:
    write_copies(tmp_path)
    here = mined(tmp_path, tmp_path / "here")
    there = shutil.copytree(here, tmp_path / "there")
    mined(tmp_path, here, "--fingerprint")
    options = ("--runner=PortableRunner", f"--job_endpoint={job_endpoint}", "--environment_type=LOOPBACK")
    mined(tmp_path, there, "--fingerprint", *options)
    assert contents(there / "fingerprints") == contents(here / "fingerprints")
    assert manifest(there) == manifest(here)
    assert json.loads((there / "fingerprints" / "joined.json").read_text(encoding="utf-8"))["counts"]["copies"] >= 3


def test_no_trap_is_met(job_endpoint: str, tmp_path: Path) -> None:
    options = ["--runner=PortableRunner", f"--job_endpoint={job_endpoint}", "--environment_type=LOOPBACK"]
    traps.run(tmp_path / "traps", options)
    traps.assert_none_is_met(tmp_path / "traps")


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
