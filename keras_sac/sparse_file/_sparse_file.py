"""`save_sparse` and `load_sparse`: store a model in a file whose size follows its nonzero weights.

The file holds what Keras saves: the configuration and the vocabularies unchanged, the weights
without their zeros. So every model that Keras can save can be stored, on any backend, without
pickle.
"""

import math
import os
import pathlib
import tempfile
from typing import Any

import keras

from keras_sac._arguments import integer, one_of
from keras_sac._io import check_free, check_room, invalid_if_it_fails, written
from keras_sac._model import check_model
from keras_sac.sparse_file._claims import check_claims, variables_limited_to
from keras_sac.sparse_file._content import CONFIG, H5, read_header, unpack, write
from keras_sac.sparse_file._load_into import load_into
from keras_sac.sparse_file._zip_container import new_archive, open_archive, reading

_HIGHEST_LEVEL = 22
_TEMPORARY = "Set the environment variable TMPDIR to a folder with more room."
# The braces that are left are those of the cause.
_NO_MODEL = (
    "No model can be made from {0!r}. If it has layers or functions of your own, pass them as "
    "`custom_objects`; otherwise save the model again. Keras says: {{}}."
)


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
    dense = sum(math.prod(weight.shape) * 4 for weight in model.weights)
    # What Keras saves goes to the disk of the new file, because the other one may be full.
    with (
        written(target, dense, overwrite=overwrite) as new,
        tempfile.TemporaryDirectory(dir=new.parent) as folder,
    ):
        saved = pathlib.Path(folder, "model")
        model.save(saved, zipped=False)
        with new_archive(new) as archive:
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
        InvalidFileError: a `ValueError`, if the file is no sparse file, is damaged, or has a newer
            version; or if no model can be made from it, as without its `custom_objects`.
        ValueError: if its weights do not fit `model`, which is then unchanged.
        OSError: if the folder of temporary files is full.

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
    name = os.fspath(path)
    with tempfile.TemporaryDirectory() as temporary, open_archive(path) as archive:
        folder = pathlib.Path(temporary)
        with reading(name):
            content = read_header(archive)

        def unpacked() -> pathlib.Path:
            check_room(folder, content.nbytes, _TEMPORARY)
            with reading(name):
                unpack(archive, content, folder)
            return folder / H5

        if model is not None:
            load_into(model, content.table, unpacked, name)
            return model
        options = {"custom_objects": custom_objects, "safe_mode": safe_mode}
        with invalid_if_it_fails(_NO_MODEL.format(name)):
            config = archive.read(CONFIG)
            check_claims(name, content.table, os.path.getsize(path), config, **options)
            unpacked()
            with variables_limited_to(content.table):
                made = keras.saving.load_model(folder, compile=False, **options)
            if not isinstance(made, keras.Model):
                raise ValueError(f"Expected a model. Received: {type(made).__name__}")
    return made
