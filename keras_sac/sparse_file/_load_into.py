"""Weights from a file into a model that is there, all of them or none."""

import pathlib
from collections.abc import Iterable

import h5py
import keras

_MOST_NAMED = 5


def load_into(model: keras.Model, weights: pathlib.Path, name: str) -> None:
    """Load Keras' HDF5 file, without the state of an optimizer, into a model; change no optimizer.

    Args:
        model: built.
        weights: the file, `.weights.h5`. It is changed.
        name: what to call the file in errors.

    Raises:
        ValueError: if the model has other weights. It is then as it was.
    """
    before = weights.with_name("before.weights.h5")
    model.save_weights(before)
    with h5py.File(before) as own, h5py.File(weights, "r+") as new:
        old_shapes, new_shapes = _shapes(own), _shapes(new)
        kept = {
            path for path in old_shapes.keys() - new_shapes.keys() if "optimizer" in path.split("/")
        }
        _check_same({path: old_shapes[path] for path in old_shapes.keys() - kept}, new_shapes, name)
        # Keras warns of an optimizer without a state, so it gets the one that it has.
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
            f"The weights in {name!r} are not those of the model. "
            + "; ".join(differences)
            + ". Expected a model of the same layers as the one that was saved; without `model=`, "
            "`load_sparse` makes it."
        )


def _some(which: Iterable[str]) -> str:
    names = sorted(which)
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join([*names[:_MOST_NAMED], *more])
