"""Where a variable stands among those of an optimizer, so that a file can name it."""

from collections.abc import Sequence
from typing import Any

from keras_sac._model._kernels import Kernel


def place(index: int, path: str, shape: Sequence[int]) -> list[Any]:
    """Return what a file keeps of a variable: position, path and shape."""
    return [int(index), path, [int(extent) for extent in shape]]


def found(places: Sequence[Sequence[Any]], kernels: Sequence[Kernel]) -> set[int]:
    """Return the indices of the kernels at some places; a place may be gone.

    Neither the path nor the position is certain: Keras leaves out the name of a model where it
    loads one and numbers the layers of a copy anew; thawing a basis moves the positions.

    Args:
        places: what `place` returned, for the model that was saved.
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
    """Return whether two paths are the same but for the name of a model in front."""
    return saved == path or saved.endswith(f"/{path}") or path.endswith(f"/{saved}")
