"""One regularizer out of the one that is there and L1."""

from typing import Any

import keras


def can_combine(regularizer: Any) -> bool:
    """Return whether L1 can be added to a regularizer; `None` is none."""
    # Not their subclasses, which may do more.
    kinds = keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2
    return regularizer is None or type(regularizer) in kinds


def combine(regularizer: Any, strength: float) -> Any:
    """Return a regularizer that penalises by `strength sum |w|` more than the given one.

    Args:
        regularizer: `None`, `L1`, `L2` or `L1L2`; it is not changed.
        strength: at least 0.
    """
    # `L1` keeps a tensor.
    l1 = float(getattr(regularizer, "l1", 0.0)) + strength
    l2 = float(getattr(regularizer, "l2", 0.0))
    return keras.regularizers.L1L2(l1, l2) if l2 else keras.regularizers.L1(l1)
