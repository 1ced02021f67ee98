"""`Moments`: mean, covariance and class means of a data set, computed in one pass."""

import os
from typing import Any

import numpy as np

from keras_sac._arguments import is_verbose
from keras_sac._model import labelled_batches, to_numpy
from keras_sac.bases._batch_sums import add_between, add_product, batch_mean, centered, class_sums
from keras_sac.bases._class_labels import merge_classes, unique_labels
from keras_sac.bases._linalg import from_lower

# Rows that are centered at once: sums of more products in single precision would lose digits.
_ROWS = 8192


class Moments:
    """Count, mean, covariance and class means of a data set, accumulated batch by batch.

    The object keeps the count `n`, the mean `m`, the scatter `S = Σ (x - m)(x - m)ᵀ`, and the count
    and mean of each class; `covariance = S / (n - 1)`. Each batch is centered around its own mean,
    and its sums are merged with those of the samples before it (see `merge`), in float64. So the
    result does not depend on the order of the samples, or on how far the batches are apart. The
    products of a batch are computed in float32 where its variance allows that. Memory is
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
        self._mean: np.ndarray | None = None
        # Only the lower triangle is kept up to date.
        self._scatter: np.ndarray = np.zeros((0, 0))
        self._classes: np.ndarray | None = None
        self._class_counts: np.ndarray = np.zeros(0, np.int64)
        self._class_means: np.ndarray = np.zeros((0, 0))

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
        if len(rows) <= _ROWS:
            self._add(rows, labels, where)
        else:
            # A part of its own, because a bad value may be in the last rows.
            part = Moments()
            for start in range(0, len(rows), _ROWS):
                piece = slice(start, start + _ROWS)
                part._add(
                    rows[piece],
                    None if labels is None else (labels[0], labels[1][piece]),
                    f"{where}, samples from {start} on,",
                )
            self.merge(part)
        self._updates += 1
        return self

    def merge(self, other: "Moments") -> "Moments":
        """Add the samples of other moments; the order of merging changes nothing but rounding.

        `S` becomes `S₁ + S₂ + n₁ n₂ / (n₁ + n₂) δ δᵀ`, with the difference `δ` of the two means.

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
        if other._mean is None:
            return self
        if self._mean is not None:
            if other.in_dim != self.in_dim:
                raise ValueError(
                    f"`other` must have {self.in_dim} features. Received: moments of "
                    f"{other.in_dim} features"
                )
            if (self._classes is None) != (other._classes is None):
                raise ValueError(
                    "Both moments must have labels, or none. Received: one with labels and one "
                    "without"
                )
        if other._classes is not None:
            self._add_classes(other._classes, other._class_counts, other._class_means)
        self._add_mean(other._count, other._mean)
        self._scatter += other._scatter
        self._updates += other._updates
        return self

    @property
    def count(self) -> int:
        """Number of samples."""
        return self._count

    @property
    def in_dim(self) -> int:
        """Number of features."""
        return len(self._known_mean())

    @property
    def mean(self) -> np.ndarray:
        """Mean of the samples, shape `(in_dim,)`, float64."""
        return self._known_mean().copy()

    @property
    def covariance(self) -> np.ndarray:
        """Covariance with divisor `n - 1` (as scikit-learn's PCA), `(in_dim, in_dim)`, float64."""
        self._known_mean()
        if self._count < 2:
            raise ValueError("A covariance needs at least two samples. Received: one")
        cov = from_lower(self._scatter)
        cov /= self._count - 1
        return cov

    @property
    def scatter(self) -> np.ndarray:
        """`Σ (x - m)(x - m)ᵀ`, shape `(in_dim, in_dim)`, float64."""
        self._known_mean()
        return from_lower(self._scatter)

    @property
    def second_moment(self) -> np.ndarray:
        """`Σ x xᵀ / n`, not centered, shape `(in_dim, in_dim)`, float64."""
        mean = self._known_mean()
        second = from_lower(self._scatter)
        second /= self._count
        second += np.outer(mean, mean)
        return second

    @property
    def total_variance(self) -> float:
        """`trace(covariance)`."""
        self._known_mean()
        if self._count < 2:
            raise ValueError("A variance needs at least two samples. Received: one")
        return float(np.trace(self._scatter) / (self._count - 1))

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
        return None if self._classes is None else self._class_means.copy()

    @classmethod
    def from_parts(cls, count: int, mean: np.ndarray, scatter: np.ndarray) -> "Moments":
        """Return moments, without classes, of what `count`, `mean` and `scatter` returned.

        Args:
            count: number of samples, at least 1.
            mean: shape `(in_dim,)`.
            scatter: shape `(in_dim, in_dim)`; its lower triangle is used.

        Examples:
            >>> import numpy as np
            >>> a = Moments.from_data(np.eye(3), verbose=0)
            >>> Moments.from_parts(a.count, a.mean, a.scatter).total_variance == a.total_variance
            True
        """
        self = cls()
        self._count, self._updates = count, 1
        self._mean, self._scatter = np.array(mean, np.float64), np.array(scatter, np.float64)
        return self

    def __repr__(self) -> str:
        if self._mean is None:
            return "<Moments of no samples>"
        classes = "" if self._classes is None else f", {len(self._classes)} classes"
        return f"<Moments of {self._count} samples, {self.in_dim} features{classes}>"

    def _known_mean(self) -> np.ndarray:
        if self._mean is None:
            raise ValueError("These `Moments` have seen no samples. Call `update(x)` first.")
        return self._mean

    def _checked_rows(self, x: np.ndarray, where: str) -> np.ndarray:
        if x.ndim < 2 or x.shape[-1] == 0:
            raise ValueError(
                "The data must have the shape (samples, ..., features). Received: "
                f"{where} of shape {x.shape}. Use `x.reshape(1, -1)` for a single sample, "
                "`x.reshape(-1, 1)` for a single feature."
            )
        if x.dtype.kind not in "biuf":
            raise ValueError(f"The data must hold real numbers. Received: {where} of {x.dtype}")
        if self._mean is None:
            _check_memory(x.shape[-1])
        elif x.shape[-1] != len(self._mean):
            raise ValueError(
                f"The data must have {len(self._mean)} features in every batch. Received: {where} "
                f"with {x.shape[-1]} (shape {x.shape})"
            )
        return x.reshape(-1, x.shape[-1])

    def _add(self, rows: np.ndarray, labels: tuple[np.ndarray, np.ndarray] | None, where: str):
        """Add one batch; `labels` are its classes, and the index of each row in them."""
        mean = batch_mean(rows, where)
        x, product = centered(rows, mean, where)
        if labels is not None:
            classes, index = labels
            counts = np.bincount(index, minlength=len(classes))
            means = mean + class_sums(x, index, len(classes)) / np.maximum(counts, 1)[:, None]
            self._add_classes(classes, counts, means)
        self._add_mean(len(rows), mean)
        add_product(self._scatter, x, product)

    def _add_mean(self, count: int, mean: np.ndarray) -> None:
        if self._mean is None:
            self._mean, self._scatter = mean.copy(), np.zeros((len(mean), len(mean)))
        else:
            difference = mean - self._mean
            add_between(self._scatter, (self._count, count), difference)
            self._mean += difference * (count / (self._count + count))
        self._count += count

    def _add_classes(self, classes: np.ndarray, counts: np.ndarray, means: np.ndarray) -> None:
        union, old, new = merge_classes(self._classes, classes)
        all_counts = np.zeros(len(union), np.int64)
        all_means = np.zeros((len(union), means.shape[1]))
        if self._classes is not None:
            all_counts[old], all_means[old] = self._class_counts, self._class_means
        all_counts[new] += counts
        weights = counts / np.maximum(all_counts[new], 1)
        all_means[new] += (means - all_means[new]) * weights[:, None]
        self._classes, self._class_counts, self._class_means = union, all_counts, all_means


def _check_memory(width: int) -> None:
    """Raise if this machine cannot hold a covariance and the product of a batch."""
    needed = (8 + 4) * width**2
    # Windows has no `sysconf`. Python's own error has to do there.
    memory = _memory() if hasattr(os, "sysconf") else needed
    if needed > memory:
        raise ValueError(
            f"The covariance of {width:,} features takes {needed / 1e9:,.0f} GB; this machine has "
            f"{memory / 1e9:,.0f} GB. Use `bases.random_orthogonal` or `bases.dct`, which need no "
            "covariance, or pass an array with fewer samples than features to `bases.pca`."
        )


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_moments(
    data: Any, labels: Any = None, *, use_labels: bool = True, batch_size: int, verbose: str | int
) -> Moments:
    """Return the moments of `data`; without `use_labels`, labels in the data are ignored."""
    progress = is_verbose(verbose)
    moments = Moments()
    for x, y in labelled_batches(data, labels, batch_size=batch_size, progress=progress):
        moments.update(x, y if use_labels else None)
    return moments
