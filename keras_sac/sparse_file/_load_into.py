"""Load weights from a file into an existing model, all of them or none."""

import pathlib
from collections.abc import Iterable

import h5py
import keras

_MOST_NAMED = 5


def load_into(model: keras.Model, weights: pathlib.Path, name: str) -> None:
    """Load Keras' HDF5 file of weights into a model whose optimizer keeps its state.

    Args:
        model: built model.
        weights: file `.weights.h5` without optimizer state. The file is changed.
        name: name of the file in error messages.

    Raises:
        ValueError: if the model has other weights. The model is unchanged.
    """
    before = weights.with_name("before.weights.h5")
    model.save_weights(before)
    with h5py.File(before) as own, h5py.File(weights, "r+") as new:
        old_shapes, new_shapes = _shapes(own), _shapes(new)
        kept = {
            path for path in old_shapes.keys() - new_shapes.keys() if "optimizer" in path.split("/")
        }
        _check_same({path: old_shapes[path] for path in old_shapes.keys() - kept}, new_shapes, name)
        # Keras warns if the file has no optimizer state, so the present state is added.
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
