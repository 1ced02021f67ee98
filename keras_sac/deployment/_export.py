"""`export`: write a trained model as a file for another program."""

import math
import os
from typing import TYPE_CHECKING, Any

import keras

from keras_sac._arguments import is_verbose, one_of
from keras_sac._io import check_free, written
from keras_sac._model import check_model, is_graph
from keras_sac.conversion import merge_sac
from keras_sac.deployment._exported import Exported, ExportError, size_of
from keras_sac.deployment._formats import FORMATS, writers
from keras_sac.deployment._verification import kernel_counts, verified
from keras_sac.deployment._write_format import write_on
from keras_sac.layers import sac_layers

if TYPE_CHECKING:
    import pandas as pd


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str = "tf_saved_model",
    *,
    merge: str = "cheaper",
    verify: bool = True,
    sample: Any = None,
    overwrite: bool = False,
    custom_objects_module: str | None = None,
    verbose: int | str = "auto",
) -> Exported:
    """Write a model for inference, from any backend, and verify the file.

    The pruning optimizer is left out, zeros stay zero, and the batch size stays open. If the
    active backend cannot write the format, a process on another backend does: TensorFlow for
    SavedModel and LiteRT, PyTorch for ONNX and `.pt2`. The file appears at `path` only when it is
    complete and verified.

    Args:
        model: built Keras model. It is not changed.
        path: new folder (`"tf_saved_model"`), or new file that ends with `.onnx`, `.tflite`
            (`"litert"`), `.xml` (`"openvino"`; the weights go to a `.bin` file beside it) or
            `.pt2` (`"torch"`).
        format: `"tf_saved_model"`, `"onnx"`, `"litert"`, `"openvino"` or `"torch"`.
        merge: which SAC layers become one layer with the kernel `basis @ learner`: `"always"` all,
            `"never"` none, `"cheaper"` those whose kernel takes fewer multiplications and loses no
            zeros. The others become two stock layers.
        verify: whether to load the file in another process, without keras_sac, and compare its
            outputs and zeros with the model's.
        sample: a few inputs for the comparison, an array `(samples, ...)` or a structure of arrays
            as the model takes it. Defaults to random inputs.
        overwrite: whether to replace an existing file or folder.
        custom_objects_module: name of the module with your own layers, for the process on another
            backend.
        verbose: `"auto"`, 1 and 2 print a summary; 0 prints nothing.

    Returns:
        An `Exported` record, which can be used wherever a path can.

    Raises:
        ValueError: if the model is not built, an option is unknown, the path has the wrong ending,
            or `merge="always"` and a layer cannot be merged.
        FileExistsError: if the destination exists and `overwrite` is false.
        ImportError: if no backend that writes the format is installed.
        OSError: if the disk is full.
        ExportError: if the model cannot be written, or the file does not reproduce the model. The
            destination is unchanged.

    Examples:
        >>> import os, tempfile, keras
        >>> from keras_sac import export
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.xml")
        ...     record = export(model, path, "openvino", verify=False, verbose=0)
        ...     sorted(os.listdir(folder)), record.weights
        (['model.bin', 'model.xml'], 32)
    """
    one_of("format", format, FORMATS)
    one_of("merge", merge, ("always", "cheaper", "never"))
    is_shown = is_verbose(verbose)
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
            # The converters of two backends support different operations.
            if backend == backends[-1]:
                raise
            if is_shown:
                print(f"{error} Trying {backends[-1]}.")
    counts = kernel_counts(plain)
    weights, zeros = sum(size for size, _ in counts), sum(zeros for _, zeros in counts)
    record = Exported(os.fspath(path), format, backend, size, merged, weights, zeros, largest)
    if is_shown:
        print(record)
    return record


def _plain(model: keras.Model, merge: str) -> "tuple[keras.Model, pd.DataFrame | None]":
    """Return the model with stock layers in place of SAC layers, and the report of `merge_sac`."""
    if not sac_layers(model) or (merge != "always" and not is_graph(model)):
        return model, None
    plain, report = merge_sac(model, merge=merge)
    left = report[~report["merged"]]
    if merge == "always" and len(left):
        raise ValueError(
            f"`merge` must be 'cheaper' or 'never' for this model: the layer "
            f"{left['layer'].iloc[0]!r} cannot be merged ({left['reason'].iloc[0]}). "
            "Received: merge='always'"
        )
    return plain, report


def _bytes(model: keras.Model) -> int:
    # Exported files use at most four bytes per number, whatever the model computes in.
    return 4 * sum(math.prod(each.shape) for each in model.weights)
