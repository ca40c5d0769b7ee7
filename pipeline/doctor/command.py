"""`mulan doctor`: whether this machine and this installation can do the work, and the text for a bug report."""

import argparse
import itertools
import json
import sys

from schemas.exits import DONE, FAILURES


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="mulan doctor",
        description="What this machine and this installation can do: versions, extras, processor, GPU, memory, disk, "
        "the decoder on a sound made here, the hub. What it prints has no names, folders or tokens in it and can be "
        "pasted into a bug report. Exit code 0: nothing is broken; 1: something is.",
    )
    made.add_argument("--json", action="store_true", help="the same as JSON")
    made.add_argument("--offline", action="store_true", help="do not ask the hub of models whether it answers")
    return made


def main(argv: list[str]) -> int:
    """Exit code: 0 nothing is broken, 1 something is, 2 arguments."""
    arguments = parser().parse_args(argv)
    from pipeline.doctor import installed, sounds, surroundings
    from pipeline.doctor.findings import State, as_text, nameless
    from schemas.version import VERSION

    findings = list(
        itertools.chain(
            surroundings.system(),
            surroundings.processor(),
            surroundings.gpu(),
            surroundings.memory(),
            surroundings.disk(),
            surroundings.network(arguments.offline),
            sounds.findings(),
            surroundings.java(),
            installed.findings(),
        )
    )
    broken = [finding.name for finding in findings if finding.state is State.BAD]
    if arguments.json:
        content = {
            "openmulan": VERSION,
            "broken": broken,
            "findings": [
                {
                    "name": finding.name,
                    "state": finding.state.value,
                    "what": nameless(finding.what),
                    "advice": finding.advice,
                }
                for finding in findings
            ],
        }
        sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    else:
        verdict = f"broken: {', '.join(broken)}" if broken else "nothing is broken"
        sys.stdout.write(f"openmulan {VERSION}\n{nameless(as_text(findings))}{verdict}\n")
    return FAILURES if broken else DONE
