"""`Sparsemax` and `Entmax15`: layers that make probabilities, most of them exactly 0."""

from typing import Any

import keras
from keras import ops

from keras_sac.heads._logits import as_logits, checked_axis, integer_axis, wide
from keras_sac.heads._simplex_projection import probabilities


class SparseHead(keras.layers.Layer):
    """Base class of the sparse heads. A subclass sets the power of the projection.

    Args:
        axis: integer, the axis of the classes.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.
    """

    # `q` of the projection, and the name of the loss that trains the logits.
    power = 1
    loss_name = "SparsemaxLoss"

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = integer_axis(type(self).__name__, axis)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the probabilities.

        Args:
            inputs: logits.
            mask: boolean, broadcastable to the logits, or of their shape without the last axis (as
                an `Embedding` makes it): False gives probability 0. All probabilities of a row that
                is masked entirely are 0.
        """
        logits, axis = as_logits(type(self).__name__, inputs, self.axis)
        if mask is not None:
            mask = _as_mask(type(self).__name__, mask, inputs)
            # Not -inf, or a row that is masked entirely would be NaN; and float16 has no 1e30.
            dtype = wide(logits.dtype)
            logits = ops.where(mask, ops.cast(logits, dtype), ops.cast(-1e30, dtype))
        p = probabilities(logits, self.power, axis)
        if mask is not None:
            p = ops.where(mask, p, ops.zeros((), p.dtype))
        return ops.cast(p, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the outputs, which is that of the inputs."""
        checked_axis(type(self).__name__, self.axis, len(input_shape))
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the configuration."""
        return {**super().get_config(), "axis": self.axis}


def _as_mask(name: str, mask: Any, logits: Any) -> Any:
    mask = ops.convert_to_tensor(mask)
    if keras.backend.standardize_dtype(mask.dtype) != "bool":
        mask = mask > 0.5
    shape, wanted = tuple(mask.shape), tuple(logits.shape)
    if len(shape) == len(wanted) - 1 and _agree(shape, wanted[:-1], ones=False):
        # A mask of time steps, as an `Embedding` makes it.
        return ops.expand_dims(mask, -1)
    if len(shape) <= len(wanted) and _agree(shape[::-1], wanted[::-1][: len(shape)], ones=True):
        return mask
    raise ValueError(
        f"`mask` of `{name}` must be broadcastable to the logits, or have their shape without the "
        f"last axis. Received: mask.shape={shape}, logits.shape={wanted}"
    )


def _agree(shape: Any, wanted: Any, *, ones: bool) -> bool:
    return all(
        a is None or b is None or a == b or (ones and a == 1)
        for a, b in zip(shape, wanted, strict=True)
    )


@keras.saving.register_keras_serializable(package="keras_sac")
class Sparsemax(SparseHead):
    """Sparsemax as a layer: most probabilities are exactly 0.

    `p = argmin_{p in simplex} ||p - x||^2`

    For a classifier, train the logits with `SparsemaxLoss` and add this layer to the trained model
    with `swap_head`. Never train it by cross-entropy, which is infinite where a probability is 0:
    `keras_sac.heads.check_loss(model)` raises an error for such a model. Inside a model, as for
    attention, the layer trains with any loss.

    Args:
        axis: integer, the axis of the classes.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: any with at least one axis; floating point.
    Output shape: the same; a probability distribution along `axis`, computed in float32 for
    half-precision inputs.

    Call arguments:
        inputs: the logits; `-inf` gets probability 0.
        mask: boolean, broadcastable to the logits or of their shape without the last axis; False
            gives probability 0.

    Raises:
        ValueError: if `axis` is not an integer or out of range, or the logits are integers.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import Sparsemax
        >>> keras.ops.convert_to_numpy(Sparsemax()(np.array([[0.0, 0.5, 1.0]]))).tolist()
        [[0.0, 0.25, 0.75]]

    Reference:
        Martins and Astudillo, "From softmax to sparsemax", 2016, https://arxiv.org/abs/1602.02068
    """


@keras.saving.register_keras_serializable(package="keras_sac")
class Entmax15(SparseHead):
    """Entmax 1.5 as a layer: probabilities between those of softmax and sparsemax.

    `p_i = max(x_i / 2 - tau, 0)^2`,  `sum_i p_i = 1`

    For a classifier, train the logits with `Entmax15Loss` and add this layer to the trained model
    with `swap_head`. Never train it by cross-entropy, which is infinite where a probability is 0:
    `keras_sac.heads.check_loss(model)` raises an error for such a model. Inside a model, as for
    attention, the layer trains with any loss.

    Args:
        axis: integer, the axis of the classes.
        **kwargs: `name`, `dtype` and the like, as for any Keras layer.

    Input shape: any with at least one axis; floating point.
    Output shape: the same; a probability distribution along `axis`, computed in float32 for
    half-precision inputs.

    Call arguments:
        inputs: the logits; `-inf` gets probability 0.
        mask: boolean, broadcastable to the logits or of their shape without the last axis; False
            gives probability 0.

    Raises:
        ValueError: if `axis` is not an integer or out of range, or the logits are integers.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import Entmax15
        >>> p = keras.ops.convert_to_numpy(Entmax15()(np.array([[-2.0, 0.0, 0.0]])))
        >>> p.round(4).tolist()
        [[0.0, 0.5, 0.5]]

    Reference:
        Peters, Niculae and Martins, "Sparse sequence-to-sequence models", 2019,
        https://arxiv.org/abs/1905.05702
    """

    power = 2
    loss_name = "Entmax15Loss"
