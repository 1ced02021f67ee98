"""`export`: a trained model as a file that other programs run."""

import math
import os
from typing import TYPE_CHECKING, Any

import keras

from keras_sac._io import check_free, written
from keras_sac._model import check_model, is_graph
from keras_sac.conversion import merge_sac
from keras_sac.deployment._errors import ExportError
from keras_sac.deployment._exported import Exported, size_of
from keras_sac.deployment._formats import FORMATS, writers
from keras_sac.deployment._verification import kernel_counts, verified
from keras_sac.deployment._write_on import write_on

if TYPE_CHECKING:
    import pandas as pd

_WHEN = {"auto": "cheaper", True: "always", False: "never"}


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str = "tf_saved_model",
    *,
    merge: bool | str = "auto",
    verify: bool = True,
    sample: Any = None,
    overwrite: bool = False,
    custom_objects_module: str | None = None,
    verbose: bool = True,
) -> Exported:
    """Write a model for inference, from any backend, and check what was written.

    The pruning optimizer is left behind, zeros stay zero, the size of batches stays open. Where
    the active backend cannot write the format, a process on another backend does (TensorFlow for
    SavedModel and LiteRT, PyTorch for ONNX and `.pt2`). The file appears at `path` when it is
    whole, and verified.

    Args:
        model: built Keras model. It is not changed.
        path: of the new folder (`"tf_saved_model"`) or file, which ends with `.onnx`, `.tflite`
            (`"litert"`), `.xml` (`"openvino"`; the weights go into `.bin` beside it) or `.pt2`
            (`"torch"`).
        format: `"tf_saved_model"`, `"onnx"`, `"litert"`, `"openvino"` or `"torch"`.
        merge: whether basis and learner of a SAC layer become one kernel: always (`True`), never
            (`False`), or where that takes fewer multiplications and loses no zeros (`"auto"`).
        verify: load the file in another process, where keras_sac cannot be imported, and compare
            outputs and zeros with the model's.
        sample: a few inputs for that, an array `(samples, ...)` or a structure of arrays as the
            model takes it; random ones by default.
        overwrite: replace what is at the path.
        custom_objects_module: name of the module with your own layers, for the process on
            another backend.
        verbose: print what was done.

    Returns:
        What was written, as a record that can be passed on as a path.

    Raises:
        ValueError: if the model is not built, the format is unknown, the path does not end as the
            format's do, or `merge=True` and a layer cannot be merged.
        FileExistsError: if something is at the path and `overwrite` is false.
        ImportError: if no backend that writes the format is installed.
        OSError: if the disk has no room.
        ExportError: if the model cannot be written, or the file does not do what the model does.
            Nothing is at the path then that was not there before.

    Examples:
        >>> import os, tempfile, keras
        >>> from keras_sac import export
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.xml")
        ...     record = export(model, path, "openvino", verify=False, verbose=False)
        ...     sorted(os.listdir(folder)), record.weights
        (['model.bin', 'model.xml'], 32)
    """
    if format not in FORMATS:
        raise ValueError(
            f"`format` must be one of {', '.join(map(repr, FORMATS))}. Received: {format=}"
        )
    if not (merge == "auto" or isinstance(merge, bool)):
        raise ValueError(f"`merge` must be 'auto', True or False. Received: {merge=}")
    check_model(model)
    form = FORMATS[format]
    target = check_free(path, form.suffix, overwrite)
    backends = writers(form)
    plain, merged = _plain(model, merge)
    for backend in backends:
        try:
            with written(target, _bytes(plain), overwrite=overwrite) as new:
                write_on(backend, plain, str(new), format, custom_objects_module)
                largest = verified(str(new), model, plain, sample) if verify else None
                size = size_of(new.parent)
            break
        except ExportError as error:
            # What one converter cannot read another may.
            if backend == backends[-1]:
                raise
            if verbose:
                print(f"{error} Trying {backends[-1]}.")
    counts = kernel_counts(plain)
    weights, zeros = sum(size for size, _ in counts), sum(zeros for _, zeros in counts)
    record = Exported(os.fspath(path), format, backend, size, merged, weights, zeros, largest)
    if verbose:
        print(record)
    return record


def _plain(model: keras.Model, merge: bool | str) -> "tuple[keras.Model, pd.DataFrame | None]":
    if merge is not True and not is_graph(model):
        return model, None
    plain, report = merge_sac(model, merge=_WHEN[merge])
    left = report[~report["merged"]]
    if merge is True and len(left):
        raise ValueError(
            f"`merge=True`, and the layer {left['layer'].iloc[0]!r} is {left['reason'].iloc[0]}. "
            "Expected layers of a Functional or Sequential model. Use merge='auto'."
        )
    return plain, report


def _bytes(model: keras.Model) -> int:
    # Files hold at most four bytes a number, whatever the model computes in.
    return 4 * sum(math.prod(each.shape) for each in model.weights)
