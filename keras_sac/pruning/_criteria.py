"""Which weights go first: the scores by which they are ranked, the smallest pruned."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._arguments import fraction, integer


@keras.saving.register_keras_serializable(package="keras_sac")
class Criterion:
    """Base class of the criteria: gives each weight a score; the smallest scores are pruned.

    A subclass implements `scores`. One that learns from the gradients names what it remembers in
    `slots` and implements `observe`; `state` then holds one variable of that name for each
    weight. All of it is written with `keras.ops` and runs inside the compiled step.

    Examples:
        >>> class Largest(Criterion):
        ...     def scores(self, weight, state):
        ...         return 1.0 / (1.0 + ops.abs(weight))
        >>> [round(float(s), 2) for s in Largest().scores(ops.convert_to_tensor([0.0, 3.0]), {})]
        [1.0, 0.25]
    """

    slots: tuple[str, ...] = ()
    corrects = False

    @property
    def needs_gradients(self) -> bool:
        """Whether `observe` is called in each step."""
        return type(self).observe is not Criterion.observe

    def slot_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what is remembered of a weight of `shape` under the name `slot`."""
        return shape

    def initial_slot(self, slot: str, shape: tuple[int, ...], index: int) -> np.ndarray | None:
        """Return the first value of a slot of the `index`-th weight; `None` stands for zeros."""
        return None

    def observe(self, weight: Any, gradient: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Return the new state, given the gradient of the loss at `weight`.

        Args:
            weight: before the update; any shape.
            gradient: same shape.
            state: tensors by the names in `slots`.

        Returns:
            Tensors by the same names.
        """
        return state

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the score of each weight.

        Args:
            weight: any shape, as the inner optimizer left it.
            state: tensors by the names in `slots`.

        Returns:
            A float tensor of the same shape, not negative.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `scores`.")

    def ranking(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return what the weights are ranked by: the scores, unless too many of them are equal."""
        return self.scores(weight, state)

    def correct(self, weight: Any, mask: Any, state: dict[str, Any]) -> Any:
        """Return the weights after `mask` removed some; called only where `corrects` is true."""
        return weight

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Criterion":
        """Make a criterion from what `get_config` returned."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_sac")
class Magnitude(Criterion):
    """Small weights go first.

    `score = |w|`

    Examples:
        >>> [float(s) for s in Magnitude().scores(ops.convert_to_tensor([-2.0, 1.0]), {})]
        [2.0, 1.0]

    Reference:
        Han et al., "Learning both weights and connections", 2015, https://arxiv.org/abs/1506.02626
    """

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return `|w|`."""
        return ops.abs(weight)


@keras.saving.register_keras_serializable(package="keras_sac")
class Random(Criterion):
    """A random order, fixed by the seed and the same on every backend: the control.

    `score ~ U(0, 1)`, drawn once

    Args:
        seed: of NumPy's generator, at least 0.

    Raises:
        ValueError: if the seed is negative.

    Examples:
        >>> order = Random(seed=3).initial_slot("order", (2, 2), index=0)
        >>> order.shape, bool(((order >= 0) & (order < 1)).all())
        ((2, 2), True)
    """

    slots = ("order",)

    def __init__(self, seed: int = 0):
        self.seed = integer("seed", seed, 0)

    def initial_slot(self, slot: str, shape: tuple[int, ...], index: int) -> np.ndarray:
        """Return the random order of the `index`-th weight."""
        return np.random.default_rng([self.seed, index]).random(shape, dtype=np.float32)

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the order that was drawn; NaN where the weight is NaN."""
        return ops.where(ops.isnan(weight), weight, state["order"])

    def get_config(self) -> dict[str, Any]:
        """Return the seed."""
        return {"seed": self.seed}


class _Averaging(Criterion):
    """A criterion that remembers an exponential moving average over the steps."""

    def __init__(self, momentum: float = 0.99):
        self.momentum = fraction("momentum", momentum)

    def ranking(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the scores, and where they are zero the magnitudes, below all that are not.

        Where gradients never come (a dead input) all scores are zero, and all would stay as equals
        of the threshold.
        """
        scores = self.scores(weight, state)
        # Powers of two keep the order.
        small = ops.abs(weight) * 2.0**-70
        return ops.where(ops.greater(scores, 0), scores * 2.0**40, small)

    def averaged(self, old: Any, new: Any) -> Any:
        return self.momentum * old + (1.0 - self.momentum) * ops.cast(new, old.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the momentum."""
        return {"momentum": self.momentum}


@keras.saving.register_keras_serializable(package="keras_sac")
class GradientSaliency(_Averaging):
    """Weights go first whose removal changes the loss least, to first order.

    `score = |w g|`, averaged over the steps: `a <- momentum a + (1 - momentum) |w g|`

    A weight that is masked is zero, and so is its score, so it comes back only by the one update
    between two maskings.

    Args:
        momentum: of the average, in [0, 1); 0 takes the last batch alone.

    Raises:
        ValueError: if `momentum` is out of range.

    Examples:
        >>> criterion = GradientSaliency(momentum=0.0)
        >>> w, g = ops.convert_to_tensor([2.0, 3.0]), ops.convert_to_tensor([1.0, -0.5])
        >>> state = criterion.observe(w, g, {"saliency": ops.zeros(2)})
        >>> [float(s) for s in criterion.scores(w, state)]
        [2.0, 1.5]

    Reference:
        Molchanov et al., "Pruning convolutional neural networks", 2017,
        https://arxiv.org/abs/1611.06440
    """

    slots = ("saliency",)

    def observe(self, weight: Any, gradient: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Return the average with `|w g|` taken in."""
        return {"saliency": self.averaged(state["saliency"], ops.abs(weight * gradient))}

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the average; NaN where the weight is NaN."""
        return ops.where(ops.isnan(weight), weight, state["saliency"])


@keras.saving.register_keras_serializable(package="keras_sac")
class OBD(_Averaging):
    """Optimal brain damage: to second order, with a diagonal Hessian.

    `score = h w^2 / 2`, with the diagonal of the empirical Fisher matrix for the Hessian:
    `h <- momentum h + (1 - momentum) g^2`

    Args:
        momentum: of the average, in [0, 1).

    Raises:
        ValueError: if `momentum` is out of range.

    Examples:
        >>> criterion = OBD(momentum=0.0)
        >>> w, g = ops.convert_to_tensor([2.0, 3.0]), ops.convert_to_tensor([1.0, -2.0])
        >>> state = criterion.observe(w, g, {"fisher": ops.zeros(2)})
        >>> [float(s) for s in criterion.scores(w, state)]
        [2.0, 18.0]

    Reference:
        LeCun, Denker and Solla, "Optimal brain damage", 1989.
    """

    slots = ("fisher",)

    def observe(self, weight: Any, gradient: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Return the average with `g^2` taken in."""
        return {"fisher": self.averaged(state["fisher"], ops.square(gradient))}

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return `h w^2 / 2`."""
        return 0.5 * state["fisher"] * ops.square(weight)
