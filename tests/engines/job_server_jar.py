"""A job server of Beam as one jar, from the parts of a class path: it has no classes, its manifest says where they are.

    python -m tests.engines.job_server_jar spark .spark/classpath.txt .spark/job-server.jar

In place of the jar that Beam fetches from Maven Central where only its parts can be had.
"""

import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

# What Spark 3.5 and Flink 1.19 reach into of a JVM of version 17.
OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.time"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs"),
    *("sun.security.action", "sun.util.calendar"),
)
MAIN_CLASSES = {
    "spark": "org.apache.beam.runners.spark.SparkJobServerDriver",
    "flink": "org.apache.beam.runners.flink.FlinkJobServerDriver",
}
# Of a line of a manifest; the next one goes on after a space.
LINE_CHARS = 70


def main(argv: Sequence[str]) -> None:
    engine, class_path, jar = argv
    write_jar(Path(class_path), MAIN_CLASSES[engine], Path(jar))


def write_jar(class_path: Path, main_class: str, jar: Path) -> None:
    parts = class_path.read_text(encoding="utf-8").strip().split(os.pathsep)
    attributes = {
        "Manifest-Version": "1.0",
        "Main-Class": main_class,
        "Add-Opens": " ".join(f"java.base/{package}" for package in OPENED),
        "Class-Path": " ".join(Path(part).as_uri() for part in parts),
    }
    lines = []
    for name, value in attributes.items():
        line = f"{name}: {value}"
        cut = range(LINE_CHARS, len(line), LINE_CHARS - 1)
        lines += [line[:LINE_CHARS], *(f" {line[i : i + LINE_CHARS - 1]}" for i in cut)]
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "\n".join([*lines, ""]))


if __name__ == "__main__":
    main(sys.argv[1:])
