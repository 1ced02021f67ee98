"""Products of a layer, paired with those of the layer that stands for it in a changed model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sac.bases import Moments
from keras_sac.calibration._input_moments import RowSketch
from keras_sac.calibration._kernel_part import KernelPart
from keras_sac.calibration._observed_kernels import ObservedKernel, as_floats
from keras_sac.calibration._products import Product, check_finite, see_products
from keras_sac.calibration._row_choice import random_choice

# What a kernel made of a batch: for each call of its layer, the rows, and the mask of its inputs.
Made = list[tuple[np.ndarray, Any]]
# Memory of such rows that a calibration keeps, over all kernels.
_KEPT_BYTES = 1 << 28


class MadeRows:
    """What kernels made of the samples, kept after the first time while memory allows it.

    All refits of a kernel need the same outputs of the original model.
    """

    def __init__(self):
        self._made: dict[tuple[str, int], Made] = {}
        self._bytes = 0

    def get(self, kernel: ObservedKernel, batch: int) -> Made | None:
        """Return what a kernel made of a batch; `None` if it is not kept."""
        return self._made.get((kernel.key, batch))

    def keep(self, kernel: ObservedKernel, batch: int, made: Made) -> None:
        """Keep what a kernel made of a batch, if there is room."""
        size = sum(rows.nbytes for rows, _ in made)
        if self._bytes + size <= _KEPT_BYTES:
            self._made[kernel.key, batch] = made
            self._bytes += size


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

    def _before(self, inputs: Any) -> list[Product]:
        return _products(self._model, inputs, self._kernel.layer, self._kernel.calls)

    def _after(self, inputs: Any) -> list[Product]:
        return _products(self._changed, inputs, self._layer, self._kernel.calls)

    def are_equal(self) -> bool:
        """Return whether both layers receive the same, so that nothing before has changed."""
        return all(
            np.array_equal(as_floats(old.inputs), as_floats(new.inputs))
            for inputs in self._batches
            for old, new in zip(self._before(inputs), self._after(inputs), strict=True)
        )

    def moments(
        self,
        like: Sequence[Moments | RowSketch],
        share: float,
        kept: MadeRows,
        part: KernelPart | None = None,
    ) -> list[Moments | RowSketch]:
        """Return moments of rows that hold the inputs of the changed layer, then the old outputs.

        Args:
            like: the moments of the original inputs, one for each group.
            share: of the rows that are used, drawn at random, the same in each call.
            kept: what kernels made, of earlier calls with the same share.
            part: of the kernel, if the changed layer is narrower.
        """
        kernel, layer = self._kernel, self._layer
        if part is not None:
            like = [each for each, left in zip(like, part.groups, strict=True) if left]
        both = [RowSketch(len(m.factor)) if isinstance(m, RowSketch) else Moments() for m in like]
        random = np.random.default_rng(0)
        geometry = layer if type(layer) is type(kernel.layer) else None
        for index, inputs in enumerate(self._batches):
            after = self._after(inputs)
            choices = [random_choice(random, share) for _ in after]
            originals = kept.get(kernel, index)
            if originals is None:
                before = zip(self._before(inputs), choices, strict=True)
                originals = [(kernel.made_rows(old, some), old.mask) for old, some in before]
                kept.keep(kernel, index, originals)
            for new, choose, (made, mask) in zip(after, choices, originals, strict=True):
                rows = kernel.rows(new, geometry, mask, choose)
                check_finite(rows, f"the inputs of {kernel.path!r} in the changed model")
                made = made if part is None else made[:, part.outputs.reshape(-1)]
                groups = zip(both, rows, np.split(made, len(rows), axis=1), strict=True)
                for moments, x, y in groups:
                    if len(x):
                        moments.update(np.concatenate([x, y], axis=1))
        return both


def _products(
    model: keras.Model, inputs: Any, layer: keras.layers.Layer, calls: int
) -> list[Product]:
    found: list[Product] = []
    see_products(model, inputs, [layer], found.append, calls=calls)
    return found
