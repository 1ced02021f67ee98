"""Read any data set once, as NumPy batches with their labels."""

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_sac._arguments import integer
from keras_sac._model._input_batches import raw_batches
from keras_sac._model._to_numpy import is_array, is_frame, to_numpy
from keras_sac._run import Progress

Batch = tuple[np.ndarray, np.ndarray | None]


def labelled_batches(
    data: Any, labels: Any = None, *, batch_size: int = 8192, progress: bool = False
) -> Iterator[Batch]:
    """Yield `(x, y)` NumPy batches of `data`, each sample once; `y` is `None` without labels.

    Arrays are cut along their first axis; iterables yield their batches as they come, with any
    number of axes. Arguments are checked before the first batch is read.

    Args:
        data: NumPy array, memmap, tensor of any backend, pandas DataFrame, SciPy sparse array (made
            dense batch by batch), dask array (read block by block), a tuple `(x, y)` of arrays, or
            any iterable of batches: list, generator (consumed once), `tf.data.Dataset`, torch
            `DataLoader`, `keras.utils.PyDataset`. A batch is `x`, `(x, y)` or
            `(x, y, sample_weight)`; the weights are not used.
        labels: one label for each sample, in the order of the data, if `data` has none.
        batch_size: samples in a batch, for arrays only.
        progress: show Keras' progress bar if the pass takes longer than two seconds.

    Returns:
        An iterator of `(x, y)`.

    Raises:
        ValueError: if `data` is empty, infinite (`repeat()`), or of a kind that cannot be read; if
            `labels` do not have one entry for each sample, or `data` has labels already.

    Examples:
        >>> import numpy as np
        >>> [x.shape for x, y in labelled_batches(np.zeros((5, 3)), batch_size=2)]
        [(2, 3), (2, 3), (1, 3)]
    """
    batch_size = integer("batch_size", batch_size, 1)
    data, labels = _split_tuple(data, labels)
    if labels is not None:
        labels = to_numpy(labels.compute() if _is_dask(labels) else labels)
        if labels.ndim == 0:
            raise ValueError(
                "`labels` must have one entry for each sample. Received: a single value"
            )
    if _is_dask(data):
        # A delayed value has every attribute, delayed.
        if not isinstance(getattr(data, "shape", None), tuple) or not is_array(data):
            raise ValueError(
                f"`data` from dask must be an array. Received: {type(data).__name__}. Call "
                "`to_dask_array()` on a data frame; use `from_delayed` or a generator otherwise."
            )
        batches, steps = _dask_blocks(data, batch_size), None
    elif is_array(data) or is_frame(data) or hasattr(data, "tocsr"):
        _check_array(data, labels)
        if hasattr(data, "tocsr") and len(data.shape) == 2:
            # Not all kinds of SciPy's sparse arrays can be sliced.
            data = data.tocsr()
        batches = _slices(data, batch_size)
        steps = -(-int(data.shape[0]) // batch_size)
    else:
        raw, steps = raw_batches(
            "data", data, "an array, a DataFrame, a dask array, or an iterable of batches"
        )
        batches = map(_as_batch, raw)
    return _with_labels(batches, labels, Progress(steps, enabled=progress))


def _split_tuple(data: Any, labels: Any) -> tuple[Any, Any]:
    if not isinstance(data, list | tuple):
        return data, labels
    if len(data) and _is_nested_numbers(data):
        return np.asarray(data), labels
    if isinstance(data, tuple) and len(data) in (1, 2, 3):
        # As `validation_data=(x, y)` in Keras. Batches in a row are a list, not a tuple.
        x, y = data[0], data[1] if len(data) > 1 else None
        if y is not None and labels is not None:
            raise ValueError(
                "Labels were passed twice: in the tuple `(x, y)` and as `labels`. Drop one of them."
            )
        return x, labels if y is None else y
    return data, labels


def _is_nested_numbers(data: Any) -> bool:
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return isinstance(data, numbers.Number)


def _is_dask(x: Any) -> bool:
    return hasattr(x, "__dask_graph__") and hasattr(x, "compute")


def _check_array(data: Any, labels: np.ndarray | None) -> None:
    if len(data.shape) < 2:
        raise ValueError(
            "`data` must have at least two axes, (samples, ..., features). Received: shape "
            f"{tuple(data.shape)}. Use `data.reshape(1, -1)` for a single sample."
        )
    if data.shape[0] == 0:
        raise ValueError(f"`data` has no samples. Received: shape {tuple(data.shape)}")
    if labels is not None and len(labels) != data.shape[0]:
        raise ValueError(
            f"`labels` must have one entry for each sample. Received: {len(labels)} labels for "
            f"{data.shape[0]} samples"
        )


def _slices(data: Any, batch_size: int) -> Iterator[Batch]:
    rows = data.iloc if is_frame(data) else data
    for start in range(0, int(data.shape[0]), batch_size):
        yield _samples(rows[start : start + batch_size]), None


def _samples(x: Any) -> np.ndarray:
    """Return the samples of a batch; a DataFrame becomes an array of numbers, `NA` NaN."""
    if not (is_frame(x) and hasattr(x, "dtypes")) or x.ndim < 2:
        return to_numpy(x)
    dtypes = list(x.dtypes)
    # pandas gives its own types the kind of NumPy's; those of text, dates and categories differ.
    named = zip(x.columns, dtypes, strict=True)
    other = [f"{name!r} ({dtype})" for name, dtype in named if dtype.kind not in "biuf"]
    if other:
        raise ValueError(
            f"The columns of `data` must hold numbers. Received: {len(other)} of {len(dtypes)} "
            f"columns of other types: {', '.join(other[:5])}. Encode categories "
            "with `pandas.get_dummies(data)`, or drop the columns: "
            "`data.select_dtypes('number')`."
        )
    if all(isinstance(dtype, np.dtype) for dtype in dtypes):
        return x.to_numpy(np.result_type(*dtypes))
    return x.to_numpy(np.float64, na_value=np.nan)


def _dask_blocks(data: Any, batch_size: int) -> Iterator[Batch]:
    for i in range(data.numblocks[0]):
        block = to_numpy(data.blocks[i].compute())
        yield from _slices(block, batch_size)


def _as_batch(batch: Any) -> Batch:
    if isinstance(batch, list | tuple) and not _is_nested_numbers(batch):
        if len(batch) not in (1, 2, 3):
            raise ValueError(
                "A batch must be `x`, `(x, y)` or `(x, y, sample_weight)`. Received: a tuple of "
                f"{len(batch)} entries"
            )
        x, y = batch[0], batch[1] if len(batch) > 1 else None
    else:
        x, y = batch, None
    # SciPy's dictionary of keys is a sparse array.
    wrong = [each for each in (x, y) if isinstance(each, dict | str | bytes)]
    if wrong and not hasattr(wrong[0], "toarray"):
        raise ValueError(
            f"A batch must hold arrays. Received: {type(wrong[0]).__name__}. Map each batch to "
            "the one array that the layer sees, for example `(batch[key] for batch in data)`."
        )
    return _samples(x), None if y is None else to_numpy(y)


def _with_labels(
    batches: Iterator[Batch], labels: np.ndarray | None, progress: Progress
) -> Iterator[Batch]:
    seen = 0
    for x, y in batches:
        if x.ndim == 0:
            raise ValueError("A batch must be an array of samples. Received: a single value")
        if labels is not None:
            if y is not None:
                raise ValueError(
                    "Labels were passed twice: in `data` and as `labels`. Drop one of them."
                )
            y = labels[seen : seen + len(x)]
        if y is not None and (y.ndim == 0 or len(y) != len(x)):
            raise ValueError(
                f"Labels must have one entry for each sample. Received: samples {seen} to "
                f"{seen + len(x) - 1} with labels of shape {y.shape}"
            )
        seen += len(x)
        if len(x):
            yield x, y
        progress.step()
    progress.close()
    if seen == 0:
        raise ValueError(
            "`data` has no samples: the iterable was empty. A generator can be read once only: "
            "make a new one if it was used before."
        )
    if labels is not None and seen != len(labels):
        raise ValueError(
            f"`labels` must have one entry for each sample. Received: {len(labels)} labels for "
            f"{seen} samples"
        )
