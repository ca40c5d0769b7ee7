"""Index music by a model, and find it by words:

    python examples/search_it.py trained/model music/ index "slow piano" "happy and fast, with drums"

What is searched may be folders, files or mined runs. `mulan search serve index` is the same in a browser, with sound.
"""

import argparse
import sys

import openmulan

SHOWN = 5


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder `model` of a training, or a name on the hub")
    parser.add_argument("music", help="a folder, a file or a mined run")
    parser.add_argument("index", help="where the index is; made anew, it embeds only what has changed")
    parser.add_argument("queries", nargs="+", metavar="query")
    arguments = parser.parse_args(argv)

    if code := openmulan.main(["search", "index", arguments.model, arguments.music, "--output", arguments.index]):
        return code

    index = openmulan.Index.open(arguments.index)
    for query in arguments.queries:
        print(f"\n{query}")
        hits = index.search(query, k=SHOWN)
        for hit in hits:
            print(f"{hit.score:6.2f}  {hit.recording_id}")
    print(f"\nMost alike to {hits[0].recording_id}:")
    for hit in index.similar(hits[0].recording_id, k=SHOWN):
        print(f"{hit.score:6.2f}  {hit.recording_id}")
    print("\nWhether any of this can be trusted:")
    for line in index.health().lines():
        print(f"  {line}")
    index.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
