"""`save_sparse` and `load_sparse`: a model as a file whose size is that of its non-zeros.

What Keras saves is written again: the configuration and the vocabularies as they are, the weights
without zeros. So it holds any model that Keras can save, on any backend, and no pickle.
"""

import os
import pathlib
import tempfile
from typing import Any

import keras

from keras_sac import _arguments
from keras_sac._io import check_free, written
from keras_sac._model import check_model
from keras_sac.sparse_file._content import H5, read, write
from keras_sac.sparse_file._load_into import load_into
from keras_sac.sparse_file._zip_container import new_archive, open_archive

_HIGHEST_LEVEL = 22


def save_sparse(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    values: str | None = None,
    level: int = 1,
    overwrite: bool = False,
) -> pathlib.Path:
    """Write a model without the zeros of its weights.

    `bytes ≈ Σ (n H(s) / 8 + itemsize nnz)` over the weights: where the non-zeros are takes
    `H(s) = -s log2 s - (1 - s) log2 (1 - s)` bits each element, at a sparsity of `s`; what they
    are takes their bytes, of which zstd saves some. The optimizer is left out.

    Args:
        model: built, of layers that Keras can save; pruned or not.
        path: of the new file, by convention `.sparse`.
        values: `None` keeps every bit (but -0.0 may become 0.0); `"float16"` stores wider floats
            as such: half the bytes, a relative error of at most 2⁻¹¹ above 6e-5. Types stay.
        level: of zstd, 1 to 22. Weights are noise, so higher ones win about 1 %; more where zeros
            make patterns or weights repeat.
        overwrite: replace the file at the path.

    Returns:
        The path.

    Raises:
        ValueError: if the model is not built, an argument is out of range, or a finite weight
            has no finite float16.
        FileExistsError: if something is at the path and `overwrite` is false, or a folder is.
        FileNotFoundError: if the folder to write into is not there.
        OSError: if the disk has no room. Nothing is at the path then that was not there before.

    Examples:
        >>> import os, tempfile, keras, numpy as np
        >>> from keras_sac import load_sparse, save_sparse
        >>> model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(100)])
        >>> model.set_weights([np.eye(200, 100), np.zeros(100)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_sparse(model, os.path.join(folder, "model.sparse"))
        ...     size = os.path.getsize(path)
        ...     again = load_sparse(path)
        >>> size < 4000, bool(np.all(again.get_weights()[0] == np.eye(200, 100)))
        (True, True)

    Reference:
        Han et al., 2016, "Deep Compression"; Collet & Kucherawy, 2021, RFC 8878 (zstd).
    """
    check_model(model)
    if values not in (None, "float16"):
        raise ValueError(f"`values` must be None or 'float16'. Received: {values=}")
    level = _arguments.integer("level", level, 1)
    if level > _HIGHEST_LEVEL:
        raise ValueError(f"`level` must be at most {_HIGHEST_LEVEL}. Received: {level=}")
    target = check_free(path, "", overwrite)
    if target.is_dir():
        raise FileExistsError(f"{str(target)!r} is a folder; expected the path of a file.")
    with tempfile.TemporaryDirectory() as folder:
        saved = pathlib.Path(folder, "model")
        model.save(saved, zipped=False)
        # How much of its size is left is known only afterwards.
        with written(target, 0, overwrite=overwrite) as new, new_archive(new) as archive:
            write(archive, saved, float16=values == "float16", level=level)
    return target


def load_sparse(
    path: str | os.PathLike[str],
    *,
    model: keras.Model | None = None,
    custom_objects: dict[str, Any] | None = None,
    safe_mode: bool = True,
) -> keras.Model:
    """Read what `save_sparse` wrote, on the same backend or another one.

    Args:
        path: of the file.
        model: built; takes the weights, and stays compiled as it is. Vocabularies stay its own,
            and so do the masks of a `PruningOptimizer`. By default a new model is made.
        custom_objects: classes and functions that are not registered, by name, as in
            `keras.saving.load_model`.
        safe_mode: refuse code in `Lambda` layers, as in `keras.saving.load_model`.

    Returns:
        A model that is not compiled; or `model`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no sparse file, is damaged, or of a later version; or if its weights
            are not those of `model`, which then is as it was.

    Examples:
        >>> import os, tempfile, keras, numpy as np
        >>> from keras_sac import load_sparse, save_sparse
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_sparse(model, os.path.join(folder, "model.sparse"))
        ...     again = load_sparse(path)
        >>> all(np.array_equal(*w) for w in zip(model.get_weights(), again.get_weights()))
        True
    """
    if model is not None:
        check_model(model)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with open_archive(path) as archive:
            read(archive, folder)
        if model is not None:
            load_into(model, folder / H5, os.fspath(path))
            return model
        return keras.saving.load_model(
            name, custom_objects=custom_objects, compile=False, safe_mode=safe_mode
        )
