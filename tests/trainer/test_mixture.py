"""The quota of every batch, exactly."""

import collections
import dataclasses

import pytest

from schemas.sources import TextSource
from trainer.draw import draw_below, permutation
from trainer.mixture import Mixture, MixtureError, Quotas


@pytest.mark.parametrize("batch_size", [6, 7, 32, 100, 3072, 6144, 6145])
def test_ten_thousand_batches_have_their_quota(batch_size: int) -> None:
    mixture = Mixture()
    quotas = Quotas(mixture, batch_size)
    drawn: collections.Counter[TextSource] = collections.Counter()
    for step in range(10_000):
        seats = quotas.of(step)
        assert sum(seats.values()) == batch_size
        for source, weight in mixture.weights.items():
            assert abs(seats.get(source, 0) - batch_size * weight / 6) < 2
        drawn.update(seats)
        if (step + 1) % quotas.period == 0:
            assert all(drawn[source] * 6 == (step + 1) * batch_size * w for source, w in mixture.weights.items())
    assert quotas.period == (1 if batch_size % 6 == 0 else 6 // (2 if batch_size % 2 == 0 else 1))


def test_a_divisible_batch_is_the_paper_s_mixture() -> None:
    seats = {TextSource.SF: 2048, TextSource.LF: 2048, TextSource.PL: 1024, TextSource.ASET: 1024}
    assert Quotas(Mixture(), 6144).of(123) == seats


def test_seats_that_are_over_go_to_the_largest_remainders() -> None:
    """Of 10 pairs a third is 3 1/3 and a sixth is 1 2/3, so the sixths have the better claim first; then they owe."""
    quotas = Quotas(Mixture(), 10)
    assert [tuple(quotas.of(step).values()) for step in range(6)] == [(3, 3, 2, 2), (4, 4, 1, 1), (3, 3, 2, 2)] * 2
    assert quotas.period == 3


@pytest.mark.parametrize("text", ["1:1:1:1", "5:1:1:1", "4:2:2:2", "0:3:0:1", "7:5:3:2"])
@pytest.mark.parametrize("batch_size", [9, 11, 16])
def test_no_source_is_ever_a_whole_pair_off(text: str, batch_size: int) -> None:
    mixture = Mixture.parse(text)
    quotas, weights = Quotas(mixture, batch_size), mixture.weights
    total = sum(weights.values())
    drawn: collections.Counter[TextSource] = collections.Counter()
    for step in range(2 * quotas.period):
        seats = quotas.of(step)
        drawn.update(seats)
        assert sum(seats.values()) == batch_size
        assert all(abs(drawn[source] * total - (step + 1) * batch_size * weights[source]) < total for source in seats)


def test_missing_sources_keep_the_proportions_of_the_others() -> None:
    left = Mixture().without({TextSource.ASET})
    assert left == Mixture.parse("2:2:1:0")
    assert TextSource.ASET not in Quotas(left, 10).of(0)
    with pytest.raises(MixtureError):
        Mixture.of({TextSource.SF: 1}).without({TextSource.SF})


def test_impossible_mixtures_are_refused() -> None:
    with pytest.raises(MixtureError, match="at least 6 pairs"):
        Quotas(Mixture(), 5)
    assert tuple(Quotas(Mixture.parse("2:2:2:4"), 5).of(0).values()) == (1, 1, 1, 2)
    with pytest.raises(MixtureError, match="at least 5 pairs"):
        Quotas(Mixture.parse("3:2:2:2"), 4)
    with pytest.raises(ValueError, match="must have weights >= 0"):
        Mixture(sf=-1)
    with pytest.raises(ValueError, match="not whole numbers SF:LF:PL:ASET"):
        Mixture.parse("2:2:x:1")
    with pytest.raises(ValueError, match="not whole numbers SF:LF:PL:ASET"):
        Mixture.parse("2:2:1")
    with pytest.raises(ValueError, match="not whole numbers"):
        Mixture.parse(":".join("1" * (len(TextSource) + 1)))
    with pytest.raises(ValueError, match="one of them positive"):
        Mixture.parse("0:0:0:0")


def test_a_mixture_is_read_as_it_was_saved_and_a_source_of_later_has_no_weight() -> None:
    mixture = Mixture.parse("3:0:1:2")
    assert Mixture.from_json(dataclasses.asdict(mixture)) == mixture
    assert Mixture.from_json({"sf": 3, "pl": 1, "aset": 2}) == mixture
    assert Mixture.among([TextSource.ASET, TextSource.LF]) == Mixture.parse("0:2:0:1")


def test_draws_depend_on_their_name_alone() -> None:
    assert draw_below(1000, 1, "window", "id") == draw_below(1000, 1, "window", "id")
    assert draw_below(10**9, 1, "window", "id") != draw_below(10**9, 2, "window", "id")
    assert sorted(permutation(50, 3)) == list(range(50))
    assert list(permutation(50, 3)) != list(permutation(50, 4))
