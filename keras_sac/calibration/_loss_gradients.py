"""Gradients of the loss of each sample at the outputs of layers, in one pass."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac import _backend
from keras_sac.calibration._products import Product, see_products, watched_products

# From the labels and the outputs of a model to a scalar, the mean over the samples.
Loss = Callable[[Any, Any], Any]


def loss_function(model: keras.Model, loss: Any) -> Loss:
    """Return the loss of a model as a function of labels and outputs.

    Args:
        model: built.
        loss: as for `compile`; `None` for the loss that the model is compiled with.

    Raises:
        ValueError: if there is none.
    """
    if loss is not None:
        # Only a compiled model has the function for several outputs, dicts and names of losses.
        judge = keras.Sequential()
        judge.compile(loss=loss)
        return lambda y, outputs: judge.compute_loss(y=y, y_pred=outputs, training=False)
    if not model.compiled or model.loss is None:
        raise ValueError(
            f"Labels need a loss, and the model {model.name!r} is not compiled with one. Pass "
            "`loss=`, such as `loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)`, "
            "or leave out `y`."
        )
    return lambda y, outputs: model.compute_loss(y=y, y_pred=outputs, training=False)


class LossGradients:
    """Passes through a model that return its products with the gradients at their outputs.

    Args:
        model: built; not changed.
        layers: layers whose products are wanted.
        loss: of labels and outputs.
    """

    def __init__(self, model: keras.Model, layers: Sequence[keras.layers.Layer], loss: Loss):
        self._model, self._layers, self._loss = model, layers, loss
        # The shapes of the outputs of all products, by the shapes of the inputs.
        self._shapes: dict[Any, list[tuple[Any, str]]] = {}

    def of(self, inputs: Any, labels: Any) -> tuple[float, list[tuple[Product, Any]]]:
        """Return the loss of a batch, and each product with the gradients at its outputs.

        Rows of the gradients are those of the loss of a sample, not of the mean over the batch.
        """
        zeros = [np.zeros(shape, dtype) for shape, dtype in self._shapes_for(inputs)]
        seen: list[Product] = []

        def loss(shifts: list[Any]) -> tuple[Any, Any]:
            seen.clear()
            left = iter(shifts)
            with watched_products(
                self._model, self._layers, seen.append, shift=lambda x: x + next(left)
            ):
                value = self._loss(labels, self._model(inputs, training=False))
            # Inside of a gradient, JAX has no values: they leave it as a result.
            return value, [value, [(each.inputs, each.mask) for each in seen]]

        found, (value, received) = _backend.gradients(loss, zeros)
        samples = keras.tree.flatten(inputs)[0].shape[0]
        products = [
            (
                Product(each.layer, tensor, None, mask, None),
                keras.ops.convert_to_numpy(gradient).astype(np.float32) * samples,
            )
            for each, (tensor, mask), gradient in zip(seen, received, found, strict=True)
        ]
        return float(keras.ops.convert_to_numpy(value)), products

    def _shapes_for(self, inputs: Any) -> list[tuple[Any, str]]:
        key = str(keras.tree.map_structure(lambda x: tuple(x.shape), inputs))
        if key not in self._shapes:
            found: list[tuple[Any, str]] = []

            def see(product: Product) -> None:
                dtype = keras.backend.standardize_dtype(product.outputs.dtype)
                found.append((tuple(product.outputs.shape), dtype))

            see_products(self._model, inputs, self._layers, see)
            self._shapes[key] = found
        return self._shapes[key]
