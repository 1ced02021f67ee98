"""Base class for optimizers that wrap another optimizer."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac._arguments import check_keras_3


class WrappingOptimizer(keras.optimizers.Optimizer):
    """Base class for optimizers that act before and after each update of an inner optimizer.

    A subclass implements `select`, `begin`, `before_update` and `after_update`, the last two with
    `keras.ops`. Learning rate, weight decay, clipping, loss scale and moving averages are those of
    the inner optimizer.

    Args:
        inner_optimizer: a Keras optimizer, or its name.
        name: name of the optimizer.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer | str, name: str | None = None):
        check_keras_3("inner_optimizer", inner_optimizer)
        inner = keras.optimizers.get(inner_optimizer)
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner
        self._loaded: Opaque | None = None

    # Names of the constructor arguments that `get_config` serializes as Keras objects.
    serialized: ClassVar[tuple[str, ...]] = ("inner_optimizer",)

    def select(self, variables: Sequence[keras.Variable]) -> None:
        """Select the variables to act on, and create the optimizer's own variables.

        Args:
            variables: the trainable variables of a model.

        Raises:
            ValueError: if the arguments of the optimizer do not fit the variables. No variable is
                created then.
        """

    def begin(self) -> None:
        """Set the first values of the optimizer's own variables, which may have none yet."""

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the variables of this optimizer and of the inner optimizer.

        State that was loaded before this call, from `.weights.h5` or `.h5`, is assigned now.

        Args:
            variables: the trainable variables of a model. With none nothing is built yet: Keras
                does that when it loads a model from `.h5`.

        Raises:
            ValueError: if the optimizer was built for other variables, or its arguments do not fit
                the variables.
        """
        variables = list(variables)
        if self.built:
            self.check_same(variables)
            return
        if not variables:
            return
        self.select(variables)
        super().build(variables)
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        loaded, self._loaded = self._loaded, None
        with _backend.eagerly():
            if loaded is None or not self._assigned(loaded.value):
                self.begin()

    def before_update(self, grads: list[Any], variables: Sequence[keras.Variable]) -> Any:
        """Read the gradients, the variables and the inner optimizer before the update.

        Args:
            grads: one gradient for each variable; `None` for a variable without a gradient.
            variables: the variables, in the same order.

        Returns:
            Any value, which is passed to `after_update`. Do not store tensors on `self`: a tensor
            of a traced step must not outlive its trace.
        """

    def after_update(self, updated: Any, before: Any) -> None:
        """Change the variables after the update of the inner optimizer.

        Args:
            updated: whether the inner optimizer updated the variables: `True`, or a boolean scalar
                tensor. It does not while it accumulates gradients, or if gradients were not finite.
            before: the result of `before_update`.
        """

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Update the variables.

        Args:
            grads: one gradient for each variable; `None` for a variable without a gradient.
            trainable_variables: the variables. Defaults to those that the optimizer was built for.
        """
        if not self.built:
            # Without a name scope, so that the paths are those of `optimizer.build`.
            self.build(trainable_variables)
        variables = trainable_variables or self._trainable_variables
        self._check_known(variables)
        before = self.before_update(list(grads), variables)
        inner = self.inner_optimizer
        if _always_updates(inner):
            inner.apply(grads, trainable_variables)
            self.after_update(True, before)
            return
        # Torch counts in place, so a new tensor is needed; its compiler would optimize `+ 0` away.
        expected = ops.add(inner.iterations, 1)
        inner.apply(grads, trainable_variables)
        self.after_update(ops.equal(inner.iterations, expected), before)

    def stateless_apply(
        self, optimizer_variables: Any, grads: Any, trainable_variables: Any
    ) -> tuple[Any, Any]:
        """Compute what `apply` would assign, from given values.

        Args:
            optimizer_variables: values of `self.variables`.
            grads: one gradient for each variable.
            trainable_variables: values of the variables that the optimizer was built for.

        Returns:
            The new values of the trainable variables, and the new values of `self.variables`.

        Raises:
            ValueError: if the optimizer is not built, or was built for the variables of another
                model.
        """
        if not self.built:
            raise ValueError(
                "`stateless_apply` needs a built optimizer: call "
                "`optimizer.build(model.trainable_variables)` first."
            )
        # Use the stateless path of the inner optimizer as well: `apply` of a `LossScaleOptimizer`
        # would assign variables inside a branch.
        own, weights, inner = self._variables, self._trainable_variables, self.inner_optimizer
        if len(trainable_variables) != len(weights):
            raise self._other_variables(f"{len(trainable_variables)} variables")
        # `fit` on JAX takes the values out of the variables of its model and of its optimizer.
        if not _backend.has_value(self._iterations) and any(map(_backend.has_value, weights)):
            raise self._other_variables("those of another model")
        own_values = list(optimizer_variables[: len(own)])
        inner_values = list(optimizer_variables[len(own) :])
        old = [*_pairs(weights, trainable_variables), *_pairs(inner.variables, inner_values)]
        with keras.StatelessScope([*old, *_pairs(own, own_values)]) as scope:
            before = self.before_update(list(grads), weights)
            always = _always_updates(inner)
            expected = None if always else ops.add(inner.iterations, 1)
            own_values = [scope.get_current_value(v) for v in own]
        new_weights, inner_values = inner.stateless_apply(inner_values, grads, trainable_variables)
        new = [*_pairs(weights, new_weights), *_pairs(inner.variables, inner_values)]
        with keras.StatelessScope([*new, *_pairs(own, own_values)]) as scope:
            updated = True if expected is None else ops.equal(inner.iterations, expected)
            self.after_update(updated, before)
            new_weights = [scope.get_current_value(v) for v in weights]
            return new_weights, [scope.get_current_value(v) for v in self.variables]

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Let the inner optimizer set the final values."""
        self.inner_optimizer.finalize_variable_values(var_list)

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of this optimizer, then those of the inner optimizer."""
        return self._variables + self.inner_optimizer.variables

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the inner optimizer."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """The number of updates of the inner optimizer."""
        return self.inner_optimizer.iterations

    @property
    def loss_scale_factor(self) -> float | None:
        """The loss scale of the inner optimizer."""
        inner: Any = self.__dict__.get("inner_optimizer")
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            return inner.initial_scale
        return getattr(inner, "loss_scale_factor", None)

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: float | None) -> None:
        inner: Any = self.__dict__.get("inner_optimizer")
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            # Only an outer `LossScaleOptimizer` sets this. With a float16 policy, `compile` wraps
            # every optimizer in one.
            raise ValueError(
                f"`inner_optimizer` of `{type(self).__name__}` must not be a `LossScaleOptimizer` "
                "if another one wraps it: the loss would be scaled twice. Received: "
                f"inner_optimizer={type(inner).__name__}. With a float16 policy `compile` adds the "
                "outer one. Remove the inner one, or pass `auto_scale_loss=False` to `compile`."
            )
        if inner is not None:
            inner.loss_scale_factor = factor

    def scale_loss(self, loss: Any) -> Any:
        """Scale the loss with the loss scale of the inner optimizer."""
        return self.inner_optimizer.scale_loss(loss)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Create an optimizer from the result of `get_config`."""
        restored = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in cls.serialized
        }
        return cls(**{**config, **restored})

    def load_own_variables(self, store: Any) -> None:
        """Set the state of this optimizer and of the inner one from a file."""
        self.set_weights([store[str(i)] for i in range(len(store.keys()))])

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the state of this optimizer and of the inner one.

        The state of an optimizer that is not built yet is assigned by `build`. State that was saved
        with another optimizer around this one, such as a `LossScaleOptimizer`, fits too.

        Args:
            weights: an array for each of `variables`.
        """
        values = [np.asarray(weight) for weight in weights]
        if self.built and values:
            self._assigned(values)
        elif values:  # Else the file has no state of an optimizer.
            self._loaded = Opaque(values)

    def _assigned(self, values: list[np.ndarray]) -> bool:
        """Assign the saved values to `self.variables` if they fit, and return whether they do."""
        variables = self.variables
        first = len(values) - len(variables)
        # An optimizer around this one saves scalars of its own first, such as its loss scale.
        fits = (
            first >= 0
            and all(value.shape == () for value in values[:first])
            and all(
                value.shape == tuple(variable.shape)
                for value, variable in zip(values[first:], variables, strict=True)
            )
        )
        if fits:
            for variable, value in zip(variables, values[first:], strict=True):
                variable.assign(value)
            return True
        warnings.warn(
            f"The saved optimizer state does not fit the `{type(self).__name__}` {self.name!r} and "
            f"was not loaded. Its own state begins anew. Received: {len(values)} saved arrays for "
            f"{len(variables)} variables. {self.not_loaded} To load the state, compile the model "
            "with the same optimizer, and under the same dtype policy "
            "(`keras.config.set_dtype_policy`), as it was saved with.",
            stacklevel=2,
        )
        return False

    # What it means for the user that the state of the optimizer was not loaded.
    not_loaded: ClassVar[str] = ""

    def check_same(self, variables: Sequence[keras.Variable]) -> None:
        """Raise `ValueError` if the optimizer was built for other variables."""
        built_for = self._trainable_variables
        if len(built_for) != len(variables) or any(
            a is not b for a, b in zip(built_for, variables, strict=True)
        ):
            raise self._other_variables(str([v.path for v in variables]))

    def _check_known(self, variables: Sequence[keras.Variable]) -> None:
        """Raise `ValueError` if the optimizer was not built for one of the variables."""
        known = self._trainable_variables_indices
        if any(self._var_key(variable) not in known for variable in variables):
            raise self._other_variables(str([v.path for v in variables]))

    def _other_variables(self, received: str) -> ValueError:
        name = type(self).__name__
        return ValueError(
            f"This `{name}` was built for other variables: "
            f"{[v.path for v in self._trainable_variables]}. Received: {received}. An optimizer "
            "cannot change its variables, be it for another model or after `layer.trainable` has "
            f"changed. Create a new one: `{name}.from_config(optimizer.get_config())`."
        )


class Opaque:
    """Hides a value from Keras, so that an optimizer does not track the variables in it."""

    def __init__(self, value: Any):
        self.value = value


def nested(optimizer: keras.optimizers.Optimizer) -> Iterator[keras.optimizers.Optimizer]:
    """Iterate over an optimizer and the optimizers inside it, outermost first."""
    yield optimizer
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
        yield optimizer


def value_of(variable: keras.Variable) -> Any:
    """Return the value of a variable, for computations inside an optimizer."""
    # Without `stop_gradient`, torch would record the computation for a backward pass.
    return ops.stop_gradient(ops.convert_to_tensor(variable))


def unscaled(optimizer: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
    """Return the gradients of the loss, from those of the scaled loss."""
    for inner in nested(optimizer):
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            return [ops.divide(g, ops.cast(inner.dynamic_scale, g.dtype)) for g in gradients]
    factor = optimizer.loss_scale_factor
    return gradients if factor is None else [ops.divide(g, factor) for g in gradients]


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable] | None:
    """Return the moving averages of the weights, or `None` if the optimizer has none."""
    *_, innermost = nested(optimizer)
    # There is no public attribute; `keras.callbacks.SwapEMAWeights` reads the same one.
    return innermost._model_variables_moving_average if innermost.use_ema else None


def portable_config(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Serialize an optimizer under its public class name.

    On the torch backend, Keras replaces the class `keras.optimizers.Adam` and others by a subclass.
    A file with the name of that subclass would not load on another backend.
    """
    serialized = keras.saving.serialize_keras_object(optimizer)
    public = getattr(keras.optimizers, type(optimizer).__name__, None)
    if isinstance(public, type) and isinstance(optimizer, public):
        names = {
            "module": "keras.optimizers",
            "class_name": public.__name__,
            "registered_name": None,
        }
        serialized = {**serialized, **names}
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner = portable_config(optimizer.inner_optimizer)
        serialized["config"] = {**serialized["config"], "inner_optimizer": inner}
    return serialized


def _always_updates(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether each call of `apply` updates the variables, whatever the gradients are."""
    if isinstance(optimizer, WrappingOptimizer):
        return _always_updates(optimizer.inner_optimizer)
    is_plain = type(optimizer).apply is keras.optimizers.Optimizer.apply
    return is_plain and not optimizer.gradient_accumulation_steps


def _pairs(variables: Sequence[keras.Variable], values: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(variables, values, strict=True))
