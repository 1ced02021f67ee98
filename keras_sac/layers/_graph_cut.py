"""Cut the graph of a model at a layer: the front that leads to the layer, and the rest."""

import inspect
from typing import Any

import keras

from keras_sac._model import all_layers
from keras_sac.layers._subspace_layer import SubspaceLayer


class GraphCut:
    """A model with one input, cut in two: the front that leads to a layer, and the rest.

    Args:
        model: built Functional or Sequential model with one input.
        layer: one of its layers, called once on a tensor that depends on the input.

    Raises:
        ValueError: if the outputs depend on the front by a path around the layer, the layer is
            called more than once, or a mask reaches the layer.
    """

    def __init__(self, model: keras.Model, layer: SubspaceLayer):
        self._model, self._layer = model, layer
        functional = isinstance(model, keras.Function)
        # The same graph and layers, not compiled: the clone of a compiled model is compiled too.
        self._graph = keras.Model(
            model.input if functional else model.inputs[0],
            model.output if functional else model.outputs[0],
            name=f"{model.name}_head",
        )
        entry = model.inputs[0]
        self.inputs = keras.Input(batch_shape=entry.shape, dtype=entry.dtype, name=entry.name)
        self.projected: Any = None
        self.front: list[Any] = []
        # The outputs of each call in the graph; `None` for a call that belongs to the rest.
        self._steps: list[Any] = []
        # Kept alive, so that no other tensor gets the same identity.
        self._front_tensors: list[Any] = [self.inputs]
        outputs = self._run(self.inputs, self._trace)
        if any(self._is_front(tensor) for tensor in keras.tree.flatten(outputs)):
            raise ValueError(self._another_path())

    def rest(self, entry: Any, combined: Any) -> keras.Model:
        """Return the rest as a model on `entry`; `combined` replaces the output of the layer."""
        steps = iter(self._steps)

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            made = next(steps)
            if made is None:
                return operation(*args, **kwargs)
            if operation is self._layer:
                return combined
            return keras.tree.map_structure(lambda _: entry, made)

        return self._clone(entry, call)

    def _run(self, inputs: Any, call: Any) -> Any:
        return self._clone(inputs, call).outputs

    def _clone(self, inputs: Any, call: Any) -> keras.Model:
        inputs = keras.tree.pack_sequence_as(self._graph.input, [inputs])
        return keras.models.clone_model(
            self._graph, input_tensors=inputs, clone_function=lambda each: each, call_function=call
        )

    def _trace(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        tensors = [
            value
            for value in keras.tree.flatten((args, kwargs))
            if isinstance(value, keras.KerasTensor)
        ]
        in_front = [self._is_front(tensor) for tensor in tensors]
        outputs = operation(*args, **kwargs)
        if not any(in_front):
            self._steps.append(None)
            return outputs
        if not all(in_front):
            raise ValueError(self._another_path())
        self._steps.append(outputs)
        if operation is self._layer:
            self._reached(tensors[0])
        else:
            self.front.append(operation)
            self._front_tensors.extend(keras.tree.flatten(outputs))
        return outputs

    def _reached(self, tensor: Any) -> None:
        if self.projected is not None:
            raise ValueError(
                f"{self._layer.name!r} is called more than once in {self._model.name!r}, so there "
                "is no single projection. Call `layer.project(x)` and `layer.combine(z)` yourself."
            )
        # Keras has no public way to read the mask of a symbolic tensor.
        if getattr(tensor, "_keras_mask", None) is not None:
            raise ValueError(
                f"A mask reaches {self._layer.name!r}. The projections have no mask, so losses and "
                "metrics would count masked positions. Train the model itself."
            )
        self.projected = tensor

    def _is_front(self, tensor: Any) -> bool:
        return any(tensor is each for each in self._front_tensors)

    def _another_path(self) -> str:
        return (
            f"In {self._model.name!r} another path leads around {self._layer.name!r} (a skip "
            "connection or a second branch), so the rest of the model cannot be computed from the "
            "projections alone. Train the model itself."
        )


def check_fixed(operation: Any, layer: SubspaceLayer) -> None:
    """Raise a `ValueError` unless `operation` gives the same outputs in every epoch."""
    # Operations of `keras.ops` in the graph have no state.
    if not isinstance(operation, keras.layers.Layer):
        return
    for each in all_layers(operation):
        reason = _why_not_fixed(each)
        if reason:
            raise ValueError(
                f"{each.name!r} ({type(each).__name__}), in front of {layer.name!r}, {reason}. Its "
                "output differs between epochs, so it cannot be computed once. Train the model "
                "itself, or freeze or remove this layer."
            )


def _why_not_fixed(layer: keras.layers.Layer) -> str:
    if layer.trainable_variables:
        return "has trained weights"
    # `variables` includes the states of random generators, `weights` does not.
    if len(layer.variables) > len(layer.weights):
        return "is random"
    if isinstance(layer, keras.layers.BatchNormalization):
        return "updates its statistics" if layer.trainable else ""
    if isinstance(layer, SubspaceLayer | keras.Sequential | keras.Function):
        return ""
    if "training" in inspect.signature(layer.call).parameters:
        return "may behave differently in training"
    return ""
