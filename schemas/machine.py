"""What a machine is, without its name: processor, instructions that the libraries here have kernels for, memory."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# As /proc/cpuinfo calls them; the second row is ARM's.
_INSTRUCTIONS = (
    *("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile"),
    *("asimd", "asimddp", "bf16", "i8mm", "sve"),
)
_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """usable: cores that this process may use, which a container or a batch system can have limited."""

    model: str
    instructions: tuple[str, ...]
    cores: int
    usable: int


def cpu() -> Cpu:
    model, flags = platform.processor() or platform.machine(), set[str]()
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name == "model name":
                model = value
            elif name in ("flags", "Features"):
                flags = set(value.split())
                break
    return Cpu(
        model=model,
        instructions=tuple(name for name in _INSTRUCTIONS if name in flags),
        cores=os.cpu_count() or 1,
        usable=usable_cores(),
    )


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """All that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_bytes() -> int | None:
    """What a new process could take without swapping; None where the system does not say."""
    if not _MEMINFO.exists():
        return None
    for line in _MEMINFO.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None
