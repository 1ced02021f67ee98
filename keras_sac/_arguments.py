"""Check numbers and options that users pass, with one kind of message."""

import math
import numbers
import random
from collections.abc import Iterable
from typing import Any


def integer(name: str, value: Any, least: int) -> int:
    """Return `value` as an integer of at least `least`."""
    number = _number(value)
    if number % 1 != 0 or number < least:
        raise ValueError(f"`{name}` must be an integer >= {least}. Received: {name}={value!r}")
    return int(number)


def fraction(name: str, value: Any) -> float:
    """Return `value` as a number in [0, 1)."""
    number = _number(value)
    if not 0.0 <= number < 1.0:
        raise ValueError(
            f"`{name}` must be a number in [0, 1). Received: {name}={value!r}."
            + (f" Did you mean {number / 100}?" if 1 < number < 100 else "")
        )
    return float(number)


def budget(name: str, value: Any) -> float:
    """Return `value` as a budget: a fraction of the model up to 1, an absolute number above."""
    number = _number(value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(
            f"`{name}` must be a number in (0, 1], a fraction of the model, or an absolute number "
            f"above. Received: {name}={value!r}"
        )
    return float(number)


def at_least_zero(name: str, value: Any) -> float:
    """Return `value` as a finite number of at least 0."""
    number = _number(value)
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"`{name}` must be a number >= 0. Received: {name}={value!r}")
    return float(number)


def one_of(name: str, value: Any, options: Iterable[Any]) -> Any:
    """Return `value` if it is one of some options."""
    known = list(options)
    if value not in known:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, known))}. Received: {name}={value!r}"
        )
    return value


def check_keras_3(name: str, value: Any) -> None:
    """Raise `ValueError` for an object of Keras 2: `tf_keras`, or `tf.keras` where that is it."""
    modules = {each.__module__.split(".")[0] for each in type(value).__mro__}
    if "tf_keras" in modules:
        raise ValueError(
            f"`{name}` must be made by Keras 3 (`import keras`). Received: {type(value).__name__} "
            "of tf_keras, which is Keras 2. If the program uses `tf.keras`, unset the environment "
            "variable TF_USE_LEGACY_KERAS, and load the model with `keras.saving.load_model` from "
            "its `.h5` or `.keras` file, or set the weights of the same model made by Keras 3."
        )


def is_verbose(verbose: Any) -> bool:
    """Return whether to show something: for `"auto"`, 1 and 2, as Keras has them; not for 0."""
    return one_of("verbose", verbose, ("auto", 0, 1, 2)) != 0


def drawn_seed(seed: Any) -> int:
    """Return a seed; `None` draws one, which `keras.utils.set_random_seed` makes repeatable."""
    if seed is None:
        return random.randint(1, 10**9)
    return integer("seed", seed, 0)


def _number(value: Any) -> Any:
    # NaN compares false, so what is no number is out of every range.
    return value if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
