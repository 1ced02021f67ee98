"""`sparsemax` and `entmax15`: the functions, which are activations too."""

from typing import Any

import keras

from keras_sac.heads._head_layers import Entmax15, SparseHead, Sparsemax
from keras_sac.heads._logits import as_logits, check_logits
from keras_sac.heads._simplex_projection import probabilities


def sparsemax(x: Any, axis: int = -1) -> Any:
    """Project logits on the probability simplex: most probabilities are exactly 0.

    `p = argmin_{p in simplex} ||p - x||^2`, so `p_i = max(x_i - tau, 0)` with `sum_i p_i = 1`

    The derivative is `diag(s) - s s^T / |s|_1` with `s_i = [p_i > 0]`. `-inf` gets probability 0;
    `+inf` or NaN make NaN of all that share the axis with them.

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
    `+inf` or NaN make NaN of all that share the axis with them.

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
        # In a Functional model it has to be something that can be saved.
        return head(axis=axis, dtype=x.dtype)(x)
    x, axis = as_logits(name, x, axis)
    return probabilities(x, head.power, axis)


def _as_activation(function: Any, loss_name: str) -> None:
    """Let Keras save the function as an activation, and find it again."""
    keras.saving.register_keras_serializable("keras_sac", function.__name__)(function)
    # Keras saves an activation by its `__name__` alone where it has one of that name itself, and
    # would load its own `sparsemax` then.
    function.__name__ = keras.saving.get_registered_name(function)
    function.loss_name = loss_name


_as_activation(sparsemax, "SparsemaxLoss")
_as_activation(entmax15, "Entmax15Loss")
