"""Copy built layers and models with all of their state, without a configuration in between."""

import contextlib
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import keras

from keras_sac._backend import attributes, copied_module
from keras_sac._model._graphs import is_graph

# What `compile` and `fit` leave on a model, besides what a new model has. A copy is not compiled.
_OF_TRAINING = {
    *("optimizer", "history", "stop_training", "stop_predicting", "stop_evaluating"),
    *("_compile_config", "_compiled_trainable_state", "_eval_epoch_iterator", "_jax_state"),
}
# Containers that every layer has and that its class may have changed.
_OF_THE_CALL = {"_call_context_args", "_call_has_context_arg"}
_CONTAINERS = (OrderedDict, dict, list, set)


class Copies:
    """Copies of layers, models and variables. What several places share is copied once.

    A configuration does not hold everything: a layer of the user's own may have none, a `Lambda`
    has a Python function, an adapted layer has bins or a vocabulary. So attributes are copied:
    layers, variables and seed generators, also in lists and dicts and behind bound methods.
    Everything else (functions, arrays, initializers, lookup tables) is shared with the original.
    Functional and Sequential models are traced again through the copies of their layers.

    Args:
        call_function: calls a layer or operation of a Functional model, as for
            `keras.models.clone_model`.
    """

    def __init__(self, call_function: Callable[..., Any] | None = None) -> None:
        self._call_function = call_function
        # Other shapes of inputs of Functional and Sequential models, by the `id` of the tensor.
        self.shapes: dict[int, tuple[int | None, ...]] = {}
        # The originals are kept alive, so that no two objects have the same id.
        self._made: dict[int, tuple[Any, Any]] = {}

    def put(self, original: Any, new: Any) -> None:
        """Let `new` take the place of `original` in all later copies."""
        self._made[id(original)] = (original, new)

    def of(self, value: Any) -> Any:
        """Return the copy of a layer, a model, a variable, or of a structure that holds some."""
        if id(value) in self._made:
            return self._made[id(value)][1]
        if isinstance(value, keras.Variable):
            return self._variable(value)
        if is_graph(value):
            return self._graph(value)
        if isinstance(value, keras.layers.Layer | keras.Metric):
            return self._layer(value)
        if isinstance(value, keras.random.SeedGenerator):
            return self._seed_generator(value)
        if isinstance(value, types.MethodType):
            return types.MethodType(value.__func__, self.of(value.__self__))
        return self._structure(value)

    def _structure(self, value: Any) -> Any:
        # In attributes, Keras replaces lists, dicts and sets by subclasses with a `tracker`.
        kind = next((each for each in _CONTAINERS if isinstance(value, each)), None)
        if kind is not None and (type(value) is kind or hasattr(value, "tracker")):
            if issubclass(kind, dict):
                return kind((key, self.of(each)) for key, each in value.items())
            return kind(self.of(each) for each in value)
        if isinstance(value, tuple):
            items = [self.of(each) for each in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        return copied_module(value, self._made.values())

    def _graph(self, model: keras.Model) -> keras.Model:
        # Keras would compile the copy too, with a loss that belongs to the original model.
        compiled, model.compiled = model.compiled, False
        sequential = isinstance(model, keras.Sequential)
        try:
            new = keras.models.clone_model(
                model,
                # Keras would name the inputs after tensors, and forget which are optional.
                input_tensors=self._other_input(model)
                if sequential
                else _new_inputs(model, self.shapes),
                call_function=None if sequential else self._call_function,
                clone_function=self._layer_or_operation,
            )
        finally:
            model.compiled = compiled
        if not new.built:
            new.build(model.input_shape)
        if not model.trainable:
            new.trainable = False
        self.put(model, new)
        return new

    def _other_input(self, model: keras.Sequential) -> list[keras.KerasTensor] | None:
        if not self.shapes:  # a model that was never called has no inputs yet
            return None
        (tensor,) = model.inputs
        shape = self.shapes.get(id(tensor))
        return None if shape is None else [keras.Input(batch_shape=shape, dtype=tensor.dtype)]

    def _layer_or_operation(self, each: Any) -> Any:
        # Operations such as `+` have no state, so the graphs share them.
        known = isinstance(each, keras.layers.Layer) or id(each) in self._made
        return self.of(each) if known else each

    def _layer(self, layer: Any) -> Any:
        new, kept = _without_state(layer)
        self.put(layer, new)
        # First in the order of the tracker, which is that of `layer.weights`.
        for store, (_, tracked) in layer._tracker.config.items():
            for value in tracked:
                new._tracker.add_to_store(store, self.of(value))
        for name, value in attributes(layer).items():
            if name not in kept:
                setattr(new, name, self.of(value))
        if layer._tracker.locked:
            new._tracker.lock(layer._tracker._lock_violation_msg)
        return new

    def _seed_generator(self, original: keras.random.SeedGenerator) -> keras.random.SeedGenerator:
        new = object.__new__(type(original))
        self.put(original, new)
        for name, value in vars(original).items():
            setattr(new, name, self.of(value))
        return new

    def _variable(self, variable: keras.Variable) -> keras.Variable:
        with contextlib.ExitStack() as stack:
            for scope in variable.path.split("/")[:-1]:
                stack.enter_context(keras.name_scope(scope))
            new = keras.Variable(
                keras.ops.convert_to_numpy(variable.value),
                dtype=variable.dtype,
                trainable=variable.trainable,
                autocast=variable._autocast,
                aggregation=variable.aggregation,
                synchronization=variable.synchronization,
                name=variable.name,
            )
        new.regularizer, new.constraint = variable.regularizer, variable.constraint
        new.overwrite_with_gradient = variable.overwrite_with_gradient
        self.put(variable, new)
        return new


def _new_inputs(model: keras.Model, shapes: dict[int, tuple[int | None, ...]]) -> Any:
    """Return new inputs for a Functional model, in the structure of its inputs."""
    layers = [each for each in model.layers if isinstance(each, keras.layers.InputLayer)]
    of_tensor = {id(each.output): each for each in layers}

    def new(tensor: keras.KerasTensor) -> keras.KerasTensor:
        layer = of_tensor.get(id(tensor))
        return keras.Input(
            batch_shape=shapes.get(id(tensor), tensor.shape),
            dtype=tensor.dtype,
            sparse=tensor.sparse,
            optional=getattr(layer, "optional", False),
            name=tensor.name if layer is None else layer.name,
        )

    return keras.tree.map_structure(new, model.input)


def _without_state(layer: Any) -> tuple[Any, set[str]]:
    """Return a layer of the same class without state, and the attributes that are its own.

    Of the attributes that every layer has, containers and functions are bookkeeping: the tracker,
    the nodes of graphs, and what torch and TensorFlow register. They are not copied.
    """
    cls: Any = type(layer)
    new = cls.__new__(cls)
    if isinstance(layer, keras.Metric):
        keras.Metric.__init__(new, name=layer.name, dtype=layer.dtype)
    else:
        base = keras.Model if isinstance(layer, keras.Model) else keras.layers.Layer
        base.__init__(new, name=layer.name, dtype=layer.dtype_policy)
    kept = {
        name
        for name, value in vars(new).items()
        if callable(value) or isinstance(value, dict | list | set) or name == "_tracker"
    }
    if isinstance(layer, keras.Model):
        kept |= _OF_TRAINING | vars(new).keys() - vars(keras.layers.Layer(name="bare")).keys()
    return new, kept - _OF_THE_CALL
