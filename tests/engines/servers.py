"""Servers of the engines on this machine, each in a process group of its own: job servers, worker pools, clusters.

The jars and where the engines lie come from the environment, set by the Makefile's targets.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.job_server_jar import OPENED

CHECKOUT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S, STOP_TIMEOUT_S = 300, 20
# Jars that `tests.engines.job_server_jar` makes, and the folders of pyspark and pyflink.
SPARK_JAR, FLINK_JAR, SPARK_HOME, FLINK_HOME = (
    "SPARK_JOB_SERVER_JAR",
    "FLINK_JOB_SERVER_JAR",
    "SPARK_HOME",
    "FLINK_HOME",
)
ADD_OPENS = tuple(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED)
TASK_MANAGER_MIB = {
    "framework.heap": 128,
    "framework.off-heap": 128,
    "task.heap": 256,
    "task.off-heap": 0,
    "managed": 256,
    "jvm-metaspace": 256,
}
NETWORK_MIB, OVERHEAD_MIB = 192, 192


@dataclass(frozen=True, kw_only=True)
class Server:
    process: "subprocess.Popen[bytes]"
    log: Path

    def kill(self) -> None:
        """With all that it has started, and no word of farewell."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """`master` is its address for a job server, `page` that of its web page, which has a JSON of everything."""

    master: str
    page: str
    workers: Sequence[Server]

    def told(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.page}{path}", timeout=60) as answer:
            return json.load(answer)


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
def running(name: str, command: Sequence[str], port: int, folder: Path) -> Iterator[Server]:
    """A server, from when it listens on `port` until the body is done. Raises RuntimeError where it does not."""
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
                said = tail(log_path)
                raise RuntimeError(f"{name} does not listen on port {port} (exit code {process.poll()}):\n{said}")
            time.sleep(0.2)
        try:
            yield Server(process=process, log=log_path)
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


@contextmanager
def job_server(jar: str, folder: Path, *options: str, properties: Sequence[str] = ()) -> Iterator[str]:
    """The endpoint of a job server of Beam, of the jar in the environment variable `jar`."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = [
        *("java", "-Xmx2g", f"-Djava.io.tmpdir={folder}", *properties, "-jar", os.environ[jar]),
        *("--job-host=localhost", f"--job-port={port}", f"--artifact-port={free_port()}", "--expansion-port=-1"),
        *(f"--artifacts-dir={folder / 'artifacts'}", *options),
    ]
    with running("job server", command, port, folder):
        yield f"localhost:{port}"


@contextmanager
def worker_pool(folder: Path) -> Iterator[tuple[str, ...]]:
    """Beam's options for a pool of Python workers that is started beforehand."""
    port = free_port()
    pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with running("worker pool", pool, port, folder):
        yield "--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"


@contextmanager
def spark_cluster(folder: Path, *, workers: int = 2) -> Iterator[Cluster]:
    """A standalone master, and workers with a core each."""
    spark_class = str(Path(os.environ[SPARK_HOME]) / "bin" / "spark-class")
    port, page = free_port(), free_port()
    master = f"spark://localhost:{port}"
    deploy, here = "org.apache.spark.deploy", ("--host", "localhost")
    command = [spark_class, f"{deploy}.master.Master", *here, "--port", str(port), "--webui-port", str(page)]
    with ExitStack() as stack:
        stack.enter_context(running("master", command, port, folder))
        started = []
        for number in range(workers):
            own = folder / f"worker-{number}"
            own.mkdir()
            own_page = free_port()
            command = [
                *(spark_class, f"{deploy}.worker.Worker", master, *here, "--cores", "1", "--memory", "1g"),
                *("--work-dir", str(own), "--webui-port", str(own_page)),
            ]
            started.append(stack.enter_context(running("worker", command, own_page, own)))
        yield Cluster(master=master, page=f"localhost:{page}", workers=started)


def spark_options(master: str) -> tuple[str, ...]:
    """Beam's options for a Spark, whose executors find the parts of the job server before its own older ones."""
    jar = os.environ[SPARK_JAR]
    return (
        *("--runner=SparkRunner", f"--spark_master_url={master}", f"--spark_job_server_jar={jar}"),
        f"--job_server_jvm_property=-Dspark.executor.extraClassPath={jar}",
    )


def flink_options(master: str) -> tuple[str, ...]:
    return (
        *("--runner=FlinkRunner", f"--flink_master={master}", "--flink_version=1.19", "--parallelism=2"),
        f"--flink_job_server_jar={os.environ[FLINK_JAR]}",
    )


@contextmanager
def flink_cluster(folder: Path, *, workers: int = 2) -> Iterator[Cluster]:
    """A session cluster: a JobManager, and TaskManagers, either of which has slots enough for a job."""
    port, page = free_port(), free_port()
    settings = {
        "jobmanager.rpc.address": "localhost",
        "jobmanager.rpc.port": port,
        "jobmanager.memory.process.size": "1g",
        "rest.address": "localhost",
        "rest.bind-address": "localhost",
        "rest.port": page,
        "taskmanager.numberOfTaskSlots": 2,
        # The jar of a job server has classes of Flink too, which must be the cluster's own.
        "classloader.resolve-order": "parent-first",
        # A batch job is not begun again otherwise when a TaskManager is lost.
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 10,
        "restart-strategy.fixed-delay.delay": "3 s",
        "heartbeat.timeout": 20_000,
        **{f"taskmanager.memory.{name}.size": f"{mib}m" for name, mib in TASK_MANAGER_MIB.items()},
        **{f"taskmanager.memory.network.{end}": f"{NETWORK_MIB}m" for end in ("min", "max")},
        **{f"taskmanager.memory.jvm-overhead.{end}": f"{OVERHEAD_MIB}m" for end in ("min", "max")},
        "taskmanager.cpu.cores": 1,
    }
    (folder / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    java = ("java", "-Xmx700m", *ADD_OPENS, f"-Djava.io.tmpdir={folder}", "-cp", f"{os.environ[FLINK_HOME]}/lib/*")
    runtime = "org.apache.flink.runtime"
    with ExitStack() as stack:
        command = [*java, f"{runtime}.entrypoint.StandaloneSessionClusterEntrypoint", f"--configDir={folder}"]
        stack.enter_context(running("job manager", command, page, folder))
        started = []
        for number in range(workers):
            own = folder / f"worker-{number}"
            own.mkdir()
            own_port = free_port()
            command = [
                *(*java, f"{runtime}.taskexecutor.TaskManagerRunner", f"--configDir={folder}"),
                *("-D", f"taskmanager.rpc.port={own_port}", "-D", "taskmanager.host=localhost"),
            ]
            started.append(stack.enter_context(running("task manager", command, own_port, own)))
        yield Cluster(master=f"localhost:{page}", page=f"localhost:{page}", workers=started)
