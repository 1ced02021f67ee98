"""Numbers that users give: checked in one way, with one kind of message."""

import math
import numbers
from typing import Any


def integer(name: str, value: Any, least: int) -> int:
    """Return `value` as an integer of at least `least`."""
    number = _number(value)
    if number % 1 != 0 or number < least:
        raise ValueError(f"`{name}` must be an integer >= {least}. Received: {name}={value!r}")
    return int(number)


def share(name: str, value: Any) -> float:
    """Return `value` as a number in [0, 1)."""
    number = _number(value)
    if not 0.0 <= number < 1.0:
        raise ValueError(
            f"`{name}` must be a number in [0, 1). Received: {name}={value!r}."
            + (f" Did you mean {number / 100}?" if 1 <= number <= 100 else "")
        )
    return float(number)


def at_least_zero(name: str, value: Any) -> float:
    """Return `value` as a finite number of at least 0."""
    number = _number(value)
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"`{name}` must be a number >= 0. Received: {name}={value!r}")
    return float(number)


def _number(value: Any) -> Any:
    # NaN compares false, so what is no number is out of every range.
    return value if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
