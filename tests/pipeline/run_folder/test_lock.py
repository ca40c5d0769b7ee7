"""The lock of a run folder: who gets it, who is told, and who has lost it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.run_folder import lock
from pipeline.run_folder.lock import LockedError, LostLockError, locked
from pipeline.settings import LockConfig
from pipeline.stores.store import StoreError
from pipeline.workers.processes import state_of

QUICK = LockConfig(lease_s=0.6, renew_s=0.1)
SLOW = LockConfig(lease_s=3600, renew_s=1800)


def content(run_dir: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run_dir / "lock").read_text(encoding="utf-8"))
    return value


def hold_elsewhere(run_dir: Path, **changes: object) -> None:
    """The lock as a job on another machine has written it."""
    value = {
        "job_id": "f" * 32,
        "fence": 7,
        "host": "elsewhere",
        "machine": "another",
        "pid": 1,
        "pid_started": 1,
        "lease_s": 0.6,
        "beat": 0,
        **changes,
    }
    run_dir.mkdir(exist_ok=True)
    (run_dir / "lock").write_text(json.dumps(value), encoding="utf-8")


def test_one_holder_after_the_other(tmp_path: Path) -> None:
    with locked(str(tmp_path), SLOW) as first:
        first.check()
        with pytest.raises(LockedError, match=f"process {os.getpid()} on .*--take_over"), locked(str(tmp_path), SLOW):
            pass
        first.check()
    with locked(str(tmp_path), SLOW) as second:
        assert second.fence == first.fence + 1
        assert second.attempt != first.attempt
        with pytest.raises(LostLockError):
            first.check()


@pytest.mark.slow
def test_a_process_that_died_here_holds_nothing(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pipeline.run_folder.lock import locked\n"
        "with locked(sys.argv[1]):\n    sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, cwd=Path(__file__).parents[3])
    assert died.returncode == -9
    assert "released" not in content(tmp_path)
    start = time.monotonic()
    with locked(str(tmp_path), SLOW) as hold:
        assert hold.fence == 2
    assert time.monotonic() - start < SLOW.lease_s / 10


def test_another_machines_lease_is_waited_for_and_then_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hold_elsewhere(tmp_path)
    start = time.monotonic()
    with locked(str(tmp_path), QUICK) as hold:
        assert time.monotonic() - start >= 0.6
        assert hold.fence == 8
    said = capsys.readouterr().err
    assert "waiting 1 s to see whether job ffffffff, process 1 on elsewhere still lives" in said
    assert said.count("waiting") == 1, "one line in ten seconds"


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What a lock says of another process on this machine, which does nothing."""
    with locked(str(tmp_path / "elsewhere"), SLOW):
        machine = content(tmp_path / "elsewhere")["machine"]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield {"machine": machine, "pid": process.pid, "pid_started": state_of(process.pid).started}
        process.kill()


def test_a_process_that_lives_here_is_not_waited_for(tmp_path: Path, stranger: dict[str, Any]) -> None:
    hold_elsewhere(tmp_path / "run", lease_s=3600.0, **stranger)
    with pytest.raises(LockedError, match="another job writes to this folder"), locked(str(tmp_path / "run"), SLOW):
        pass


def test_a_process_of_the_same_number_is_not_the_holder(tmp_path: Path, stranger: dict[str, Any]) -> None:
    hold_elsewhere(tmp_path / "run", lease_s=3600.0, **{**stranger, "pid_started": stranger["pid_started"] + 1})
    with locked(str(tmp_path / "run"), SLOW) as hold:
        assert hold.fence == 8


def test_a_process_that_was_stopped_here_has_its_lease(tmp_path: Path, stranger: dict[str, Any]) -> None:
    os.kill(stranger["pid"], signal.SIGSTOP)
    while not state_of(stranger["pid"]).is_stopped:
        time.sleep(0.01)
    hold_elsewhere(tmp_path / "run", **stranger)
    start = time.monotonic()
    with locked(str(tmp_path / "run"), QUICK) as hold:
        assert time.monotonic() - start >= 0.6
        assert hold.fence == 8


@pytest.mark.parametrize("other", ["[]", "7", '{"fence": 4}', '{"job_id": "a", "fence": "4"}', '{"job_id": 3}'])
def test_what_is_no_lock_holds_nothing(other: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(other, encoding="utf-8")
    with locked(str(tmp_path), QUICK) as hold:
        assert hold.fence == 1


@pytest.mark.slow
def test_a_lock_that_goes_away_while_another_waits(tmp_path: Path) -> None:
    hold_elsewhere(tmp_path, lease_s=30.0)
    threading.Timer(0.3, (tmp_path / "lock").unlink).start()
    with locked(str(tmp_path), QUICK) as hold:
        hold.check()


@pytest.mark.slow
def test_a_sign_of_life_is_believed_whatever_the_clocks_say(tmp_path: Path) -> None:
    hold_elsewhere(tmp_path, lease_s=30.0)
    threading.Timer(0.3, hold_elsewhere, [tmp_path], {"lease_s": 30.0, "beat": 1}).start()
    with pytest.raises(LockedError, match="seen alive just now"), locked(str(tmp_path), QUICK):
        pass
    assert content(tmp_path)["fence"] == 7


@pytest.mark.slow
def test_one_that_lets_go_while_another_waits(tmp_path: Path) -> None:
    hold_elsewhere(tmp_path, lease_s=30.0)
    threading.Timer(0.3, hold_elsewhere, [tmp_path], {"lease_s": 30.0, "released": True}).start()
    with locked(str(tmp_path), QUICK) as hold:
        assert hold.fence == 8


def test_take_over_does_not_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hold_elsewhere(tmp_path, lease_s=3600.0)
    with locked(str(tmp_path), LockConfig(take_over=True)) as hold:
        assert hold.fence == 8
    assert "taken over from job ffffffff" in caplog.text


def test_a_lock_of_version_0_1_is_free_once_it_was_given_back(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("process 1", encoding="utf-8")
    with locked(str(tmp_path), QUICK) as hold:
        assert hold.fence == 1
    (tmp_path / "lock").write_text(json.dumps({"job_id": "a" * 32, "fence": 4, "renewed": 0.0}), encoding="utf-8")
    with locked(str(tmp_path), QUICK) as hold:
        assert hold.fence == 5


def test_a_renewal_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swap, failures = storage.swap, iter(range(3))

    def sometimes(path: str, body: bytes, version: str) -> str | None:
        if next(failures, None) is not None:
            raise StoreError(f"{path}: cannot be written (503)")
        return swap(path, body, version)

    with locked(str(tmp_path), QUICK) as hold:
        monkeypatch.setattr(storage, "swap", sometimes)
        deadline = time.monotonic() + 20
        while content(tmp_path)["beat"] < 2:
            assert time.monotonic() < deadline, "the lease was never renewed after a failure"
            time.sleep(0.02)
        hold.check()


def test_a_holder_that_was_overtaken_neither_renews_nor_lets_go(tmp_path: Path) -> None:
    with locked(str(tmp_path), QUICK) as hold:
        hold_elsewhere(tmp_path, fence=9)
        time.sleep(3 * QUICK.renew_s)
        with pytest.raises(LostLockError, match="was taken over by job ffffffff"):
            hold.check()
    assert content(tmp_path)["fence"] == 9
    assert "released" not in content(tmp_path)


def test_a_lock_that_is_gone_is_lost(tmp_path: Path) -> None:
    with locked(str(tmp_path), SLOW) as hold:
        (tmp_path / "lock").unlink()
        with pytest.raises(LostLockError, match="lock is gone"):
            hold.check()


def test_of_many_at_one_moment_one_gets_it(tmp_path: Path) -> None:
    """Threads stand for launchers: the file decides, not the process."""
    outcomes: list[str] = []
    gate, done = threading.Barrier(8), threading.Event()

    def launch() -> None:
        gate.wait()
        try:
            with locked(str(tmp_path), SLOW):
                outcomes.append("held")
                done.wait(20)
        except LockedError:
            outcomes.append("told")

    threads = [threading.Thread(target=launch) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(outcomes) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held"] + ["told"] * 7


def test_a_lease_must_be_renewed_in_its_time() -> None:
    with pytest.raises(ValueError, match="renewed twice"):
        LockConfig(lease_s=10, renew_s=6)


def test_a_store_without_conditional_writes_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(storage, "keeps_writers_apart", lambda run_dir: False)
    monkeypatch.setattr(lock, "SETTLE_S", 0.01)
    with locked(str(tmp_path), QUICK):
        pass
    assert "no conditional writes" in caplog.text


def test_a_store_with_conditional_writes_needs_no_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with locked(str(tmp_path), QUICK):
        assert "conditional" not in caplog.text


def test_of_two_that_a_store_cannot_keep_apart_the_last_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits a moment after its word; in this one another writes."""
    waits: list[float] = []

    def another_writes(seconds: float) -> None:
        waits.append(seconds)
        hold_elsewhere(tmp_path)

    monkeypatch.setattr(storage, "keeps_writers_apart", lambda run_dir: False)
    monkeypatch.setattr(time, "sleep", another_writes)
    with pytest.raises(LostLockError, match="taken over by job ffffffff"), locked(str(tmp_path), QUICK):
        pass
    assert len(waits) == 1
    assert waits[0] >= 0.5
