"""Base class for optimizers that wrap another optimizer."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import keras
from keras import ops


class WrappingOptimizer(keras.optimizers.Optimizer):
    """Base class for optimizers that act before and after each update of an inner optimizer.

    A subclass implements `before_update` and `after_update`, with `keras.ops`. Learning rate,
    weight decay, clipping, loss scale and moving averages are those of the inner optimizer.

    Args:
        inner_optimizer: a Keras optimizer, or its name.
        name: name of the optimizer.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer | str, name: str | None = None):
        inner = keras.optimizers.get(inner_optimizer)
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner

    # Names of the constructor arguments that `get_config` serializes as Keras objects.
    serialized: ClassVar[tuple[str, ...]] = ("inner_optimizer",)

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
            updated: boolean scalar tensor, whether the inner optimizer updated the variables. It
                does not while it accumulates gradients, or if gradients were not finite.
            before: the result of `before_update`.
        """

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Update the variables.

        Args:
            grads: one gradient for each variable; `None` for a variable without a gradient.
            trainable_variables: the variables. Defaults to those that the optimizer was built for.
        """
        if not self.built:
            with keras.name_scope(self.name):
                self.build(trainable_variables)
        variables = trainable_variables or self._trainable_variables
        before = self.before_update(list(grads), variables)
        # Torch counts in place, so a new tensor is needed; its compiler would optimize `+ 0` away.
        expected = ops.add(self.inner_optimizer.iterations, 1)
        self.inner_optimizer.apply(grads, trainable_variables)
        self.after_update(ops.equal(self.inner_optimizer.iterations, expected), before)

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
            ValueError: if the optimizer is not built.
        """
        if not self.built:
            raise ValueError(
                "`stateless_apply` needs a built optimizer: call "
                "`optimizer.build(model.trainable_variables)` first."
            )
        # Use the stateless path of the inner optimizer as well: `apply` of a `LossScaleOptimizer`
        # would assign variables inside a branch.
        own, weights, inner = self._variables, self._trainable_variables, self.inner_optimizer
        own_values = list(optimizer_variables[: len(own)])
        inner_values = list(optimizer_variables[len(own) :])
        old = [*_pairs(weights, trainable_variables), *_pairs(inner.variables, inner_values)]
        with keras.StatelessScope([*old, *_pairs(own, own_values)]) as scope:
            before = self.before_update(list(grads), weights)
            expected = ops.add(inner.iterations, 1)
            own_values = [scope.get_current_value(v) for v in own]
        new_weights, inner_values = inner.stateless_apply(inner_values, grads, trainable_variables)
        new = [*_pairs(weights, new_weights), *_pairs(inner.variables, inner_values)]
        with keras.StatelessScope([*new, *_pairs(own, own_values)]) as scope:
            self.after_update(ops.equal(inner.iterations, expected), before)
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

    def check_same(self, variables: Sequence[keras.Variable]) -> None:
        """Raise `ValueError` if the optimizer was built for other variables."""
        built_for = self._trainable_variables
        if len(built_for) == len(variables) and all(
            a is b for a, b in zip(built_for, variables, strict=True)
        ):
            return
        name = type(self).__name__
        raise ValueError(
            f"This `{name}` was built for other variables: {[v.path for v in built_for]}. "
            f"Received: {[v.path for v in variables]}. An optimizer cannot change its variables. "
            f"Create a new one: `{name}.from_config(optimizer.get_config())`."
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


def _pairs(variables: Sequence[keras.Variable], values: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(variables, values, strict=True))
