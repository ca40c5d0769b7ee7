"""Mine a folder of music, and look at what came of it:

    python examples/mine_a_folder.py music/ run

Options of `mulan mine` may follow. Run again after the folder has grown, it adds what is new.
"""

import argparse
import sys
from collections import Counter

import openmulan

COLUMNS = ["recording_id", "music_fraction", "sf"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of recordings, with whatever lies beside them: tags, playlists, .info.json")
    parser.add_argument("output", help="the run; its report.html is the same for the eye")
    arguments, options = parser.parse_known_args(argv)

    code = openmulan.main(["mine", arguments.folder, "--output", arguments.output, *options])
    if code not in (0, 1):  # 1: more recordings failed than are allowed, and the rest is there
        return code

    run = openmulan.Run.open(arguments.output)
    kept, words = 0, Counter[str]()
    for group in run.row_groups():
        for row in run.read(group, COLUMNS).to_pylist():
            kept += 1
            words.update(text.lower() for text in row["sf"])
            print(f"{row['music_fraction']:4.0%} music  {row['recording_id']}")

    print(f"\n{kept} recordings kept; the texts that most of them have:")
    for text, count in words.most_common(10):
        print(f"{count:5}  {text}")
    print("\nWhat was left out, and why:")
    for outcome, reasons in run.manifest.accounting["recordings"].items():
        if isinstance(reasons, dict):
            for reason, count in reasons.items():
                print(f"{count:5}  {outcome}: {openmulan.Reason(reason).explanation}")
    return code


if __name__ == "__main__":
    sys.exit(main())
