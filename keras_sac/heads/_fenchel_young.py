"""`SparsemaxLoss` and `Entmax15Loss`: Fenchel-Young losses for the logits of a sparse head."""

from typing import Any

import keras
from keras import ops

from keras_sac._arguments import integer
from keras_sac.heads._last_axis import fixed, largest, relu, row_sums
from keras_sac.heads._logits import as_logits, integer_axis, wide
from keras_sac.heads._simplex_projection import project
from keras_sac.heads._target_distribution import as_distribution, as_labels


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
    if axis != len(logits.shape) - 1:
        y, logits = ops.moveaxis(y, axis, -1), ops.moveaxis(logits, axis, -1)
    logits = ops.cast(logits, wide(logits.dtype))
    constant = fixed(logits)
    p, z, tau = project(constant, power, len(logits.shape) - 1)
    y = ops.cast(fixed(y), p.dtype)
    if power == 1:
        divergence = 0.5 * ops.square(y - p)
    else:
        a, b = ops.sqrt(y), ops.sqrt(p)
        divergence = (2.0 / 3.0) * ops.square(a - b) * (2.0 * a + b)
    # Where y is 0, z may be -inf, and the product NaN.
    beyond = ops.where(y > 0, power * relu(tau - z) * y, 0.0)
    value = row_sums(divergence + beyond)
    slope = p - y
    # A function that is linear in the logits, with the slope p - y and the value `value`. In this
    # order rounding cannot make the loss negative. At a logit of -inf the slope is 0, or the loss
    # is infinite.
    anchored = logits - largest(constant)
    line = row_sums(ops.where(ops.equal(slope, 0), 0.0, slope * anchored))
    return ops.where(ops.isfinite(value), line + fixed(value - line), value)


class RowWeights(keras.losses.Loss):
    """The weight of each row of logits, as Keras merges `sample_weight` and the mask of the logits.

    Keras has no public way to read the mask. A loss of ones, not reduced, shows both.
    """

    def __init__(self, axis: int, dtype: Any):
        super().__init__(reduction=None, dtype=dtype)
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return 1 for each row."""
        return ops.ones_like(ops.take(y_pred, 0, axis=self.axis))


class SparseHeadLoss(keras.losses.Loss):
    """Base class of the losses of the sparse heads. A subclass sets the power of the projection.

    Args:
        from_logits: must be `True`: logits cannot be recovered from sparse probabilities.
        axis: integer, the axis of the classes.
        label_smoothing: number in [0, 1].
        ignore_class: class number of rows that do not count, or `None`.
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
        ignore_class: int | None = None,
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
        # Keras casts the class numbers to this dtype, and float16 has no 2049, bfloat16 no 257.
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        super().__init__(name=name, reduction=reduction, dtype=wide(policy.compute_dtype))
        self.axis = integer_axis(kind, axis)
        self._row_weights = RowWeights(self.axis, self.dtype)
        self.label_smoothing = float(smoothing)
        self.ignore_class = (
            None if ignore_class is None else integer("ignore_class", ignore_class, -(2**31))
        )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the reduced loss. Labels and logits of rows with weight 0 have no influence."""
        # Checked here, because Keras casts integers to floats before `call`.
        logits, axis = self._checked(y_pred)
        labels, of_rows = as_labels(y_true, logits, axis)
        weights = present = self._row_weights(logits, y_pred)
        if sample_weight is not None:
            weights = self._row_weights(logits, y_pred, sample_weight)
        if len(weights.shape) != len(present.shape):
            # Keras removes a last axis of 1.
            weights = ops.reshape(weights, ops.shape(present))
        if self.ignore_class is not None:
            if not of_rows:
                raise ValueError(
                    "`ignore_class` needs class numbers as labels. Received: ignore_class="
                    f"{self.ignore_class}, labels.shape={tuple(labels.shape)}. Give the rows to "
                    "ignore a `sample_weight` of 0 instead."
                )
            ignored = ops.equal(labels, self.ignore_class)
            weights, present = (ops.where(ignored, 0.0, each) for each in (weights, present))
        counts = ops.not_equal(weights, 0)
        # Not by products: the loss of a row without a class is NaN, and NaN times 0 too.
        labels = ops.where(counts if of_rows else ops.expand_dims(counts, axis), labels, 0)
        logits = ops.where(ops.expand_dims(counts, axis), logits, 0)
        if self.reduction in ("mean", "sum_over_batch_size"):
            # As Keras: the mean is over the rows that the mask leaves, whatever their weight.
            fraction = ops.mean(present)
            weights = weights * ops.cast(ops.divide_no_nan(1.0, fraction), weights.dtype)
        return super().__call__(labels, logits, weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row."""
        logits, axis = self._checked(y_pred)
        y = as_distribution(y_true, logits, axis, self.label_smoothing)
        return fenchel_young(y, logits, self.power, axis)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = ("axis", "label_smoothing", "ignore_class", "dtype")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}

    def _checked(self, y_pred: Any) -> tuple[Any, int]:
        kind = type(self).__name__
        logits, axis = as_logits(kind, y_pred, self.axis)
        if logits.shape[axis] == 1:
            raise ValueError(
                f"`{kind}` needs the logits of at least two classes, because a single class has "
                f"the probability 1 whatever its logit. Received: shape={tuple(logits.shape)}. A "
                "binary classifier needs two units: `keras.layers.Dense(2)`."
            )
        return logits, axis


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
        ignore_class: integer, the class number of rows that do not count, such as -1 for padding;
            the mean is over the others. Defaults to `None`: all class numbers count.
        reduction: `"sum_over_batch_size"`, `"mean"`, `"mean_with_sample_weight"`, `"sum"` or
            `None`.
        name: name of the loss.
        dtype: dtype of the computation. Defaults to `keras.config.floatx()`; half precision is
            computed in float32. (Keras rounds the mean to float32 on torch and JAX.)

    Call arguments:
        y_true: class numbers of the shape of `y_pred` without `axis` (or with 1 along it), or
            distributions of the shape of `y_pred`.
        y_pred: logits.
        sample_weight: as for any Keras loss. Labels and logits of rows with weight 0, or masked
            by Keras, have no influence, whatever they are.

    Raises:
        ValueError: if `from_logits` is false, `label_smoothing` or `axis` is out of range, the
            logits are integers or those of one class, shapes do not match, or a class number is out
            of range. (Class numbers cannot be checked in a compiled step, and are not read from an
            accelerator by torch: there the loss is NaN.)

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
        ignore_class: integer, the class number of rows that do not count, such as -1 for padding;
            the mean is over the others. Defaults to `None`: all class numbers count.
        reduction: `"sum_over_batch_size"`, `"mean"`, `"mean_with_sample_weight"`, `"sum"` or
            `None`.
        name: name of the loss.
        dtype: dtype of the computation. Defaults to `keras.config.floatx()`; half precision is
            computed in float32. (Keras rounds the mean to float32 on torch and JAX.)

    Call arguments:
        y_true: class numbers of the shape of `y_pred` without `axis` (or with 1 along it), or
            distributions of the shape of `y_pred`.
        y_pred: logits.
        sample_weight: as for any Keras loss. Labels and logits of rows with weight 0, or masked
            by Keras, have no influence, whatever they are.

    Raises:
        ValueError: if `from_logits` is false, `label_smoothing` or `axis` is out of range, the
            logits are integers or those of one class, shapes do not match, or a class number is out
            of range. (Class numbers cannot be checked in a compiled step, and are not read from an
            accelerator by torch: there the loss is NaN.)

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
