"""The fastest of several ways is found, and one that is hopeless costs no more than two runs."""

import time

from schemas.fastest import fastest


def test_the_fastest_way_is_found_and_a_hopeless_one_given_up() -> None:
    runs = {"slow": 0, "middle": 0, "quick": 0}

    def way(name: str, seconds: float) -> None:
        runs[name] += 1
        time.sleep(seconds)

    ways = {
        "slow": lambda: way("slow", 0.1),
        "middle": lambda: way("middle", 0.004),
        "quick": lambda: way("quick", 0.002),
    }
    assert fastest(ways) == "quick"
    assert runs["slow"] == 2
    assert runs["quick"] == 4


def test_a_first_run_that_builds_something_does_not_count() -> None:
    built: list[str] = []

    def builds() -> None:
        time.sleep(0.0 if built else 0.05)
        built.append("kernel")

    assert fastest({"plain": lambda: time.sleep(0.01), "builds": builds}) == "builds"
