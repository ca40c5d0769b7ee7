"""What the installation stands on: Python, system, processor, GPU, memory, disk, hub, Java."""

import importlib.util
import json
import os
import platform
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pipeline.doctor.findings import Finding, State
from schemas import hub, machine

OLDEST, NEWEST = (3, 11), (3, 13)
HUB = "https://huggingface.co"
_FREE_BYTES = 1 << 30
_OPEN_FILES = 1_024
_GPU_TIMEOUT_S = 120.0
_JAVA_TIMEOUT_S = 20.0
# In a process of its own: a torch whose libraries do not fit ends it.
_GPU_SCRIPT = """
import json, torch
found = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": [], "mps": torch.backends.mps.is_available()}
if torch.cuda.is_available():
    for number in range(torch.cuda.device_count()):
        has = torch.cuda.get_device_properties(number)
        x = torch.ones(64, 64, device=f"cuda:{number}")
        found["gpus"].append([has.name, has.total_memory, float((x @ x).sum()) == 64.0**3])
print("\\n" + json.dumps(found))
"""
# Settings that change what is asked of whom; their values are nobody's business.
_ENVIRONMENT = (
    *("HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "TRANSFORMERS_OFFLINE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH"),
    *("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
)


def system() -> Iterator[Finding]:
    version = sys.version_info[:2]
    fits = OLDEST <= version <= NEWEST
    yield Finding(
        name="Python", state=State.OK if fits else State.BAD,
        what=f"{platform.python_version()} ({platform.python_implementation()})",
        advice="" if fits else f"use {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}",
    )  # fmt: skip
    known = sys.platform == "linux"
    yield Finding(
        name="system", state=State.OK if known else State.NOTE,
        what=f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver()).strip() or 'no glibc'}",
        advice="" if known else "only Linux is tested (docs/install.md)",
    )  # fmt: skip
    encoding = sys.getfilesystemencoding().lower()
    plain = encoding == "utf-8"
    yield Finding(
        name="file names", state=State.OK if plain else State.NOTE, what=encoding,
        advice="" if plain else "set PYTHONUTF8=1, for titles that no other encoding has",
    )  # fmt: skip
    if set_here := [name for name in _ENVIRONMENT if os.environ.get(name)]:
        yield Finding(name="set", state=State.OK, what=", ".join(set_here))


def processor() -> Iterator[Finding]:
    this = machine.cpu()
    cores = f"{this.cores} cores" + (f", {this.usable} of them usable" if this.usable != this.cores else "")
    yield Finding(
        name="CPU", state=State.OK,
        what=f"{this.model}, {cores}; {' '.join(this.instructions) or 'none of the instructions that are looked for'}",
    )  # fmt: skip


def gpu() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding(name="GPU", state=State.NOTE, what="not looked for: no torch (extras lf, train)")
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", _GPU_SCRIPT],
            capture_output=True, text=True, timeout=_GPU_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        yield Finding(
            name="GPU", state=State.BAD, what=f"torch did not start within {_GPU_TIMEOUT_S:g} s",
            advice="look at the disk that it lies on, and at the driver",
        )  # fmt: skip
        return
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
        yield Finding(
            name="GPU", state=State.BAD, what=f"torch does not work: {last}",
            advice="install torch again (docs/install.md)",
        )  # fmt: skip
        return
    found = json.loads(done.stdout.strip().splitlines()[-1])
    torch = f"torch {found['torch']}"
    if found["gpus"]:
        names = [f"{name} ({size / 2**30:.0f} GiB)" for name, size, _ in found["gpus"]]
        right = all(works for *_, works in found["gpus"])
        yield Finding(
            name="GPU", state=State.OK if right else State.BAD,
            what=f"{torch}, CUDA {found['cuda']}: {', '.join(names)}" + ("" if right else "; a product came out wrong"),
            advice="" if right else "look at the driver: nvidia-smi",
        )  # fmt: skip
    elif found["mps"]:
        yield Finding(name="GPU", state=State.OK, what=f"{torch}, Apple's (--device mps)")
    else:
        there = found["cuda"] is not None and Path("/proc/driver/nvidia/version").exists()
        yield Finding(
            name="GPU", state=State.BAD if there else State.NOTE,
            what=f"{torch}: " + ("there is a driver, and no GPU that torch can use" if there else "none"),
            advice="compare the driver's CUDA with torch's" if there else "",
        )  # fmt: skip


def memory() -> Iterator[Finding]:
    available = machine.available_bytes()
    rest = f", {_gib(available)} available" if available is not None else ""
    yield Finding(name="memory", state=State.OK, what=f"{_gib(machine.memory_bytes())}{rest}")
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few = allowed != resource.RLIM_INFINITY and allowed < _OPEN_FILES
    yield Finding(
        name="open files", state=State.NOTE if few else State.OK,
        what="no limit" if allowed == resource.RLIM_INFINITY else f"at most {allowed}",
        advice="ulimit -n 4096, for many workers" if few else "",
    )  # fmt: skip


def disk() -> Iterator[Finding]:
    """This folder, which may be read-only, and the one for temporary files, which must not."""
    free = shutil.disk_usage(Path.cwd()).free
    yield Finding(
        name="disk here", state=State.OK if free >= _FREE_BYTES else State.NOTE, what=f"{_gib(free)} free",
        advice="" if free >= _FREE_BYTES else "a 30 s clip takes about 0.6 MB",
    )  # fmt: skip
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(1 << 16))
            file.flush()
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding(
            name="temp folder", state=State.BAD, what=f"nothing can be written: {error.strerror}",
            advice="set TMPDIR to a folder with room",
        )  # fmt: skip
        return
    yield Finding(
        name="temp folder", state=State.OK if free >= _FREE_BYTES else State.NOTE, what=f"{folder}, {_gib(free)} free",
        advice="" if free >= _FREE_BYTES else "set TMPDIR to a folder with room",
    )  # fmt: skip


def network(offline: bool) -> Iterator[Finding]:
    """Whether the hub of models can be asked, which no part needs that is given folders."""
    instead = "give folders instead: --encoder, --tokenizer, --music_detector"
    if offline or os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        reason = "--offline" if offline else "HF_HUB_OFFLINE"
        yield Finding(name="hub", state=State.NOTE, what=f"not asked ({reason})", advice=instead)
        return
    address = os.environ.get("HF_ENDPOINT") or HUB
    name = address if address == HUB else "the hub of HF_ENDPOINT"
    try:
        hub.ask(lambda: _asked(address))
    except (hub.HubSilentError, OSError, ValueError) as error:
        yield Finding(name="hub", state=State.NOTE, what=f"{name}: {_why(error)}", advice=instead)
        return
    yield Finding(name="hub", state=State.OK, what=f"{name} answers")


def _asked(address: str) -> None:
    """Raises OSError or ValueError where nobody answers; a refusal is an answer."""
    if not address.startswith(("http://", "https://")):
        raise ValueError("the address is neither http nor https")
    asked = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "openmulan-doctor"})  # noqa: S310
    try:
        urllib.request.urlopen(asked, timeout=hub.WITHIN_S).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 407:  # a proxy's own
            raise
        error.close()


def _why(error: Exception) -> str:
    """Without the address, which may be a private one."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    match cause:
        case socket.gaierror():
            return "its name is not resolved"
        case ssl.SSLError():
            return "its certificate is not trusted"
        case TimeoutError() | hub.HubSilentError():
            return f"no answer within {hub.WITHIN_S:g} s"
        case OSError() if cause.strerror:
            return cause.strerror
        case _:
            return str(cause)


def java() -> Iterator[Finding]:
    """For Spark and Flink alone, which Beam brings."""
    if importlib.util.find_spec("apache_beam") is None:
        return
    if (program := shutil.which("java")) is None:
        yield Finding(name="Java", state=State.NOTE, what="none: needed by Beam's Spark and Flink runners alone")
        return
    try:
        done = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=_JAVA_TIMEOUT_S, check=False
        )
        (first, *_) = (done.stderr or done.stdout).splitlines() or [""]
        works = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        works, first = False, f"does not start ({type(error).__name__})"
    yield Finding(name="Java", state=State.OK if works else State.NOTE, what=first)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
