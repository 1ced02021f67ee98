"""Load weights from a file into an existing model, all of them or none."""

import pathlib
import tempfile
from collections.abc import Callable, Iterable

import h5py
import keras

from keras_sac.sparse_file._weight_table import Tensor

_MOST_NAMED = 5


def load_into(
    model: keras.Model, table: Iterable[Tensor], unpacked: Callable[[], pathlib.Path], name: str
) -> None:
    """Load Keras' HDF5 file of weights into a model whose optimizer keeps its state.

    Args:
        model: built model.
        table: weights in the file, without optimizer state.
        unpacked: returns the file `.weights.h5`, in an empty folder. It is called if the weights
            fit. The file is changed.
        name: name of the sparse file in error messages.

    Raises:
        ValueError: if the model has other weights. The model is unchanged.
    """
    new_shapes = {tensor.path: tensor.header.shape for tensor in table}
    with tempfile.TemporaryDirectory() as folder:
        before = pathlib.Path(folder, "before.weights.h5")
        model.save_weights(before)
        with h5py.File(before) as own:
            old_shapes = _shapes(own)
            kept = {
                path
                for path in old_shapes.keys() - new_shapes.keys()
                if "optimizer" in path.split("/")
            }
            present = {path: old_shapes[path] for path in old_shapes.keys() - kept}
            _check_same(present, new_shapes, name)
            weights = unpacked()
            # Keras warns if the file has no optimizer state, so the present state is added.
            with h5py.File(weights, "r+") as new:
                for path in kept:
                    own.copy(path, new, path)
        try:
            model.load_weights(weights)
        except BaseException:
            model.load_weights(before)
            raise


def _shapes(file: h5py.File) -> dict[str, tuple[int, ...]]:
    shapes = {}

    def note(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            shapes[path] = item.shape

    file.visititems(note)
    return shapes


def _check_same(
    model: dict[str, tuple[int, ...]], file: dict[str, tuple[int, ...]], name: str
) -> None:
    others = {path for path in model.keys() & file.keys() if model[path] != file[path]}
    found = {
        "only in the model": [f"{path} {model[path]}" for path in model.keys() - file.keys()],
        "only in the file": [f"{path} {file[path]}" for path in file.keys() - model.keys()],
        "of another shape": [f"{path} {model[path]}, not {file[path]}" for path in others],
    }
    differences = [f"{what}: {_some(which)}" for what, which in found.items() if which]
    if differences:
        raise ValueError(
            f"`model` must have the same layers as the model saved in {name!r}. Received other "
            "weights: "
            + "; ".join(differences)
            + ". Omit `model=` to make a new model from the file."
        )


def _some(which: Iterable[str]) -> str:
    names = sorted(which)
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join([*names[:_MOST_NAMED], *more])
