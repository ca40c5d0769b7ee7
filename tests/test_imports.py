"""Who may import whom, and what a mining worker or `mulan --help` must not load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "tensorflow", "tensorflow_hub", "transformers", "librosa", "numba", "sklearn", "matplotlib")
OWN = ("schemas", "filters", "pipeline", "trainer", "beam_runner", "openmulan")
# Folder -> what of the project its files may import besides themselves.
LAYERS = {
    "schemas": (),
    "filters": ("schemas",),
    "pipeline": ("filters", "schemas"),
    # The trainer decodes what the pipeline has encoded, and takes nothing else of it.
    "trainer": ("schemas", "pipeline.media.encode", "pipeline.media.clip", "pipeline.media.protocol"),
}
FRONT_DOORS = [ROOT / "beam_runner.py", ROOT / "openmulan.py"]
RUNNER = ROOT / "pipeline" / "runner.py"
PYTHON_FILES = [path for folder in LAYERS for path in sorted((ROOT / folder).rglob("*.py"))]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of what every import of a file takes, those inside of functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            # `from pipeline import encode` imports a module too.
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((node.lineno, str(name.value)) for name in node.args if isinstance(name, ast.Constant))


def is_within(module: str, allowed: str) -> bool:
    return f"{module}.".startswith(f"{allowed}.")


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    allowed = (folder, *LAYERS[folder])
    wrong = [
        f"line {line}: {module}"
        for line, module in imports(path)
        if module.partition(".")[0] in OWN and not any(is_within(module, name) for name in allowed)
    ]
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("path", [*PYTHON_FILES, *FRONT_DOORS], ids=lambda path: str(path.relative_to(ROOT)))
def test_beam_stays_in_the_pipeline_and_its_runners_in_one_module(path: Path) -> None:
    if path == RUNNER:
        forbidden: tuple[str, ...] = ()
    elif path.relative_to(ROOT).parts[0] == "pipeline":
        forbidden = ("apache_beam.runners", "apache_beam.options", "pipeline.runner")
    else:
        forbidden = ("apache_beam",)
    wrong = [
        f"line {line}: {module}" for line, module in imports(path) if any(is_within(module, name) for name in forbidden)
    ]
    assert not wrong


def circles(needs: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules each of which needs, by way of others, all of its group."""
    reached: dict[str, set[str]] = {}
    for start in needs:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = needs[waiting.pop()] - seen
            seen |= new
            waiting += new
        reached[start] = seen
    found = [{other for other in reached[name] if name in reached[other]} for name in needs]
    return [group for i, group in enumerate(found) if group and group not in found[:i]]


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": {"d"}}) == [{"a", "b", "c"}, {"d", "e"}]


@pytest.mark.slow
def test_no_imports_go_in_a_circle() -> None:
    """Those inside of functions count: a circle that is put off is one all the same. There are no exceptions."""
    modules = {module_of(path): path for path in [*PYTHON_FILES, *FRONT_DOORS]}
    needs = {}
    for module, path in modules.items():
        # What is taken is a module, or a name that one has.
        taken = {name if name in modules else name.rpartition(".")[0] for _, name in imports(path)}
        needs[module] = taken & modules.keys() - {module}
    assert sum(map(len, needs.values())) > len(modules)
    assert not [sorted(group) for group in circles(needs)]


@pytest.mark.slow
def test_no_command_is_imported() -> None:
    """A module with a `main` is started; what it shares with others lives elsewhere."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PYTHON_FILES}
    commands = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path, tree in trees.items()
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    }
    assert {"trainer.train", "trainer.pretrain", "trainer.evaluation.cli", "pipeline.report_command"} <= commands
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in PYTHON_FILES
        for line, module in imports(path)
        if any(is_within(module, command) for command in commands)
    ]
    assert not wrong


@pytest.mark.slow
def test_the_help_of_every_command_loads_nothing_that_takes_seconds() -> None:
    script = """
import contextlib, io, openmulan
commands = [[], *([name] for name in openmulan._COMMANDS), ["evaluate", "ablation"], ["lf-filter", "fit"]]
for command in commands:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        openmulan.main([*command, "--help"])
    assert "usage: mulan" in said.getvalue(), command
"""
    assert not loaded_by(script) & {*HEAVY, "apache_beam", "ai_edge_litert", "tensorboard", "huggingface_hub", "pandas"}


@pytest.mark.slow
def test_the_front_door_loads_nothing_heavy() -> None:
    loaded = loaded_by("import beam_runner")
    assert "pipeline" in loaded
    assert not loaded & {*HEAVY, "ai_edge_litert"}


@pytest.mark.slow
def test_no_stage_of_the_job_loads_anything_heavy() -> None:
    loaded = loaded_by("import beam_runner, pipeline.mine")
    assert "apache_beam" in loaded
    assert not loaded & {*HEAVY, "ai_edge_litert"}


def test_the_public_api_loads_neither_beam_nor_anything_heavy() -> None:
    loaded = loaded_by("import openmulan; openmulan.Run; openmulan.Manifest")
    assert "schemas" in loaded
    assert not loaded & {*HEAVY, "ai_edge_litert", "apache_beam", "av"}


@pytest.mark.slow
def test_the_trainer_loads_no_beam() -> None:
    modules = [
        module_of(path) for path in PYTHON_FILES if path.is_relative_to(ROOT / "trainer") and path.name != "__main__.py"
    ]
    assert modules
    assert "apache_beam" not in loaded_by(f"import {', '.join(modules)}")
