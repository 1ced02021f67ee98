"""`remove_units`: take channels, units and heads out of a trained model."""

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._arguments import budget, integer, is_verbose, one_of
from keras_sac._arguments import fraction as checked_fraction
from keras_sac._model import (
    check_graph,
    check_model,
    compile_like,
    layer_paths,
    sample_for,
    select_layers,
)
from keras_sac.calibration import (
    Calibration,
    KernelPart,
    absolute_budgets,
    as_calibration,
    change_report,
    recalibrate_where_it_helps,
)
from keras_sac.removal._compensation import kernel_parts, refit
from keras_sac.removal._dependency_graph import DependencyGraph
from keras_sac.removal._smaller_model import smaller_model
from keras_sac.removal._unit_groups import Costs, UnitGroup, allocate, unit_groups
from keras_sac.removal._unit_order import order_units

if TYPE_CHECKING:
    import pandas as pd

SELECTIONS = ("reconstruction", "l1", "bn", "random")


def remove_units(
    model: keras.Model,
    data: Any,
    y: Any = None,
    *,
    fraction: float | None = None,
    macs: float | None = None,
    parameters: float | None = None,
    loss: Any = None,
    targets: Any = None,
    selection: str = "reconstruction",
    compensate: bool = True,
    round_to: int = 1,
    seed: int | None = None,
    verbose: str | int = "auto",
) -> "tuple[keras.Model, pd.DataFrame]":
    """Return a narrower model: channels, units and heads are removed, the rest adjusts to it.

    The layers that have read units `P` read only the units `K` that are kept. Their kernels become
    those of least squares, `W_K + C_KK^-1 C_KP W_P`, fitted one after the other to the outputs of
    the original layers, on the inputs that the smaller model gives them. No training is needed; the
    result is an ordinary model of ordinary layers, for every runtime.

    Args:
        model: built Functional or Sequential model, also with such models inside; not changed.
        data: a `Calibration` of the model, or what `Calibration.from_data` takes.
        y: labels, unless `data` have them. With labels, units go that matter least to the loss;
            without, those that matter least to the outputs of the layers that read them.
        fraction: of the units of each group, in [0, 1), that go.
        macs: multiplications of convolutions and matrix products that are left: a fraction of
            those of the model up to 1, their number above.
        parameters: weights that are left, likewise. Both budgets may be given.
        loss: as for `compile`; defaults to that of the compiled model.
        targets: the layers that lose units, as for `PruningOptimizer`; defaults to all.
        selection: which units go. `"reconstruction"`: those that the layers after them can do
            without, by backward elimination. `"l1"`: those with the smallest kernels, `"bn"`: with
            the smallest scales of batch normalization, `"random"`: any; of each group the same
            share.
        compensate: whether the kernels that read the units are fitted anew.
        round_to: what stays of a group is a multiple of it.
        seed: of `"random"`.
        verbose: 0, or `"auto"`, 1 or 2 for progress bars.

    Returns:
        The smaller model, compiled as the original was, and a table with a row for each kernel.
        `predicted_loss` is what the removal of its outputs costs the layers after it (zero unless
        `selection` is `"reconstruction"`), `measured_loss` the fraction of the variance of its
        remaining outputs that it loses. `attrs["groups"]` lists the groups of units: their layers,
        how many there were and are, and why a group was left alone.

    Raises:
        ValueError: if the model is no graph of layers, an argument is not valid, a budget cannot be
            met, or no unit can be removed. The model is unchanged.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import remove_units
        >>> layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
        >>> model = keras.Sequential([keras.Input((8,)), *layers])
        >>> x = np.random.default_rng(0).normal(size=(500, 8)).astype("float32")
        >>> small, report = remove_units(model, x, fraction=0.5, verbose=0)
        >>> small.layers[0].units, small.output_shape
        (8, (None, 3))

    Reference:
        He et al., 2017, "Channel Pruning for Accelerating Very Deep Neural Networks"; Fang et al.,
        2023, "DepGraph"; Hassibi & Stork, 1993, "Optimal Brain Surgeon".
    """
    check_model(model)
    check_graph(model, "remove_units", "Take units out of the Functional parts of it.")
    one_of("selection", selection, SELECTIONS)
    round_to = integer("round_to", round_to, 1)
    budgets = _check_amount(fraction, {"macs": macs, "parameters": parameters})
    calibration = as_calibration(model, data, y, loss=loss, verbose=verbose)
    graph = DependencyGraph(model, _inputs_of(model, calibration.batches()[0][0]))
    groups, progress = unit_groups(graph), is_verbose(verbose)
    if targets is not None:
        _keep_others(model, groups, targets)
    order_units(groups, graph, calibration, selection, seed, progress=progress)
    _check_some(model, graph, groups)
    if fraction is not None:
        counts = [_share(group, fraction, round_to) for group in groups]
    else:
        absolute, totals = absolute_budgets(model, calibration, budgets)
        uses = {id(kernel.variable): kernel.uses for kernel in calibration.kernels}
        costs = Costs(graph, groups, uses, totals)
        uniform = selection != "reconstruction"
        counts = allocate(groups, costs, absolute, round_to, uniform=uniform)
    taken = [group.units[:count] for group, count in zip(groups, counts, strict=True)]
    removed = np.concatenate([np.zeros(0, int), *taken])
    work = smaller_model(model, graph, removed)
    compile_like(work, model)
    parts = kernel_parts(calibration, graph, removed)
    measured: dict[str, float] = {}
    if compensate:
        measured = refit(work, calibration, parts, progress=progress)
    recalibrate_where_it_helps(work, calibration)
    return work, _report(model, work, calibration, graph, groups, counts, parts, measured)


def _check_amount(fraction: float | None, budgets: dict[str, float | None]) -> dict[str, float]:
    """Return the budgets, and raise `ValueError` unless it is said once how much goes."""
    given = {name: budget(name, value) for name, value in budgets.items() if value is not None}
    if (fraction is None) == (not given):
        shown = {"fraction": fraction, **budgets}
        raise ValueError(
            "`remove_units` needs `fraction`, or one or both of `macs` and `parameters`. Received: "
            + ", ".join(f"{name}={value!r}" for name, value in shown.items())
        )
    if fraction is not None:
        checked_fraction("fraction", fraction)
    return given


def _inputs_of(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    """Return two samples for each of the inputs of a model: operations may mix samples."""
    arrays = keras.tree.flatten(sample_for(model, inputs))
    fixed = any(each.shape[0] for each in model.inputs)
    # A single sample is repeated.
    return arrays if fixed else [each[[0, len(each) > 1]] for each in arrays]


def _keep_others(model: keras.Model, groups: list[UnitGroup], targets: Any) -> None:
    """Let the groups alone that are not among the targets, or share units with other layers."""
    among = list({id(each): each for group in groups for each in group.layers}.values())
    chosen = {id(each) for each in select_layers(model, targets, among, purpose="narrowed")}
    for group in groups:
        mine = [each for each in group.layers if id(each) in chosen]
        if mine and not group.units.size:
            raise ValueError(
                f"The units of {_names(group)} cannot be removed: {group.reason}. Received: "
                f"targets={targets!r}."
            )
        others = ", ".join(each.name for each in group.layers if id(each) not in chosen)
        if others and group.units.size:
            coupled = f"they are coupled to those of {others}, which is not among the targets"
            group.stay(coupled if mine else "not among the targets")


def _check_some(model: keras.Model, graph: DependencyGraph, groups: list[UnitGroup]) -> None:
    """Raise `ValueError` unless some units can go."""
    if any(group.units.size for group in groups):
        return
    paths = {id(layer): path for path, layer in layer_paths(model).items()}
    reasons = {_names(group): group.reason for group in groups}
    reasons |= {paths[key]: why for key, why in graph.unknown.items()}
    listed = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    raise ValueError(f"No unit of {model.name!r} can be removed. Received: {listed or 'no units'}.")


def _names(group: UnitGroup) -> str:
    return ", ".join(dict.fromkeys(each.name for each in group.layers))


def _share(group: UnitGroup, fraction: float, round_to: int) -> int:
    """Return how many units of a group go for a share of them."""
    wanted = fraction * group.total
    return min(group.steps(round_to), key=lambda count: (abs(count - wanted), count))


def _report(
    model: keras.Model,
    work: keras.Model,
    calibration: Calibration,
    graph: DependencyGraph,
    groups: list[UnitGroup],
    counts: list[int],
    parts: dict[str, KernelPart],
    measured: dict[str, float],
) -> "pd.DataFrame":
    reasons = {
        id(layer): group.reason or ("" if count else "its units matter most")
        for group, count in zip(groups, counts, strict=True)
        for layer in group.layers
    }
    predicted = _predicted_losses(calibration, graph, groups, counts, parts)
    changes: dict[str, dict[str, Any]] = {}
    left_alone: dict[str, str] = {}
    for kernel in calibration.kernels:
        part = parts.get(kernel.key)
        weight = graph.weights.get(id(kernel.variable))
        if weight is None:
            reason = graph.unknown.get(id(kernel.layer), "it is inside a layer that is not known")
        else:
            reason = reasons.get(id(weight.layer), "")
        if part is not None:
            size = int(part.groups.sum() * part.inputs.sum()) * part.units // int(part.groups.sum())
            changes[kernel.key] = {
                "method": "structured",
                "reason": "" if not part.outputs.all() else reason,
                "inputs": int(part.inputs.sum()),
                "units": part.units,
                "parameters_after": size,
                "macs_after": round(size * kernel.uses),
                "predicted_loss": predicted.get(kernel.key, 0.0),
                # The outputs that are left are those of the original.
                "measured_loss": measured.get(kernel.key, 0.0 if measured else math.nan),
            }
        elif kernel.key in measured:
            changes[kernel.key] = {
                "method": "refit",
                "reason": reason,
                "measured_loss": measured[kernel.key],
            }
        left_alone[kernel.key] = reason
    report = change_report(model, work, calibration, changes, left_alone, ("inputs", "units"))
    report.attrs["groups"] = [
        {
            "layers": [each.name for each in group.layers],
            "units_before": group.total,
            "units_after": group.total - count,
            "predicted_loss": float(group.rises[:count].sum()),
            "reason": group.reason,
        }
        for group, count in zip(groups, counts, strict=True)
    ]
    return report


def _predicted_losses(
    calibration: Calibration,
    graph: DependencyGraph,
    groups: list[UnitGroup],
    counts: list[int],
    parts: dict[str, KernelPart],
) -> dict[str, float]:
    """Return what the removal of units costs, shared by the kernels that have made them."""
    found = {}
    for group, count in zip(groups, counts, strict=True):
        layers = {id(layer) for layer in group.layers}
        kernels = [
            kernel.key
            for kernel in calibration.kernels
            if kernel.key in parts
            and not parts[kernel.key].outputs.all()
            and id(graph.weights[id(kernel.variable)].layer) in layers
        ]
        found |= dict.fromkeys(kernels, float(group.rises[:count].sum()) / max(len(kernels), 1))
    return found
