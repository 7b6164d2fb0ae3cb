"""One ONNX graph loaded on the best provider that works: CUDA with bound inputs and outputs, or
the CPU.

Covers opening, the choice of provider and threads, and single runs; sharing a session between
callers is ``onnx_batches``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.digest import Stamp, file_digest, stamp
from models.errors import AidecampError, ModelCorrupt, ModelMissing, StorageFailed, UsageError
from models.machine import cores
from models.onnx_graph import Graph, read_graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PULL_AGAIN = "pull it again: aidecamp models pull"
MAX_THREADS = 2
"""More would be taken from the language model that decodes beside it. With 2 for 1, a short text
takes 6.8 ms for 10.1 alone, and 11 to 14 ms for 14 to 25 beside llama.cpp, whose own speed showed
no clear difference (12.8 and 10.4, 17.5 and 21.8, 18.5 and 16.7 tokens/s; 2 busy cores)."""
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_NO_MEMORY = ("bad_alloc", "bad allocation", "ailed to allocate memory", "out of memory")
_INTEGERS = {"tensor(int64)": "int64", "tensor(int32)": "int32"}


class OnnxSession:
    """A BERT-like graph: token ids in, float arrays out.

    ``model`` is its digest, ``provider`` is ``cuda`` or ``cpu``, ``provider_reason`` says why,
    ``threads`` are those of one run. ``outputs`` maps names to shapes (a str or None where a size
    is free). ``batches``: it takes several rows in one run, and they do not change each other;
    ``batches_reason`` says why. ``width``: the only row length that it takes, None where any.

    The file is read once: one that is replaced afterwards changes nothing for what is loaded.
    Raises ModelMissing, ModelCorrupt (no such graph), StorageFailed (out of memory).
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        before = _stamp(path)
        graph = read_graph(path)
        self.path = path
        self.model = _digest(path, graph)
        self.threads = default_threads() if threads is None else threads
        if self.threads < 1:
            raise UsageError(f"a run needs at least one thread, not {threads}")
        self._outside = {file: _stamp(file) for file in graph.external}
        self._session, self.provider, self.provider_reason = _open(path, graph, self.threads)
        if _stamp(path) != before:
            raise ModelCorrupt(f"{path} changed on disk while it was loaded", hint="load it again")
        inputs = self._session.get_inputs()
        self.outputs = {o.name: tuple(o.shape) for o in self._session.get_outputs()}
        self._types = {i.name: _INTEGERS.get(i.type, "") for i in inputs}
        shapes = [tuple(i.shape) for i in inputs]
        if (
            "input_ids" not in self._types
            or self._types.keys() - INPUTS
            or not all(self._types.values())
            or any(len(shape) != 2 for shape in shapes)
        ):
            raise self.misfit("an encoder of token ids")
        sizes = [[s for s in column if isinstance(s, int)] for column in zip(*shapes, strict=True)]
        self.width: int | None = sizes[1][0] if sizes[1] else None
        if any(size != 1 for size in sizes[0]):
            raise self.misfit("a graph that takes one row or any number of them")
        if sizes[0]:
            self.batches, self.batches_reason = False, "the graph takes one row at a time"
        elif not graph.rows_apart:
            self.batches = False
            self.batches_reason = "int8 activations share one scale, so rows would shift each other"
        else:
            self.batches, self.batches_reason = True, "rows do not depend on each other"

    def misfit(self, wanted: str) -> ModelCorrupt:
        """The error for a graph with other inputs or outputs than ``wanted`` ones."""
        inputs = [(i.name, i.type, i.shape) for i in self._session.get_inputs()]
        return ModelCorrupt(
            f"{self.path} is not {wanted}: inputs {inputs}, outputs {list(self.outputs.items())}"
        )

    def run(self, feed: Mapping[str, NDArray[np.int64]], output: str) -> NDArray[np.float32]:
        """One output for one batch. Takes those of ``feed`` that the graph asks for.

        Raises ModelCorrupt (the graph refuses these inputs), StorageFailed (out of memory).
        """
        import numpy as np

        for file, before in self._outside.items():
            # ONNX Runtime maps such files: a change reaches the loaded weights.
            if _stamp(file) != before:
                raise ModelCorrupt(f"{file} changed on disk while in use", hint=PULL_AGAIN)
        inputs = {name: feed[name].astype(kind, copy=False) for name, kind in self._types.items()}
        try:
            if self.provider == "cuda":
                return run_bound(self._session, inputs, output, "cuda")
            result = self._session.run([output], inputs)[0]
            return np.asarray(result, np.float32)
        except Exception as error:  # ONNX Runtime's own classes share no base below Exception
            raise _failure(f"ONNX Runtime fails on {self.path}", error) from error

    def close(self) -> None:
        """Free its memory. Safe to call twice; the session cannot be used afterwards."""
        self._session = None


def run_bound(
    session: Any, inputs: Mapping[str, NDArray[Any]], output: str, device: str
) -> NDArray[np.float32]:
    """One run with inputs and output bound on ``device``: one copy in, one copy out, and none
    between the nodes.

    Untried on a GPU: no machine with one was at hand; tested with the device ``cpu``.
    """
    import numpy as np
    import onnxruntime as ort

    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device, 0))
    binding.bind_output(output, device, 0)
    session.run_with_iobinding(binding)
    return np.asarray(binding.get_outputs()[0].numpy(), np.float32)


def _open(path: Path, graph: Graph, threads: int) -> tuple[Any, str, str]:
    """An inference session on the best provider that works, its name, and why it is that one."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    reason = cuda_refusal(graph)
    try:
        if reason is None:
            ort.preload_dlls()
            providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
            session = ort.InferenceSession(str(path), _options(threads), providers=providers)
            if session.get_providers()[0] == "CUDAExecutionProvider":
                return session, "cuda", "the CUDA provider started"
            reason = "the CUDA provider did not start (CUDA 12 and cuDNN 9 are needed: extra 'gpu')"
        providers = ["CPUExecutionProvider"]
        return (
            ort.InferenceSession(str(path), _options(threads), providers=providers),
            "cpu",
            reason,
        )
    except Exception as error:  # ONNX Runtime's own classes share no base below Exception
        raise _failure(f"ONNX Runtime refuses {path}", error) from error


def default_threads() -> int:
    """The threads of one run: the cores that this process may use, at most MAX_THREADS."""
    return min(cores(), MAX_THREADS)


def _options(threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    # A stated number also keeps ONNX Runtime from pinning its threads to cores.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Workers that spin between two runs take the cores from llama.cpp: beside an encoder that
    # spins it decoded 1.2 to 1.7 times slower than beside one that sleeps (2 busy cores).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # The arena never gives back what its largest batch took: 5.0 GB after 64 rows of 512
    # tokens, 0.2 GB without it, and a short text takes as long (9.6 and 9.9 ms).
    options.enable_cpu_mem_arena = False
    return options


def _failure(what: str, error: Exception) -> AidecampError:
    text = str(error)
    if isinstance(error, MemoryError) or any(sign in text for sign in _NO_MEMORY):
        return StorageFailed(f"{what}: out of memory ({text})", hint="free memory, and try again")
    return ModelCorrupt(f"{what}: {text}", hint=PULL_AGAIN)


def _stamp(path: Path) -> Stamp:
    found = stamp(path)
    if found is None:
        raise ModelMissing(f"no model file at {path}", hint="run: aidecamp models pull")
    return found


def _digest(path: Path, graph: Graph) -> str:
    """The file's digest; with weights in other files, one digest over those of all of them."""
    if not graph.external:
        return file_digest(path)
    digests = [file_digest(file) for file in (path, *graph.external)]
    return "sha256:" + hashlib.sha256("\n".join(digests).encode()).hexdigest()


def cuda_refusal(graph: Graph) -> str | None:
    """Why CUDA is not worth trying for this model, or None where it is.

    Asked before ONNX Runtime is: it would log errors for a provider that cannot load.
    """
    import ctypes

    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this ONNX Runtime was built without CUDA"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver"
    if driver.cuInit(0) != 0:
        return "the NVIDIA driver finds no usable GPU"
    if graph.int8:
        return "int8 runs slower on the CUDA provider than on the CPU (onnxruntime #10267)"
    return None
