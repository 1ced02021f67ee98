"""The place of a variable among those of an optimizer, by which a file names it."""

from collections.abc import Sequence
from typing import Any

from keras_sac._model._kernels import Kernel


def places_of(kernels: Sequence[Kernel]) -> list[list[Any]]:
    """Return how a file stores some variables: position, path and shape of each."""
    return [[kernel.index, kernel.path, list(kernel.shape)] for kernel in kernels]


def restored(places: Sequence[Sequence[Any]], kernels: Sequence[Kernel]) -> set[int]:
    """Return the indices of the kernels at some places; a place may be gone.

    Neither path nor position is certain: Keras leaves out the name of a model when it loads one
    and numbers the layers of a copy anew, and unfreezing a basis moves the positions.

    Args:
        places: what `places_of` returned for the saved model.
        kernels: of the model at hand.
    """
    by_path = {kernel.path: kernel for kernel in kernels}
    indices = set()
    for index, path, shape in places:
        alike = [kernel for kernel in kernels if list(kernel.shape) == list(shape)]
        here = next((kernel for kernel in alike if kernel.index == index), None)
        named = [kernel for kernel in alike if is_path(path, kernel.path)]
        if here in named:
            kernel = here
        elif path in by_path:
            kernel = by_path[path]
        else:
            kernel = named[0] if len(named) == 1 else here
        if kernel is not None:
            indices.add(kernel.index)
    return indices


def is_path(saved: str, path: str) -> bool:
    """Return whether two paths are equal up to the name of a model in front."""
    return saved == path or saved.endswith(f"/{path}") or path.endswith(f"/{saved}")
