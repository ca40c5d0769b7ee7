"""A file of the user's, or a package of somebody else's, with the name of one of ours: one line says which it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# As pip writes it for an entry point.
SCRIPT = "import sys\nfrom openmulan import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
IMPORT = "try:\n    import openmulan\nexcept ImportError as error:\n    print(error)\n"


def python(
    *arguments: str | Path, cwd: Path, path: tuple[Path, ...] = (ROOT,), code: int = 0
) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "schemas.py"
    path.write_text("TABLES = ('orders', 'customers')\n", encoding="utf-8")
    return path


@pytest.fixture(params=["filters", "pipeline", "trainer"])
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The package of another distribution, in its site-packages."""
    package = tmp_path / "site-packages" / str(request.param)
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nobody runs this')\n", encoding="utf-8")
    return package / "__init__.py"


def test_an_import_beside_a_users_module_names_it(users_file: Path) -> None:
    (line,) = python("-c", IMPORT, cwd=users_file.parent).stdout.splitlines()
    assert line.startswith(f"{users_file} stands in the way of OpenMuLan's own schemas: rename it")
    traceback = python("-c", "import openmulan", cwd=users_file.parent, code=1).stderr
    assert traceback.splitlines()[-1] == f"ImportError: {line}"
    (front_door,) = python("-c", IMPORT.replace("openmulan", "beam_runner"), cwd=users_file.parent).stdout.splitlines()
    assert front_door == line


def test_a_module_that_the_user_has_loaded_is_named(users_file: Path, tmp_path: Path) -> None:
    loaded = f"import sys\nsys.path.insert(0, {str(users_file.parent)!r})\nimport schemas\nsys.path.pop(0)\n"
    (tmp_path / "elsewhere").mkdir()
    (line,) = python("-c", loaded + IMPORT, cwd=tmp_path / "elsewhere").stdout.splitlines()
    assert line.startswith(f"{users_file} stands in the way")


def test_an_import_behind_a_foreign_package_names_it(foreign: Path, tmp_path: Path) -> None:
    (line,) = python("-c", IMPORT, cwd=tmp_path, path=(foreign.parents[1], ROOT)).stdout.splitlines()
    assert line.startswith(f"{foreign} stands in the way of OpenMuLan's own {foreign.parent.name}: ")


@pytest.mark.parametrize("started_by", ["script", "module"])
def test_the_command_says_it_in_one_line(foreign: Path, tmp_path: Path, started_by: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mulan").write_text(SCRIPT, encoding="utf-8")
    start = (tmp_path / "bin" / "mulan",) if started_by == "script" else ("-m", "openmulan")
    done = python(*start, "--version", cwd=tmp_path, path=(foreign.parents[1], ROOT), code=2)
    assert not done.stdout
    assert done.stderr.startswith(f"mulan: {foreign} stands in the way of OpenMuLan's own {foreign.parent.name}: ")
    assert done.stderr.count("\n") == 1
    assert python(*start, "--version", cwd=tmp_path).stdout.startswith("openmulan ")


def test_a_folder_of_data_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "orders.json").write_text("{}", encoding="utf-8")
    assert not python("-c", IMPORT, cwd=tmp_path).stdout
