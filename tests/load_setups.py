"""What a worker does with a graph before its first element: load each step, and set it up. Run by the Python of another
environment, which has the wheel and nothing of the checkout:

    PYTHON tests/load_setups.py GRAPH…

Prints the name of each class that was set up.
"""

import sys
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pipeline import PipelineVisitor
from apache_beam.portability.api import beam_runner_api_pb2


class SetUp(PipelineVisitor):
    def visit_transform(self, node: Any) -> None:
        if isinstance(node.transform, beam.ParDo):
            do = node.transform.fn
            do.setup()
            do.teardown()
            sys.stdout.write(f"{type(do).__module__}.{type(do).__name__}\n")


for path in sys.argv[1:]:
    proto = beam_runner_api_pb2.Pipeline.FromString(Path(path).read_bytes())
    beam.Pipeline.from_runner_api(proto, "FnApiRunner", None).visit(SetUp())
