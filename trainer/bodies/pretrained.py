"""Checkpoints of the ecosystem: safetensors only, whole, and no code of theirs is run."""

from pathlib import Path
from typing import Any

from transformers import FeatureExtractionMixin

from schemas.hub import check_answers


def pretrained(architecture: Any, name: str, **arguments: Any) -> Any:
    """A model from a directory or the hub, every weight of which must be in it. Raises ValueError."""
    where = "directory" if Path(name).is_dir() else "hub"
    try:
        check_answers(name)
        body, report = architecture.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **arguments
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{name}: no {architecture.__name__} could be loaded from the {where} ({reason})") from error
    if report["missing_keys"]:
        raise ValueError(
            f"{name}: not a {architecture.__name__} checkpoint, it lacks {sorted(report['missing_keys'])[0]}"
        )
    return body.float()


def extractor_settings(name: str) -> dict[str, Any]:
    """What a checkpoint says of its own front end; nothing where it does not."""
    try:
        settings, _ = FeatureExtractionMixin.get_feature_extractor_dict(name)
    except (OSError, ValueError):
        return {}
    return dict(settings)
