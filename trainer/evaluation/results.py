"""The result file of an evaluation: every figure with its interval, and how it came about.

The same inputs give the same bytes: no time, host or path is in it, files are named by their digests.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.digest import digest_json
from trainer.evaluation.evaluator import Measurement, Unmeasured
from trainer.evaluation.metrics import ClassScore, Value

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What one model got. `digest` is of its files, None for a control that has none.

    `trained_on` names the manifests that the model's own card lists, by digest; `text_only` is a bare text encoder.
    """

    model: str
    digest: str | None
    measurements: tuple[Measurement, ...]
    trained_on: tuple[str, ...] = ()
    text_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Results:
    openmulan_version: str
    models: tuple[ModelResult, ...]

    def to_json(self) -> dict[str, Any]:
        body = {
            "format_version": FORMAT_VERSION,
            "openmulan": self.openmulan_version,
            "models": [
                {
                    "model": result.model,
                    "digest": result.digest,
                    "trained_on": list(result.trained_on),
                    "text_only": result.text_only,
                    "measurements": [_measurement_json(m) for m in result.measurements],
                }
                for result in self.models
            ],
        }
        return {**body, "digest": digest_json(body)}

    def write(self, path: Path) -> None:
        text = json.dumps(self.to_json(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        path.write_text(f"{text}\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Raises ValueError where the file is not a result of this format."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {value['format_version']!r}, not {FORMAT_VERSION}")
        return Results(
            openmulan_version=value["openmulan"],
            models=tuple(
                ModelResult(
                    model=entry["model"],
                    digest=entry["digest"],
                    trained_on=tuple(entry["trained_on"]),
                    text_only=entry.get("text_only", False),  # results of before do not say
                    measurements=tuple(_measurement(m) for m in entry["measurements"]),
                )
                for entry in value["models"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a result file ({error!r})") from error


def _measurement_json(measurement: Measurement) -> dict[str, Any]:
    value = dataclasses.asdict(measurement)
    value["metrics"] = {name: {key: v[key] for key in ("value", "low", "high")} for name, v in value["metrics"].items()}
    lists = ("classes", "unmeasured")
    return {**_finite(value), **{n: [_finite(dataclasses.asdict(c)) for c in getattr(measurement, n)] for n in lists}}


def _measurement(value: dict[str, Any]) -> Measurement:
    metrics = {
        name: Value(value=math.nan if v["value"] is None else v["value"], low=v["low"], high=v["high"])
        for name, v in value["metrics"].items()
    }
    classes = tuple(ClassScore(**c) for c in value["classes"])
    # Results of before named no clip.
    unmeasured = tuple(Unmeasured(**u) for u in value.get("unmeasured", ()))
    return Measurement(**{**value, "metrics": metrics, "classes": classes, "unmeasured": unmeasured})


def _finite(value: Any) -> Any:
    """JSON has no infinity (d' of a perfect AUC): it becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(v) for v in value]
    return value
