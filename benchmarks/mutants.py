"""How many small faults the tests notice: mutants of what must be right, each put before the tests of its module.

    nice python -m benchmarks.mutants --mutants 200 --seed 0

A site is a comparison, `and`, `or`, `not`, a number or a boolean, an operator or a sign, anywhere in the files and
functions of AREAS; strings, annotations, decorators, errors and lines of the log are left alone. Each area gets its
share of the mutants; its sites are shuffled by the seed and the name of the area, and what a site becomes is drawn too.

A mutant is written into a copy of the tree and the tests of its area are run, the quickest first, until one fails: then
it is killed, as it is when they take far longer than they do on the code as it is. So that this is affordable, one
process an area loads the libraries, never the project, and forks for each mutant. Those in EQUIVALENT cannot be told
from the code by any test; they count neither as killed nor as survivors.
"""

import argparse
import ast
import collections
import compileall
import gc
import importlib
import math
import multiprocessing
import os
import py_compile
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result

ROOT = Path(__file__).resolve().parents[1]
AS_IT_IS = "the code as it is"
# A mutant that takes this many times as long as the code as it is, and longer than this, runs for ever: of processor
# time, and of time, which one that waits takes.
PATIENCE = 5
LEAST_LIMIT_S = 30
LEAST_WALL_LIMIT_S = 60
LOOK_EVERY_S = 0.05
PASSED, FAILED, BROKEN = 0, 1, 2  # exit codes of pytest; broken: a module could not be imported


@dataclass(frozen=True, kw_only=True)
class Area:
    """`files` are mutated whole; of `functions` it does not matter in which file under `within` they stand.

    `tests` are files or folders, the quickest first; `libraries` what they and the area load that takes long.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    libraries: tuple[str, ...]
    functions: tuple[str, ...] = ()
    within: str = "."


AREAS = (
    Area(
        name="loss",
        files=("trainer/loss.py",),
        tests=("tests/trainer/test_loss.py",),
        libraries=("apache_beam", "soundfile", "torch"),
    ),
    Area(
        name="mixture",
        files=("trainer/mixture.py",),
        tests=("tests/trainer/test_mixture.py",),
        libraries=("apache_beam", "soundfile"),
    ),
    Area(
        name="augment",
        files=("trainer/augment.py",),
        tests=("tests/trainer/test_augment.py",),
        libraries=("apache_beam", "soundfile", "torch"),
    ),
    Area(
        name="gates",
        files=("filters/long_form/gates.py",),
        tests=("tests/filters/long_form/test_sentences.py",),
        libraries=("hypothesis", "numpy", "py3langid"),
    ),
    Area(
        name="rules",
        files=("filters/short_form/rules.py",),
        tests=("tests/filters/short_form/test_short_form_rules.py",),
        libraries=("hypothesis",),
    ),
    Area(
        name="commit",
        files=("schemas/commit.py",),
        functions=("build_shard", "committed_shard", "write_part"),
        within="pipeline",
        tests=("tests/schemas/test_commit.py", "tests/pipeline/test_build.py"),
        libraries=("apache_beam", "numpy", "pyarrow.parquet", "av", "soundfile"),
    ),
    Area(
        name="lock",
        files=("pipeline/run_folder/lock.py",),
        tests=("tests/pipeline/run_folder/test_lock.py",),
        libraries=("apache_beam", "pyarrow"),
    ),
    Area(
        name="ranking",
        files=("trainer/evaluation/ranking.py",),
        tests=("tests/trainer/evaluation/test_evaluation_ranking.py",),
        libraries=("apache_beam", "numba", "sklearn.metrics", "soundfile", "torch", "transformers"),
    ),
    Area(
        name="agreement",
        files=("filters/annotation/agreement.py",),
        tests=("tests/filters/annotation/test_agreement.py",),
        libraries=("hypothesis", "sklearn.metrics", "statsmodels.stats.inter_rater"),
    ),
)

# By file and change: why no test can tell the mutant from the code.
EQUIVALENT: dict[tuple[str, str], str] = {
    (path, change): why
    for path, changes in {
        "trainer/loss.py": {
            "preserve_rng_state=False  →  preserve_rng_state=True": "nothing in a block is drawn by chance",
            "block_rows: int = 1024  →  block_rows: int = 1025": "the loss does not depend on the size of a block",
        },
        "trainer/mixture.py": {
            "strict=True  →  strict=False": "both sides have four entries: SOURCES, and what `parse` has counted",
        },
        "filters/long_form/gates.py": {
            "character > '\u02ff'  →  character >= '\u02ff'": "U+02FF is a symbol, neither letter nor mark",
        },
        "filters/short_form/rules.py": {
            "space < 0  →  space <= 0": "the search begins at place 240: it finds that or more, or -1",
            "space < 0  →  space < 1": "the search begins at place 240: it finds that or more, or -1",
        },
        "pipeline/run_folder/lock.py": {
            "sort_keys=True  →  sort_keys=False": "nobody reads the order of the keys",
            "daemon=True  →  daemon=False": "the thread has always been joined by then",
            "next_line = 0.0  →  next_line = 1.0": "the clock counts from the start of the machine",
            "time.monotonic() >= next_line  →  time.monotonic() > next_line": "a clock that stands still for no time",
            "(left_s := (deadline - time.monotonic())) > 0  →  (left_s := (deadline - time.monotonic())) >= 0": (
                "with 0 s left it looks once more, after 0 s"
            ),
            "found[1]  →  found[-1]": "there are two",
        },
        "trainer/evaluation/ranking.py": {
            "DEFAULT_BLOCK_ROWS = 64  →  DEFAULT_BLOCK_ROWS = 65": "ranks do not depend on the size of a block",
            "_HIGHEST = 4095  →  _HIGHEST = 4096": "ranks do not depend on how many bins there are, only time does",
            "_SAMPLED = 251  →  _SAMPLED = 252": "ranks do not depend on how wide the bins are, only time does",
            "_TOGETHER = 4  →  _TOGETHER = 5": "ranks do not depend on how many are looked at together",
            "threads or os.cpu_count()  →  threads and os.cpu_count()": "None is the pool's own default",
            **{
                f"threadpool_limits(1, user_api='blas')  →  threadpool_limits({other}, user_api='blas')": (
                    "only time depends on how many threads multiply"
                )
                for other in (2, 0, -1)
            },
            "append=-1  →  append=0": "keys begin at 1: an item scores as much as itself",
        },
        "filters/annotation/agreement.py": {
            "1 - expected > 1e-12  →  1 - expected >= 1e-12": "it stands for 0, and no share of labels comes to it",
            "default=0  →  default=1": "where there are no votes no row has any size",
            "np.maximum(sizes * (sizes - 1), 1)  →  np.maximum(sizes * (sizes - 1), 2)": (
                "two labels are two ordered pairs; of fewer no pair agrees, and 0 / 2 is 0 / 1"
            ),
            "cells_KK[:, 1]  →  cells_KK[:, -1]": "there are two columns",
            "bottom > 0  →  bottom >= 0": "nothing is counted over nothing, and 0 / 0 is NaN as well",
            "rows.sum(-1)  →  rows.sum(1)": "these rows have two dimensions",
            "value is category  →  value is not category": (
                "it changes the two columns with each other, whose order is nothing to any coefficient"
            ),
            " for side in (0, 1)  →   for side in (0, -1)": "there are two columns",
        },
    }.items()
    for change, why in changes.items()
}

_COMPARISONS: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}
_OPERATORS: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.FloorDiv(),
    ast.FloorDiv: ast.Mult(),
    ast.Div: ast.Mult(),
    ast.Mod: ast.FloorDiv(),
    ast.Pow: ast.Mult(),
    ast.BitAnd: ast.BitOr(),
    ast.BitOr: ast.BitAnd(),
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    area: str
    path: str
    line: int
    change: str  # what the site and what stands around it were, and are
    source: str  # of the whole file


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`killed_by` is the test that failed, `time` where the limit passed, and empty for a survivor."""

    mutant: Mutant
    killed_by: str
    cpu_s: float
    wall_s: float


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """What a node may become; nothing where it is no site."""
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for place, operator in enumerate(ops):
                changed = [*ops[:place], _COMPARISONS[type(operator)], *ops[place + 1 :]]
                yield ast.Compare(left=left, ops=changed, comparators=comparators)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(op=ast.Or() if isinstance(op, ast.And) else ast.And(), values=values)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            yield from (_number(other) for other in _other_numbers(-number))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            yield ast.BinOp(left=left, op=_OPERATORS[type(op)], right=right)
        case ast.AugAssign(target=target, op=op, value=value) if type(op) in _OPERATORS:
            yield ast.AugAssign(target=target, op=_OPERATORS[type(op)], value=value)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(value=not value)
        case ast.Constant(value=int() | float() as number):
            yield from (_number(other) for other in _other_numbers(number))


def _other_numbers(number: float) -> list[float]:
    """One more, nothing, and the other sign, as far as these differ from the number and from each other."""
    return [other for other in dict.fromkeys((number + 1, 0, -number)) if other != number]


def _number(value: float) -> ast.expr:
    """As source has it: a sign is an operator."""
    return ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=-value)) if value < 0 else ast.Constant(value=value)


def sites(node: ast.AST, *above: ast.AST) -> Iterator[tuple[ast.AST, ...]]:
    """Every node below this one that may be mutated, in the order of the source, each with what stands above it."""
    for name, child in _children(node):
        if name in ("annotation", "returns", "decorator_list") or isinstance(child, ast.Raise | ast.JoinedStr):
            continue
        if isinstance(child, ast.Call) and ast.unparse(child.func).startswith("log."):
            continue
        if next(alternatives(child), None) is not None:
            yield (child, node, *above)
        is_signed_number = isinstance(child, ast.UnaryOp) and isinstance(child.operand, ast.Constant)
        if not is_signed_number:
            yield from sites(child, node, *above)


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield name, child


def _put(parent: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for name, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, name, new)
        elif isinstance(value, list):
            value[:] = [new if one is old else one for one in value]


def _mutant(area: Area, path: Path, tree: ast.Module, site: tuple[ast.AST, ...], dice: random.Random) -> Mutant:
    node, parent, *_ = site
    around = next(one for one in site[1:] if not isinstance(one, ast.Tuple | ast.Slice))
    other = dice.choice(list(alternatives(node)))
    # A bare number says little, so its surroundings are shown, unless they are a whole block.
    is_bare = isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub))
    shown = around if is_bare and not isinstance(getattr(around, "body", None), list) else node
    before, line = ast.unparse(shown), getattr(node, "lineno", 0)
    _put(parent, node, other)
    ast.fix_missing_locations(tree)
    after, source = ast.unparse(other if shown is node else shown), ast.unparse(tree)
    _put(parent, other, node)
    return Mutant(
        area=area.name, path=str(path.relative_to(ROOT)), line=line, change=f"{before}  →  {after}", source=source
    )


def _scopes(area: Area) -> Iterator[tuple[Path, ast.Module, ast.AST]]:
    """The files and functions of an area: path, tree of the file, and the part of it that is mutated."""
    for name in area.files:
        path = ROOT / name
        if not path.exists():
            raise SystemExit(f"{name} of area {area.name} is not there; mend AREAS in benchmarks/mutants.py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield path, tree, tree
    missing = set(area.functions)
    for path in sorted((ROOT / area.within).rglob("*.py")) if missing else ():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name in area.functions:
                missing.discard(node.name)
                yield path, tree, node
    if missing:
        raise SystemExit(f"nothing under {area.within}/ is called {', '.join(sorted(missing))}; mend AREAS")


def draw(areas: tuple[Area, ...], mutants: int, seed: int) -> tuple[list[Mutant], dict[str, int]]:
    """The mutants, and how many sites each area has. A smaller number draws the first of each area's larger one."""
    found = {
        area.name: [(path, tree, site) for path, tree, scope in _scopes(area) for site in sites(scope)]
        for area in areas
    }
    total = sum(map(len, found.values()))
    drawn = []
    owed = 0.0
    for area in areas:
        dice = random.Random(f"{seed} {area.name}")
        shuffled = found[area.name].copy()
        dice.shuffle(shuffled)
        # What is owed goes on to the next area, so that the shares add up.
        owed += mutants * len(shuffled) / total
        seats = min(round(owed), len(shuffled))
        owed -= seats
        drawn += [_mutant(area, path, tree, site, dice) for path, tree, site in shuffled[:seats]]
    return drawn, {name: len(one) for name, one in found.items()}


def copy_tree(folder: Path) -> None:
    """What git has or would have, compiled so that a file that changes is compiled anew whatever its time and size."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


class _FirstFailure:
    """A plugin of pytest: writes down which test failed first."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _note(self, report: Any) -> None:
        if report.failed and not self._path.exists():
            self._path.write_text(report.nodeid, encoding="utf-8")

    pytest_runtest_logreport = _note
    pytest_collectreport = _note


def _run_tests(tree: Path, tests: tuple[str, ...], cpu_limit_s: int) -> int:
    """Fork a process that runs tests in a copy of the tree; its number. Its exit code is that of pytest."""
    pid = os.fork()
    if pid:
        return pid
    code = os.EX_SOFTWARE
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        said = os.open(tree / ".said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for number in range(3):
            os.dup2(said, number)
        os.chdir(tree)
        os.environ.update(TMPDIR=str(tree / ".tmp"), PYTHONPATH=str(tree))
        tempfile.tempdir = None
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit_s, cpu_limit_s + PATIENCE))
        sys.path[:] = [str(tree), *(entry for entry in sys.path if entry and Path(entry) != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
            del sys.modules[name]
        import pytest

        code = pytest.main(
            ["-x", "-p", "no:cacheprovider", "--tb=short", *tests], plugins=[_FirstFailure(tree / ".failed")]
        )
    finally:
        os._exit(code)


@dataclass(kw_only=True)
class _Trial:
    mutant: Mutant
    tree: Path
    original: bytes
    wall_limit_s: float
    started_s: float


class _Judge:
    """Lives in a process of its own that has loaded the libraries of one area."""

    def __init__(self, area: Area, folder: Path, workers: int) -> None:
        self._area = area
        self._trees = [folder / f"tree{number}" for number in range(workers)]
        self._running: dict[int, _Trial] = {}
        self._parent = os.getppid()

    def start(self, mutant: Mutant, cpu_limit_s: int, wall_limit_s: float) -> None:
        tree = self._trees.pop()
        for name in (".failed", ".said"):
            (tree / name).unlink(missing_ok=True)
        (tree / ".tmp").mkdir()
        path = tree / mutant.path
        original = path.read_bytes()
        path.write_text(mutant.source, encoding="utf-8")
        pid = _run_tests(tree, self._area.tests, cpu_limit_s)
        self._running[pid] = _Trial(
            mutant=mutant,
            tree=tree,
            original=original,
            wall_limit_s=wall_limit_s,
            started_s=time.monotonic(),
        )

    def has_room(self) -> bool:
        return bool(self._trees)

    def stop(self) -> None:
        for pid in self._running:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def is_busy(self) -> bool:
        return bool(self._running)

    def finished(self) -> Iterator[Verdict]:
        """What has ended since the last call; waits a moment where nothing has."""
        ended = False
        if os.getppid() != self._parent:  # it was killed, and nobody waits for a verdict
            self.stop()
            os._exit(1)
        for pid, trial in list(self._running.items()):
            if time.monotonic() - trial.started_s > trial.wall_limit_s:
                os.killpg(pid, signal.SIGKILL)
            gone, status, usage = os.wait4(pid, os.WNOHANG)
            if gone:
                ended = True
                yield self._end(pid, os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
        if not ended:
            time.sleep(LOOK_EVERY_S)

    def _end(self, pid: int, code: int, cpu_s: float) -> Verdict:
        trial = self._running.pop(pid)
        wall_s = time.monotonic() - trial.started_s
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what a test has left behind
        (trial.tree / trial.mutant.path).write_bytes(trial.original)
        shutil.rmtree(trial.tree / ".tmp", ignore_errors=True)
        self._trees.append(trial.tree)
        failed = trial.tree / ".failed"
        if code in (FAILED, BROKEN) and failed.exists():
            killed_by = failed.read_text(encoding="utf-8")
        elif code < 0:
            killed_by = "time" if -code in (signal.SIGXCPU, signal.SIGKILL) else signal.Signals(-code).name
        elif code == PASSED:
            killed_by = ""
        else:
            said = (trial.tree / ".said").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the tests of {self._area.name} cannot be run (pytest left with {code}):\n{said}")
        return Verdict(mutant=trial.mutant, killed_by=killed_by, cpu_s=round(cpu_s, 2), wall_s=wall_s)


def judge_area(area: Area, mutants: list[Mutant], folder: Path, workers: int) -> list[Verdict]:
    """The code as it is, which must pass, and each mutant."""
    for name in ("pytest", *area.libraries):
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of `finally`
    judge = _Judge(area, folder, workers)
    try:
        return _verdicts(judge, area, mutants)
    finally:
        judge.stop()


def _verdicts(judge: _Judge, area: Area, mutants: list[Mutant]) -> list[Verdict]:
    first = mutants[0]
    as_it_is = Mutant(
        area=area.name, path=first.path, line=0, change=AS_IT_IS, source=(ROOT / first.path).read_text(encoding="utf-8")
    )
    judge.start(as_it_is, cpu_limit_s=3600, wall_limit_s=3600)
    while judge.is_busy():
        verdicts = list(judge.finished())
    if verdicts[0].killed_by:
        raise RuntimeError(f"{verdicts[0].killed_by} fails on the code as it is: nothing can be learnt from mutants")
    limit_s = max(LEAST_LIMIT_S, math.ceil(PATIENCE * verdicts[0].cpu_s))
    wall_limit_s = max(LEAST_WALL_LIMIT_S, PATIENCE * verdicts[0].wall_s)
    waiting = collections.deque(mutants)
    while waiting or judge.is_busy():
        while waiting and judge.has_room():
            judge.start(waiting.popleft(), limit_s, wall_limit_s)
        for verdict in judge.finished():
            verdicts.append(verdict)
            mutant = verdict.mutant
            fate = f"killed by {verdict.killed_by}" if verdict.killed_by else "SURVIVES"
            sys.stderr.write(f"{mutant.path}:{mutant.line}  {mutant.change}  {fate}  {verdict.cpu_s} s\n")
    return verdicts


def summary(verdicts: list[Verdict], sites_of: dict[str, int]) -> dict[str, Any]:
    """The rates, in all and by area, and every mutant that lived."""
    mutants = [one for one in verdicts if one.mutant.change != AS_IT_IS]
    survivors = [one for one in mutants if not one.killed_by]
    equivalent = [one for one in survivors if (one.mutant.path, one.mutant.change) in EQUIVALENT]

    def rate(area: str | None = None) -> dict[str, Any]:
        def of(those: list[Verdict]) -> int:
            return sum(area is None or one.mutant.area == area for one in those)

        judged, killed = of(mutants) - of(equivalent), of(mutants) - of(survivors)
        return {
            "mutants": of(mutants),
            "killed": killed,
            "equivalent": of(equivalent),
            "survived": of(survivors) - of(equivalent),
            "killed_share": round(killed / judged, 3) if judged else None,
        }

    def listed(one: Verdict) -> dict[str, Any]:
        mutant = asdict(one.mutant)
        del mutant["source"]
        why = EQUIVALENT.get((one.mutant.path, one.mutant.change))
        return {**mutant, **({"equivalent": why} if why else {})}

    return {
        **rate(),
        "cpu_min": round(sum(one.cpu_s for one in verdicts) / 60, 1),
        "areas": {name: {"sites": count, **rate(name)} for name, count in sites_of.items()},
        "survivors": [listed(one) for one in survivors if one not in equivalent],
        "equivalents": [listed(one) for one in equivalent],
        "killed_by": dict(collections.Counter(one.killed_by for one in mutants if one.killed_by).most_common()),
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mutants", type=int, default=200, help="in all areas together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--only", action="append", help="an area by name; may be repeated (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="mutants at a time (default: %(default)s)")
    parser.add_argument("--result", default="mutants", help="name of the result (default: %(default)s)")
    arguments = parser.parse_args(argv)
    areas = tuple(area for area in AREAS if not arguments.only or area.name in arguments.only)
    mutants, sites_of = draw(areas, arguments.mutants, arguments.seed)
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder / "tree0")
        for number in range(1, arguments.workers):
            shutil.copytree(folder / "tree0", folder / f"tree{number}")
        for area in areas:
            if own := [mutant for mutant in mutants if mutant.area == area.name]:
                # Started afresh, so that no library of one area is in the way of another's.
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    verdicts += pool.submit(judge_area, area, own, folder, arguments.workers).result()
    result = summary(verdicts, sites_of)
    write_result(
        arguments.result,
        {"seed": arguments.seed, **result},
        packages=("pytest", "hypothesis", "numpy", "torch"),
        command=" ".join(["python -m benchmarks.mutants", *argv]),
    )
    return 0 if result["killed_share"] is not None and result["killed_share"] >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
