"""Beam's start-up: from Beam's options to something that runs a pipeline to its end.

The one module that knows which runner a job is on. A local run is watched and its worker processes are fitted out here;
an engine gets the pipeline and is waited for. The stages know nothing of either.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners.portability.job_server import StopOnExitJobServer
from apache_beam.runners.runner import create_runner
from apache_beam.utils.subprocess_server import pick_port

from pipeline.progress.watching import View
from pipeline.workers.watch import Watch, hush, job_folder, readers_hushed
from pipeline.workers.worker import HOOK, HOOK_NAME, JOB_FOLDER
from schemas.exits import InputError
from schemas.one_line import one_line
from schemas.signals import held_back

if TYPE_CHECKING:
    from pipeline.mine import RunPipeline

# Named in full, since the short name `DirectRunner` may pick, and try to download, another one.
LOCAL_RUNNER = "FnApiRunner"
# As Beam reads them: in any case, the word "runner" left out or not.
LOCAL_RUNNERS = ("fnapi", "direct", "bundlebaseddirect", "switchingdirect")
# Loggers of Beam that tell at length, and several times over, of an exception which the launcher gets in the end.
SAID_AT_THE_END = (
    "apache_beam.runners.common",
    "apache_beam.runners.portability.local_job_service",
    "apache_beam.runners.worker.sdk_worker",
)
# Of the job server that Beam starts for a run: all its steps are one application of Spark rather than one each. Beam
# has it for its own tests; the server ends with the run, and the application with it.
ONE_SPARK_APPLICATION = "-Dbeam.spark.test.reuseSparkContext=true"
# After the last step on a worker: a step would start a Python of its own otherwise.
WORKERS_KEPT_MS = 60_000
WITH_JOB_SERVER = ("spark", "flink")
PROJECT = Path(__file__).resolve().parents[1]

NEEDS_DATAFLOW = "needs packages that are not installed: pip install 'openmulan[mine,dataflow]'"

log = logging.getLogger("mulan.mine")


@contextlib.contextmanager
def beam_run(arguments: list[str]) -> Iterator[tuple["RunPipeline", bool]]:
    """How to run a pipeline with these options, and whether it runs on this machine. Raises InputError."""
    for name in SAID_AT_THE_END:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options, is_local = _read_options(arguments)
    direct = options.view_as(DirectOptions)
    if is_local and direct.direct_num_workers != 1 and direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_processing"
    in_process = PipelineOptions(arguments)
    in_process.view_as(StandardOptions).runner = LOCAL_RUNNER
    in_process.view_as(DirectOptions).direct_running_mode = "in_memory"
    in_process.view_as(DirectOptions).direct_num_workers = 1

    job_server = _JobServer(options)
    has_workers = is_local and direct.direct_running_mode == "multi_processing"
    if has_workers and " " in sys.executable:
        raise InputError(f"Beam cannot start worker processes by {sys.executable}: its path has a space")

    def run(name: str, steps: Callable[[Any], None], *, small: bool = False, view: View | None = None) -> None:
        log.info("%s", name)
        view = view or View()
        if not is_local:
            _run_on_engine(options, job_server, steps, view)
            return

        def to_end() -> None:
            with beam.Pipeline(options=in_process if small else options) as pipeline:
                steps(pipeline)

        if small or not has_workers:
            Watch(None).run(to_end)
            return
        with job_folder() as folder, _local_workers(options, folder):
            view.folder = folder
            Watch(folder).run(to_end)

    # Input is looked at before the first pipeline, which would hand them over itself.
    FileSystems.set_options(options)
    try:
        with readers_hushed() if is_local else contextlib.nullcontext():
            yield run, is_local
    finally:
        job_server.stop()


class _JobServer:
    """The job server of Spark or Flink that Beam would start anew for each pipeline: one for all of a run, which ends
    before the folder goes that its files are in. At the exit of this process Beam would look for them, and leave the
    server running."""

    def __init__(self, options: Any) -> None:
        self._options = options
        self._server: Any = None

    def start(self) -> None:
        """Unless it runs already, or there is another that the pipelines are handed to."""
        portable = self._options.view_as(PortableOptions)
        runner = self._options.view_as(StandardOptions).runner
        if portable.job_endpoint is None and _short(runner) in WITH_JOB_SERVER:
            settings = self._options.view_as(JobServerOptions)
            (settings.job_port,) = pick_port(settings.job_port)
            server = create_runner(runner).default_job_server(self._options)
            if isinstance(server, StopOnExitJobServer):
                self._server = server
                server.start()
                portable.job_endpoint = f"localhost:{settings.job_port}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()


def _read_options(arguments: list[str]) -> tuple[Any, bool]:
    """Beam's options with a runner that can be started, and whether that is the local one. Raises InputError."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for options_class in PipelineOptions.__subclasses__():
        options_class._add_argparse_args(known)
    _, unknown = known.parse_known_args(arguments)
    if unknown:
        raise InputError(f"unknown argument {unknown[0]} (see --help)")
    options = PipelineOptions(arguments)
    runner = options.view_as(StandardOptions).runner or LOCAL_RUNNER
    is_local = _short(runner) in LOCAL_RUNNERS
    options.view_as(StandardOptions).runner = LOCAL_RUNNER if is_local else runner
    options.view_as(SetupOptions).save_main_session = False
    if not is_local:
        portable = options.view_as(PortableOptions)
        portable.environment_cache_millis = portable.environment_cache_millis or WORKERS_KEPT_MS
    if _short(runner) == "spark":
        properties = options.view_as(JobServerOptions).job_server_jvm_properties
        options.view_as(JobServerOptions).job_server_jvm_properties = [*properties, ONE_SPARK_APPLICATION]
    try:
        if _short(runner) == "dataflow":
            _check_dataflow()
        beam.Pipeline(options=options)
    except (ImportError, ValueError) as error:
        raise InputError(f"--runner {runner}: {one_line(error)}") from error
    return options, is_local


def _short(runner: str) -> str:
    """A runner's name as Beam reads it."""
    return runner.lower().removesuffix("runner")


def _check_dataflow() -> None:
    """What Beam would otherwise ask for again and again, and then go on without. Raises ValueError."""
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
    except ImportError as error:
        raise ValueError(f"{NEEDS_DATAFLOW} ({error})") from error
    try:
        google.auth.default()
    except GoogleAuthError as error:
        raise ValueError(
            "no credentials: run `gcloud auth application-default login`, or name a key file by "
            f"GOOGLE_APPLICATION_CREDENTIALS ({error})"
        ) from error
    try:
        from google.cloud import dataflow  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{NEEDS_DATAFLOW} ({error})") from error


def _run_on_engine(options: Any, job_server: _JobServer, steps: Callable[[Any], None], view: View) -> None:
    """Run to the end; a job that is interrupted here is cancelled there."""
    job: Any = None
    try:
        with held_back():  # until the job has a name by which it can be cancelled
            job_server.start()
            pipeline = beam.Pipeline(options=options)
            steps(pipeline)
            job = view.job = pipeline.run()
        job.wait_until_finish()
    except KeyboardInterrupt:
        hush()
        if job is not None:
            job.cancel()
        raise


@contextlib.contextmanager
def _local_workers(options: Any, folder: Path) -> Iterator[None]:
    """Give the local runner's worker processes what it does not: the options, quiet logs, a way to this project, and
    what makes them end with this process (`pipeline.workers.worker`).
    """
    path = folder / "options.json"
    given = options.get_all_options(drop_default=True)
    given["default_sdk_harness_log_level"] = "WARNING"
    given["sdk_harness_log_level_overrides"] = {
        "__main__": "ERROR",
        "apache_beam": logging.getLevelName(logging.getLogger("apache_beam").getEffectiveLevel()),  # as of --quiet
        **dict.fromkeys(SAID_AT_THE_END, "CRITICAL"),
    }
    path.write_text(json.dumps(given, default=str), encoding="utf-8")
    (folder / HOOK_NAME).write_text(HOOK, encoding="utf-8")
    # Workers import this project from here, whatever folder the job is started in.
    python_path = [str(PROJECT), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {
        "PIPELINE_OPTIONS_FILE": str(path),
        "PYTHONPATH": os.pathsep.join(python_path),
        JOB_FOLDER: str(folder),
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
