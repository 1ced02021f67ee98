"""Low rank without data: the singular value decomposition of each kernel, as a baseline.

The kernel of a convolution is read as a matrix `(height width channels, filters)`, by its patches.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from harness import CannotRun
from keras_sac import SACConv2D, SACDense, footprint


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a layer can become: each rank that makes it cheaper, and last the layer as it is.

    Args:
        layer: name of the layer.
        full_rank: of its kernel.
        costs: `(n,)` cost of each choice; choice `i < n - 1` is rank `i + 1`.
        energies: `(n,)` fraction of the squared singular values that each choice keeps.
    """

    layer: str
    full_rank: int
    costs: np.ndarray
    energies: np.ndarray


def svd_model(
    model: keras.Model, *, ranks: str, budget: str, level: float
) -> tuple[keras.Model, list[dict[str, Any]]]:
    """Factor the kernels of a model by their singular value decompositions, without data.

    `W ≈ U_r (S_r V_r^T)`: the basis and the learner of a SAC layer.

    Args:
        model: Sequential or Functional model of `Dense` and `Conv2D` layers without groups, and of
            layers without kernels. It is not changed.
        ranks: `"uniform"`: the same fraction of the full rank in each layer but the last, which
            gives the classes and stays as it is. `"global"`: the ranks with a high product over the
            layers of the energy that is kept, `sum s_i^2 / ||W||^2`. Their sum would sacrifice
            whole layers.
        budget: `"parameters"` or `"macs"`.
        level: fraction of the budget of the model, above 0.

    Returns:
        The new model, and a record of each layer: `layer`, `method`, `rank` and `energy`.

    Raises:
        CannotRun: rank 1 in each layer exceeds the budget.

    Reference:
        Kim, Khan and Kyung, "Efficient neural network compression", 2019,
        https://arxiv.org/abs/1811.12781
    """
    counts = footprint(model, compression=False)
    factors, choices = {}, []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            matrix = _matrix(layer)
            factors[layer.name] = np.linalg.svd(matrix, full_matrices=False)
            values = factors[layer.name][1]
            row = counts[counts["layer"] == layer.name].iloc[0]
            uses = int(row["macs"]) // matrix.size if budget == "macs" else 1
            choices.append(_choices(layer.name, matrix.shape, values, uses))
    total = counts.attrs["total"][budget]
    allowed = level * total - (total - sum(each.costs[-1] for each in choices))
    chosen = {"uniform": _uniform, "global": _global}[ranks](choices, allowed)
    if chosen is None:
        raise CannotRun(f"Rank 1 in each layer takes more than {level:.3g} of the {budget}.")
    kept = {
        each.layer: index + 1
        for each, index in zip(choices, chosen, strict=True)
        if index < len(each.costs) - 1
    }
    records = [
        {
            "layer": each.layer,
            "method": "svd" if each.layer in kept else "none",
            "rank": kept.get(each.layer),
            "energy": float(each.energies[index]),
        }
        for each, index in zip(choices, chosen, strict=True)
    ]
    return _factored(model, {name: (*factors[name], rank) for name, rank in kept.items()}), records


def _matrix(layer: Any) -> np.ndarray:
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
    return kernel.reshape(-1, kernel.shape[-1])


def _choices(name: str, shape: tuple[int, ...], values: np.ndarray, uses: int) -> Choices:
    inputs, outputs = shape
    ranks = np.arange(1, len(values) + 1)
    ranks = ranks[ranks * (inputs + outputs) < inputs * outputs]
    energies = np.cumsum(values**2) / np.sum(values**2)
    return Choices(
        name,
        len(values),
        np.append(ranks * (inputs + outputs), inputs * outputs) * uses,
        np.append(energies[: len(ranks)], 1.0),
    )


def _uniform(choices: Sequence[Choices], allowed: float) -> list[int] | None:
    """Return the index of a choice of each layer for the highest affordable fraction."""
    for fraction in np.linspace(1, 0, 2001):
        chosen = [
            min(max(round(fraction * each.full_rank), 1), len(each.costs)) - 1
            for each in choices[:-1]
        ]
        chosen.append(len(choices[-1].costs) - 1)
        if _cost(choices, chosen) <= allowed:
            return chosen
    return None


def _global(choices: Sequence[Choices], allowed: float) -> list[int] | None:
    """Return the index of a choice of each layer, from rank 1 up by the best gain for its cost."""
    chosen = [0] * len(choices)
    logarithms = [np.log(each.energies) for each in choices]
    left = allowed - _cost(choices, chosen)
    if left < 0:
        return None
    while True:
        best, step = 0.0, None
        for number, (each, index) in enumerate(zip(choices, chosen, strict=True)):
            more = each.costs[index + 1 :] - each.costs[index]
            gains = (logarithms[number][index + 1 :] - logarithms[number][index]) / more
            gains = np.where(more <= left, gains, -1.0)
            if gains.size and gains.max() > best:
                best, step = gains.max(), (number, index + 1 + int(gains.argmax()))
        if step is None:
            return chosen
        number, index = step
        left -= choices[number].costs[index] - choices[number].costs[chosen[number]]
        chosen[number] = index


def _cost(choices: Sequence[Choices], chosen: Sequence[int]) -> float:
    return sum(each.costs[index] for each, index in zip(choices, chosen, strict=True))


def _factored(model: keras.Model, factors: dict[str, tuple]) -> keras.Model:
    def replaced(layer: Any) -> keras.layers.Layer:
        if layer.name not in factors:
            return layer.__class__.from_config(layer.get_config())
        left, values, right, rank = factors[layer.name]
        sac_class = SACDense if isinstance(layer, keras.layers.Dense) else SACConv2D
        learner = values[:rank, None] * right[:rank]
        return sac_class.from_stock_layer(layer, left[:, :rank], learner)

    new = keras.models.clone_model(model, clone_function=replaced)
    # Input layers have other names in the copy.
    for layer in (each for each in model.layers if each.weights and each.name not in factors):
        new.get_layer(layer.name).set_weights(layer.get_weights())
    return new
