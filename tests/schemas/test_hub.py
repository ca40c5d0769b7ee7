"""A hub that does not answer costs seconds, whatever is loaded from it by name."""

import logging
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schemas.hub import WITHIN_S, HubSilentError, ask, check_answers

ROOT = Path(__file__).resolve().parents[2]
LOADERS = """
import schemas.hub
schemas.hub.WITHIN_S = 0.3
from filters.long_form.finetune import load_encoder
from trainer.bodies.pretrained import pretrained
from trainer.evaluation.encoders import EncoderConfig, TransformersEncoder
from trainer.hub import fetched
from trainer.tokens import load_tokenizer
from transformers import BertModel
for load in (
    lambda: load_encoder("ada/bert"),
    lambda: load_tokenizer("ada/bert"),
    lambda: pretrained(BertModel, "ada/bert"),
    lambda: TransformersEncoder(EncoderConfig(name_or_folder="ada/bert")),
    lambda: fetched("ada/bert", None),
):
    try:
        load()
    except ValueError as error:
        print(str(error))
"""


def test_what_it_gives_and_what_it_raises() -> None:
    assert ask(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        ask(lambda: 1 // 0)
    begun = time.monotonic()
    with pytest.raises(HubSilentError, match=r"within 0\.1 s"):
        ask(lambda: time.sleep(20), 0.1)
    assert time.monotonic() - begun < 10
    assert WITHIN_S <= 5


def test_each_try_of_its_client_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    client = logging.getLogger("huggingface_hub.utils._http")
    caplog.set_level("WARNING", logger="huggingface_hub")  # which a command in this process keeps to errors
    ask(lambda: client.warning("Retrying in 1s [Retry 1/5]."))
    client.warning("what others ask it")
    assert caplog.messages == ["what others ask it"]


def test_a_folder_is_no_name_on_the_hub(tmp_path: Path) -> None:
    check_answers(str(tmp_path))


@pytest.mark.slow
def test_every_loader_gives_up_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as black_hole:  # takes connections and says nothing
        environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{black_hole.getsockname()[1]}",
            "HF_HOME": str(tmp_path),
            "OMP_NUM_THREADS": "1",
            "PATH": "",
        }
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", LOADERS], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - begun < 100  # its client would go on for minutes for each
    lines = done.stdout.splitlines()
    assert len(lines) == 5, done.stdout
    assert all("ada/bert" in line and "the hub does not answer within 0.3 s" in line for line in lines), done.stdout
