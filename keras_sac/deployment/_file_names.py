"""Give a written file the names and sizes of the model's inputs and outputs."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from keras_sac.deployment._signature import Signature


def name_onnx(path: str, signature: Signature) -> None:
    """Name the inputs and outputs of an ONNX file, and set the sizes that the model knows.

    Outputs beyond those of the model, which some converters add, are removed.

    Args:
        path: the file, which is changed.
        signature: names and shapes, in the order of the file.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    stored = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in stored]
    del graph.output[len(signature.output_names) :]
    # An output that is an input, or another output, gets a tensor of its own.
    seen = {each.name for each in inputs} | stored
    for i, output in enumerate(graph.output):
        if output.name in seen:
            copy = f"{output.name}_output_{i}"
            graph.node.append(onnx.helper.make_node("Identity", [output.name], [copy]))
            output.name = copy
        seen.add(output.name)
    new = [*signature.input_names, *signature.output_names]
    old = [each.name for each in (*inputs, *graph.output)]
    names = dict(zip(old, new, strict=True))
    used = {*stored, *(name for node in _nodes(graph) for name in (*node.input, *node.output))}
    for name in used & set(new) - set(old):
        names[name] = next(
            each
            for each in (f"{name}_{i}" for i in itertools.count(1))
            if each not in used and each not in new
        )
    _rename(graph, names)
    shapes = [*(list(each.shape) for each in signature.flat_inputs), *signature.output_shapes]
    for each, shape in zip((*inputs, *graph.output), shapes, strict=True):
        if shape is not None:
            _set_shape(each, shape)
    onnx.save(model, path)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _nodes(inner)


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Rename tensors in a graph and in the bodies of its loops and branches."""
    for each in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        each.name = names.get(each.name, each.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _subgraphs(node):
            _rename(inner, names)


def _set_shape(value: Any, shape: Sequence[int | None]) -> None:
    dimensions = value.type.tensor_type.shape.dim
    del dimensions[:]
    for axis, size in enumerate(shape):
        if size is None:
            dimensions.add().dim_param = f"{value.name}_{axis}" if axis else "batch"
        else:
            dimensions.add().dim_value = size


def name_openvino(model: Any, signature: Signature) -> None:
    """Name the inputs and outputs of an OpenVINO model, and set the sizes that the model knows.

    Outputs beyond those of the model, which some converters add, are removed.

    Args:
        model: an `openvino.Model`, which is changed.
        signature: names and shapes, in the order of the model.
    """
    for each in list(model.results)[len(signature.output_names) :]:
        model.remove_result(each)
    for each, name in zip(model.inputs, signature.input_names, strict=True):
        each.get_node().set_friendly_name(name)
        each.get_tensor().set_names({name})
    for each, name in zip(model.outputs, signature.output_names, strict=True):
        each.get_node().set_friendly_name(name)
        # An output may be an input, and that one keeps its name; or two outputs are one tensor.
        shared = each.get_names() & {*signature.input_names, *signature.output_names}
        if not shared & set(signature.input_names):
            each.get_tensor().set_names({name, *shared})
    model.reshape(
        {
            each: [-1 if size is None else size for size in spec.shape]
            for each, spec in zip(model.inputs, signature.flat_inputs, strict=True)
        }
    )
