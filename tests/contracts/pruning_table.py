"""The schedules, criteria and patterns that the contract suite tests, one row for each."""

from typing import Any

import keras

from keras_sac.pruning import (
    NM,
    OBD,
    OBS,
    Block,
    ConstantSparsity,
    Criterion,
    Filters,
    GradientSaliency,
    Magnitude,
    Pattern,
    PolynomialDecay,
    PruningSchedule,
    Random,
    Unstructured,
)


@keras.saving.register_keras_serializable(package="tests")
class Staircase(PruningSchedule):
    """A schedule of a user: two levels."""

    def __init__(self, levels: tuple[float, float], begin_step: int, end_step: int):
        super().__init__(begin_step, end_step, frequency=2)
        self.levels = levels

    def __call__(self, step: Any) -> tuple[Any, Any]:
        middle = (self.begin_step + self.end_step) // 2
        low, high = (keras.ops.convert_to_tensor(level, "float32") for level in self.levels)
        return self.is_due(step), keras.ops.where(keras.ops.less(step, middle), low, high)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["frequency"]
        return {"levels": list(self.levels), **config}


@keras.saving.register_keras_serializable(package="tests")
class Movement(Criterion):
    """A criterion of a user: weights that grow stay."""

    slots = ("grown",)

    def __init__(self, rate: float = 0.5):
        self.rate = rate

    def observe(self, weight: Any, gradient: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {"grown": state["grown"] - self.rate * weight * gradient}

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        return keras.ops.where(keras.ops.isnan(weight), weight, keras.ops.softplus(state["grown"]))

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate}


@keras.saving.register_keras_serializable(package="tests")
class Rows(Pattern):
    """A pattern of a user: whole inputs of a matrix."""

    def group_size(self, kernel: Any) -> int:
        return kernel.shape[1]

    def pool(self, scores: Any, kernel: Any) -> Any:
        return keras.ops.max(scores, axis=1)

    def spread(self, keep: Any, kernel: Any) -> Any:
        return keras.ops.broadcast_to(keras.ops.expand_dims(keep, 1), kernel.shape)


SCHEDULES = [
    ConstantSparsity(0.37, begin_step=3, frequency=4),
    ConstantSparsity(0.9, begin_step=0, end_step=7, frequency=1),
    PolynomialDecay(0.1, 0.8, begin_step=2, end_step=17, frequency=5),
    PolynomialDecay(0.0, 0.99, begin_step=0, end_step=18, power=1, frequency=4, prune_at_end=False),
    PolynomialDecay(0.7, 0.2, begin_step=5, end_step=5, power=0.5),
    Staircase((0.25, 0.75), 4, 14),
]

CRITERIA = [
    Magnitude(),
    Random(seed=11),
    GradientSaliency(momentum=0.7),
    OBD(momentum=0.7),
    OBS(block_size=4, momentum=0.7, damping=0.05, max_floats=10_000),
    Movement(rate=0.25),
]

# With a shape that they fit, and no multiple of their extents.
PATTERNS = [
    (Unstructured(), (9, 7)),
    (Unstructured(), (3, 3, 5, 4)),
    (Filters("l1"), (9, 7)),
    (Filters("l2"), (3, 3, 5, 4)),
    (Block((4, 2), "AVG"), (9, 7)),
    (Block((2, 2, 3, 1), "MAX"), (3, 3, 5, 4)),
    (NM(m=4, n_zeros=2), (9, 7)),
    (NM(m=3, n_zeros=1), (3, 3, 5, 4)),
    (Rows(), (9, 7)),
]


def label(part: Any) -> str:
    """Name a row."""
    if isinstance(part, tuple):
        return "x".join(map(str, part))
    return "-".join([type(part).__name__, *(str(v) for v in part.get_config().values())])
