"""Products of a layer, paired with those of the layer that stands for it in a changed model."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac.bases import Moments
from keras_sac.calibration._input_moments import RowSketch
from keras_sac.calibration._observed_kernels import ObservedKernel, as_floats
from keras_sac.calibration._products import Product, check_finite, see_products
from keras_sac.calibration._row_choice import random_choice


class ProductPairs:
    """What a kernel should make, and the inputs that it has to make it of.

    Args:
        model: the original model.
        changed: a copy of it with other layers before this one.
        kernel: of the original model.
        layer: of `changed`, in the place of the layer of the kernel.
        batches: inputs of the models.
    """

    def __init__(
        self,
        model: keras.Model,
        changed: keras.Model,
        kernel: ObservedKernel,
        layer: keras.layers.Layer,
        batches: Sequence[Any],
    ):
        self._model, self._changed = model, changed
        self._kernel, self._layer, self._batches = kernel, layer, batches

    def __iter__(self) -> Iterator[tuple[Product, Product]]:
        for inputs in self._batches:
            before = _products(self._model, inputs, self._kernel.layer, self._kernel.calls)
            after = _products(self._changed, inputs, self._layer, self._kernel.calls)
            yield from zip(before, after, strict=True)

    def are_equal(self) -> bool:
        """Return whether both layers receive the same, so that nothing before has changed."""
        return all(np.array_equal(as_floats(a.inputs), as_floats(b.inputs)) for a, b in self)

    def moments(
        self, like: Sequence[Moments | RowSketch], share: float
    ) -> list[Moments | RowSketch]:
        """Return moments of rows that hold the inputs of the changed layer, then the old outputs.

        Args:
            like: the moments of the original inputs, one for each group.
            share: of the rows that are used, drawn at random.
        """
        kernel, layer = self._kernel, self._layer
        both = [RowSketch(len(m.factor)) if isinstance(m, RowSketch) else Moments() for m in like]
        random = np.random.default_rng(0)
        geometry = layer if type(layer) is type(kernel.layer) else None
        for old, new in self:
            choose = random_choice(random, share)
            rows = kernel.rows(new, geometry, old.mask, choose)
            made = kernel.made_rows(old, choose)
            check_finite(rows, f"the inputs of {kernel.path!r} in the changed model")
            groups = zip(both, rows, np.split(made, len(rows), axis=1), strict=True)
            for moments, inputs, outputs in groups:
                if len(inputs):
                    moments.update(np.concatenate([inputs, outputs], axis=1))
        return both


def _products(
    model: keras.Model, inputs: Any, layer: keras.layers.Layer, calls: int
) -> list[Product]:
    found: list[Product] = []
    see_products(model, inputs, [layer], found.append, calls=calls)
    return found
