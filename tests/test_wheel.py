"""The wheel that is built from the tree: everything in it, at work outside of the checkout, with clear words where an
extra is missing. Packages that it needs are those of the environment that runs the tests, so nothing is downloaded.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pipeline.graphs import write_graphs
from tests.pipeline.mining import row, shard_hashes, write_catalogue

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("filters", "pipeline", "schemas", "trainer")
MODULES = ("beam_runner.py", "openmulan.py")
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
# What `pip install openmulan` brings without any extra.
BASE = ("google_crc32c", "google_crc32c.libs", "numpy", "numpy.libs", "packaging", "pyarrow", "pyarrow.libs", "tqdm")


def run(command: Sequence[str | Path], cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout gets no build folder and the wheel nothing of an old one."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*MODULES, "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir")
    built = run([sys.executable, "-m", "pip", "wheel", *options, folder, tree], cwd=folder)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def install(wheel: Path, folder: Path, packages: Sequence[str] | None) -> Path:
    """A new environment with the wheel and some packages of this one (all where None); returns its `bin`."""
    made = run([sys.executable, "-m", "venv", "--without-pip", folder], cwd=folder.parent)
    assert made.returncode == 0, made.stderr
    python = folder / "bin" / "python"
    site_packages = Path(
        run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).stdout.strip()
    )
    if packages is None:
        # As a plain line of a .pth file the folder is searched, and its own .pth files (an editable install) are not.
        (site_packages / "borrowed.pth").write_text(f"{SITE_PACKAGES}\n", encoding="utf-8")
    for name in packages or ():
        if (SITE_PACKAGES / name).exists():
            (site_packages / name).symlink_to(SITE_PACKAGES / name)
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--force-reinstall")
    installed = run([*pip, wheel], cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return folder / "bin"


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected | set(MODULES)


def test_the_wheel_mines_outside_of_the_checkout_with_worker_processes(wheel: Path, tmp_path: Path) -> None:
    binaries = install(wheel, tmp_path / "environment", packages=None)
    elsewhere = tmp_path / "elsewhere"
    catalogue = write_catalogue(elsewhere, [row(number) for number in range(6)])
    where = "import beam_runner, filters, pipeline, schemas, trainer\n" + (
        "for module in (beam_runner, filters, pipeline, schemas, trainer): print(module.__file__)"
    )
    imported = run([binaries / "python", "-c", where], elsewhere).stdout.split()
    assert imported
    assert all(Path(name).is_relative_to(tmp_path) for name in imported)
    options = ("--tokenizer", "none", "--rows_per_shard", "3")
    workers = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")
    outputs = []
    for name, more in (("one", ()), ("two", workers)):
        command = (binaries / "mulan", "mine", "--catalog", catalogue.name, "--output", name, *options, *more)
        mined = run(command, elsewhere)
        assert mined.returncode == 0, mined.stderr
        outputs.append(elsewhere / name)
    assert shard_hashes(outputs[0]) == shard_hashes(outputs[1])
    assert (outputs[1] / "report.html").stat().st_size > 0


def test_every_step_is_set_up_where_there_is_only_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """As an engine's worker does it."""
    binaries = install(wheel, tmp_path / "environment", packages=None)
    loaded = run([binaries / "python", ROOT / "tests" / "load_setups.py", *write_graphs(tmp_path)], cwd=tmp_path)
    assert loaded.returncode == 0, loaded.stderr
    expected = {"pipeline.table_steps._Read", "pipeline.plan._PlanRows", "pipeline.build._BuildShard"}
    assert expected <= set(loaded.stdout.split())


def test_without_extras_a_command_names_the_one_that_it_needs(wheel: Path, tmp_path: Path) -> None:
    binaries = install(wheel, tmp_path / "environment", packages=BASE)
    version = run([binaries / "mulan", "--version"], tmp_path)
    assert version.stdout.startswith("openmulan "), version.stderr
    mined = run([binaries / "mulan", "mine", "--catalog", "x.jsonl", "--output", "y"], tmp_path)
    assert mined.returncode == 2
    assert mined.stderr.startswith("mulan mine: needs the package ")
    assert mined.stderr.endswith("which is not installed: pip install 'openmulan[mine]'\n")
    assert mined.stderr.count("\n") == 1
    assert run([binaries / "python", "-c", "import openmulan; openmulan.Run"], tmp_path).returncode == 0
    looked = run([binaries / "mulan", "doctor", "--offline", "--json"], tmp_path)
    found = {finding["name"]: finding for finding in json.loads(looked.stdout)["findings"]}
    assert {found[name]["state"] for name in ("GPU", "decoder", "extra mine", "extra train")} == {"note"}
    # The folders are borrowed without what pip knows of them, which is what is damaged here.
    assert (looked.returncode, found["base"]["state"]) == (1, "bad"), looked.stderr


def test_files_that_another_package_has_written_over_are_named(wheel: Path, tmp_path: Path) -> None:
    """As Coqui's trainer does, which is installed into the same folder."""
    binaries = install(wheel, tmp_path / "environment", packages=BASE)
    site_packages = next((tmp_path / "environment").glob("lib/python*/site-packages"))
    looked = run([binaries / "mulan", "doctor", "--offline", "--json"], tmp_path)
    assert {one["what"] for one in json.loads(looked.stdout)["findings"] if one["name"] == "files"} == {
        "as they were installed"
    }
    (site_packages / "trainer" / "train.py").unlink()
    other = site_packages / "other_trainer-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-trainer\nVersion: 1.0\n", encoding="utf-8")
    (other / "RECORD").write_text("trainer/__init__.py,,\n", encoding="utf-8")
    line = (
        "trainer/__init__.py and 1 more files of OpenMuLan's are gone or another package's "
        "(also of other-trainer, which needs an environment of its own); install openmulan again"
    )
    (site_packages / "trainer" / "__init__.py").write_text("", encoding="utf-8")
    trained = run([binaries / "mulan", "train"], tmp_path)
    assert (trained.returncode, trained.stderr) == (2, f"mulan train: {line}\n")
    looked = run([binaries / "mulan", "doctor", "--offline", "--json"], tmp_path)
    assert {one["what"] for one in json.loads(looked.stdout)["findings"] if one["name"] == "files"} == {line}
