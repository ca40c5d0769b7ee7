"""A hub of models that does not answer is asked for seconds, whoever asks: its own client asks again for minutes.

Only the first, small file has to come in that time; what it gives then may take as long as it takes.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from schemas.quiet import errors_alone

WITHIN_S = 5.0
_FIRST_FILE = "config.json"

log = logging.getLogger(__name__)
Given = TypeVar("Given")


class HubSilentError(OSError):
    """The hub does not answer."""


def ask(download: Callable[[], Given], within_s: float = WITHIN_S) -> Given:
    """What it returns or raises in that time. Raises HubSilentError."""
    given: list[Given] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            given.append(download())
        except Exception as error:  # raised to whoever asked
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True, name="hub")
    # The hub's own client tells each of its tries, twice; what came of them is said once, by who asked.
    with errors_alone("huggingface_hub"):
        thread.start()
        thread.join(within_s)
    if raised:
        raise raised[0]
    if not given:
        raise HubSilentError(f"the hub does not answer within {within_s:g} s")
    return given[0]


def check_answers(name: str) -> None:
    """Before a checkpoint is loaded by its name on the hub; of a folder, and of what the hub's cache on this disk has,
    nothing is asked. Raises HubSilentError."""
    if Path(name).exists():
        return
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    download: Callable[..., str] = partial(hf_hub_download, name, _FIRST_FILE)
    try:
        download(local_files_only=True)
    except Exception as error:  # whatever the cache has instead of it
        log.debug("%s is not in the hub's cache: %s", name, error)
    else:
        return
    try:
        ask(download, WITHIN_S)
    except (HubSilentError, LocalEntryNotFoundError) as error:
        raise HubSilentError(f"the hub does not answer within {WITHIN_S:g} s, or cannot be reached") from error
    except Exception as error:  # an answer, which whoever loads the checkpoint gets too and can say
        log.debug("%s: the hub says %s", name, error)
