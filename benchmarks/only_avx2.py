"""A command on a processor that says it has nothing beyond AVX2, though it has.

    python -m benchmarks.only_avx2 -- python -m benchmarks.lf_speed

Compiles `only_avx2.c`, which says how, and has the command and what that starts load it. Needs gcc and an x86 with
CPUID faulting. What it cannot imitate is another processor's clock and caches, and code compiled for one processor
that asks nothing; a process that is started with an environment of its own, as the decoder's helper is, sees the
processor as it is.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import IMITATED


def main(command: list[str]) -> int:
    if command[:1] == ["--"]:
        del command[0]
    if not command:
        sys.stderr.write("what is to be run? python -m benchmarks.only_avx2 -- COMMAND\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "only_avx2.so")
        compiler = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(Path(__file__).with_suffix(".c"))]
        subprocess.run(compiler, check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), IMITATED: "AVX2"}
        return subprocess.run(command, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
