"""Gradients of the loss of each sample at the outputs of layers, in one pass."""

import dataclasses
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
    judge = model
    if loss is not None:
        # Only a compiled model has the function for several outputs, dicts and names of losses.
        judge = _Judge(getattr(model, "output_names", None))
        judge.compile(loss=loss)
    elif not model.compiled or model.loss is None:
        raise ValueError(
            f"Labels need a loss, and the model {model.name!r} is not compiled with one. Pass "
            "`loss=`, such as `loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)`, "
            "or leave out `y`."
        )

    def mean_loss(labels: Any, outputs: Any) -> Any:
        try:
            return judge.compute_loss(y=labels, y_pred=outputs, training=False)
        except Exception as error:
            raise ValueError(
                f"The loss of the labels `y` cannot be computed ({type(error).__name__}: {error}). "
                f"Received: labels of shape {_shapes(labels)} for outputs of shape "
                f"{_shapes(outputs)}. Check `y`, or pass the loss that fits them as `loss=`."
            ) from error

    return mean_loss


class _Judge(keras.Model):
    """A model that is only compiled, with the names of the outputs of another one."""

    def __init__(self, output_names: Any):
        super().__init__()
        if output_names is not None:
            self.output_names = output_names


def _shapes(structure: Any) -> Any:
    return keras.tree.map_structure(lambda x: tuple(getattr(x, "shape", ())), structure)


class LossGradients:
    """Passes through a model that return its products with the gradients at their outputs.

    Args:
        model: built; not changed.
        layers: layers whose products are wanted.
        loss: of labels and outputs.
    """

    def __init__(self, model: keras.Model, layers: Sequence[keras.layers.Layer], loss: Loss):
        self._model, self._layers, self._loss = model, layers, loss
        # By the shapes of the inputs.
        self._places: dict[str, list[Any]] = {}

    def of(
        self, inputs: Any, labels: Any, samples: int
    ) -> tuple[float, list[tuple[Product, np.ndarray | None]]]:
        """Return the loss of a batch, and each product with the gradients at its outputs.

        Rows of the gradients are those of the loss of a sample, not of the mean over the batch.
        They are `None` for a layer that returns several tensors.
        """
        places = self._places_for(inputs)
        zeros = [np.zeros(*place) for place in places if place is not None]
        seen: list[Product] = []

        def loss(shifts: list[Any]) -> tuple[Any, Any]:
            seen.clear()
            left = iter(shifts)
            with watched_products(
                self._model, self._layers, seen.append, shift=lambda _, x: x + next(left)
            ):
                value = self._loss(labels, self._model(inputs, training=False))
            # Inside of a gradient, JAX has no values: they leave it as a result.
            return value, [value, [(each.inputs, each.mask) for each in seen]]

        found, (value, received) = _backend.gradients(loss, zeros)
        gradients = iter(found)
        products = [
            (
                dataclasses.replace(each, inputs=tensor, outputs=None, mask=mask, made=None),
                None if place is None else self._of_a_sample(next(gradients), samples),
            )
            for each, (tensor, mask), place in zip(seen, received, places, strict=True)
        ]
        return float(keras.ops.convert_to_numpy(value)), products

    def _of_a_sample(self, gradient: Any, samples: int) -> np.ndarray:
        return keras.ops.convert_to_numpy(gradient).astype(np.float32) * samples

    def _places_for(self, inputs: Any) -> list[Any]:
        """Return shape and type of the outputs of each product; `None` if they are unknown."""
        key = str(keras.tree.map_structure(lambda x: tuple(getattr(x, "shape", ())), inputs))
        if key not in self._places:
            found: list[Any] = []

            def see(product: Product) -> None:
                made = product.outputs
                found.append(None if made is None else (tuple(made.shape), _dtype(made)))

            see_products(self._model, inputs, self._layers, see)
            self._places[key] = found
        return self._places[key]


def _dtype(tensor: Any) -> str:
    return keras.backend.standardize_dtype(tensor.dtype)
