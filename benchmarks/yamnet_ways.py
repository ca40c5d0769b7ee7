"""Ways to run YAMNet's `.tflite` file, and what each costs a window of 0.975 s on one thread.

    python -m benchmarks.yamnet_ways ../shared/models/yamnet.tflite
    python -m benchmarks.only_avx2 -- python -m benchmarks.yamnet_ways ../shared/models/yamnet.tflite

`as_it_is` is what the detector does. `without_xnnpack` leaves LiteRT its own kernels. The file takes one window, so for
batches it is cut in two here: `front`, from the waveform to the quantised log-mel, of which `spectrum` is the Fourier
transform of LiteRT, beside it numpy's of the same frames; and `network`, what follows, for 1 to 31 windows at once,
whose scores are compared with one at a time. Then a clip of 30 s: by version 1 of the adapter, 61 windows, each alone;
by 31 side by side, each alone; and by these in batches, as it is now. Milliseconds of CPU of the fastest of some
rounds.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from benchmarks.machine import write_result
from filters.music.native_log import notes_dropped
from filters.music.yamnet import FIRST_GRID
from filters.music.yamnet_tflite import YamnetTflite
from schemas.shard import CLIP_SAMPLE_RATE_HZ

BATCHES = (1, 2, 4, 8, 31)
FRAMES, FRAME_SAMPLES = 96, 512  # of a window's spectrogram
CLIP_S = 30
ROUNDS = 10


def part(model: bytes, first: int, after: int) -> bytes:
    """The file with these of its operators alone."""
    made = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))
    graph = made.subgraphs[0]
    graph.operators = graph.operators[first:after]
    graph.inputs = graph.inputs if first == 0 else [graph.operators[0].inputs[0]]
    graph.outputs = [graph.operators[-1].outputs[0]]
    made.signatureDefs = []
    builder = flatbuffers.Builder(len(model))
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operators(model: bytes) -> list[str]:
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    return [operator["op_name"] for operator in interpreter._get_ops_details()]


def started(model: bytes, batch: int | None = None, **options: Any) -> Interpreter:
    with notes_dropped():
        interpreter = Interpreter(model_content=model, num_threads=1, **options)
        if batch is not None:
            given = interpreter.get_input_details()[0]
            interpreter.resize_tensor_input(given["index"], [batch, *given["shape"][1:]])
        interpreter.allocate_tensors()
    return interpreter


def scored(interpreter: Interpreter, given: Any) -> Any:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def cpu_ms(run: Callable[[], object]) -> float:
    run()
    best_s = float("inf")
    for _ in range(ROUNDS):
        start_s = time.process_time()
        run()
        best_s = min(best_s, time.process_time() - start_s)
    return 1_000 * best_s


def measure(model: bytes) -> dict[str, Any]:
    names = operators(model)
    quantised, spectrum = names.index("SPLIT"), names.index("RFFT2D")
    random = np.random.default_rng(0)
    whole = started(model)
    wave_T = random.normal(0, 0.1, whole.get_input_details()[0]["shape"]).astype(np.float32)
    scored(whole, wave_T)
    plain = started(model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    scored(plain, wave_T)
    before, after = started(part(model, 0, spectrum)), started(part(model, 0, spectrum + 1))
    front = started(part(model, 0, quantised))
    frames_FT = scored(before, wave_T).reshape(FRAMES, FRAME_SAMPLES)
    scored(after, wave_T)
    image = scored(front, wave_T)
    found: dict[str, Any] = {
        "as_it_is": cpu_ms(whole.invoke),
        "without_xnnpack": cpu_ms(plain.invoke),
        "front": cpu_ms(front.invoke),
        "spectrum": cpu_ms(after.invoke) - cpu_ms(before.invoke),
        "spectrum_by_numpy": cpu_ms(lambda: np.fft.rfft(frames_FT)),
        "network": {},
    }
    images = random.integers(-128, 128, (max(BATCHES), *image.shape[1:])).astype(image.dtype)
    network = part(model, quantised + 1, len(names))
    one_by_one = started(network, 1)
    alone = np.concatenate([scored(one_by_one, images[i : i + 1]) for i in range(len(images))])
    equal = True
    for batch in BATCHES:
        interpreter = started(network, batch)
        equal &= bool(np.array_equal(scored(interpreter, images[:batch]), alone[:batch]))
        found["network"][f"{batch} at once"] = cpu_ms(interpreter.invoke) / batch
    rounded = {
        name: {count: round(ms, 3) for count, ms in value.items()} if isinstance(value, dict) else round(value, 3)
        for name, value in found.items()
    }
    return {"ms_per_window": rounded, "scores_of_batches_equal": equal}


def a_clip(path: Path) -> dict[str, float]:
    """The ways take turns, so that what else the machine does slows each of them."""
    wave_T = np.random.default_rng(1).normal(0, 0.1, CLIP_S * CLIP_SAMPLE_RATE_HZ).astype(np.float32)
    ways = {
        "version_1": YamnetTflite.load(path, hop_s=FIRST_GRID.hop_s),
        "side_by_side": YamnetTflite.load(path),
        "now": YamnetTflite.load(path),
    }
    ways["version_1"]._batches = ways["side_by_side"]._batches = None
    best_ms = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, detector in ways.items():
            start_s = time.process_time()
            detector.scores(wave_T)
            best_ms[name] = min(best_ms[name], 1_000 * (time.process_time() - start_s))
    return {
        **{name: round(ms, 1) for name, ms in best_ms.items()},
        "less": round(best_ms["version_1"] / best_ms["now"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", default="yamnet_ways", help="of the result (default: %(default)s)")
    arguments = parser.parse_args()
    write_result(
        arguments.name,
        {**measure(arguments.model.read_bytes()), "ms_per_clip": a_clip(arguments.model)},
        packages=("ai-edge-litert", "numpy"),
        command="python -m benchmarks.yamnet_ways " + " ".join(sys.argv[1:]),
    )


if __name__ == "__main__":
    main()
