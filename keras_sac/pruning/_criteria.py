"""Pruning criteria: score each weight, so that the weights with the smallest scores are pruned."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._arguments import drawn_seed, fraction


@keras.saving.register_keras_serializable(package="keras_sac")
class Criterion:
    """Base class of pruning criteria, and the extension point for new ones.

    A criterion gives each weight a score. The weights with the smallest scores are pruned.

    A subclass must implement `scores(weight, state)`, with `keras.ops`, because it runs inside the
    compiled training step. It must also implement `get_config()` if its constructor has arguments.
    Register the class with `keras.saving.register_keras_serializable`, so that
    `keras.models.load_model` can load a model that was compiled with it.

    A criterion that learns from gradients also sets `slots` to the names of the variables that it
    needs for each kernel, and implements `observe(weight, gradient, state)`. The optimizer creates
    these variables, saves them, and passes their values as `state`, a dict from name to tensor. By
    default a slot has the shape of the kernel and starts at zero; override `slot_shape`,
    `slot_dtype` or `initial_slot` to change that.

    Attributes:
        slots: names of the variables to create for each kernel. Empty by default.
        corrects: set this to `True` if the criterion implements `correct`.

    Examples:
        >>> @keras.saving.register_keras_serializable(package="my_project")
        ... class RelativeMagnitude(Criterion):
        ...     def __init__(self, epsilon=1e-7):
        ...         self.epsilon = epsilon
        ...
        ...     def scores(self, weight, state):
        ...         size = ops.abs(weight)
        ...         return size / (ops.mean(size, axis=0, keepdims=True) + self.epsilon)
        ...
        ...     def get_config(self):
        ...         return {"epsilon": self.epsilon}
        >>> criterion = RelativeMagnitude(epsilon=0.0)
        >>> weight = ops.convert_to_tensor([[1.0, 20.0], [3.0, 60.0]])
        >>> ops.convert_to_numpy(criterion.scores(weight, {})).tolist()
        [[0.5, 0.5], [1.5, 1.5]]
        >>> from keras_sac.pruning import ConstantSparsity, PruningOptimizer
        >>> schedule = ConstantSparsity(0.5, begin_step=100)
        >>> optimizer = PruningOptimizer("adam", schedule, criterion=criterion)
    """

    slots: tuple[str, ...] = ()
    corrects = False

    @property
    def needs_gradients(self) -> bool:
        """Whether the criterion implements `observe`, which then runs in each step."""
        return type(self).observe is not Criterion.observe

    def slot_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a slot variable.

        Args:
            slot: one of the names in `slots`.
            shape: shape of the kernel.

        Returns:
            The shape of the variable. Defaults to `shape`.
        """
        return shape

    def slot_dtype(self, slot: str, dtype: str) -> str:
        """Return the type of a slot variable.

        Args:
            slot: one of the names in `slots`.
            dtype: `"float64"` for a kernel in float64, else `"float32"`.

        Returns:
            The type of the variable. Defaults to `dtype`.
        """
        return dtype

    def initial_slot(self, slot: str, shape: tuple[int, ...], index: int) -> np.ndarray | None:
        """Return the initial value of a slot variable.

        Args:
            slot: one of the names in `slots`.
            shape: shape of the kernel.
            index: position of the kernel among the variables of the optimizer.

        Returns:
            An array of shape `slot_shape(slot, shape)`, or `None` for zeros.
        """
        return None

    def observe(self, weight: Any, gradient: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Update the state with the gradient of one step.

        Args:
            weight: tensor with the shape of the kernel, before the update of the step.
            gradient: tensor of the same shape, the gradient of the loss at `weight`.
            state: dict from each name in `slots` to the tensor of its current value.

        Returns:
            A dict with the same names and shapes.
        """
        return state

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the score of each weight. A subclass must implement this method.

        Args:
            weight: tensor with the shape of the kernel, after the update of the step.
            state: dict from each name in `slots` to the tensor of its current value.

        Returns:
            A non-negative float tensor of the same shape as `weight`. A weight whose score is NaN
            is pruned; a weight that is NaN itself is kept, whatever its score.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `scores`.")

    def ranking(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the values by which weights are ranked during training: the scores by default.

        Override this method to break ties between equal scores. Arguments and result are those of
        `scores`.
        """
        return self.scores(weight, state)

    def correct(self, weight: Any, mask: Any, state: dict[str, Any]) -> Any:
        """Adjust the kept weights to make up for the pruned ones; used if `corrects` is true.

        Args:
            weight: tensor with the shape of the kernel, before `mask` is applied.
            mask: boolean tensor of the same shape, true for kept weights.
            state: dict from each name in `slots` to the tensor of its current value.

        Returns:
            The new weights, of the same shape. Defaults to `weight`.
        """
        return weight

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Criterion":
        """Create a criterion from the result of `get_config`."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable(package="keras_sac")
class Magnitude(Criterion):
    """Prune the weights with the smallest magnitude.

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
    """Prune weights in a random order, as a baseline for other criteria.

    `score ~ U(0, 1)`, drawn once for each weight

    The order depends on the seed only, and is the same on every backend. If several processes train
    one model together, give each of them the same seed.

    Args:
        seed: integer >= 0, or `None` to draw one; `keras.utils.set_random_seed` makes the draw
            reproducible. The attribute `seed` and the configuration hold the integer in use.

    Raises:
        ValueError: if the seed is negative or no integer.

    Examples:
        >>> order = Random(seed=3).initial_slot("order", (2, 2), index=0)
        >>> order.shape, bool(((order >= 0) & (order < 1)).all())
        ((2, 2), True)
    """

    slots = ("order",)

    def __init__(self, seed: int | None = None):
        self.seed = drawn_seed(seed)

    def initial_slot(self, slot: str, shape: tuple[int, ...], index: int) -> np.ndarray:
        """Return the random scores of the kernel at position `index`."""
        return np.random.default_rng([self.seed, index]).random(shape, dtype=np.float32)

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the random scores."""
        return state["order"]

    def get_config(self) -> dict[str, Any]:
        """Return the seed in use."""
        return {"seed": self.seed}


class _Averaging(Criterion):
    """Base class of criteria that keep an exponential moving average over the steps."""

    def __init__(self, momentum: float = 0.99):
        self.momentum = fraction("momentum", momentum)

    def ranking(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the scores, with weights of score zero ranked below the others by magnitude.

        Weights that never receive a gradient (of a dead input) all have the score zero. Ties with
        the threshold are kept, so without this none of them would be pruned.
        """
        scores = self.scores(weight, state)
        # Scaling by powers of two does not change the order.
        small = ops.abs(weight) * 2.0**-70
        return ops.where(ops.greater(scores, 0), scores * 2.0**40, small)

    def averaged(self, old: Any, new: Any) -> Any:
        return self.momentum * old + (1.0 - self.momentum) * ops.cast(new, old.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the momentum."""
        return {"momentum": self.momentum}


@keras.saving.register_keras_serializable(package="keras_sac")
class GradientSaliency(_Averaging):
    """Prune the weights whose removal changes the loss least, to first order.

    `score = |w g|`, averaged over the steps: `a <- momentum a + (1 - momentum) |w g|`

    A masked weight is zero, and so is its score. It can only return through the one update between
    two applications of the mask.

    Args:
        momentum: momentum of the average, in [0, 1); 0 uses the last batch only.

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
        """Add `|w g|` to the average."""
        return {"saliency": self.averaged(state["saliency"], ops.abs(weight * gradient))}

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return the average."""
        return state["saliency"]


@keras.saving.register_keras_serializable(package="keras_sac")
class OBD(_Averaging):
    """Optimal brain damage: prune by the second-order change of the loss, with a diagonal Hessian.

    `score = h w^2 / 2`, where the diagonal of the empirical Fisher matrix replaces that of the
    Hessian: `h <- momentum h + (1 - momentum) g^2`

    Args:
        momentum: momentum of the average, in [0, 1).

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
        """Add `g^2` to the average."""
        return {"fisher": self.averaged(state["fisher"], ops.square(gradient))}

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return `h w^2 / 2`."""
        return 0.5 * state["fisher"] * ops.square(weight)
