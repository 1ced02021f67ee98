"""Refuse a file whose weights are larger than its model, or its model than its weights, in time.

The zeros of a sparse file take no bytes, so its length says little about the memory that it needs.
"""

import contextlib
import json
import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_sac.sparse_file._weight_table import Tensor
from keras_sac.sparse_file._zip_container import reading

# Elements that a model may have besides those in its file: states of random generators, of RNNs.
_MORE = 2**22
# A layer that is built twice makes its variables twice.
_COPIES = 2
# Files that claim less for each of their bytes are read without a look at the model first.
_USUAL_EXPANSION = 100
# Classes are patched for all threads.
_PATCHING = threading.RLock()


def elements(table: Iterable[Tensor]) -> int:
    """Return the number of elements of all arrays in a file."""
    return sum(tensor.header.size for tensor in table)


@contextlib.contextmanager
def variables_limited_to(table: Iterable[Tensor]) -> Iterator[None]:
    """Raise before this thread makes variables of many more elements than a file holds.

    Keras fills the variables of a model before it reads their values, and does not ask for more
    than the configuration says. `keras.Variable` is the one door to memory for weights.

    Args:
        table: arrays in the file.

    Raises:
        ValueError: in the context, if the variables would take too much memory.
    """
    thread = threading.get_ident()
    held = elements(table)
    left = _COPIES * held + _MORE
    own = vars(keras.Variable).get("__init__")
    make = keras.Variable.__init__

    def limited(self: Any, initializer: Any, shape: Any = None, *args: Any, **options: Any) -> None:
        nonlocal left
        if threading.get_ident() == thread and shape is not None:
            left -= math.prod(shape if isinstance(shape, list | tuple) else (shape,))
            if left < 0:
                raise ValueError(
                    f"Its configuration asks for a weight of shape {shape!r:.200}, more than the "
                    f"{held} elements that the file holds"
                )
        make(self, initializer, shape, *args, **options)

    with _PATCHING:
        keras.Variable.__init__ = limited
        try:
            yield
        finally:
            if own is None:
                del keras.Variable.__init__
            else:
                keras.Variable.__init__ = own


def check_claims(
    name: str,
    table: list[Tensor],
    size: int,
    config: bytes,
    *,
    custom_objects: dict[str, Any] | None,
    safe_mode: bool,
) -> None:
    """Compare what a file claims with the model of its configuration, before it is decoded.

    Args:
        name: name of the file in the error.
        table: arrays in the file.
        size: number of bytes of the file.
        config: content of Keras' `config.json`.
        custom_objects: as in `keras.saving.load_model`.
        safe_mode: as in `keras.saving.load_model`.

    Raises:
        InvalidFileError: if the arrays are larger than the model.
    """
    if elements(table) <= max(_MORE, _USUAL_EXPANSION * size):
        return
    content = json.loads(config)
    content.pop("compile_config", None)
    with variables_limited_to(table):
        model = keras.saving.deserialize_keras_object(
            content, custom_objects=custom_objects, safe_mode=safe_mode
        )
    held = sum(math.prod(weight.shape) for weight in model.weights)
    with reading(name):
        if elements(table) > _COPIES * held + _MORE:
            raise ValueError(
                f"It claims {elements(table)} elements for a model with {held} in its weights"
            )
