"""Make a SAC layer of a stock layer and the two factors of its kernel."""

from typing import Any

import numpy as np
from keras import ops

from keras_sac.layers._subspace_hooks import SubspaceHooks


def sac_from_stock(
    sac_class: type[SubspaceHooks],
    layer: Any,
    basis: Any,
    learner: Any,
    bias: Any,
    kwargs: dict[str, Any],
) -> Any:
    """Return a built SAC layer of a class; see `SubspaceLayer.from_stock_layer`."""
    stock_class = getattr(sac_class, "stock_class", None)
    if type(layer) is not stock_class:
        wanted = "of a stock class" if stock_class is None else f"a {stock_class.__name__}"
        raise ValueError(
            f"`layer` must be {wanted} for {sac_class.__name__}.from_stock_layer, and not of a "
            f"subclass of it. Received: {layer!r}"
        )
    reason = sac_class.why_not_from_stock(layer)
    if reason:
        raise ValueError(f"{layer.name!r} cannot become a {sac_class.__name__}: {reason}.")
    own_bias = getattr(layer, "bias", None)
    if bias is None and own_bias is not None:
        bias = ops.convert_to_numpy(own_bias)
    arguments = sac_class.arguments_from_stock(layer, use_bias=bias is not None)
    made: Any = sac_class(**{**arguments, "basis": basis, **kwargs})
    # The shape that Keras saves, to build the layer again.
    input_shape = layer.get_build_config()["input_shape"]
    made.build((None, *input_shape[1:]))
    made.learner.assign(_checked("learner", learner, made.learner.shape))
    if bias is not None:
        bias = np.asarray(bias)
        if bias.ndim == 1 and len(made.bias.shape) > 1:
            # One number for each output, in the order of the columns of the kernel.
            bias = made.as_bias(_checked("bias", bias, made.learner.shape[1:]))
        made.bias.assign(_checked("bias", bias, made.bias.shape))
    return made


def _checked(name: str, values: Any, shape: Any) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != tuple(shape):
        raise ValueError(
            f"`{name}` must have the shape {tuple(shape)}. Received: {name} of shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` must be finite. Received: {name} with NaN or infinity")
    return values
