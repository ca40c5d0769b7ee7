"""The small run and the text checkpoint of the trainer's tests."""

from tests.trainer.conftest import text_checkpoint, tone_run

__all__ = ["text_checkpoint", "tone_run"]
