"""`export`: write a trained model as a file for another program."""

import math
import os
from typing import TYPE_CHECKING, Any, Literal

import keras

from keras_sac._arguments import is_verbose, one_of
from keras_sac._io import check_free, written
from keras_sac._model import all_layers, check_model, comparison_batches, is_graph
from keras_sac.conversion import merge_sac
from keras_sac.deployment._exported import Exported, ExportError, size_of
from keras_sac.deployment._formats import FORMATS, FormatName, format_of, ways
from keras_sac.deployment._signature import signature_of
from keras_sac.deployment._verification import kernel_counts, verified
from keras_sac.deployment._write_format import write_on
from keras_sac.layers import sac_layers

if TYPE_CHECKING:
    import pandas as pd


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: FormatName | str | None = None,
    *,
    merge: Literal["always", "cheaper", "never"] = "cheaper",
    verify: bool = True,
    sample: Any = None,
    overwrite: bool = False,
    custom_objects_module: str | None = None,
    verbose: int | str = "auto",
) -> Exported:
    """Write a model for inference, from any backend, and verify the file.

    The pruning optimizer is left out, zeros stay zero, and open axes such as the batch stay open.
    Inputs and outputs have the names of the model: keys of dicts, else of layers. If the
    active backend cannot write the format, a process on another backend does: TensorFlow for
    SavedModel and LiteRT, PyTorch for ONNX and `.pt2`. The file appears at `path` only when it is
    complete and verified.

    Args:
        model: built Keras model. It is not changed.
        path: new folder (`"tf_saved_model"`), or new file that ends with `.onnx`, `.tflite`
            (`"litert"`), `.xml` (`"openvino"`; the weights go to a `.bin` file beside it) or
            `.pt2` (`"torch"`).
        format: `"tf_saved_model"`, `"onnx"`, `"litert"` (or `"tflite"`), `"openvino"` or `"torch"`.
            Defaults to the format of the ending of `path`.
        merge: which SAC layers become one layer with the kernel `basis @ learner`: `"always"` all,
            `"never"` none, `"cheaper"` those whose kernel takes fewer multiplications and loses no
            zeros. The others become two stock layers.
        verify: whether to load the file in another process, without keras_sac, and compare its
            outputs and zeros with the model's.
        sample: a few inputs, an array `(samples, ...)` or a structure of arrays as the model takes
            it, cast to the dtypes of the model. The model is traced with it, and the file compared
            on it. Defaults to inputs drawn for the model's own preprocessing.
        overwrite: whether to replace an existing file or folder.
        custom_objects_module: name of the module with your own layers, for the process on another
            backend.
        verbose: `"auto"`, 1 and 2 print a summary; 0 prints nothing.

    Returns:
        An `Exported` record, which can be used wherever a path can.

    Raises:
        ValueError: if the model is not built or keeps a state between calls, an option is unknown,
            the path has the wrong ending, the sample does not fit, or `merge="always"` and a layer
            cannot be merged.
        FileExistsError: if the destination exists and `overwrite` is false.
        ImportError: if no backend that writes the format is installed.
        OSError: if the disk is full.
        ExportError: if the model cannot be written, or the file does not reproduce the model; the
            message has the reason of each converter. The destination is unchanged.

    Examples:
        >>> import os, tempfile, keras
        >>> from keras_sac import export
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.xml")
        ...     record = export(model, path, verify=False, verbose=0)
        ...     sorted(os.listdir(folder)), record.weights
        (['model.bin', 'model.xml'], 32)
    """
    one_of("merge", merge, ("always", "cheaper", "never"))
    is_shown = is_verbose(verbose)
    check_model(model)
    name = format_of(path, format)
    target = check_free(path, FORMATS[name][0].suffix, overwrite)
    found = ways(name)
    _check_exportable(model)
    # Before the work: a sample that does not fit is found now.
    batches = comparison_batches(model, sample)
    signature = signature_of(model, batches[0].inputs, batches[0].outputs)
    plain, merged = _plain(model, merge)
    reasons: list[str] = []
    cause: ExportError | None = None
    for way in found:
        try:
            with written(target, _bytes(plain), overwrite=overwrite) as new:
                write_on(way, plain, str(new), name, signature, custom_objects_module)
                largest = None
                if verify:
                    largest = verified(str(new), model, plain, batches, signature)
                size = size_of(new.parent)
            break
        except ExportError as error:
            # The converters of two backends support different operations.
            reasons.append(str(error))
            if is_shown and way is not found[-1]:
                print(f"{error} Trying {found[len(reasons)].backend}.")
            cause = error
    else:
        raise ExportError("\n".join([*dict.fromkeys(reasons), *_advice(model)])) from cause
    counts = kernel_counts(plain)
    weights, zeros = sum(size for size, _ in counts), sum(zeros for _, zeros in counts)
    record = Exported(os.fspath(path), name, way.backend, size, merged, weights, zeros, largest)
    if is_shown:
        print(record)
    return record


def _check_exportable(model: keras.Model) -> None:
    """Raise `ValueError` for layers that no file can hold."""
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ValueError(
                f"`model` must keep no state between calls, since an exported file cannot. "
                f"Received: the layer {layer.name!r} with `stateful=True`. Build the model with "
                "`stateful=False` and set its weights, or with `return_state=True` and the states "
                "as inputs (`initial_state=`)."
            )
        if type(layer).__module__.startswith("keras_sac.sparse_runtime"):
            raise ValueError(
                f"`model` must be the model that was given to `to_sparse_runtime`: other programs "
                f"have no sparse product. Received: the layer {layer.name!r} "
                f"({type(layer).__name__}), made by `to_sparse_runtime`. Export the original model."
            )


def _advice(model: keras.Model) -> list[str]:
    if all(layer.compute_dtype != "bfloat16" for layer in all_layers(model)):
        return []
    return [
        "The model computes in bfloat16, for which most engines lack operations. Make the model "
        "with the dtype policy 'float32' (`keras.config.set_dtype_policy`), set its weights, and "
        "export that."
    ]


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
