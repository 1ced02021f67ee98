"""`SparsemaxLoss` and `Entmax15Loss`: Fenchel-Young losses for the logits of a sparse head."""

from typing import Any

import keras
from keras import ops

from keras_sac.heads._logits import as_logits, integer_axis
from keras_sac.heads._simplex_projection import project
from keras_sac.heads._target_distribution import as_distribution


def fenchel_young(y: Any, logits: Any, power: int, axis: int) -> Any:
    """Return the Fenchel-Young loss of a sparse head for each row.

    `L(x; y) = Omega*(x) + Omega(y) - <x, y> = B(y, p) + q sum_i y_i max(tau - z_i, 0)`

    `B` is the Bregman divergence of `Omega`: `1/2 ||y - p||^2` for `q = 1`, and for `q = 2`
    `2/3 sum_i (a_i - b_i)^2 (2 a_i + b_i)` with `a = sqrt(y)`, `b = sqrt(p)`. In this form the
    loss is a sum of non-negative terms. Its gradient is `p - y`.

    Args:
        y: distribution along `axis`, of the shape of `logits`; treated as a constant.
        logits: float tensor.
        power: `q`: 1 for sparsemax, 2 for entmax 1.5.
        axis: the axis of the classes, not negative.

    Returns:
        Tensor of the shape of `logits` without `axis`.
    """
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    fixed = ops.stop_gradient(logits)
    p, z, tau = project(fixed, power, axis)
    y = ops.cast(ops.stop_gradient(y), p.dtype)
    if power == 1:
        divergence = 0.5 * ops.square(y - p)
    else:
        a, b = ops.sqrt(y), ops.sqrt(p)
        divergence = (2.0 / 3.0) * ops.square(a - b) * (2.0 * a + b)
    # Where y is 0, z may be -inf, and the product NaN.
    beyond = ops.where(y > 0, power * ops.relu(tau - z) * y, 0.0)
    value = ops.sum(divergence + beyond, axis=axis)
    slope = p - y
    # A function that is linear in the logits, with the slope p - y and the value `value`. In this
    # order rounding cannot make the loss negative. At a logit of -inf the slope is 0, or the loss
    # is infinite.
    anchored = logits - ops.max(fixed, axis=axis, keepdims=True)
    line = ops.sum(ops.where(ops.equal(slope, 0), 0.0, slope * anchored), axis=axis)
    return ops.where(ops.isfinite(value), line + ops.stop_gradient(value - line), value)


class SparseHeadLoss(keras.losses.Loss):
    """Base class of the losses of the sparse heads. A subclass sets the power of the projection.

    Args:
        from_logits: must be `True`: logits cannot be recovered from sparse probabilities.
        axis: integer, the axis of the classes.
        label_smoothing: number in [0, 1].
        reduction: as for any Keras loss.
        name: name of the loss.
        dtype: as for any Keras loss.
    """

    power = 1

    def __init__(
        self,
        from_logits: bool = True,
        axis: int = -1,
        label_smoothing: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        kind = type(self).__name__
        if not from_logits:
            raise ValueError(
                f"`{kind}` expects logits; they cannot be recovered from sparse probabilities. "
                f"Received: from_logits={from_logits!r}. Train the model without its head: "
                "`keras_sac.swap_head(model, 'linear')`."
            )
        smoothing = label_smoothing
        if isinstance(smoothing, bool) or not 0.0 <= smoothing <= 1.0:
            raise ValueError(
                "`label_smoothing` must be a number in [0, 1]. Received: "
                f"label_smoothing={smoothing!r}"
            )
        super().__init__(name=name, reduction=reduction, dtype=_wide(dtype))
        self.axis = integer_axis(kind, axis)
        self.label_smoothing = float(smoothing)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the reduced loss."""
        # Checked here, because Keras casts integers to floats before `call`.
        as_logits(type(self).__name__, y_pred, self.axis)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        logits, axis = as_logits(type(self).__name__, y_pred, self.axis)
        y = as_distribution(y_true, logits, axis, self.label_smoothing)
        return fenchel_young(y, logits, self.power, axis)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"axis": self.axis, "label_smoothing": self.label_smoothing, "dtype": self.dtype}
        return {**super().get_config(), **own}


def _wide(dtype: Any) -> Any:
    # Keras casts the class numbers to this dtype, and float16 has no 2049, bfloat16 no 257.
    if dtype is None or isinstance(dtype, str):
        return keras.backend.result_type(dtype or keras.config.floatx(), "float32")
    return dtype


@keras.saving.register_keras_serializable(package="keras_sac")
class SparsemaxLoss(SparseHeadLoss):
    """Fenchel-Young loss that trains the logits of a sparsemax head.

    `L(x; y) = 1/2 ||y - p||^2 + sum_i y_i max(tau - x_i, 0)`, with `p = sparsemax(x)` and `tau` its
    threshold. For one-hot `y` it is the sparsemax loss of the paper.

    The loss is convex in the logits and non-negative. It is 0 exactly where `p = y`: where the
    logit of the right class is at least 1 above the others. Its gradient is `p - y`.

    Args:
        from_logits: must be `True`: the model returns logits while it is trained.
        axis: integer, the axis of the classes. Defaults to the last.
        label_smoothing: number in [0, 1]; `y <- (1 - s) y + s / classes`. If it is above 0, the
            loss of a row with a logit of `-inf` is infinite.
        reduction: `"sum_over_batch_size"`, `"mean"`, `"mean_with_sample_weight"`, `"sum"` or
            `None`.
        name: name of the loss.
        dtype: dtype of the computation. Defaults to `keras.config.floatx()`; half precision is
            computed in float32.

    Call arguments:
        y_true: class numbers of the shape of `y_pred` without `axis` (or with 1 along it), or
            distributions of the shape of `y_pred`.
        y_pred: logits.
        sample_weight: as for any Keras loss.

    Raises:
        ValueError: if `from_logits` is false, `label_smoothing` or `axis` is out of range, the
            logits are integers, shapes do not match, or a class number is out of range. (A compiled
            step cannot raise for class numbers: the loss is NaN.)

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import SparsemaxLoss
        >>> logits = np.array([[0.0, 0.5, 1.0], [0.0, 3.0, 1.0]], "float32")
        >>> loss = SparsemaxLoss(reduction=None)
        >>> keras.ops.convert_to_numpy(loss(np.array([2, 1]), logits)).tolist()
        [0.0625, 0.0]

    Reference:
        Martins and Astudillo, "From softmax to sparsemax", 2016, https://arxiv.org/abs/1602.02068;
        Blondel, Martins and Niculae, "Learning with Fenchel-Young losses", 2020,
        https://arxiv.org/abs/1901.02324
    """


@keras.saving.register_keras_serializable(package="keras_sac")
class Entmax15Loss(SparseHeadLoss):
    """Fenchel-Young loss that trains the logits of an entmax 1.5 head.

    `L(x; y) = 4/3 (sum y_i^1.5 - sum p_i^1.5) + <p - y, x>`, with `p = entmax15(x)`

    The loss is convex in the logits and non-negative. It is 0 exactly where `p = y`: for one-hot
    `y`, where the logit of the right class is at least 2 above the others. Its gradient is `p - y`;
    second derivatives are not available (automatic differentiation returns 0).

    Args:
        from_logits: must be `True`: the model returns logits while it is trained.
        axis: integer, the axis of the classes. Defaults to the last.
        label_smoothing: number in [0, 1]; `y <- (1 - s) y + s / classes`. If it is above 0, the
            loss of a row with a logit of `-inf` is infinite.
        reduction: `"sum_over_batch_size"`, `"mean"`, `"mean_with_sample_weight"`, `"sum"` or
            `None`.
        name: name of the loss.
        dtype: dtype of the computation. Defaults to `keras.config.floatx()`; half precision is
            computed in float32.

    Call arguments:
        y_true: class numbers of the shape of `y_pred` without `axis` (or with 1 along it), or
            distributions of the shape of `y_pred`.
        y_pred: logits.
        sample_weight: as for any Keras loss.

    Raises:
        ValueError: if `from_logits` is false, `label_smoothing` or `axis` is out of range, the
            logits are integers, shapes do not match, or a class number is out of range. (A compiled
            step cannot raise for class numbers: the loss is NaN.)

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import Entmax15Loss
        >>> logits = np.array([[0.0, 0.0, -9.0], [0.0, 3.0, 1.0]], "float32")
        >>> loss = Entmax15Loss(reduction=None)(np.array([0, 1]), logits)
        >>> [round(float(value), 4) for value in loss]
        [0.3905, 0.0]

    Reference:
        Peters, Niculae and Martins, "Sparse sequence-to-sequence models", 2019,
        https://arxiv.org/abs/1905.05702
    """

    power = 2
