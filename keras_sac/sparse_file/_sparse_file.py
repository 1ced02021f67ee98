"""`save_sparse` and `load_sparse`: store a model in a file whose size follows its nonzero weights.

The file holds what Keras saves: the configuration and the vocabularies unchanged, the weights
without their zeros. So every model that Keras can save can be stored, on any backend, without
pickle.
"""

import os
import pathlib
import tempfile
from typing import Any

import keras

from keras_sac._arguments import integer, one_of
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
    """Save a model without the zeros of its weights.

    `bytes ≈ Σ (n H(s) / 8 + itemsize nnz)` over the weights. At a sparsity of `s`, the positions of
    the nonzero weights take `H(s) = -s log2 s - (1 - s) log2 (1 - s)` bits per element; their
    values take their own bytes, some of which zstd saves. The optimizer is not saved.

    Args:
        model: built model, pruned or not, of layers that Keras can save.
        path: new file, by convention with the ending `.sparse`.
        values: `None` keeps every bit, except that -0.0 may become 0.0. `"float16"` stores wider
            floats as float16: half the bytes, and a relative error of at most 2⁻¹¹ above 6e-5. The
            loaded weights have their original dtype.
        level: compression level of zstd, 1 to 22. Weights are noise, so higher levels save about
            1 %; they save more if zeros form patterns or weights repeat.
        overwrite: whether to replace an existing file.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the model is not built, an argument is out of range, or a finite weight is
            too large for float16.
        FileExistsError: if the destination exists and `overwrite` is false, or it is a folder.
        FileNotFoundError: if the folder to write into does not exist.
        OSError: if the disk is full. The destination is unchanged.

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
    one_of("values", values, (None, "float16"))
    level = integer("level", level, 1)
    if level > _HIGHEST_LEVEL:
        raise ValueError(f"`level` must be an integer <= {_HIGHEST_LEVEL}. Received: {level=}")
    target = check_free(path, "", overwrite)
    if target.is_dir():
        raise FileExistsError(
            f"`path` must be the path of a file. Received: path={str(target)!r}, which is a folder"
        )
    with tempfile.TemporaryDirectory() as folder:
        saved = pathlib.Path(folder, "model")
        model.save(saved, zipped=False)
        # The compressed size is unknown before writing, so the free space is not checked.
        with written(target, overwrite=overwrite) as new, new_archive(new) as archive:
            write(archive, saved, float16=values == "float16", level=level)
    return target


def load_sparse(
    path: str | os.PathLike[str],
    *,
    model: keras.Model | None = None,
    custom_objects: dict[str, Any] | None = None,
    safe_mode: bool = True,
) -> keras.Model:
    """Load a model that `save_sparse` saved, on any backend.

    Args:
        path: file to read.
        model: built model to load the weights into. It stays compiled, and keeps its vocabularies
            and the masks of a `PruningOptimizer`. By default a new model is made.
        custom_objects: classes and functions that are not registered, by name, as in
            `keras.saving.load_model`.
        safe_mode: whether to refuse code in `Lambda` layers, as in `keras.saving.load_model`.

    Returns:
        A new model that is not compiled, or `model`.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is no sparse file, is damaged, or has a newer version; or if its
            weights do not fit `model`, which is then unchanged.

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
