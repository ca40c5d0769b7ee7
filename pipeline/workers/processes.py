"""Processes of this machine, as the kernel tells of them."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """`letter`: as /proc has it, empty where there is no such process. `started`: in ticks since the machine did, which
    tells a process from a later one of the same number; 0 where that is not known."""

    letter: str
    started: int = 0

    @property
    def is_alive(self) -> bool:
        return self.letter not in ("", "Z", "X")

    @property
    def is_stopped(self) -> bool:
        return self.letter in ("T", "t")


def state_of(pid: int) -> ProcessState:
    try:
        # The name of a program may have spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return ProcessState(letter=fields[0], started=int(fields[19]))
    except (OSError, IndexError, ValueError):
        if Path("/proc/self").exists():
            return ProcessState(letter="")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ProcessState(letter="")
    except PermissionError:
        pass
    return ProcessState(letter="S")
