"""Files of the folder `shared` beside the checkout, which the repository does not carry."""

from pathlib import Path

import pytest


class SharedFolder:
    """What tests may have of it; each works without."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, name: str) -> Path | None:
        """A file or folder of it, None where it is not here."""
        path = self._root / name
        return path if path.exists() else None

    def need(self, name: str) -> Path:
        """The same; the test is skipped where it is not here."""
        path = self.find(name)
        if path is None:
            pytest.skip(f"../shared/{name} is not here")
        return path
