"""Look up criteria, patterns and distributions by name."""

from collections.abc import Iterable
from typing import Any

from keras_sac._arguments import one_of
from keras_sac.pruning._criteria import OBD, Criterion, GradientSaliency, Magnitude, Random
from keras_sac.pruning._distribution import DISTRIBUTIONS
from keras_sac.pruning._nm import NM
from keras_sac.pruning._obs import OBS
from keras_sac.pruning._patterns import Filters, Pattern, Unstructured

CRITERIA: dict[str, type[Criterion]] = {
    "magnitude": Magnitude,
    "gradient": GradientSaliency,
    "obd": OBD,
    "obs": OBS,
    "random": Random,
}
PATTERNS: dict[str, Pattern] = {
    "unstructured": Unstructured(),
    "filters": Filters(),
    "2:4": NM(m=4, n_zeros=2),
}


def get_criterion(identifier: str | Criterion) -> Criterion:
    """Return the criterion for a name or an instance."""
    if isinstance(identifier, str) and identifier in CRITERIA:
        # Only the named one: `Random` draws a seed when it is created.
        return CRITERIA[identifier]()
    return _instance("criterion", identifier, Criterion, CRITERIA)


def get_pattern(identifier: str | Pattern | None) -> Pattern:
    """Return the pattern for a name or an instance; `None` means unstructured."""
    if identifier is None:
        identifier = "unstructured"
    if isinstance(identifier, str) and identifier in PATTERNS:
        return PATTERNS[identifier]
    return _instance("pattern", identifier, Pattern, PATTERNS)


def get_distribution(distribution: str) -> str:
    """Return `distribution` if it is valid."""
    return one_of("distribution", distribution, DISTRIBUTIONS)


def _instance(argument: str, value: Any, base: type, names: Iterable[str]) -> Any:
    if isinstance(value, base):
        return value
    raise ValueError(
        f"`{argument}` must be one of {', '.join(map(repr, names))}, or an instance of "
        f"`keras_sac.pruning.{base.__name__}`. Received: {argument}={value!r}"
    )
