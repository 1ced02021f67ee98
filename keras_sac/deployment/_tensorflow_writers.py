"""Write a model on TensorFlow, through Keras' own exporters and in inference mode."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import keras

from keras_sac._model import Copies, all_layers, is_graph
from keras_sac._run import engines
from keras_sac.deployment._file_names import name_onnx, name_openvino
from keras_sac.deployment._signature import Signature

_LOOKUPS = (
    keras.layers.StringLookup,
    keras.layers.IntegerLookup,
    keras.layers.TextVectorization,
)


class Inference(keras.Model):
    """A model in inference mode: Keras' exporters do not pass `training`.

    Args:
        model: built.
        structure: structure of the inputs of `model`. If it is given, this model takes a flat list
            of inputs, and returns a flat list of outputs.
    """

    def __init__(self, model: keras.Model, structure: Any = None):
        super().__init__()
        self.model = model
        self._of = [structure]
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Call the model."""
        structure = self._of[0]
        if structure is None:
            return self.model(inputs, training=False)
        packed = keras.tree.pack_sequence_as(structure, keras.tree.flatten(inputs))
        return keras.tree.flatten(self.model(packed, training=False))


def write_saved_model(model: keras.Model, path: str, signature: Signature) -> None:
    """Write a SavedModel with the endpoint `serve`."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    with _valid_scopes(model):
        archive.add_endpoint(
            "serve",
            lambda inputs: model(inputs, training=False),
            input_signature=[_named(signature)],
        )
        archive.write_out(path, verbose=False)


def write_litert(model: keras.Model, path: str, signature: Signature) -> None:
    """Write a LiteRT file."""
    with _valid_scopes(model):
        Inference(model).export(
            path, format="litert", verbose=False, input_signature=[_named(signature)]
        )


def write_onnx(model: keras.Model, path: str, signature: Signature) -> None:
    """Write an ONNX file."""
    tables = [each.name for each in all_layers(model) if isinstance(each, _LOOKUPS)]
    if tables:
        raise ValueError(
            f"tf2onnx cannot write the table of {', '.join(tables)}. Export a SavedModel, or the "
            "part of the model after the table."
        )
    if is_graph(model):
        model = Copies(_called_with_arrays).of(model)
    with _arrays_for_tensors(model):
        _export_flat(model, path, "onnx", signature)
    name_onnx(path, signature)


def write_openvino(model: keras.Model, path: str, signature: Signature) -> None:
    """Write an OpenVINO model."""
    openvino = engines.without_telemetry()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        file = os.path.join(folder, os.path.basename(path))
        _export_flat(model, file, "openvino", signature)
        converted = openvino.Core().read_model(file)
        name_openvino(converted, signature)
        openvino.serialize(converted, path)


def _export_flat(model: keras.Model, path: str, format: str, signature: Signature) -> None:
    specs = keras.tree.flatten(_named(signature))
    with _valid_scopes(model):
        Inference(model, signature.inputs).export(
            path,
            format=format,
            verbose=False,
            input_signature=specs if len(specs) == 1 else [specs],
        )


def _named(signature: Signature) -> Any:
    """Return the inputs with their names in the file."""
    pairs = zip(signature.flat_inputs, signature.input_names, strict=True)
    return keras.tree.pack_sequence_as(
        signature.inputs,
        [keras.InputSpec(shape=x.shape, dtype=x.dtype, name=_scope(name)) for x, name in pairs],
    )


def _constant(value: Any) -> Any:
    """Return an array in place of a tensor that has a value; return anything else itself.

    A traced function receives such a tensor as one more input, which tf2onnx does not expect; an
    array becomes a constant.
    """
    if not keras.ops.is_tensor(value):
        return value
    # A scalar of bfloat16 cannot be converted.
    return keras.ops.convert_to_numpy(keras.ops.reshape(value, (-1,))).reshape(value.shape)


def _called_with_arrays(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer or operation of a graph with arrays in place of constant tensors."""
    args, kwargs = keras.tree.map_structure(_constant, (args, kwargs))
    return operation(*args, **kwargs)


@contextlib.contextmanager
def _arrays_for_tensors(model: keras.Model) -> Iterator[None]:
    """Keep arrays in place of the tensors of layers, such as the mean of `Normalization`."""
    found = [
        (vars(layer), name, value)
        for layer in all_layers(model)
        for name, value in vars(layer).items()
        if keras.ops.is_tensor(value) and not isinstance(value, keras.Variable)
    ]
    try:
        for attributes, name, value in found:
            attributes[name] = _constant(value)
        yield
    finally:
        for attributes, name, value in found:
            attributes[name] = value


@contextlib.contextmanager
def _valid_scopes(model: keras.Model) -> Iterator[None]:
    """Give layers names that TensorFlow accepts in a graph: no space, bracket or umlaut."""
    layers = [(layer, layer.name) for layer in all_layers(model)]
    # A variable keeps the name that its layer had when it was made; TensorFlow has no public way to
    # change it. Variables of `tf.distribute` have no such name.
    values = [each.value for each in model.variables]
    handles = [(x, x._handle_name) for x in values if hasattr(x, "_handle_name")]
    try:
        for layer, name in layers:
            if _scope(name) != name:
                layer.name = _scope(name)
        for value, name in handles:
            value._handle_name = f"{_scope(name.split(':')[0])}:0"
        yield
    finally:
        for layer, name in layers:
            if layer.name != name:
                layer.name = name
        for value, name in handles:
            value._handle_name = name


def _scope(name: str) -> str:
    return re.sub(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_.\\/>-]", "_", name).lstrip("_") or "layer"
