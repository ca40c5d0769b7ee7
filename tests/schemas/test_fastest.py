"""The fastest of several ways is found, and one that is hopeless costs no more than two runs."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from schemas import fastest as module
from schemas.fastest import fastest

Spend = Callable[[float], None]


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Spend:
    """Lets time pass, of a clock that nothing else on the machine slows."""
    now_s = 0.0

    def pass_by(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(process_time=lambda: now_s))
    return pass_by


def test_the_fastest_way_is_found_and_a_hopeless_one_given_up(spend: Spend) -> None:
    runs = {"slow": 0, "middle": 0, "quick": 0}

    def way(name: str, seconds: float) -> None:
        runs[name] += 1
        spend(seconds)

    ways = {
        "slow": lambda: way("slow", 0.1),
        "middle": lambda: way("middle", 0.004),
        "quick": lambda: way("quick", 0.002),
    }
    assert fastest(ways) == "quick"
    assert runs == {"slow": 2, "middle": 4, "quick": 4}


def test_a_first_run_that_builds_something_does_not_count(spend: Spend) -> None:
    built: list[str] = []

    def builds() -> None:
        spend(0.0 if built else 0.05)
        built.append("kernel")

    assert fastest({"plain": lambda: spend(0.01), "builds": builds}) == "builds"
