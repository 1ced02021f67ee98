"""Write a model on torch: trace it in inference mode, without gradients, on the CPU."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import keras

from keras_sac._run import engines
from keras_sac.deployment._file_names import name_onnx, name_openvino
from keras_sac.deployment._signature import Signature


def write_onnx(model: keras.Model, path: str, signature: Signature, dynamo: bool) -> None:
    """Write an ONNX file.

    Args:
        model: built.
        path: new file.
        signature: inputs and outputs of the file.
        dynamo: whether to trace with `torch.export`, which knows more layers and takes longer, or
            with TorchScript.
    """
    import torch

    axes = [
        {axis: f"{name}_{axis}" if axis else "batch" for axis in _open_axes(spec)}
        for name, spec in zip(signature.input_names, signature.flat_inputs, strict=True)
    ]
    options: dict[str, Any] = {
        "input_names": signature.input_names,
        "output_names": signature.output_names,
        "dynamo": dynamo,
        "verbose": False,
    }
    if dynamo:
        # `forward` has one parameter, the tuple of inputs.
        options["dynamic_shapes"] = (tuple(map(_dimensions, signature.flat_inputs)),)
        options["external_data"] = False
    else:
        options["dynamic_axes"] = dict(zip(signature.input_names, axes, strict=True))
    with _traceable(model), _silent():
        torch.onnx.export(_flat(model, signature), _tensors(signature), path, **options)
    name_onnx(path, signature)


def write_openvino(model: keras.Model, path: str, signature: Signature) -> None:
    """Write an OpenVINO model."""
    import torch

    openvino = engines.without_telemetry()
    with _traceable(model):
        traced = torch.jit.trace(_flat(model, signature), _tensors(signature), check_trace=False)
        converted = openvino.convert_model(traced, example_input=_tensors(signature))
    name_openvino(converted, signature)
    openvino.serialize(converted, path)


def write_program(model: keras.Model, path: str, signature: Signature) -> None:
    """Write a `.pt2` file; its module takes and returns the structures of the model."""
    import torch

    class Inference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Any) -> Any:
            return self.model(inputs, training=False)

    example = keras.tree.map_structure(torch.from_numpy, signature.example)
    shapes = keras.tree.map_structure(_dimensions, signature.inputs)
    with _traceable(model):
        program = torch.export.export(
            Inference(), (example,), dynamic_shapes=(shapes,), strict=False
        )
    torch.export.save(program, path)


def _flat(model: keras.Model, signature: Signature) -> Any:
    """Return a module from a flat list of inputs to a flat list of outputs."""
    import torch

    class FlatInference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            packed = keras.tree.pack_sequence_as(signature.inputs, list(inputs))
            outputs = keras.tree.flatten(self.model(packed, training=False))
            return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return FlatInference().eval()


def _tensors(signature: Signature) -> tuple[Any, ...]:
    import torch

    if any(each.dtype == "string" for each in signature.flat_inputs):
        raise ValueError("PyTorch has no tensors of texts, which the model takes.")
    return tuple(map(torch.from_numpy, signature.flat_example))


def _open_axes(spec: keras.InputSpec) -> list[int]:
    return [axis for axis, size in enumerate(spec.shape) if size is None]


def _dimensions(spec: keras.InputSpec) -> dict[int, Any]:
    """Return the open axes as `torch.export` wants them: one batch size for all inputs."""
    import torch

    batch = torch.export.Dim("batch", min=1)
    return {axis: torch.export.Dim.AUTO if axis else batch for axis in _open_axes(spec)}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hide what torch prints from C++: the graph of a failed export, whatever `verbose` says."""
    sys.stdout.flush()
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(nowhere)
        os.close(before)


@contextlib.contextmanager
def _traceable(model: keras.Model) -> Iterator[None]:
    """Keep the weights on the CPU and without gradients, which tracers cannot record."""
    values = [each.value for each in model.variables]
    tensors = {id(x): x for x in [*values, *model.parameters(), *model.buffers()]}.values()
    training = [module for module in model.modules() if module.training]
    before = [(tensor, tensor.data, tensor.requires_grad) for tensor in tensors]
    try:
        for tensor, data, _ in before:
            tensor.requires_grad_(False)
            if data.device.type != "cpu":
                tensor.data = data.cpu()
        model.eval()
        with keras.device("cpu"):
            yield
    finally:
        for tensor, data, needs_gradient in before:
            tensor.data = data
            tensor.requires_grad_(needs_gradient)
        for module in training:
            module.training = True
