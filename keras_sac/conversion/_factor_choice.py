"""Choose the reading and the rank of each kernel: as given, or by budgets over all kernels."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_sac._allocation import Option, OutOfBudget, allocate
from keras_sac.calibration import Calibration, ObservedKernel
from keras_sac.conversion._low_rank import LowRank
from keras_sac.conversion._readings import Reading, readings

# Steps of the ranks below which a budget of parameters alone makes them finer.
_FINER_BELOW = 4
# Rounding: what is left of the variance at full rank.
_NOTHING = 1e-9


@dataclasses.dataclass(frozen=True)
class Factors:
    """The factors that a kernel is to get.

    Attributes:
        reading: of the kernel.
        rank: of the factors.
        loss: predicted, in units of the loss, or as a fraction of the variance of the outputs.
    """

    reading: Reading
    rank: int
    loss: float


class Candidate:
    """A kernel that can be factored, with the predicted losses of all ranks and readings.

    Args:
        kernel: the kernel.
        calibration: of the model.
        criterion: `"fisher"`, `"output"` or `"input"`.
    """

    def __init__(self, kernel: ObservedKernel, calibration: Calibration, criterion: str):
        self.kernel, self.criterion = kernel, criterion
        matrix = kernel.matrices()[0]
        fit = calibration.fits(kernel)[0].regularized(matrix)
        self.metric = calibration.loss_metric(kernel) if criterion == "fisher" else None
        entries = math.prod(kernel.variable.shape)
        self.dense = {"parameters": entries, "macs": entries * kernel.uses}
        self.readings: list[tuple[Reading, np.ndarray, np.ndarray]] = []
        for reading in readings(kernel):
            found = self.low_rank(reading, fit)
            # Half of the squared error in the metric of the gradients is in units of the loss.
            losses = found.variances if self.metric is None else found.losses / 2
            self.readings.append((reading, losses, found.variances))

    def low_rank(self, reading: Reading, fit: Any, rank: int | None = None) -> LowRank:
        """Return the factors of all ranks in a reading, for a regularized fit."""
        return LowRank(
            reading,
            self.kernel.axes,
            fit,
            metric=self.metric,
            criterion=self.criterion,
            rank=rank,
        )

    def macs(self, reading: Reading, rank: int) -> float:
        """Return the multiplications of a sample; a layer merges factors where that is cheaper."""
        return min(reading.macs(rank), self.dense["macs"])

    def options(self, round_to: int, finer_below: int) -> list[Option]:
        """Return the ways to treat the kernel: dense, or factors that save something.

        Costs are `parameters`, `macs`, and `work`, the time in multiplications.

        Args:
            round_to: step of the ranks.
            finer_below: number of steps below which the ranks are finer.
        """
        found = [Option(0.0, {**self.dense, "work": self.dense["macs"]})]
        for reading, losses, _ in self.readings:
            for rank in _ranks(round_to, reading.full_rank, finer_below):
                costs = {"parameters": reading.parameters(rank), "macs": self.macs(reading, rank)}
                if any(costs[name] < self.dense[name] for name in self.dense):
                    merged = costs["macs"] == self.dense["macs"]
                    costs["work"] = costs["macs"] if merged else reading.work(rank, round_to)
                    loss = float(losses[rank])
                    found.append(Option(loss, costs, Factors(reading, rank, loss)))
        return found

    def with_rank(self, rank: int) -> Factors | None:
        """Return the factors of a rank in the reading of the fewest MACs; `None` without gain."""
        return self._cheapest(
            (reading, losses, min(rank, reading.full_rank)) for reading, losses, _ in self.readings
        )

    def explaining(self, fraction: float, round_to: int) -> Factors | None:
        """Return the cheapest factors that explain a fraction of the variance of the outputs."""
        found = []
        for reading, losses, variances in self.readings:
            enough = np.flatnonzero(variances <= 1 - fraction + _NOTHING)
            if len(enough):
                ranks = [*_ranks(round_to, reading.full_rank, 1), reading.full_rank]
                found.append((reading, losses, min(r for r in ranks if r >= enough[0])))
        return self._cheapest(found)

    def _cheapest(self, ranked: Any) -> Factors | None:
        found = [
            (self.macs(reading, rank), Factors(reading, rank, float(losses[rank])))
            for reading, losses, rank in ranked
            if reading.parameters(rank) < self.dense["parameters"]
            or self.macs(reading, rank) < self.dense["macs"]
        ]
        return min(found, key=lambda each: each[0])[1] if found else None


def choose_ranks(
    candidates: Sequence[Candidate], rank: int | Mapping[str, int]
) -> list[Factors | None]:
    """Return the factors of given ranks.

    Args:
        candidates: the kernels.
        rank: one for all layers, or by the name or path of the layer.

    Raises:
        ValueError: if a name belongs to no candidate, or to several.
    """
    if not isinstance(rank, Mapping):
        return [each.with_rank(rank) for each in candidates]
    chosen: dict[int, int] = {}
    for name, value in rank.items():
        found = [
            index
            for index, each in enumerate(candidates)
            if name in (each.kernel.path, each.kernel.path.rpartition("/")[2])
        ]
        if len(found) != 1:
            paths = ", ".join(each.kernel.path for each in candidates)
            raise ValueError(
                f"`rank` must name layers that can be converted. Received: {name!r}, which is the "
                f"name of {len(found)} of them. Expected one of: {paths}."
            )
        chosen[found[0]] = value
    return [
        each.with_rank(chosen[index]) if index in chosen else None
        for index, each in enumerate(candidates)
    ]


def choose_by_budgets(
    candidates: Sequence[Candidate],
    budgets: Mapping[str, float],
    totals: Mapping[str, float],
    round_to: int,
) -> list[Factors | None]:
    """Return the factors of least total loss under budgets.

    Args:
        candidates: the kernels.
        budgets: the largest total of the model by name, `parameters` or `macs`.
        totals: those of the original model.
        round_to: ranks are multiples of it, finer where they are small.

    Raises:
        ValueError: if a budget cannot be met.
    """
    # Products pad their widths to a multiple of 8 or so: steps between gain parameters, no time.
    finer_below = 1 if "macs" in budgets else _FINER_BELOW
    options = [each.options(round_to, finer_below) for each in candidates]
    # What no choice changes: biases, normalizations, layers that stay.
    fixed = {name: totals[name] - sum(each.dense[name] for each in candidates) for name in budgets}
    left = {name: budgets[name] - fixed[name] for name in budgets}
    try:
        found = _allocated(options, left)
    except OutOfBudget as error:
        smallest = {
            name: fixed[name] + sum(min(each.costs[name] for each in part) for part in options)
            for name in budgets
        }
        listed = " and ".join(
            f"{name}={value:,.0f} ({value / totals[name]:.3g} of the model)"
            for name, value in smallest.items()
        )
        wanted = ", ".join(f"{name}={value:,.0f}" for name, value in budgets.items())
        raise ValueError(
            f"The budget cannot be met: {wanted}. The smallest possible, each for itself, is "
            f"{listed}. Raise the budget, or pass a smaller `round_to`."
        ) from error
    return [each.choice for each in found]


def _allocated(options: list[list[Option]], budgets: Mapping[str, float]) -> list[Option]:
    """Return one option for each kernel; with a budget of `macs`, one that gains time.

    Who counts multiplications wants a faster model. Of two options, the one that takes longer and
    loses more is no choice then, even if it has fewer multiplications. Only where the budget cannot
    be met otherwise it is.
    """
    if "macs" not in budgets:
        return allocate(options, budgets)
    prices = [*(name for name in budgets if name != "macs"), "work"]
    try:
        return allocate([_not_dominated(each, prices) for each in options], budgets)
    except OutOfBudget:
        return allocate(options, budgets)


def _not_dominated(options: list[Option], names: list[str]) -> list[Option]:
    """Return the options to which no other one is equal or better in the loss and all costs."""
    prices = np.array([[each.loss, *(each.costs[name] for name in names)] for each in options])
    found: list[int] = []
    # In the order of losses, then of costs: only an earlier one can be better.
    for index in np.lexsort(prices.T[::-1]):
        if not any(np.all(prices[each] <= prices[index]) for each in found):
            found.append(index)
    return [options[index] for index in found]


def _ranks(round_to: int, limit: int, finer_below: int) -> list[int]:
    """Return the multiples of `round_to` up to a limit, and those of a quarter of it where small.

    Args:
        round_to: step of the ranks.
        limit: the largest rank.
        finer_below: number of steps of `round_to` below which ranks are finer.
    """
    fine = max(round_to // 4, 1)
    small = range(fine, min(finer_below * round_to, limit) + 1, fine)
    return sorted({*small, *range(round_to, limit + 1, round_to), min(fine, limit)})
