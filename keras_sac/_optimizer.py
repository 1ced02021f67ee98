"""An optimizer around another: what both kinds of ours, and any more, have in common."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import keras
from keras import ops


class WrappingOptimizer(keras.optimizers.Optimizer):
    """Does something before and after each update of an inner optimizer.

    A subclass implements `before_update` and `after_update`, in `keras.ops`. Learning rate, weight
    decay, clipping, loss scale and moving averages are those of the inner optimizer.

    Args:
        inner_optimizer: a Keras optimizer, or its name.
        name: of the optimizer.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer | str, name: str | None = None):
        inner = keras.optimizers.get(inner_optimizer)
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner

    # The arguments of the constructor that a configuration has serialized.
    serialized: ClassVar[tuple[str, ...]] = ("inner_optimizer",)

    def before_update(self, grads: list[Any], variables: Sequence[keras.Variable]) -> Any:
        """Look at the gradients, the variables and the inner optimizer as they are.

        Args:
            grads: one for each variable; `None` where there is none.
            variables: in the same order.

        Returns:
            What `after_update` has to know of it: kept on `self`, a tensor of a traced step would
            outlive its trace.
        """

    def after_update(self, updated: Any, before: Any) -> None:
        """Change the variables that the inner optimizer has left.

        Args:
            updated: whether it changed them; boolean scalar tensor. It does not where it
                accumulates gradients, or where they were not finite.
            before: what `before_update` returned.
        """

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Update the variables.

        Args:
            grads: one gradient for each variable; `None` where there is none.
            trainable_variables: the variables; those that it was built for by default.
        """
        if not self.built:
            with keras.name_scope(self.name):
                self.build(trainable_variables)
        variables = trainable_variables or self._trainable_variables
        before = self.before_update(list(grads), variables)
        # Torch counts in place, and its compiler takes a sum with zero for the counter itself.
        expected = ops.add(self.inner_optimizer.iterations, 1)
        self.inner_optimizer.apply(grads, trainable_variables)
        self.after_update(ops.equal(self.inner_optimizer.iterations, expected), before)

    def stateless_apply(
        self, optimizer_variables: Any, grads: Any, trainable_variables: Any
    ) -> tuple[Any, Any]:
        """Do what `apply` does, on given values, and return the new ones.

        Args:
            optimizer_variables: values of `self.variables`.
            grads: one gradient for each variable.
            trainable_variables: values of the variables that it was built for.

        Returns:
            The new values of the trainable variables, and those of the optimizer's.

        Raises:
            ValueError: if it is not built.
        """
        if not self.built:
            raise ValueError(
                "`stateless_apply` needs a built optimizer: call "
                "`optimizer.build(model.trainable_variables)` first."
            )
        # The inner optimizer has its own stateless path, without which a `LossScaleOptimizer`
        # would write from inside a branch.
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
        """Its own, then those of the inner optimizer."""
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
        """The scale of the loss that the inner optimizer was given."""
        inner: Any = self.__dict__.get("inner_optimizer")
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            return inner.initial_scale
        return getattr(inner, "loss_scale_factor", None)

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: float | None) -> None:
        inner: Any = self.__dict__.get("inner_optimizer")
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            # Only an outer `LossScaleOptimizer` sets this: `compile` puts one around every
            # optimizer under a float16 policy.
            raise ValueError(
                "The loss would be scaled twice: there is a `LossScaleOptimizer` inside this "
                f"`{type(self).__name__}` and another around it. Under a float16 policy `compile` "
                "adds the outer one by itself: leave the inner one out, or pass "
                "`auto_scale_loss=False` to `compile`."
            )
        if inner is not None:
            inner.loss_scale_factor = factor

    def scale_loss(self, loss: Any) -> Any:
        """Scale the loss as the inner optimizer asks for."""
        return self.inner_optimizer.scale_loss(loss)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Make an optimizer from what `get_config` returned."""
        restored = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in cls.serialized
        }
        return cls(**{**config, **restored})

    def check_same(self, variables: Sequence[keras.Variable]) -> None:
        """Raise `ValueError` if it was built for others than these variables."""
        known = self._trainable_variables
        if len(known) == len(variables) and all(
            a is b for a, b in zip(known, variables, strict=True)
        ):
            return
        name = type(self).__name__
        raise ValueError(
            f"This `{name}` was built for other variables: {[v.path for v in known]}; received "
            f"{[v.path for v in variables]}. What it knows belongs to those, so make a new one: "
            f"`{name}.from_config(optimizer.get_config())`."
        )


class Opaque:
    """Holds a value out of sight: an optimizer tracks the variables of a list as its own."""

    def __init__(self, value: Any):
        self.value = value


def nested(optimizer: keras.optimizers.Optimizer) -> Iterator[keras.optimizers.Optimizer]:
    """Go through an optimizer and those inside it, from the outermost on."""
    yield optimizer
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
        yield optimizer


def value_of(variable: keras.Variable) -> Any:
    """Return the value of a variable, to calculate with in an optimizer."""
    # Torch would record the steps of the optimizer for a gradient.
    return ops.stop_gradient(ops.convert_to_tensor(variable))


def unscaled(optimizer: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
    """Return the gradients of the loss, from those of the loss as the optimizer scales it."""
    for each in nested(optimizer):
        if isinstance(each, keras.optimizers.LossScaleOptimizer):
            return [ops.divide(g, ops.cast(each.dynamic_scale, g.dtype)) for g in gradients]
    factor = optimizer.loss_scale_factor
    return gradients if factor is None else [ops.divide(g, factor) for g in gradients]


def averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable] | None:
    """Return the moving averages of the weights that an optimizer keeps, if it keeps any."""
    *_, innermost = nested(optimizer)
    # `SwapEMAWeights` reads the same attribute: there is no public one.
    return innermost._model_variables_moving_average if innermost.use_ema else None


def portable_config(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Return the serialized optimizer under its public name.

    The torch backend puts a class of its own in the place of `keras.optimizers.Adam` and the
    like; a file that names it would not load on another backend.
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
