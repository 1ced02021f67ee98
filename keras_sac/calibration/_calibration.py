"""`Calibration`: what the layers of a trained model receive and make, and what the loss says."""

import copy
import os
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac import _backend
from keras_sac._arguments import integer, is_verbose
from keras_sac._model import check_model, sample_batches, select_layers
from keras_sac._run import Progress
from keras_sac._table import table
from keras_sac.analysis import footprint
from keras_sac.bases import Moments
from keras_sac.calibration._calibration_file import (
    Batch,
    Content,
    Source,
    read_calibration,
    write_calibration,
)
from keras_sac.calibration._fingerprint import fingerprint
from keras_sac.calibration._input_moments import RowSketch
from keras_sac.calibration._kernel_part import KernelPart
from keras_sac.calibration._linear_fit import LinearFit
from keras_sac.calibration._loss_gradients import LossGradients, loss_function
from keras_sac.calibration._observed_kernels import ObservedKernel, as_floats, observed_kernels
from keras_sac.calibration._product_pairs import MadeRows, ProductPairs
from keras_sac.calibration._products import Product, check_finite, see_products
from keras_sac.calibration._row_choice import needed_share, random_choice

if TYPE_CHECKING:
    import pandas as pd


class Calibration:
    """Moments of what the layers of a trained model see on a few thousand samples.

    For each kernel `W`, with the inputs `x` of its product as rows (patches, for a convolution):
    the count, `E[x]` and `C = E[(x - E[x])(x - E[x])ᵀ]`. Those of the outputs follow from them,
    `WᵀCW`. With labels also `G = Σ g gᵀ / samples`, where `g` is the gradient of the loss of a
    sample at an output; an error `e` of the outputs then raises the loss by about `tr(G eᵀe) / 2`.

    Make one with `Calibration.from_data`. `convert_to_sac` and `prune_with_data` take it in the
    place of data: another budget needs no other pass. It belongs to one model, and keeps the
    samples, which these functions read again.

    Attributes:
        samples: number of samples.
        loss: mean loss of the samples; `None` without labels.
        kernels: the observed kernels, in the order of their first calls.
        reasons: why every other kernel of the model is not observed, by path and name.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import Calibration
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="last")])
        >>> x = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
        >>> cal = Calibration.from_data(model, x, np.zeros((100, 4)), loss="mse", verbose=0)
        >>> cal.summary()[["layer", "rows", "inputs", "outputs", "gradients"]].values.tolist()
        [['last', 100, 8, 4, True]]
    """

    def __init__(
        self, model: keras.Model, batches: list[Batch], fingerprint: str, targets: Any = None
    ):
        self._model, self._fingerprint = model, fingerprint
        self._batches = batches
        self._moments: dict[str, list[Source]] = {}
        self._gradients: dict[str, Moments] = {}
        self._made = MadeRows()
        self._loss_of: Any = None
        self.samples = sum(count for _, _, count in batches)
        self.loss: float | None = None
        self.kernels, self.reasons = observed_kernels(model, batches[0][0], targets)

    @classmethod
    def from_data(
        cls,
        model: keras.Model,
        data: Any,
        y: Any = None,
        *,
        loss: Any = None,
        targets: Any = None,
        batch_size: int = 64,
        max_features: int = 4096,
        verbose: str | int = "auto",
    ) -> "Calibration":
        """Compute the moments in one pass over data.

        Args:
            model: built and trained; not changed.
            data: what `predict` takes: an array, a list, tuple or dict of arrays, or an iterable
                of batches `x` or `(x, y)`: `tf.data.Dataset`, torch `DataLoader`,
                `keras.utils.PyDataset`, generator. A thousand samples or more; they are kept.
            y: labels as for `fit`, unless `data` have them. Without labels, the loss is not known.
            loss: as for `compile`, a mean over samples. Defaults to that of the compiled model.
            targets: the layers to observe, as for `PruningOptimizer`. Defaults to all.
            batch_size: samples in a batch, for arrays.
            max_features: kernels with more inputs than this get a random sketch of their rows
                instead of the matrix `C`, of this many rows.
            verbose: 0, or `"auto"`, 1 or 2 to state the memory and show a progress bar.

        Returns:
            The `Calibration`.

        Raises:
            ValueError: if the model is not built, no kernel can be observed, the data do not fit
                it, labels do not fit the data, there are labels and no loss, or a layer receives
                values that are not finite. What the data themselves raise comes through.
        """
        check_model(model)
        batch_size = integer("batch_size", batch_size, 1)
        max_features = integer("max_features", max_features, 1)
        batches = [
            (_kept(inputs), None if labels is None else _kept(labels), count)
            for inputs, labels, count in sample_batches(data, y, batch_size)
        ]
        with_labels = [labels is not None for _, labels, _ in batches]
        if any(with_labels) and not all(with_labels):
            raise ValueError(
                "All batches of `data` must have labels, or none. Received: "
                f"{sum(with_labels)} of {len(batches)} batches with labels."
            )
        if loss is not None and not with_labels[0]:
            raise ValueError(f"`loss` needs labels. Received: loss={loss!r} without `y`.")
        loss_of = loss_function(model, loss) if with_labels[0] else None
        self = cls(model, batches, fingerprint(model), targets)
        self._loss_of = loss_of
        self._check_kernels()
        progress = is_verbose(verbose)
        if progress and self._bytes(max_features) > 1 << 27:
            print(
                f"Calibration: {len(self.kernels)} kernels, {self.samples:,} samples; moments take "
                f"{self._bytes(max_features) / 1e6:,.0f} MB."
            )
        self._observe(max_features, Progress(len(batches), enabled=progress))
        self._check_kernels()
        return self

    def _check_kernels(self) -> None:
        if not self.kernels:
            raise ValueError(
                f"No kernel of the model {self._model.name!r} can be observed. Received: "
                + ("; ".join(f"{key}: {why}" for key, why in self.reasons.items()) or "none")
            )

    def _bytes(self, max_features: int) -> int:
        """Return the memory of the moments: a matrix in float64, and one product in float32."""
        widths = [(k.axes.groups, k.in_dim) for k in self.kernels]
        return sum(12 * groups * width * min(width, max_features) for groups, width in widths)

    def _observe(self, max_features: int, bar: Progress) -> None:
        model, loss = self._model, self._loss_of
        for kernel in self.kernels:
            wide = kernel.in_dim > max_features
            self._moments[kernel.key] = [
                RowSketch(max_features) if wide else Moments() for _ in range(kernel.axes.groups)
            ]
            if loss is not None and kernel.has_outputs:
                self._gradients[kernel.key] = Moments()
        layers = list({id(k.layer): k.layer for k in self.kernels}.values())
        passes = None if loss is None else LossGradients(model, layers, loss)
        total, random = 0.0, np.random.default_rng(0)
        shares = {kernel.key: needed_share(kernel, self.samples) for kernel in self.kernels}

        def add(product: Product) -> None:
            kernels = self._kernels_of(product)
            check_finite(_unmasked(product), f"the inputs of {kernels[0].path!r}")
            for kernel in kernels:
                choose = random_choice(random, shares[kernel.key])
                rows = kernel.rows(product, mask=product.mask, choose=choose)
                for moments, part in zip(self._moments[kernel.key], rows, strict=True):
                    if len(part):
                        moments.update(part)

        for inputs, labels, count in self._batches:
            if passes is None:
                see_products(model, inputs, layers, add)
            else:
                value, products = passes.of(inputs, labels, count)
                total += value * count
                for product, _ in products:
                    add(product)
                # Values that are not finite where they arise are the cause of such gradients.
                for product, gradient in products:
                    self._add_gradient(product, gradient)
            bar.step()
        bar.close()
        self.loss = None if loss is None else total / self.samples
        for kernel in [k for k in self.kernels if not self._moments[k.key][0].count]:
            self.kernels.remove(kernel)
            self.reasons[kernel.key] = "all positions of its inputs are masked"

    def _kernels_of(self, product: Product) -> list[ObservedKernel]:
        return [kernel for kernel in self.kernels if kernel.layer is product.layer]

    def _add_gradient(self, product: Product, gradient: np.ndarray | None) -> None:
        for kernel in self._kernels_of(product):
            if gradient is not None and kernel.key in self._gradients:
                g = kernel.output_rows(gradient, product.mask)
                check_finite(g, f"the gradients of the loss at the outputs of {kernel.path!r}")
                if len(g):
                    self._gradients[kernel.key].update(g)

    def fits(self, kernel: ObservedKernel, *, centered: bool = True) -> list[LinearFit]:
        """Return, for each group, the fit of the outputs of a kernel on its own inputs."""
        pairs = zip(self._moments[kernel.key], kernel.matrices(), strict=True)
        return [LinearFit.of_kernel(m, matrix, centered=centered) for m, matrix in pairs]

    def loss_metric(self, kernel: ObservedKernel) -> np.ndarray | None:
        """Return `G = Σ g gᵀ / samples`, shape `(units, units)`; `None` without gradients.

        A ridge of `max(1e-3, 0.2 units / rows)` of its mean diagonal is added: few rows do not know
        that a direction is without effect.
        """
        moments = self._gradients.get(kernel.key)
        if moments is None or not moments.count:
            return None
        metric = moments.second_moment * (moments.count / self.samples)
        fraction = max(1e-3, 0.2 * len(metric) / moments.count)
        # Without any gradients, all outputs matter alike.
        metric[np.diag_indices_from(metric)] += fraction * np.trace(metric) / len(metric) or 1e-20
        return metric

    def refits(
        self,
        kernel: ObservedKernel,
        changed: keras.Model,
        layer: keras.layers.Layer,
        *,
        centered: bool = True,
        part: KernelPart | None = None,
    ) -> list[LinearFit]:
        """Return the fit of the original outputs on the inputs that a changed model gives a layer.

        Args:
            kernel: of the original model.
            changed: a copy of it with other layers before this one.
            layer: of `changed`, in the place of the original layer.
            centered: whether the layer can have a bias.
            part: of the kernel, if the changed layer is narrower.

        Returns:
            One `LinearFit` for each group.
        """
        pairs = ProductPairs(self._model, changed, kernel, layer, [x for x, _, _ in self._batches])
        if part is None and pairs.are_equal():
            return self.fits(kernel, centered=centered)
        share = needed_share(kernel, self.samples)
        both = pairs.moments(self._moments[kernel.key], share, self._made, part)
        width = kernel.in_dim if part is None else int(part.inputs.sum())
        return [LinearFit.of_rows(each, width, centered=centered) for each in both]

    def mean_loss(self, model: keras.Model) -> float:
        """Return the mean loss of a changed copy of the model on the samples, with labels."""
        total = 0.0
        for inputs, labels, count in self._batches:
            with keras.StatelessScope(), _backend.without_gradients():
                value = self._loss_of(labels, model(inputs, training=False))
            total += count * float(keras.ops.convert_to_numpy(value))
        return total / self.samples

    def selected(self, targets: Any) -> tuple[list[ObservedKernel], dict[str, str]]:
        """Return the observed kernels that `targets=` selects, and why all others are left out."""
        layers = list({id(kernel.layer): kernel.layer for kernel in self.kernels}.values())
        chosen = select_layers(self._model, targets, layers, purpose="changed")
        known = {id(layer) for layer in chosen}
        reasons = dict(self.reasons)
        reasons |= {
            k.key: "not among the targets" for k in self.kernels if id(k.layer) not in known
        }
        return [kernel for kernel in self.kernels if id(kernel.layer) in known], reasons

    def totals(self, model: keras.Model) -> dict[str, Any]:
        """Return the totals of `footprint` of a model with the inputs of the samples."""
        return footprint(model, self._batches[0][0], compression=False).attrs["total"]

    def batches(self) -> list[Batch]:
        """Return the samples: inputs, labels or `None`, and their number, batch by batch."""
        return list(self._batches)

    def summary(self) -> "pd.DataFrame":
        """Return a table with a row for each kernel: what was seen, or the reason why not."""
        rows = [
            {
                "layer": kernel.path,
                "kernel": kernel.variable.name,
                "rows": self._moments[kernel.key][0].count,
                "inputs": kernel.in_dim,
                "outputs": kernel.units,
                "groups": kernel.axes.groups,
                "gradients": kernel.key in self._gradients,
                "reason": "",
            }
            for kernel in self.kernels
        ]
        for key, reason in self.reasons.items():
            path, _, name = key.rpartition(":")
            rows.append(dict.fromkeys(rows[0], 0) | {"layer": path, "kernel": name})
            rows[-1] |= {"gradients": False, "reason": reason}
        return table(rows)

    def __repr__(self) -> str:
        loss = "no labels" if self.loss is None else f"loss {self.loss:.4g}"
        return f"<Calibration of {len(self.kernels)} kernels, {self.samples} samples, {loss}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the moments and the samples to an `.npz` file, without pickle.

        Args:
            path: destination; replaced if it exists.
        """
        write_calibration(
            path,
            Content(
                self._fingerprint,
                [kernel.key for kernel in self.kernels],
                self.reasons,
                self.loss,
                self._batches,
                self._moments,
                self._gradients,
            ),
        )

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], model: keras.Model, *, loss: Any = None
    ) -> "Calibration":
        """Read what `save` wrote.

        Args:
            path: an `.npz` file.
            model: the model that was calibrated, with the same weights.
            loss: as for `from_data`, if the model is not compiled with it. Functions are not saved.

        Raises:
            InvalidFileError: if the file is damaged, or no calibration.
            ValueError: if it belongs to another model.
        """
        content = read_calibration(path)
        check_model(model)
        if fingerprint(model) != content.fingerprint:
            raise ValueError(
                f"The calibration in {os.fspath(path)!r} belongs to another model, or to other "
                f"weights than those of {model.name!r}. Load the model that it was made with."
            )
        self = cls(model, content.batches, content.fingerprint)
        self._moments, self._gradients = content.moments, content.gradients
        self.loss, self.reasons = content.loss, content.reasons
        self._loss_of = None if self.loss is None else loss_function(model, loss)
        known = {kernel.key: kernel for kernel in self.kernels}
        self.kernels = [known[key] for key in content.keys]
        return self

    def bound_to(self, model: keras.Model) -> "Calibration":
        """Return this calibration for a model that is equal to its own, such as a loaded copy.

        Raises:
            ValueError: if the model has another structure, or other weights.
        """
        check_model(model)
        if fingerprint(model) != self._fingerprint:
            raise ValueError(
                f"The calibration belongs to another model, or the weights of {model.name!r} have "
                "changed since. Make a new one with `Calibration.from_data(model, ...)`."
            )
        if model is self._model:
            return self
        new = copy.copy(self)
        new._model = model
        found, _ = observed_kernels(model, self._batches[0][0])
        known = {kernel.key: kernel for kernel in found}
        new.kernels = [known[kernel.key] for kernel in self.kernels]
        return new


def _kept(structure: Any) -> Any:
    """Return the arrays of a batch as NumPy arrays."""
    return keras.tree.map_structure(
        lambda x: None if x is None else keras.ops.convert_to_numpy(x), structure
    )


def _unmasked(product: Product) -> np.ndarray:
    """Return the inputs of a product, without those that its mask hides."""
    inputs = as_floats(product.inputs)
    if product.mask is None:
        return inputs
    mask = keras.ops.convert_to_numpy(product.mask).astype(bool)
    return inputs[mask] if mask.shape == inputs.shape[: mask.ndim] else inputs
