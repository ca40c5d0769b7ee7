"""How commands end where a disk, a folder or a terminal is not what it should be: one line, the code of the docs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openmulan
from schemas.exits import BAD_INPUT, DONE, INTERRUPTED, check_output, fault
from tests.pipeline.mining import mine, row, write_catalogue

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ("--rows_per_shard", "3", "--tokenizer", "none", "--quiet")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue(tmp_path_factory.mktemp("corpus"), [row(number) for number in range(6)])


@pytest.fixture(scope="module")
def mined(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("mined") / "run"
    assert mine(catalogue, output, "--rows_per_shard=3") == 0
    return output


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / "openmulan.py"), *map(str, arguments)]


def one_line(said: str) -> str:
    """What a user reads on stderr, but for the bars and notes of libraries."""
    lines = [line for line in said.splitlines() if line.startswith("mulan")]
    assert "Traceback" not in said, said
    assert len(lines) == 1, said
    return lines[0]


class TestOutputs:
    @pytest.fixture(params=["a file", "below a file", "where nothing can be made"])
    def output(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        file = tmp_path / "file"
        file.write_text("x", encoding="utf-8")
        place: dict[str, Path] = {"a file": file, "below a file": file / "run"}
        return place.get(request.param, Path("/proc/nowhere"))

    def test_are_looked_at_before_the_work(
        self, output: Path, catalogue: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for arguments in (
            ["mine", "--catalog", str(catalogue), "--output", str(output), *OPTIONS],
            ["lf-filter", "fit", "--output", str(output)],
            ["demo", "--output", str(output), "--recordings", "12"],
        ):
            assert openmulan.main(arguments) == BAD_INPUT
            line = one_line(capsys.readouterr().err)
            assert line.startswith(f"mulan {arguments[0]}: ")
            assert str(output) in line

    def test_a_folder_that_can_be_used_is_left_empty(self, tmp_path: Path) -> None:
        check_output(tmp_path / "a" / "b")
        assert list((tmp_path / "a" / "b").iterdir()) == []

    def test_a_file_to_write_that_is_a_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        texts = tmp_path / "comments.txt"
        texts.write_text("a comment about drums\n" * 3, encoding="utf-8")
        assert openmulan.main(["label", "sample", str(texts), "--out", str(tmp_path), "--count", "1"]) == BAD_INPUT
        assert str(tmp_path) in one_line(capsys.readouterr().err)


class TestStandardOutput:
    def test_closed_changes_nothing_of_the_work(self, mined: Path, tmp_path: Path) -> None:
        output = tmp_path / "run"
        shutil.copytree(mined, output)
        (output / "report.json").unlink()
        shell = ["sh", "-c", 'exec "$@" >&-', "sh", *command("report", output)]
        done = subprocess.run(shell, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == DONE, done.stderr
        assert "standard output is closed" in one_line(done.stderr)
        assert json.loads((output / "report.json").read_text(encoding="utf-8"))["state"] == "finished"

    def test_a_reader_that_has_seen_enough(self, mined: Path) -> None:
        read, write = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(
                command("report", mined), env=environment(), stdout=write, stderr=subprocess.PIPE, check=False
            )
        finally:
            os.close(write)
        assert (done.returncode, done.stderr) == (DONE, b"")

    def test_on_a_full_disk(self, mined: Path) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                command("report", mined), env=environment(), stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert done.returncode == INTERRUPTED
        assert "standard output: No space left on device" in one_line(done.stderr.decode())


class TestFilesOfANewerVersion:
    @pytest.mark.parametrize("name", ["run.json", "plans/g0001/plan.json", "manifest-0001.json"])
    def test_are_refused_by_name(
        self, name: str, mined: Path, catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "run"
        shutil.copytree(mined, output)
        value: dict[str, Any] = json.loads((output / name).read_text(encoding="utf-8"))
        (output / name).write_text(json.dumps({**value, "of_tomorrow": 1}), encoding="utf-8")
        before = {path: path.read_bytes() for path in output.rglob("*.*") if path.name != "lock"}
        for arguments in (
            ["report", str(output)],
            ["mine", "--catalog", str(catalogue), "--output", str(output), *OPTIONS],
        ):
            assert openmulan.main(arguments) == BAD_INPUT
            line = one_line(capsys.readouterr().err)
            assert name in line
            assert "of_tomorrow" in line
        after = {path: path.read_bytes() for path in output.rglob("*.*") if path.name != "lock"}
        assert after == before, "nothing is written over what is not understood"

    def test_a_run_json_that_lacks_something(
        self, mined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "run"
        shutil.copytree(mined, output)
        (output / "run.json").write_text('{"config": {}}', encoding="utf-8")
        assert openmulan.main(["report", str(output)]) == BAD_INPUT
        assert "run.json lacks config_digest" in one_line(capsys.readouterr().err)


@pytest.fixture(scope="module")
def on_small_disk(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run shell lines where `$DISK` is a small file system of its own, which goes with them."""
    disk = tmp_path_factory.mktemp("disk")

    def run(script: str, *arguments: str | Path, size: str) -> "subprocess.CompletedProcess[str]":
        mount = f'mount -t tmpfs -o size={size} tmpfs "$DISK" || exit 77'
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", f"{mount}\n{script}", "sh", *map(str, arguments)],
            env=environment(DISK=str(disk)),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 77 or "unshare" in done.stderr:
            pytest.skip("no right to mount a small file system here")
        return done

    if shutil.which("unshare") is None:
        pytest.skip("unshare is not here")
    return run


class TestFullDisk:
    """A disk that fills while a command is at work; room is made, and the same command goes on."""

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_mining(
        self, on_small_disk: Callable[..., "subprocess.CompletedProcess[str]"], catalogue: Path, workers: str
    ) -> None:
        script = """
"$@" --output "$DISK/run" --quiet 2> "$DISK.err" > /dev/null; echo $?; cat "$DISK.err"; ls "$DISK/run/tmp"
mount -o remount,size=50m "$DISK"
"$@" --output "$DISK/run" --quiet > /dev/null; echo again $?
"""
        done = on_small_disk(
            script, *command("mine", "--catalog", catalogue, *OPTIONS, "--direct_num_workers", workers), size="200k"
        )
        code, *said, last = done.stdout.splitlines()
        assert int(code) == INTERRUPTED, done.stdout + done.stderr
        line = one_line("\n".join(said))
        assert line.startswith("mulan mine: ")
        assert "/run" in line
        assert "No space left on device" in line
        assert "make room" in line
        assert last == "again 0"
        assert not [name for name in said if name.startswith("mulan-")], "nothing is left in tmp"

    def test_writing_labels(
        self, on_small_disk: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
    ) -> None:
        texts = tmp_path / "comments.txt"
        texts.write_text("".join(f"comment {i} on the drums\n" for i in range(3000)), encoding="utf-8")
        arguments = command("label", "sample", texts, "--count", "3000", "--db")
        done = on_small_disk('"$@" "$DISK/labels.db"', *arguments, size="100k")
        assert done.returncode == INTERRUPTED, done.stderr
        one_line(done.stderr)

    def test_a_read_only_run_is_reported(
        self, on_small_disk: Callable[..., "subprocess.CompletedProcess[str]"], mined: Path
    ) -> None:
        script = 'cp -r "$1" "$DISK/run"; shift; mount -o remount,ro "$DISK"; "$@" "$DISK/run"'
        done = on_small_disk(script, mined, *command("report"), size="50m")
        assert done.returncode == BAD_INPUT
        assert "\nstate       finished" in done.stdout
        assert "report.html and report.json are not written" in one_line(done.stderr)


def test_what_the_system_refused_is_found_wherever_it_is_told() -> None:
    """Arrow and Rust tell of it as text, Beam wraps it, a worker process sends the text alone."""
    told = {
        "OSError: [Errno 28] Error writing bytes to file. Detail: [errno 28] No space left [while running 'x']": None,
        "Error while serializing: I/O error: No space left on device (os error 28)": None,
        "PermissionError: [Errno 13] Permission denied: '/runs/one/tmp/x' [while running 'build shard']": "/runs/one",
    }
    for text, path in told.items():
        found = fault(RuntimeError(text))
        assert found is not None
        assert found.code == (BAD_INPUT if path else INTERRUPTED)
        assert (path or "") in found.line
    assert fault(ValueError("no fault of the machine")) is None


class TestTemporaryFiles:
    def test_none_is_left_by_a_command(self, catalogue: Path, tmp_path: Path) -> None:
        folder = tmp_path / "tmp"
        folder.mkdir()
        for output, code in ((tmp_path / "run", DONE), (Path("/proc/nowhere"), BAD_INPUT)):
            arguments = command("mine", "--catalog", catalogue, *OPTIONS, "--direct_num_workers", "2")
            done = subprocess.run(
                [*arguments, "--output", str(output)],
                env=environment(TMPDIR=str(folder)),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == code, done.stderr
            assert list(folder.iterdir()) == []

    def test_nowhere_to_put_them(
        self, catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import tempfile

        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere", "/proc/no-other"])
        assert mine(catalogue, tmp_path / "run") == BAD_INPUT
        assert "no temporary file can be written" in one_line(capsys.readouterr().err)
