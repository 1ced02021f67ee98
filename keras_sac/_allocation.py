"""Choose one option for each part of a model: the least loss under budgets."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_BISECTIONS = 60
# Shares of the first of two budgets in the price of an option.
_MIXTURES = np.linspace(0.0, 1.0, 17)
# Exchanges: of the best mixtures only, so many, and so many changes of single parts to pair.
_CONTINUED = 6
_EXCHANGES = 200
_CHANGES = 2000


@dataclasses.dataclass(frozen=True)
class Option:
    """One way to change a part of a model.

    Attributes:
        loss: predicted increase of the loss.
        costs: what it costs, by the name of the budget: `parameters`, `macs`, ...
        choice: what it means, for the caller.
    """

    loss: float
    costs: Mapping[str, float]
    choice: Any = None


class OutOfBudget(ValueError):
    """Raised if no choice of options meets the budgets."""


def allocate(parts: Sequence[Sequence[Option]], budgets: Mapping[str, float]) -> list[Option]:
    """Choose one option for each part: `min Σ loss`, such that `Σ cost <= budget` for each budget.

    Lagrangian relaxation: with a price `p` each part takes the option of least `loss + p cost`, and
    bisection finds the smallest price that meets the budgets. Two budgets share the price in
    several mixtures. What is left of the budgets then goes to exchanges of single parts, and of
    pairs, that lower the loss.

    Args:
        parts: the options of each part.
        budgets: the largest total cost, by name; at least one.

    Returns:
        The chosen option of each part.

    Raises:
        OutOfBudget: if the cheapest options exceed a budget.

    Examples:
        >>> cheap, dear = Option(1.0, {"macs": 1}), Option(0.0, {"macs": 3})
        >>> sorted(o.loss for o in allocate([[cheap, dear], [cheap, dear]], {"macs": 4}))
        [0.0, 1.0]

    Reference:
        Shoham & Gersho, 1988, "Efficient bit allocation for an arbitrary set of quantizers".
    """
    names = list(budgets)
    limits = np.array([float(budgets[name]) for name in names])
    losses = [np.array([each.loss for each in part]) for part in parts]
    costs = [np.array([[each.costs[n] for n in names] for each in part]) for part in parts]
    for column, name in enumerate(names):
        least = sum(float(cost[:, column].min()) for cost in costs)
        if least > limits[column]:
            raise OutOfBudget(
                f"The smallest possible {name} are {least:,.0f}. Received: a budget of "
                f"{limits[column]:,.0f}."
            )
    scale = np.maximum(limits, 1e-12)
    mixtures = [[1.0]] if len(names) == 1 else [[m, 1 - m] for m in _MIXTURES]
    prices = [_cheapest(losses, costs, limits, np.array(mix) / scale) for mix in mixtures]
    found = sorted(
        (each for each in prices if each is not None), key=lambda each: _total(losses, each)
    )
    if not found:
        raise OutOfBudget(
            f"No choice meets all budgets at once. Received: {dict(budgets)}. Raise one of them."
        )
    feasible = [_exchanged(each, losses, costs, limits) for each in found[:_CONTINUED]]
    best = min(feasible, key=lambda chosen: _total(losses, chosen))
    return [part[index] for part, index in zip(parts, best, strict=True)]


def _total(losses: list[np.ndarray], chosen: list[int]) -> float:
    return sum(float(loss[index]) for loss, index in zip(losses, chosen, strict=True))


def _spent(costs: list[np.ndarray], chosen: list[int]) -> np.ndarray:
    return np.sum([cost[index] for cost, index in zip(costs, chosen, strict=True)], axis=0)


def _cheapest(
    losses: list[np.ndarray], costs: list[np.ndarray], limits: np.ndarray, weights: np.ndarray
) -> list[int] | None:
    """Return the options at the lowest price that meets the budgets; `None` if no price does."""
    prices = [cost @ weights for cost in costs]

    def at(price: float) -> list[int]:
        return [int(np.argmin(a + price * b)) for a, b in zip(losses, prices, strict=True)]

    def fits(chosen: list[int]) -> bool:
        return bool(np.all(_spent(costs, chosen) <= limits))

    if fits(at(0.0)):
        # Of options with the same loss the cheapest, which may spend more of one of two budgets.
        cheaper = [int(np.lexsort((b, a))[0]) for a, b in zip(losses, prices, strict=True)]
        return cheaper if fits(cheaper) else at(0.0)
    cheapest = [int(np.argmin(each)) for each in prices]
    if not fits(cheapest):
        return None
    low, high = 0.0, 1e-12 + max(float(a.max()) for a in losses)
    for _ in range(_BISECTIONS):
        if fits(at(high)):
            break
        high *= 4.0
    else:
        return cheapest  # of options with the same price, one does not fit
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(at(middle)) else (middle, high)
    return at(high)


def _exchanged(
    chosen: list[int], losses: list[np.ndarray], costs: list[np.ndarray], limits: np.ndarray
) -> list[int]:
    """Change single parts and pairs of them while that lowers the loss within the budgets."""
    chosen = list(chosen)
    for _ in range(_EXCHANGES):
        left = limits - _spent(costs, chosen)
        step = _best_exchange(chosen, losses, costs, left)
        if step is None:
            break
        for part, index in step:
            chosen[part] = index
    return chosen


def _best_exchange(
    chosen: list[int], losses: list[np.ndarray], costs: list[np.ndarray], left: np.ndarray
) -> list[tuple[int, int]] | None:
    """Return the change of one or two parts that lowers the loss most; `None` if none does."""
    # Each row is a change of one part; the first two stand for no change.
    parts, indices, gains, more = [-1, -2], [0, 0], [0.0, 0.0], [0 * left, 0 * left]
    for part, (loss, cost) in enumerate(zip(losses, costs, strict=True)):
        now = chosen[part]
        away = np.max(np.abs(cost - cost[now]) / np.maximum(np.ptp(cost, axis=0), 1e-12), axis=1)
        near = np.argsort(away, kind="stable")[1 : 1 + max(_CHANGES // len(chosen), 4)]
        parts += [part] * len(near)
        indices += list(near)
        gains += list(loss[near] - loss[now])
        more += list(cost[near] - cost[now])
    part, gain, cost = np.array(parts), np.array(gains), np.array(more)
    better = np.flatnonzero(gain < 0)
    payers = np.flatnonzero((gain >= 0) & np.any(cost <= 0, axis=1))
    if not len(better):
        return None
    firsts = np.concatenate([better, [0]])
    others = np.concatenate([payers, better])
    total = gain[firsts][:, None] + gain[others][None]
    possible = part[firsts][:, None] != part[others][None]
    for column, room in enumerate(left):
        possible &= cost[firsts, column][:, None] + cost[others, column][None] <= room
    total[~possible] = np.inf
    row, column = np.unravel_index(int(np.argmin(total)), total.shape)
    if total[row, column] >= -1e-12 * max(_total(losses, chosen), 1e-300):
        return None
    return [(parts[i], int(indices[i])) for i in (firsts[row], others[column]) if parts[i] >= 0]
