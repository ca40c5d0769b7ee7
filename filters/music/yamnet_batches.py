"""YAMNet's integer network for several windows at once, which reads its weights once for all of them.

The `.tflite` file takes one window. Where what follows its log-mel is a network of integers, as in MediaPipe's
conversion, the file is cut in two in memory: `front`, from the waveform to the quantised log-mel, is run a window at a
time as before, and the network a batch at a time. Sums of integers are exact and each value is rounded by itself, so a
window has the scores that the whole file gives it, whatever stands beside it. Of floats that would not be so, and a
file of floats stays whole.

Shape suffixes: F frames, W samples of a window, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.music.yamnet import import_or_explain

BATCH = 8


class YamnetBatches:
    """`of` a file, which has None where it cannot be cut."""

    def __init__(self, front: Any, network: Any) -> None:
        self._front, self._network = front, network
        self._wave, self._image = front.get_input_details()[0], front.get_output_details()[0]
        self._images, self._scores = network.get_input_details()[0], network.get_output_details()[0]
        self._images_B = np.zeros(self._images["shape"], self._images["dtype"])

    @classmethod
    def of(cls, litert: Any, model: bytes) -> "YamnetBatches | None":
        """`litert` is the module of LiteRT's interpreter."""
        parts = _cut(model)
        if parts is None:
            return None
        front, network = (litert.Interpreter(model_content=part, num_threads=1) for part in parts)
        try:
            images = network.get_input_details()[0]
            network.resize_tensor_input(images["index"], [BATCH, *images["shape"][1:]])
            network.allocate_tensors()
            front.allocate_tensors()
        except (ValueError, RuntimeError):  # its shapes allow one window alone
            return None
        return cls(front, network) if network.get_output_details()[0]["shape"][0] == BATCH else None

    def scores(self, windows_FW: NDArray[np.float32]) -> NDArray[np.float32]:
        """(F, C) of each window, as the whole file scores it."""
        found = []
        for start in range(0, len(windows_FW), BATCH):
            part_FW = windows_FW[start : start + BATCH]
            for place, window_W in enumerate(part_FW):
                self._front.set_tensor(self._wave["index"], window_W.reshape(self._wave["shape"]))
                self._front.invoke()
                self._images_B[place] = self._front.get_tensor(self._image["index"])[0]
            self._network.set_tensor(self._images["index"], self._images_B)
            self._network.invoke()
            found.append(self._network.get_tensor(self._scores["index"])[: len(part_FW)])
        return np.concatenate(found)


def _cut(model: bytes) -> tuple[bytes, bytes] | None:
    """The file before its first convolution, and from there on; None where that does not take integers."""
    flatbuffers = import_or_explain("flatbuffers", "litert")
    schema = import_or_explain("ai_edge_litert.schema_py_generated", "litert")
    made = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))
    graph, convolution = made.subgraphs[0], schema.BuiltinOperator.CONV_2D
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in made.operatorCodes]
    operators = graph.operators
    at = next((i for i, each in enumerate(operators) if codes[each.opcodeIndex] == convolution), 0)
    image = operators[at].inputs[0]
    before = {tensor for each in operators[:at] for tensor in each.outputs}
    after = {tensor for each in operators[at:] for tensor in each.inputs}
    if graph.tensors[image].type != schema.TensorType.INT8 or before & after != {image}:
        return None
    made.signatureDefs = []

    def packed() -> bytes:
        builder = flatbuffers.Builder(len(model))
        builder.Finish(made.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    scores = graph.outputs
    graph.operators, graph.outputs = operators[:at], [image]
    front = packed()
    graph.operators, graph.inputs, graph.outputs = operators[at:], [image], scores
    return front, packed()
