"""Code that decides bytes has a version: whoever changes what it puts out raises it, or runs would mix two behaviours.

What is frozen, and how it is recorded: `tests/frozen_outputs.py`.
"""

import dataclasses

import pytest

from filters.long_form import gates
from pipeline.settings import Versions
from tests import frozen_outputs
from tests.frozen_outputs import NEED_TENSORFLOW, VERSIONED, complaint


def test_every_version_is_watched() -> None:
    fields = {field.name for field in dataclasses.fields(Versions)}
    detectors = {"builtin", *NEED_TENSORFLOW}
    assert fields - {"detector"} == VERSIONED.keys() - detectors
    assert all(getattr(Versions(), name) == VERSIONED[name][0] for name in fields - {"detector"})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(VERSIONED.keys() - set(NEED_TENSORFLOW)))
def test_a_version_puts_out_what_it_always_did(name: str) -> None:
    assert (said := complaint(name, VERSIONED[name][2]())) is None, said


@pytest.mark.slow
def test_another_constant_asks_for_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "MIN_LETTERS", gates.MIN_LETTERS + 1)
    said = complaint("gates", frozen_outputs.of_gates())
    assert said is not None
    assert "raise the version in filters/long_form/gates.py" in said


def test_numbers_may_differ_by_what_is_promised_and_no_more() -> None:
    known = frozen_outputs.recorded()["decoder"]["1"]
    near = {**known, "values": [value + (-1) ** i for i, value in enumerate(known["values"])]}
    far = {**known, "values": [*known["values"][:-1], known["values"][-1] + 2]}
    assert complaint("decoder", near) is None
    assert complaint("decoder", far) is not None
    assert complaint("decoder", {**known, "values": known["values"][1:]}) is not None


def test_a_version_that_is_new_is_recorded_and_asks_for_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERSIONED, "gates", (gates.VERSION + 1, *VERSIONED["gates"][1:]))
    said = complaint("gates", frozen_outputs.of_gates())
    assert said is not None
    assert "is new: run `python -m tests.frozen_outputs`" in said
