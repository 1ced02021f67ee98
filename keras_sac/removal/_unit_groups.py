"""Groups of units, their cost, and how many of each group go."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from keras_sac.removal._channel_labels import Units, sparing
from keras_sac.removal._dependency_graph import DependencyGraph


@dataclasses.dataclass
class UnitGroup:
    """Units of one kind: those of a layer, and of all layers that share some of them.

    Attributes:
        layers: those that make the units.
        units: their sets, in the order in which they go.
        rises: by how much the removal of each raises the loss, after those before it.
        total: number of sets, with those that stay.
        reason: why nothing is removed; empty if something can be.
        of_layers: the sets of each layer.
    """

    layers: list[keras.layers.Layer]
    units: np.ndarray
    rises: np.ndarray
    total: int
    reason: str
    of_layers: list[np.ndarray]

    def put(self, order: np.ndarray, rises: np.ndarray) -> None:
        """Put the units into an order; the last one of each layer stays."""
        units = self.units[order]
        going = np.isin(units, sparing(units, self.of_layers))
        if len(units) and not going.any():
            self.reason = "its last unit would go"
        self.units, self.rises = units[going], rises[going]

    def stay(self, reason: str) -> None:
        """Let all units stay."""
        self.reason, self.units, self.rises = reason, self.units[:0], self.rises[:0]

    def steps(self, round_to: int) -> list[int]:
        """Return the numbers of units that may go, so that multiples of `round_to` stay."""
        kept = range(self.total - self.total % round_to, 0, -round_to)
        found = [self.total - each for each in kept if 0 < self.total - each <= len(self.units)]
        return [0, *found]


def unit_groups(graph: DependencyGraph) -> list[UnitGroup]:
    """Return the groups of a graph, in the order of the layers."""
    # Layers that share a set of units are of one kind.
    kinds = Units()
    kinds.new(graph.units.count)
    roots = [graph.roots(numbers) for _, numbers in graph.made]
    members: dict[int, list[int]] = {}
    for each in roots:
        kinds.couple(each[each > 0], int(each.max(initial=0)))
    for index, each in enumerate(roots):
        some = int(kinds.roots(each.max(initial=0)))
        members.setdefault(some or -1 - index, []).append(index)
    return [_group(graph, indices) for indices in members.values()]


def _group(graph: DependencyGraph, indices: list[int]) -> UnitGroup:
    """Return the group of some entries of `graph.made`."""
    layers, arrays = zip(*(graph.made[index] for index in indices), strict=True)
    of_layers = [np.unique(graph.roots(each)) for each in arrays]
    free = np.unique(np.concatenate(of_layers))
    free = free[free > 0]
    # Units that stay are one by one in a layer.
    staying = max(int(np.sum(graph.roots(each) == 0)) for each in arrays)
    reason = "" if len(free) else graph.reason(np.concatenate(arrays))
    unique = list({id(each): each for each in layers}.values())
    rises = np.zeros(len(free))
    return UnitGroup(unique, free, rises, len(free) + staying, reason, of_layers)


class Costs:
    """Parameters and multiplications of a model without some units.

    Args:
        graph: of the model.
        groups: with their units in order.
        uses: how often a pass of one sample multiplies by a kernel, by the `id` of its variable.
        total: of the model: `parameters`, `macs`, or both.
    """

    def __init__(
        self,
        graph: DependencyGraph,
        groups: Sequence[UnitGroup],
        uses: Mapping[int, float],
        total: Mapping[str, float],
    ):
        self._total = dict(total)
        group_of = np.full(graph.units.count, -1)
        place_of = np.zeros(graph.units.count, int)
        for number, group in enumerate(groups):
            group_of[group.units] = number
            place_of[group.units] = np.arange(len(group.units))
        # For each weight: its size, uses, and for each axis what is gone of it by group and count.
        self._weights = []
        for key, weight in graph.weights.items():
            axes = []
            for axis, units in weight.axes.items():
                roots = np.maximum(graph.roots(units), 0)
                gone = {}
                for number in np.unique(group_of[roots]):
                    if number >= 0:
                        places = place_of[roots[group_of[roots] == number]]
                        entries = np.bincount(places, minlength=len(groups[number].units))
                        gone[int(number)] = np.concatenate([[0], np.cumsum(entries)])
                if gone:
                    axes.append((weight.variable.shape[axis], gone))
            if axes:
                size = math.prod(weight.variable.shape)
                self._weights.append((size, uses.get(key, 0.0), axes))
        self._of_group = [
            [w for w in self._weights if any(number in gone for _, gone in w[2])]
            for number in range(len(groups))
        ]

    def of(self, counts: Sequence[int]) -> dict[str, float]:
        """Return parameters and MACs if some units of each group go."""
        found = dict(self._total)
        for weight in self._weights:
            saved = _saved(weight, counts)
            for name in found:
                found[name] -= saved[name]
        return found

    def saved(self, counts: Sequence[int], number: int, new: int) -> dict[str, float]:
        """Return what another count of one group saves beside the counts at hand."""
        changed = [*counts]
        changed[number] = new
        found = dict.fromkeys(self._total, 0.0)
        for weight in self._of_group[number]:
            before, after = _saved(weight, counts), _saved(weight, changed)
            for name in found:
                found[name] += after[name] - before[name]
        return found


def _saved(weight: tuple, counts: Sequence[int]) -> dict[str, float]:
    size, uses, axes = weight
    left = 1.0
    for extent, gone in axes:
        left *= 1.0 - sum(float(each[counts[number]]) for number, each in gone.items()) / extent
    return {"parameters": size * (1 - left), "macs": size * (1 - left) * uses}


def allocate(
    groups: Sequence[UnitGroup],
    costs: Costs,
    budgets: Mapping[str, float],
    round_to: int,
    *,
    uniform: bool,
) -> list[int]:
    """Return how many units of each group go, so that budgets hold with the least loss.

    Again and again, some units go of the group where the loss rises least for what is saved.

    Args:
        groups: with their units in order.
        costs: of the model.
        budgets: upper bounds by name.
        round_to: of what stays of a group.
        uniform: the same share of each group, for orders whose rises are unknown.

    Raises:
        ValueError: if the budgets cannot be met.
    """
    steps = [group.steps(round_to) for group in groups]
    smallest = costs.of([each[-1] for each in steps])
    for name, budget in budgets.items():
        if smallest[name] > budget:
            raise ValueError(
                f"The budget cannot be met. Received: {name}={budget:,.0f}; the smallest possible "
                f"is {math.ceil(smallest[name]):,}, with round_to={round_to}."
            )
    if uniform:
        return _uniform(steps, costs, budgets)
    # Units go in the order of elimination: where a later one is cheaper, they go together.
    losses = [np.concatenate([[0], np.cumsum(np.maximum.accumulate(g.rises))]) for g in groups]
    places = [0] * len(groups)
    while True:
        counts = [each[place] for each, place in zip(steps, places, strict=True)]
        missing = {
            name: found - budgets[name]
            for name, found in costs.of(counts).items()
            if name in budgets and found > budgets[name]
        }
        if not missing:
            return counts
        best, best_rate = -1, math.inf
        for number, place in enumerate(places):
            if place + 1 == len(steps[number]):
                continue
            new = steps[number][place + 1]
            saved = costs.saved(counts, number, new)
            gain = sum(min(saved[name] / over, 1.0) for name, over in missing.items())
            rise = losses[number][new] - losses[number][counts[number]]
            if gain > 0 and rise / gain < best_rate:
                best, best_rate = number, rise / gain
        if best < 0:
            best = next(n for n, place in enumerate(places) if place + 1 < len(steps[n]))
        places[best] += 1


def _uniform(
    steps: Sequence[Sequence[int]], costs: Costs, budgets: Mapping[str, float]
) -> list[int]:
    """Return the counts of the smallest common share that meets the budgets."""

    def counts(share: float) -> list[int]:
        return [each[math.ceil(share * (len(each) - 1) - 1e-9)] for each in steps]

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        found = costs.of(counts(middle))
        if all(found[name] <= budget for name, budget in budgets.items()):
            high = middle
        else:
            low = middle
    return counts(high)
