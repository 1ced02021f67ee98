"""The methods that a SAC layer implements or overrides to factor the kernel of its stock layer."""

import abc
import math
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_sac._model import KernelAxes
from keras_sac.layers._product_order import factored_is_cheaper
from keras_sac.layers._stock_versions import stock_kind

_SHARED_ARGUMENTS = (
    *("name", "trainable", "activation", "activity_regularizer"),
    *("bias_initializer", "bias_regularizer", "bias_constraint"),
)


class SubspaceHooks(keras.layers.Layer, abc.ABC):
    """What `SubspaceLayer` asks its subclasses: how a layer is built, multiplied and exchanged.

    The methods with a body are defaults for layers that multiply the last axis of their inputs.
    """

    # The stock layer class that the layer replaces.
    stock_class: ClassVar[type]
    # Samples per batch when `adapt` reads an array.
    adapt_batch_size: ClassVar[int] = 8192

    # What a subclass implements.

    @abc.abstractmethod
    def input_grid(self, input_shape: Any) -> tuple[int, ...]:
        """Return the shape of one row of inputs, before it is flattened to `(in_dim,)`.

        `(in_dim,)` for a dense layer, `(*kernel_size, channels)` for a convolution. The `"dct"`
        basis is made on this grid. `input_shape` includes the batch axis.
        """

    @abc.abstractmethod
    def kernel_shape(self) -> tuple[int, ...]:
        """Return the shape of the stock layer's kernel: `(in_dim, units)` for a dense layer."""

    @abc.abstractmethod
    def apply_basis(self, inputs: Any) -> Any:
        """Return `x B`: `(batch, ..., in_dim)` to projections `(batch, ..., rank)`."""

    @abc.abstractmethod
    def apply_learner(self, projections: Any) -> Any:
        """Return `z L`: projections `(batch, ..., rank)` to outputs `(batch, ..., units)`."""

    @abc.abstractmethod
    def apply_kernel(self, inputs: Any, kernel: Any) -> Any:
        """Return `x W` with `W` of shape `kernel_shape()`: inputs to outputs, without the bias."""

    @abc.abstractmethod
    def make_stock_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built stock layer for `apply_kernel`, with a kernel of `kernel_shape()`.

        `kwargs` are arguments of its constructor: `use_bias`, `activation`, `name`, `dtype`,
        `trainable`, and the regularizers and the constraint of bias and outputs. The two methods
        below get such arguments, too.
        """

    @abc.abstractmethod
    def make_basis_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built stock layer for `apply_basis`; its kernel has `in_dim * rank` entries."""

    @abc.abstractmethod
    def make_learner_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built stock layer for `apply_learner`; its kernel has `rank * units` entries."""

    # What a subclass may override.

    @classmethod
    def arguments_from_stock(cls, layer: Any, use_bias: bool) -> dict[str, Any]:
        """Return the constructor's arguments, without the basis, for the place of a stock layer.

        Extend the result by the arguments of the class, such as `units`. `from_stock_layer` and
        `sac_class_of` need that.

        Args:
            layer: built layer of the class `stock_class`.
            use_bias: whether the new layer has a bias.
        """
        # A layer class from elsewhere may lack some of them.
        found = {name: getattr(layer, name) for name in _SHARED_ARGUMENTS if hasattr(layer, name)}
        return {**found, "use_bias": use_bias, "dtype": layer.dtype_policy}

    @classmethod
    def why_not_from_stock(cls, layer: Any) -> str | None:
        """Return why a layer of the class `stock_class` cannot be factored, `None` if it can."""
        if layer.quantization_mode is not None:
            return "it is quantized"
        if getattr(layer, "lora_enabled", False):
            return "it has LoRA adapters"
        return None if layer.built else "it is not built"

    def kernel_axes(self, factor: Any = None) -> KernelAxes:
        """Return which axes of a kernel are rows, and which are columns of its matrix.

        The default is the entry of the stock layer in the table of layer classes.

        Args:
            factor: a layer from `make_basis_layer` or `make_learner_layer`. Defaults to the stock
                layer with the whole kernel.
        """
        described = self if factor is None else factor
        stock_class = self.stock_class if factor is None else type(factor)
        return stock_kind(stock_class).kernels(described)["kernel"]

    def uses(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[float, float]:
        """Return how often a call multiplies by the basis, and how often by the learner.

        Both once for each position of the outputs, by default. The shapes include the batch axis.
        """
        positions = math.prod(output_shape) / self.learner.shape[1]
        return positions, positions

    def basis_uses(self, input_shape: Any) -> float:
        """Return how often a call multiplies by the basis for each time it does by the learner."""
        return 1.0

    def rows(self, inputs: np.ndarray) -> np.ndarray:
        """Return a batch of inputs as rows: `(batch, ...)` to `(n, in_dim)`."""
        rows = stock_kind(self.stock_class).rows(self, inputs)
        if rows is None:
            raise NotImplementedError(
                f"{type(self).__name__} must implement `rows`: the table of layer classes does not "
                f"say how {self.stock_class.__name__} reads its inputs as rows."
            )
        return rows

    def is_factored(self, inputs: Any) -> bool:
        """Return whether the layer computes `(x B) L`, cheaper at small rank, or `x (B L)`."""
        return factored_is_cheaper(None, self.in_dim, self.rank, self.learner.shape[1])

    def broadcast_to_projections(self, vector: Any) -> Any:
        """Reshape a vector `(rank,)` so that it broadcasts over projections."""
        return vector

    def broadcast_to_outputs(self, vector: Any) -> Any:
        """Reshape a vector `(units,)` so that it broadcasts over outputs."""
        return vector

    def add_bias(self, outputs: Any) -> Any:
        """Return outputs plus bias, `(batch, ..., units)`."""
        return ops.add(outputs, self.bias)

    def as_bias(self, vector: np.ndarray) -> np.ndarray:
        """Reshape a vector `(units,)` to the shape of the stock layer's bias."""
        return vector

    def samples_at_once(self, inputs: np.ndarray) -> int:
        """Return how many samples of a batch `adapt` converts to rows at a time."""
        return len(inputs)
