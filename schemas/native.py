"""Native libraries of others that bear one another in one order only."""

import contextlib
import importlib
import importlib.util


def before_tensorflow() -> None:
    """To be called before TensorFlow is imported.

    TensorFlow 2.20 and 2.21 show their LLVM to every library that is loaded after them, and Triton's, which torch loads
    late and without being asked, ends the process by a segmentation fault then (tensorflow issue 124205). Loaded before
    TensorFlow it keeps its own.
    """
    if importlib.util.find_spec("triton") is not None:
        with contextlib.suppress(ImportError):  # one that is broken, or another package of this name
            importlib.import_module("triton._C.libtriton")
