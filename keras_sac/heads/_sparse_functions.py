"""`sparsemax` and `entmax15` as functions and as activations."""

from typing import Any

import keras

from keras_sac.heads._head_layers import Entmax15, SparseHead, Sparsemax
from keras_sac.heads._keras_activations import register_activation
from keras_sac.heads._logits import as_logits, check_logits
from keras_sac.heads._simplex_projection import probabilities


def sparsemax(x: Any, axis: int = -1) -> Any:
    """Project logits onto the probability simplex: most probabilities are exactly 0.

    `p = argmin_{p in simplex} ||p - x||^2`, so `p_i = max(x_i - tau, 0)` with `sum_i p_i = 1`

    The derivative is `diag(s) - s s^T / |s|_1` with `s_i = [p_i > 0]`. `-inf` gets probability 0;
    `+inf` or NaN make their row NaN. As an activation: `activation="keras_sac>sparsemax"`, or the
    function itself.

    Args:
        x: floating-point logits of any shape with at least one axis.
        axis: integer, the axis of the classes.

    Returns:
        Probabilities of the shape and dtype of `x`; computed in float32 for half precision.

    Raises:
        ValueError: if `x` is of an integer dtype, or `axis` is out of range or empty.

    Examples:
        >>> import keras
        >>> from keras_sac import sparsemax
        >>> keras.ops.convert_to_numpy(sparsemax([0.0, 0.5, 1.0])).tolist()
        [0.0, 0.25, 0.75]

    Reference:
        Martins and Astudillo, "From softmax to sparsemax", 2016, https://arxiv.org/abs/1602.02068
    """
    return _probabilities("sparsemax", x, axis, Sparsemax)


def entmax15(x: Any, axis: int = -1) -> Any:
    """Map logits to probabilities between those of softmax and sparsemax; many are exactly 0.

    `p = argmax_{p in simplex} <p, x> + H(p)`, `H` the Tsallis entropy with `alpha = 1.5`, so
    `p_i = max(x_i / 2 - tau, 0)^2` with `sum_i p_i = 1`

    The derivative is `diag(s) - s s^T / |s|_1` with `s = sqrt(p)`. `-inf` gets probability 0;
    `+inf` or NaN make their row NaN. As an activation: `activation="keras_sac>entmax15"`, or the
    function itself.

    Args:
        x: floating-point logits of any shape with at least one axis.
        axis: integer, the axis of the classes.

    Returns:
        Probabilities of the shape and dtype of `x`; computed in float32 for half precision.

    Raises:
        ValueError: if `x` is of an integer dtype, or `axis` is out of range or empty.

    Examples:
        >>> import keras
        >>> from keras_sac import entmax15
        >>> keras.ops.convert_to_numpy(entmax15([-2.0, 0.0, 0.0])).round(4).tolist()
        [0.0, 0.5, 0.5]

    Reference:
        Peters, Niculae and Martins, "Sparse sequence-to-sequence models", 2019,
        https://arxiv.org/abs/1905.05702
    """
    return _probabilities("entmax15", x, axis, Entmax15)


def _probabilities(name: str, x: Any, axis: int, head: type[SparseHead]) -> Any:
    if isinstance(x, keras.KerasTensor):
        check_logits(name, x, axis)
        # A Functional model can only save a layer.
        return head(axis=axis, dtype=x.dtype)(x)
    x, axis = as_logits(name, x, axis)
    return probabilities(x, head.power, axis)


register_activation(sparsemax, "SparsemaxLoss")
register_activation(entmax15, "Entmax15Loss")
