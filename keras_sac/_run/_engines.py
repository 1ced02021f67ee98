"""Run an exported file in its engine: NumPy arrays in, NumPy arrays out.

This file imports neither keras_sac nor Keras. A process that verifies an export loads this file
alone, without the package.
"""

import importlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Inputs = Any  # An array, or a list or dict of arrays, in the structure of the model's inputs.


def flat(structure: Any) -> list[Any]:
    """Return the leaves of nested lists, tuples and dicts; dicts are sorted by key."""
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in flat(structure[key])]
    if isinstance(structure, list | tuple):
        return [leaf for each in structure for leaf in flat(each)]
    return [structure]


def mapped(function: Any, structure: Any) -> Any:
    """Return a structure with a function applied to each leaf."""
    if isinstance(structure, dict):
        return {key: mapped(function, each) for key, each in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(mapped(function, each) for each in structure)
    return function(structure)


def numbered(structure: Any) -> Any:
    """Return a structure of lists and dicts with the position in `flat` at each leaf."""
    numbers = itertools.count()

    def visit(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: visit(each[key]) for key in sorted(each)}
        return [visit(x) for x in each] if isinstance(each, list | tuple) else next(numbers)

    return visit(structure)


def save_batch(file: str, batch: Inputs) -> None:
    """Write the arrays of a structure to an `.npz` file, in the order of `flat`."""
    arrays = [np.asarray(each) for each in flat(batch)]
    # Objects, such as the texts that a file returns, would need pickle; NumPy has no bfloat16.
    casts = {"O": np.str_, "V": np.float32}
    np.savez(file, *(x.astype(casts.get(x.dtype.kind, x.dtype), copy=False) for x in arrays))


def load_batch(file: str, structure: Any) -> Inputs:
    """Return the arrays that `save_batch` wrote, in a structure made by `numbered`."""
    with np.load(file) as arrays:
        return mapped(lambda number: arrays[f"arr_{number}"], structure)


class TensorFlow:
    """Run a SavedModel in TensorFlow, which casts the inputs itself."""

    names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    def __init__(self, path: str, threads: int | None = None):
        import tensorflow as tf

        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        self._flat = tf.nest.flatten
        self._model = tf.saved_model.load(path)
        self.threads = tf.config.threading.get_intra_op_parallelism_threads() or None

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        """Return the outputs in the order of `flat`."""
        return [each.numpy() for each in self._flat(self._model.serve(inputs))]

    def constants(self) -> Iterator[np.ndarray]:
        """Yield the arrays stored in the file."""
        return (variable.numpy() for variable in self._model.variables)


class OnnxRuntime:
    """Run an ONNX file in ONNX Runtime."""

    def __init__(self, path: str, threads: int | None = None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._path = path
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        entries = self._session.get_inputs()
        self.names = [each.name for each in entries]
        self.output_names = [each.name for each in self._session.get_outputs()]
        types = [each.type.removeprefix("tensor(").removesuffix(")") for each in entries]
        self._dtypes = [_ONNX_DTYPES.get(each, each) for each in types]
        self.threads = threads

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        """Return the outputs in the order of the file."""
        feeds = _named(inputs, self.names, self._dtypes)
        return self._session.run(None, feeds)  # type: ignore[return-value]

    def constants(self) -> Iterator[np.ndarray]:
        """Yield the arrays stored in the file."""
        import onnx

        graph = onnx.load(self._path).graph
        yield from (onnx.numpy_helper.to_array(each) for each in graph.initializer)
        for node in graph.node:
            if node.op_type == "Constant":
                tensors = [each.t for each in node.attribute if each.name == "value"]
                yield from (onnx.numpy_helper.to_array(each) for each in tensors)


# The names that ONNX Runtime gives to dtypes, where NumPy has others.
_ONNX_DTYPES = {"float": "float32", "double": "float64", "string": "str"}


def without_telemetry() -> Any:
    """Import OpenVINO without its telemetry.

    The telemetry forks the process, which can hang where other threads run, such as those of JAX.
    """
    before = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        if before is None:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = before


class OpenVino:
    """Run an `.xml` model, or another format that OpenVINO reads, in OpenVINO on the CPU.

    The precision is set to float32: on a CPU with bfloat16, OpenVINO would use that by default.
    """

    def __init__(self, path: str, threads: int | None = None):
        openvino = without_telemetry()
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._model = core.read_model(path)
        self._compiled = core.compile_model(self._model, "CPU", settings)
        self.names = [each.any_name for each in self._compiled.inputs]
        self.output_names = [min(each.names, default="") for each in self._compiled.outputs]
        self._dtypes = [each.element_type.to_dtype() for each in self._compiled.inputs]
        self.threads = threads or self._compiled.get_property("INFERENCE_NUM_THREADS")

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        """Return the outputs in the order of the file."""
        outputs = self._compiled(_named(inputs, self.names, self._dtypes))
        return [np.array(outputs[each]) for each in self._compiled.outputs]

    def constants(self) -> Iterator[np.ndarray]:
        """Yield the arrays stored in the file."""
        operations = self._model.get_ops()
        return (each.data for each in operations if each.get_type_name() == "Constant")


class LiteRT:
    """Run a `.tflite` file in LiteRT."""

    def __init__(self, path: str, threads: int | None = None):
        from ai_edge_litert.interpreter import Interpreter

        self._path = path
        self._run = Interpreter(model_path=path, num_threads=threads).get_signature_runner()
        details = self._run.get_input_details()
        self.names = sorted(details, key=lambda name: details[name]["index"])
        self._dtypes = [details[name]["dtype"] for name in self.names]
        names = self._run.get_output_details()
        self.output_names = sorted(names, key=lambda name: (len(name), name))
        self.threads = threads or 1

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        """Return the outputs in the order of their numbered names."""
        outputs = self._run(**_named(inputs, self.names, self._dtypes))
        return [outputs[name] for name in self.output_names]

    def constants(self) -> Iterator[np.ndarray]:
        """Yield the arrays stored in the file."""
        from ai_edge_litert.interpreter import Interpreter

        # Until it allocates its buffers, an interpreter holds only the tensors of the file.
        interpreter = Interpreter(model_path=self._path)
        for details in interpreter.get_tensor_details():
            try:
                yield interpreter.get_tensor(details["index"])
            except ValueError:
                continue


class Torch:
    """Run a `.pt2` file in PyTorch."""

    names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    def __init__(self, path: str, threads: int | None = None):
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self._torch = torch
        self._program = torch.export.load(path)
        self._module = self._program.module()
        fed = set(self._program.graph_signature.user_inputs)
        nodes = [node for node in self._program.graph.nodes if node.name in fed]
        self._dtypes = {self._array(torch.empty(0, dtype=x.meta["val"].dtype)).dtype for x in nodes}
        self.threads = torch.get_num_threads()

    def __call__(self, inputs: Inputs) -> list[np.ndarray]:
        """Return the outputs in the order of `flat`."""

        def tensor(array: np.ndarray) -> Any:
            alike = [dtype for dtype in self._dtypes if dtype.kind == array.dtype.kind]
            if alike and array.dtype not in alike:
                array = array.astype(alike[0])
            return self._torch.from_numpy(np.ascontiguousarray(array))

        with self._torch.inference_mode():
            outputs = self._module(mapped(tensor, inputs))
        return [self._array(each) for each in flat(outputs)]

    def _array(self, tensor: Any) -> np.ndarray:
        halved = tensor.dtype == self._torch.bfloat16
        return (tensor.float() if halved else tensor).detach().numpy()

    def constants(self) -> Iterator[np.ndarray]:
        """Yield the arrays stored in the file."""
        arrays = [*self._program.state_dict.values(), *self._program.constants.values()]
        return (self._array(each) for each in arrays if isinstance(each, self._torch.Tensor))


ENGINES = {
    "tensorflow": TensorFlow,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "litert": LiteRT,
    "torch": Torch,
}
# Suffix -> the engines that read such a file; the default engine comes first.
READERS = {
    "": ("tensorflow", "openvino"),
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
    ".tflite": ("litert", "openvino"),
    ".pt2": ("torch",),
}


def engine_of(path: str | os.PathLike[str], engine: str = "auto") -> str:
    """Return the name of the engine for a file; `"auto"` chooses the default of its format.

    Raises:
        ValueError: if no engine reads the file, or `engine` does not.
    """
    suffix = "" if Path(path).is_dir() else Path(path).suffix
    if suffix not in READERS:
        raise ValueError(
            f"No engine reads {str(path)!r}. Expected a SavedModel folder, or a file that ends "
            f"with {', '.join(filter(None, READERS))}."
        )
    readers = READERS[suffix]
    if engine == "auto":
        return readers[0]
    if engine not in readers:
        raise ValueError(f"{str(path)!r} is read by {', '.join(readers)}. Received: {engine=}")
    return engine


def opened(path: str | os.PathLike[str], engine: str = "auto", threads: int | None = None) -> Any:
    """Load an exported file in an engine; call the result with inputs.

    Args:
        path: exported file or folder.
        engine: one of `ENGINES`, or `"auto"`.
        threads: number of threads for one operation. Defaults to the engine's own choice.
    """
    return ENGINES[engine_of(path, engine)](os.fspath(path), threads)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Run an exported file on batches of inputs; `outputs_of_file` calls this in a child process.

    Args:
        task: `path` of the exported file; `inputs` and `outputs`, one `.npz` file per batch for its
            input and output arrays; `structure` of the model's inputs, with the number of an array
            at each leaf; `names` of the inputs, in the order of the numbers.

    Returns:
        `constants`: number of elements and of zeros for each array stored in the file; `names` of
        the outputs, empty if the format has none.
    """
    engine = opened(task["path"])
    for inputs, outputs in zip(task["inputs"], task["outputs"], strict=True):
        batch = load_batch(inputs, task["structure"])
        if task["names"] and sorted(engine.names) == sorted(task["names"]):
            batch = dict(zip(task["names"], flat(batch), strict=True))
        save_batch(outputs, engine(batch))
    constants = [
        [each.size, each.size - int(np.count_nonzero(each))] for each in engine.constants()
    ]
    return {"constants": constants, "names": engine.output_names}


def _named(inputs: Inputs, names: list[str], dtypes: list[Any]) -> dict[str, Any]:
    """Return the inputs by name, cast to the dtypes of the file as Keras casts them."""
    if isinstance(inputs, dict) and set(inputs) == set(names):
        arrays = [inputs[name] for name in names]
    else:
        arrays = flat(inputs)
    pairs = zip(arrays, dtypes, strict=True)
    cast = [np.asarray(array).astype(dtype, copy=False) for array, dtype in pairs]
    return dict(zip(names, cast, strict=True))
