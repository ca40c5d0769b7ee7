"""The worked example of `docs/extending.md`, "An evaluation set": one file of the user's own, on the real command."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.extending.document import blocks, run_line
from tests.pipeline.mining import write_chord
from trainer.evaluation.declare import evaluator_from_json
from trainer.evaluation.evaluator import Evaluator, Measurement
from trainer.evaluation.metrics import Bootstrap, Value

pytestmark = pytest.mark.slow

SECTION = "An evaluation set"
HERE = __name__


@pytest.mark.slow
def test_a_set_of_ones_own_is_read_and_measured(tmp_path: Path) -> None:
    (module,), (declared,), (command,) = (blocks(SECTION, language) for language in ("python", "json", "sh"))
    (tmp_path / "my_sets.py").write_text(module, encoding="utf-8")
    (tmp_path / "evaluation.json").write_text(declared, encoding="utf-8")
    (tmp_path / "night").mkdir()
    for number in range(6):
        write_chord(tmp_path / "night" / f"{('calm', 'loud')[number % 2]}-{number:02d}.flac", number, seconds=1.0)
    done = run_line(command, tmp_path)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))["models"]
    (measurement,) = measured["measurements"]
    assert (measurement["task"], measurement["dataset"]) == ("zero_shot", "nightly")
    assert (measurement["units"]["clips"], measurement["units"]["classes"]) == (6, 2)
    assert len(measurement["sources"]) == 6
    assert "nightly" in (tmp_path / "results" / "tables.md").read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    file: Path
    weights: tuple[float, ...] = ()
    bootstrap: Bootstrap = field(default_factory=Bootstrap)


class Count(Evaluator[Any]):
    """An evaluator of one's own."""

    name = "count"
    config_class = CountConfig

    def __init__(self, config: CountConfig) -> None:
        self.config = config

    def measure(self, model: Any) -> Measurement:
        value = Value(value=float(self.config.file.stat().st_size))
        return Measurement(task=self.name, dataset="d", split="test", metrics={"bytes": value}, units={}, settings={})


@dataclass(frozen=True, kw_only=True)
class NoReader:
    folder: Path = Path()


def test_an_evaluator_of_ones_own_is_made_from_its_declaration(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1234")
    declared = {"task": f"{HERE}:Count", "file": "x", "weights": [1, 2], "bootstrap": {"resamples": 3}}
    evaluator = evaluator_from_json(declared, tmp_path)
    assert isinstance(evaluator, Count)
    assert evaluator.config == CountConfig(file=tmp_path / "x", weights=(1, 2), bootstrap=Bootstrap(resamples=3))
    assert dict(evaluator.run(None)) == {"d/bytes": 4.0}


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"task": "my:Nothing"}, "there is no module 'my' on the Python path"),
        ({"task": f"{HERE}:NoReader"}, "not a subclass of Evaluator that has a config_class"),
        ({"task": f"{HERE}:Count", "size": 1}, "CountConfig: no field size"),
        ({"task": "zero_shot", "data": {"kind": f"{HERE}:NoReader"}}, "has no read, as a TaggedReader has"),
        ({"task": "zero_shot", "data": {"kind": f"{HERE}:test_a_set"}}, "has no 'test_a_set'"),
        ({"task": "zero_shot", "data": {"kind": "json:loads"}}, "kind 'json:loads' is no dataclass"),
        ({"task": "zero_shot", "data": 3}, "data: kind 'None': it is one of magnatagatune, audioset"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said_in_one_line(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=r"^(task|data|CountConfig)") as caught:
        evaluator_from_json(declared, Path())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
