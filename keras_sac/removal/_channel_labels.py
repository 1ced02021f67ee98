"""Find out which units the outputs of an operation belong to, by changing its inputs."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# From arrays to arrays.
Function = Callable[[list[np.ndarray]], list[np.ndarray]]


class Units:
    """Numbers of units, in sets of those that stay or go together. All with 0 stay.

    A tensor has a number at each of its positions: that of the unit that the position belongs to; 0
    for a position that has to stay; -1 for a constant, such as padding, which may go with others.
    """

    def __init__(self):
        self.count = 1
        self._pairs: list[np.ndarray] = [np.zeros((2, 0), int)]
        self._roots: np.ndarray | None = None

    def new(self, count: int) -> np.ndarray:
        """Return the numbers of new units."""
        numbers = np.arange(self.count, self.count + count)
        self.count += count
        self._roots = None
        return numbers

    def couple(self, first: np.ndarray, second: np.ndarray | int) -> None:
        """Put each unit of an array into one set with that at the same place of another."""
        pairs = np.stack(np.broadcast_arrays(first, second)).reshape(2, -1)
        pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
        if pairs.size:
            self._pairs.append(pairs)
            self._roots = None

    def roots(self, numbers: np.ndarray) -> np.ndarray:
        """Return the smallest number in the set of each unit."""
        if self._roots is None:
            first, second = pairs = np.concatenate(self._pairs, axis=1)
            self._pairs = [pairs]
            graph = coo_array((np.ones(len(first)), (first, second)), shape=(self.count,) * 2)
            _, parts = connected_components(graph, directed=False)
            smallest = np.full(parts.max() + 1, self.count)
            np.minimum.at(smallest, parts, np.arange(self.count))
            self._roots = smallest[parts]
        return np.where(numbers < 0, -1, self._roots[numbers])


def is_float(array: np.ndarray) -> bool:
    """Return whether an array has floats; NumPy takes bfloat16 for something else."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def output_labels(
    function: Function, values: Sequence[np.ndarray], labels: Sequence[np.ndarray], units: Units
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the unit of each position of the outputs of a function, by trying.

    The numbers of the units are read bit by bit: all inputs are changed whose unit has a 1 there,
    then all that have a 0. A position of the outputs that belongs to one unit changes with one of
    the two, for each bit; one that depends on several units changes with both.

    Args:
        function: an operation without weights.
        values: inputs, of which floats are replaced by random numbers.
        labels: their units.
        units: units of several inputs that meet at a position are coupled.

    Returns:
        The units of each output, and the units of the inputs that cannot be followed.
    """
    labels = [units.roots(each) for each in labels]
    found: list[np.ndarray] | None = None
    lost: list[np.ndarray] = []
    for index, (value, numbers) in enumerate(zip(values, labels, strict=True)):
        known = np.unique(numbers[numbers >= 0])
        if not is_float(value) or not len(known):
            lost.append(known)
            continue
        ranks = np.where(numbers < 0, 0, np.searchsorted(known, numbers) + 1)
        codes = _codes(function, values, index, ranks)
        if any((code < 0).any() for code in codes):
            lost.append(known)
        # 0 stands for none, and -1 reads the last.
        table = np.concatenate([[-1], known, [0]])
        mine = [table[code] for code in codes]
        if found is None:
            found = mine
            continue
        for position, (old, new) in enumerate(zip(found, mine, strict=True)):
            both = (old > 0) & (new > 0)
            units.couple(old[both], new[both])
            found[position] = np.maximum(old, new)
    if found is None:
        found = [np.zeros(each.shape, int) for each in function(list(values))]
    return found, [each for each in lost if each.any()]


def _codes(
    function: Function, values: Sequence[np.ndarray], index: int, ranks: np.ndarray
) -> list[np.ndarray]:
    """Return for each output which rank of an input its positions depend on.

    0 stands for none, -1 for several.
    """
    bits = int(ranks.max()).bit_length()
    seen: list[np.ndarray] = []
    for draw in _DRAWS:
        rng = np.random.default_rng(0)
        base = [draw(rng, v) if is_float(v) else v for v in values]
        original = function(base)
        other = draw(rng, values[index])
        if not seen:
            seen = [np.zeros((bits, 2, *each.shape), bool) for each in original]
        for bit in range(bits):
            for side in (0, 1):
                chosen = (ranks > 0) & ((ranks >> bit) % 2 == side)
                changed = [*base]
                changed[index] = np.where(chosen, other, base[index])
                for mine, new, old in zip(seen, function(changed), original, strict=True):
                    mine[bit, side] |= ~((new == old) | ((new != new) & (old != old)))
    codes = []
    for each in seen:
        one = each[:, 0] ^ each[:, 1]
        code = sum((each[bit, 1].astype(int) << bit for bit in range(bits)), np.zeros((), int))
        codes.append(np.where(one.all(axis=0), code, np.where(each.any(axis=(0, 1)), -1, 0)))
    return codes


# Activations are flat on one side, so positive and negative numbers are tried by themselves.
_DRAWS: tuple[Callable[[np.random.Generator, np.ndarray], np.ndarray], ...] = (
    lambda rng, like: rng.uniform(0.5, 1.5, like.shape).astype(like.dtype),
    lambda rng, like: -rng.uniform(0.5, 1.5, like.shape).astype(like.dtype),
)


def couple_slices(labels: np.ndarray, units: Units) -> None:
    """Couple the units of a tensor so that it stays a box, whichever sets of them go.

    A tensor loses slices along one axis. The axis is chosen that couples fewest units, the last of
    equal ones; the batch is no choice.
    """
    labels = units.roots(labels)
    if labels.max(initial=0) <= 0:
        return
    best: tuple[int, list[np.ndarray]] | None = None
    for axis in reversed(range(1, labels.ndim)):
        if along(labels, axis) is not None:
            return
        slices = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
        trial = [np.unique(each[each >= 0]) for each in slices]
        trial = [each for each in trial if len(each)]
        count = _number_of_sets(trial)
        if best is None or count > best[0]:
            best = count, trial
    for each in [labels[labels >= 0]] if best is None else best[1]:
        units.couple(each, int(each[0]))


def along(labels: np.ndarray, axis: int) -> np.ndarray | None:
    """Return the unit of each slice along an axis; `None` if a slice has several.

    A slice of constants counts as one that stays.
    """
    slices = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
    largest = slices.max(axis=1, initial=-1)
    smallest = np.where(slices < 0, np.iinfo(int).max, slices).min(axis=1, initial=largest.max())
    if np.any((largest >= 0) & (smallest != largest)):
        return None
    return np.maximum(largest, 0)


def _number_of_sets(slices: list[np.ndarray]) -> int:
    """Return the number of sets of units, without that of 0, if those of each slice are coupled."""
    numbers = np.concatenate([[0], *slices])
    firsts = np.concatenate([[0], *(np.full(len(each), each[0]) for each in slices)])
    known, places = np.unique(numbers, return_inverse=True)
    pairs = (places, np.searchsorted(known, firsts))
    graph = coo_array((np.ones(len(places)), pairs), shape=(len(known),) * 2)
    return connected_components(graph, directed=False)[0] - 1


def without(array: np.ndarray, labels: np.ndarray, removed: np.ndarray) -> np.ndarray | None:
    """Return an array without the slices of some units; `None` if these are no whole slices.

    Args:
        array: any.
        labels: the unit of each position.
        removed: units.
    """
    if not np.isin(labels, removed).any():
        return array
    for axis in reversed(range(array.ndim)):
        units = along(labels, axis)
        if units is not None:
            return np.compress(~np.isin(units, removed), array, axis=axis)
    return None


def sparing(units: np.ndarray, owners: Iterable[np.ndarray]) -> np.ndarray:
    """Return units in their order, without the last ones of those that would have none left.

    Args:
        units: those that are to go.
        owners: the units of each layer, or each tensor.
    """
    for mine in owners:
        if len(mine) and np.isin(mine, units).all():
            units = np.delete(units, np.flatnonzero(np.isin(units, mine))[-1])
    return units
