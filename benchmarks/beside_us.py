"""OpenMuLan beside the packages that its users have: no conflict of versions, no file of ours written over.

    python -m benchmarks.beside_us

Each package is resolved together with `openmulan[all]` by `uv pip compile`. What it brings that `openmulan[all]` does
not is then installed by uv into a folder that is thrown away, and the names in the RECORDs are compared with ours: a
file that both have is written over by whichever comes last, and a further one in a package of ours is in our way. The
distributions of the environment that runs this are compared too. A package that is known to clash has to be found, or
nothing was looked at. Nothing is run of any of them, and not all of them are put together.

Exit code 1 where one clashes that is not known to.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from benchmarks.machine import write_result

NAME = "beside_us"
ROOT = Path(__file__).resolve().parents[1]
# What people who work with audio and models have installed, and music research in particular.
PACKAGES = (
    *("librosa", "torchaudio", "torchvision", "torchcodec", "soundfile", "scikit-learn", "pandas", "polars", "duckdb"),
    *("matplotlib", "jupyterlab", "gradio", "streamlit", "datasets", "transformers", "accelerate", "peft", "timm"),
    *("sentence-transformers", "lightning", "wandb", "mlflow", "demucs", "essentia", "mir_eval", "pydub"),
    *("audiomentations", "openai-whisper", "laion-clap"),
)
# Coqui's trainer, which Coqui TTS needs (docs/install.md#beside-other-packages).
KNOWN_TO_CLASH = ("coqui-tts-trainer",)
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.11", help="version to resolve for (default: %(default)s)")
    parser.add_argument("packages", nargs="*", default=list(PACKAGES), help="(default: the 29 of this file)")
    given = parser.parse_args()
    ours, command = our_files(), uv()
    base = resolved(command, given.python, None)
    if isinstance(base, str):
        raise SystemExit(f"openmulan[all] alone: {base}")
    found: dict[str, Any] = {}
    unexpected = []
    with tempfile.TemporaryDirectory() as folder:
        for package in (*given.packages, *KNOWN_TO_CLASH):
            told = beside(command, given.python, package, base, ours, Path(folder) / "packages")
            found[package] = told
            clash = "conflict" in told or bool(told["files_of_our_names"])
            sys.stderr.write(f"{package:24} {told}\n")
            if clash is not (package in KNOWN_TO_CLASH):
                unexpected.append(package)
    here = {one.name: names for one in metadata.distributions() if (names := shared(one, ours))}
    here.pop("openmulan", None)
    result = {
        "uv": subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.split()[1],
        "resolved_for_python": given.python,
        "openmulan_all": len(base),
        "beside": found,
        "installed_here": {"distributions": len(list(metadata.distributions())), "files_of_our_names": here},
        "unexpected": sorted([*unexpected, *here]),
    }
    write_result(NAME, result, packages=(), command="python -m benchmarks.beside_us")
    return 1 if result["unexpected"] else 0


def uv() -> str:
    beside_python = Path(sys.executable).with_name("uv")
    command = str(beside_python) if beside_python.exists() else shutil.which("uv")
    if command is None:
        raise SystemExit("uv is needed: pip install -c constraints.txt uv")
    return command


def our_files() -> frozenset[str]:
    """As they lie in an environment."""
    packages = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name not in ("tests", "benchmarks")]
    inside = [path for package in packages for path in package.rglob("*") if path.is_file()]
    modules = [ROOT / "openmulan.py", ROOT / "beam_runner.py"]
    return frozenset(str(path.relative_to(ROOT)) for path in (*inside, *modules))


def resolved(command: str, python: str, package: str | None) -> dict[str, str] | str:
    """Name and version of all that `openmulan[all]` and the package bring; the resolver's words where there is no such
    choice."""
    sources = ["--extra", "all", "pyproject.toml", *(["-"] if package else [])]
    done = subprocess.run(
        [command, "pip", "compile", "-q", "--no-header", "--no-annotate", "--python-version", python, *sources],
        cwd=ROOT, input=package, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return " ".join(done.stderr.split())
    return {canonicalize_name(name): version for name, version in PINNED.findall(done.stdout)}


def beside(
    command: str, python: str, package: str, base: dict[str, str], ours: frozenset[str], folder: Path
) -> dict[str, Any]:
    """What one package brings to `openmulan[all]`, which versions it moves, and its files that lie in our place."""
    together = resolved(command, python, package)
    if isinstance(together, str):
        return {"conflict": together}
    brought = {name: version for name, version in together.items() if name not in base}
    moved = {name: [base[name], version] for name, version in together.items() if base.get(name, version) != version}
    told: dict[str, Any] = {
        "version": together[canonicalize_name(package)],
        "brings": len(brought),
        "moves": moved,
        "files_of_our_names": {},
    }
    if brought:
        pins = [f"{name}=={version}" for name, version in brought.items()]
        done = subprocess.run(
            [command, "pip", "install", "-q", "--no-deps", "--python-version", python, "--target", folder, *pins],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            return {"conflict": " ".join(done.stderr.split())}
        installed = metadata.distributions(path=[str(folder)])
        told["files_of_our_names"] = {one.name: names for one in installed if (names := shared(one, ours))}
        shutil.rmtree(folder)
    return told


def shared(distribution: metadata.Distribution, ours: frozenset[str]) -> dict[str, list[str]]:
    """Another distribution's files that are also ours, and the others that lie in a package of ours; {} without any."""
    tops = {name.partition("/")[0] for name in ours}
    theirs = sorted({str(file) for file in distribution.files or () if file.parts[0] in tops})
    over = [name for name in theirs if name in ours]
    return {"written_over": over, "in_our_packages": [name for name in theirs if name not in ours]} if theirs else {}


if __name__ == "__main__":
    raise SystemExit(main())
