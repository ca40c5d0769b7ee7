"""A model folder on the Hugging Face hub: put there, and fetched by its name.

Files are fetched by their names alone, so that nothing but weights, configuration, tokenizer and card comes along; none
of them is code. The token is huggingface_hub's own affair (`hf auth login`, HF_TOKEN), the server HF_ENDPOINT.
"""

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from schemas.hub import check_answers

_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILES = ["*.json", "*.safetensors", "*.txt", "README.md"]


def is_hub_name(name: str) -> bool:
    """`user/name`, and no folder here is called so."""
    return _NAME.fullmatch(name) is not None and not Path(name).exists()


def fetched(name: str, revision: str | None) -> Path:
    """A folder with the files of a model on the hub, kept for the next time. Raises ValueError."""
    where = name if revision is None else f"{name} at {revision}"
    try:
        check_answers(name)
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ValueError(f"{where}: neither a folder here nor a model on the hub that this account may read") from error
    except LocalEntryNotFoundError as error:
        raise ValueError(f"{where}: no folder here, and the hub does not answer") from error
    except (HfHubHTTPError, OSError) as error:
        raise ValueError(f"{where}: cannot be fetched from the hub ({_first_line(error)})") from error


def push(name: str, write: Callable[[Path], None], *, private: bool, revision: str | None) -> str:
    """Make the repository where there is none and commit to it the files that `write` puts into a folder; returns the
    commit's address. Raises ValueError."""
    api = HfApi()
    try:
        with TemporaryDirectory() as folder:
            write(Path(folder))
            api.create_repo(name, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(name, branch=revision, exist_ok=True)
            done = api.upload_folder(
                repo_id=name, folder_path=folder, revision=revision, commit_message="Upload a model of OpenMuLan"
            )
    except (HfHubHTTPError, OSError) as error:
        raise ValueError(f"{name}: cannot be pushed to the hub ({_first_line(error)})") from error
    return str(done.commit_url)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
