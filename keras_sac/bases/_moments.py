"""`Moments`: mean, covariance and class means of a data set, computed in one pass."""

from typing import Any

import numpy as np

from keras_sac._arguments import is_verbose
from keras_sac._model import labelled_batches, to_numpy
from keras_sac.bases._batch_sums import batch_mean, batch_sums
from keras_sac.bases._class_labels import Merged, merge_classes, unique_labels
from keras_sac.bases._linalg import symmetric_sum


class Moments:
    """Count, mean, covariance and class means of a data set, accumulated batch by batch.

    With a fixed shift `c` (the mean of the first batch) the object keeps `n`, `s = Σ (x - c)`,
    `S = Σ (x - c)(x - c)ᵀ`, and the count and sum of each class. Then `mean = c + s / n` and
    `covariance = (S - s sᵀ / n) / (n - 1)`. The products of a batch are computed in float32 and
    added in float64; the shift keeps digits if the mean is far larger than the deviation. Memory is
    `O(in_dim² + batch)`; the data are not copied.

    The last axis of the data holds the features; all axes before it count samples, as in
    `keras.layers.Dense`. If pixels are the features, flatten images first: `x.reshape(len(x), -1)`.

    Examples:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> moments = Moments.from_data(x)
        >>> moments.count, moments.in_dim
        (100, 3)
        >>> bool(np.allclose(moments.covariance, np.cov(x.T), atol=1e-6))
        True

    Reference:
        Chan, Golub & LeVeque, 1983, "Algorithms for Computing the Sample Variance".
    """

    def __init__(self):
        self._count = 0
        self._updates = 0
        self._shift: np.ndarray | None = None
        self._sum: np.ndarray = np.zeros(0)
        # Only the lower triangle is kept up to date.
        self._scatter: np.ndarray = np.zeros((0, 0))
        self._classes: np.ndarray | None = None
        self._class_counts: np.ndarray = np.zeros(0, np.int64)
        self._class_sums: np.ndarray = np.zeros((0, 0))

    @classmethod
    def from_data(
        cls,
        data: Any,
        labels: Any = None,
        *,
        batch_size: int = 8192,
        verbose: str | int = "auto",
    ) -> "Moments":
        """Compute the moments of a data set in one pass.

        Args:
            data: array, memmap, tensor, DataFrame, dask array, a tuple `(x, y)`, or an iterable of
                batches `x`, `(x, y)` or `(x, y, sample_weight)` (the weights are not used). The
                last axis holds the features, real numbers of any type (uint8 images, too).
            labels: one class (integer or string) per sample. Not needed if `data` yields labels.
            batch_size: rows per batch, for arrays.
            verbose: `"auto"`, 0, 1 or 2. 0 is silent; the others show a progress bar if the pass
                takes longer than two seconds.

        Returns:
            The `Moments`, with classes if there are labels.

        Raises:
            ValueError: if the data are empty, not finite, or change their width; if the labels are
                one-hot, do not fit the samples, or are given twice.

        Examples:
            >>> import numpy as np
            >>> batches = (np.full((2, 3), i) for i in range(4))
            >>> Moments.from_data(batches).mean
            array([1.5, 1.5, 1.5])
        """
        return read_moments(data, labels, batch_size=batch_size, verbose=verbose)

    def update(self, x: Any, y: Any = None) -> "Moments":
        """Add one batch.

        Args:
            x: array of shape `(..., in_dim)`, at least two axes, finite.
            y: classes, shape `(...)`, integers or strings, with every batch or with none.

        Returns:
            This object.

        Raises:
            ValueError: if the batch does not fit. The moments are then unchanged.
        """
        x = to_numpy(x)
        where = f"batch {self._updates}"
        rows = self._checked_rows(x, where)
        labels = None if y is None else unique_labels(to_numpy(y), x.shape[:-1], where)
        if len(rows) == 0:
            return self
        if self._count and (labels is None) != (self._classes is None):
            raise ValueError(
                "Labels must be given with every batch or with none. Received: "
                f"{where} {'without' if labels is None else 'with'} labels, unlike the batches "
                "before it."
            )
        merged = None if labels is None else merge_classes(self._classes, labels[0])
        shift = batch_mean(rows, where) if self._shift is None else self._shift
        total, scatter, classes = batch_sums(rows, shift, labels, where)
        if self._shift is None:
            width = rows.shape[1]
            self._shift, self._sum = shift, np.zeros(width)
            self._scatter = np.zeros((width, width))
            self._class_sums = np.zeros((0, width))
        self._sum += total
        self._scatter += scatter
        if labels is not None and merged is not None:
            self._add_classes(merged, np.bincount(labels[1]), classes)
        self._count += len(rows)
        self._updates += 1
        return self

    def merge(self, other: "Moments") -> "Moments":
        """Add the samples of other moments; the order of merging changes nothing but rounding.

        With `δ` the difference of the two shifts, `S` of the other moments becomes
        `S' = S + s δᵀ + δ sᵀ + n δ δᵀ` around this object's shift.

        Args:
            other: moments of other samples of the same width. They are not changed.

        Returns:
            This object.

        Raises:
            ValueError: if the widths differ, or only one of the two has labels.

        Examples:
            >>> import numpy as np
            >>> a, b = Moments().update(np.zeros((2, 3))), Moments().update(np.ones((2, 3)))
            >>> a.merge(b).mean
            array([0.5, 0.5, 0.5])
        """
        if not isinstance(other, Moments):
            raise ValueError(f"`other` must be `Moments`. Received: {type(other).__name__}")
        if other._shift is None:
            return self
        merged = None
        if other._classes is not None:
            merged = merge_classes(self._classes, other._classes)
        if self._shift is None:
            self._shift = other._shift.copy()
            self._sum = np.zeros_like(other._sum)
            self._scatter = np.zeros_like(other._scatter)
            self._class_sums = np.zeros((0, other.in_dim))
        elif other.in_dim != self.in_dim:
            raise ValueError(
                f"`other` must have {self.in_dim} features. Received: moments of {other.in_dim} "
                "features"
            )
        elif (self._classes is None) != (other._classes is None):
            raise ValueError(
                "Both moments must have labels, or none. Received: one with labels and one without"
            )
        delta = other._shift - self._shift
        cross = np.outer(other._sum + 0.5 * other._count * delta, delta)
        self._scatter += other._scatter + cross + cross.T
        self._sum += other._sum + other._count * delta
        if merged is not None:
            sums = other._class_sums + np.outer(other._class_counts, delta)
            self._add_classes(merged, other._class_counts, sums)
        self._count += other._count
        self._updates += other._updates
        return self

    @property
    def count(self) -> int:
        """Number of samples."""
        return self._count

    @property
    def in_dim(self) -> int:
        """Number of features."""
        return len(self._known_shift())

    @property
    def mean(self) -> np.ndarray:
        """Mean of the samples, shape `(in_dim,)`, float64."""
        return self._known_shift() + self._sum / self._count

    @property
    def covariance(self) -> np.ndarray:
        """Covariance with divisor `n - 1` (as scikit-learn's PCA), `(in_dim, in_dim)`, float64."""
        self._known_shift()
        if self._count < 2:
            raise ValueError("A covariance needs at least two samples. Received: one")
        cov = symmetric_sum(self._scatter, self._sum / -self._count, self._sum)
        cov /= self._count - 1
        return cov

    @property
    def second_moment(self) -> np.ndarray:
        """`Σ x xᵀ / n`, not centered, shape `(in_dim, in_dim)`, float64."""
        shift = self._known_shift()
        # Σ x xᵀ = S + s cᵀ + c sᵀ + n c cᵀ, a sum of two vector products and their transposes.
        cross = np.outer(self._sum + 0.5 * self._count * shift, shift)
        second = symmetric_sum(self._scatter + cross, shift, self._sum + 0.5 * self._count * shift)
        second /= self._count
        return second

    @property
    def total_variance(self) -> float:
        """`trace(covariance)`."""
        self._known_shift()
        if self._count < 2:
            raise ValueError("A variance needs at least two samples. Received: one")
        squares = np.diagonal(self._scatter) - np.square(self._sum) / self._count
        return float(np.maximum(squares, 0.0).sum() / (self._count - 1))

    @property
    def classes(self) -> np.ndarray | None:
        """Sorted labels that occur; `None` without labels."""
        return None if self._classes is None else self._classes.copy()

    @property
    def class_counts(self) -> np.ndarray | None:
        """Number of samples of each class; `None` without labels."""
        return None if self._classes is None else self._class_counts.copy()

    @property
    def class_means(self) -> np.ndarray | None:
        """Mean of each class, shape `(n_classes, in_dim)`; `None` without labels."""
        if self._classes is None:
            return None
        return self._known_shift() + self._class_sums / self._class_counts[:, None]

    def __repr__(self) -> str:
        if self._shift is None:
            return "<Moments of no samples>"
        classes = "" if self._classes is None else f", {len(self._classes)} classes"
        return f"<Moments of {self._count} samples, {self.in_dim} features{classes}>"

    def _known_shift(self) -> np.ndarray:
        if self._shift is None:
            raise ValueError("These `Moments` have seen no samples. Call `update(x)` first.")
        return self._shift

    def _checked_rows(self, x: np.ndarray, where: str) -> np.ndarray:
        if x.ndim < 2 or x.shape[-1] == 0:
            raise ValueError(
                "The data must have the shape (samples, ..., features). Received: "
                f"{where} of shape {x.shape}. Use `x.reshape(1, -1)` for a single sample, "
                "`x.reshape(-1, 1)` for a single feature."
            )
        if x.dtype.kind not in "biuf":
            raise ValueError(f"The data must hold real numbers. Received: {where} of {x.dtype}")
        if self._shift is not None and x.shape[-1] != len(self._shift):
            raise ValueError(
                f"The data must have {len(self._shift)} features in every batch. Received: {where} "
                f"with {x.shape[-1]} (shape {x.shape})"
            )
        return x.reshape(-1, x.shape[-1])

    def _add_classes(self, merged: Merged, counts: np.ndarray, sums: np.ndarray) -> None:
        self._classes, old, new = merged
        all_counts = np.zeros(len(self._classes), np.int64)
        all_sums = np.zeros((len(self._classes), sums.shape[1]))
        all_counts[old], all_sums[old] = self._class_counts, self._class_sums
        all_counts[new] += counts
        all_sums[new] += sums
        self._class_counts, self._class_sums = all_counts, all_sums


def read_moments(
    data: Any, labels: Any = None, *, use_labels: bool = True, batch_size: int, verbose: str | int
) -> Moments:
    """Return the moments of `data`; without `use_labels`, labels in the data are ignored."""
    progress = is_verbose(verbose)
    moments = Moments()
    for x, y in labelled_batches(data, labels, batch_size=batch_size, progress=progress):
        moments.update(x, y if use_labels else None)
    return moments
