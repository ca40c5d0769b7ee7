"""What was found, and how it is told: without the names of people, machines and folders, and without secrets."""

import getpass
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# A shorter one is found where it means nothing.
_SHORTEST_NAME, _SHORTEST_SECRET = 2, 8
_SECRET = re.compile(r"token|secret|password|passwd|credential|(?:^|_)key(?:$|_)", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")


class State(StrEnum):
    """OK: it works. NOTE: absent or unusual, and not needed by everybody. BAD: it is there, or needed, and fails."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """advice: what to do; empty where nothing is to be done."""

    name: str
    state: State
    what: str
    advice: str = ""


def nameless(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text with a stand-in for every secret, folder and name of this machine and its user that is in it."""
    for name, value in environment.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "<hidden>")
    text = _IN_ADDRESS.sub("<hidden>@", text)
    folders = {str(Path.cwd()): "<here>", sys.prefix: "<environment>", sys.base_prefix: "<python>"}
    folders[str(Path.home())] = "~"
    # The longest first: one lies in another.
    for folder in sorted(folders, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(folder, folders[folder])
    for name, stand_in in ((_user(), "<user>"), (platform.node(), "<host>")):
        if len(name) >= _SHORTEST_NAME:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", stand_in, text)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user that no table has
        return ""


def as_text(findings: list[Finding]) -> str:
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:4}  {finding.name:{width}}  {finding.what}")
        if finding.advice:
            lines.append(f"{'':{width + 6}}  → {finding.advice}")
    return "\n".join(lines) + "\n"
