"""How often each weight of a layer is multiplied in one call: what its class says of shapes."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

Shape = tuple[int, ...]
# Layer, shape of its first input, shape of its first output -> uses of each of its kernels, or of
# those that are named.
Uses = Callable[[Any, Shape, Shape], float | Mapping[str, float]]

_LAYERS = keras.layers
# Their weights, of however many axes, are added to or multiplied with what has that shape.
_ELEMENTWISE = (
    *(_LAYERS.BatchNormalization, _LAYERS.LayerNormalization, _LAYERS.GroupNormalization),
    *(_LAYERS.RMSNormalization, _LAYERS.SpectralNormalization),
    *(_LAYERS.Normalization, _LAYERS.PReLU),
)


def uses_of(
    layer: keras.layers.Layer, given: Shape, made: Shape, more: Mapping[type, Uses]
) -> float | Mapping[str, float] | None:
    """Return how often each kernel of a layer is used in a call.

    Args:
        layer: built.
        given: shape of its first input, batch axis included.
        made: shape of its first output.
        more: what is to be said of other classes, and of these instead.

    Returns:
        A number of times, or one for each kernel that is used, by its name; `None` if the class of
        the layer is not known.
    """
    for known in (*more, *_TABLE):
        if isinstance(layer, known):
            return (more[known] if known in more else _TABLE[known])(layer, given, made)
    if subspace_factors(layer) is not None:
        return math.prod(made) / layer.learner.shape[-1]
    return None


def subspace_factors(layer: Any) -> tuple[Any, Any] | None:
    """Return basis and learner of a layer with `kernel = basis @ learner`, else `None`."""
    basis, learner = getattr(layer, "basis", None), getattr(layer, "learner", None)
    if not all(isinstance(each, keras.Variable) for each in (basis, learner)):
        return None
    return basis, learner


def products_without_kernel(layer: Any, arguments: Any) -> int:
    """Return the multiplications of two inputs in a call: the scores of attention, and its means.

    `batch heads T S (key_dim + value_dim)` for `T` queries that look at `S` values.

    Args:
        layer: any.
        arguments: of the call, positional and by name.
    """
    args, kwargs = arguments
    if isinstance(layer, _LAYERS.Attention):
        query, value, *key = args[0] if args else kwargs["inputs"]
        # The scores of this mode are sums.
        scored = 0 if layer.score_mode == "concat" else (*key, value)[0].shape[-1]
        return math.prod(query.shape[:-1]) * value.shape[1] * (scored + value.shape[-1])
    if isinstance(layer, _LAYERS.MultiHeadAttention):
        axes, widths = layer.attention_axes, layer.num_heads * (layer.key_dim + layer.value_dim)
    elif isinstance(layer, _LAYERS.GroupQueryAttention):
        axes, widths = (1,), 2 * layer.num_query_heads * layer.head_dim
    else:
        return 0
    named = dict(zip(("query", "value"), args, strict=False)) | kwargs
    query, value = tuple(named["query"].shape), tuple(named["value"].shape)
    return math.prod(query[:-1]) * math.prod(value[axis] for axis in axes) * widths


def _dense(layer: Any, given: Shape, made: Shape) -> float:
    return math.prod(given[:-1])


def _einsum(layer: Any, given: Shape, made: Shape) -> float:
    inputs, kernel = layer.equation.split("->")[0].replace(" ", "").split(",")
    letters = inputs.replace("...", "")
    elided = len(given) - len(letters)
    start = elided if inputs.startswith("...") else 0
    sizes = list(given[start : start + len(letters)])
    rest = math.prod(given) // max(1, math.prod(sizes)) if elided else 1
    kept = (size for letter, size in zip(letters, sizes, strict=True) if letter not in kernel)
    return rest * math.prod(kept)


def _convolution(layer: Any, given: Shape, made: Shape) -> float:
    return math.prod(made) / made[_channels(layer)]


def _transposed(layer: Any, given: Shape, made: Shape) -> float:
    return math.prod(given) / given[_channels(layer)]


def _recurrent(layer: Any, given: Shape, made: Shape) -> float:
    return given[0] * given[1]


def _recurrent_convolution(layer: Any, given: Shape, made: Shape) -> float:
    # As many positions for the state as for the input; the axis of the steps may be gone.
    grid = made[-1 - len(layer.kernel_size) :]
    channels = -1 if layer.data_format == "channels_last" else 0
    return given[0] * given[1] * math.prod(grid) / grid[channels]


def _either_way(layer: Any, given: Shape, made: Shape) -> float | Mapping[str, float]:
    if len(made) != len(given):
        return 0
    name = "embeddings" if layer.tie_weights else "reverse_embeddings"
    return {name: math.prod(given[:-1])}


def _nothing(layer: Any, given: Shape, made: Shape) -> float:
    return 0


def _channels(layer: Any) -> int:
    return -1 if layer.data_format == "channels_last" else 1


_TABLE: dict[type, Uses] = {
    _LAYERS.Dense: _dense,
    _LAYERS.EinsumDense: _einsum,
    **dict.fromkeys(
        (_LAYERS.Conv1DTranspose, _LAYERS.Conv2DTranspose, _LAYERS.Conv3DTranspose), _transposed
    ),
    **dict.fromkeys(
        (
            *(_LAYERS.Conv1D, _LAYERS.Conv2D, _LAYERS.Conv3D),
            *(_LAYERS.DepthwiseConv1D, _LAYERS.DepthwiseConv2D),
            *(_LAYERS.SeparableConv1D, _LAYERS.SeparableConv2D),
        ),
        _convolution,
    ),
    **dict.fromkeys((_LAYERS.SimpleRNN, _LAYERS.LSTM, _LAYERS.GRU), _recurrent),
    **dict.fromkeys((_LAYERS.SimpleRNNCell, _LAYERS.LSTMCell, _LAYERS.GRUCell), _dense),
    **dict.fromkeys(
        (_LAYERS.ConvLSTM1D, _LAYERS.ConvLSTM2D, _LAYERS.ConvLSTM3D), _recurrent_convolution
    ),
    _LAYERS.ReversibleEmbedding: _either_way,
    # A row is looked up.
    _LAYERS.Embedding: _nothing,
    **dict.fromkeys(_ELEMENTWISE, _nothing),
}
