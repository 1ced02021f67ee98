"""Look up criteria, patterns and distributions by name."""

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
    """Return a criterion, given it or its name."""
    return _get("criterion", identifier, Criterion, {n: c() for n, c in CRITERIA.items()})


def get_pattern(identifier: str | Pattern | None) -> Pattern:
    """Return a pattern, given it, its name, or `None` for unstructured."""
    return _get("pattern", identifier or "unstructured", Pattern, PATTERNS)


def get_distribution(distribution: str) -> str:
    """Return the distribution if it is one."""
    return one_of("distribution", distribution, DISTRIBUTIONS)


def _get(what: str, identifier: Any, kind: type, known: dict[str, Any]) -> Any:
    if isinstance(identifier, kind):
        return identifier
    if isinstance(identifier, str) and identifier in known:
        return known[identifier]
    raise ValueError(
        f"`{what}` must be one of {', '.join(map(repr, known))}, or an instance of "
        f"`keras_sac.pruning.{kind.__name__}`. Received: {what}={identifier!r}"
    )
