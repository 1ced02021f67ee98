"""`convert_to_sac`: low-rank factors for the kernels of a trained model, in closed form."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._arguments import budget, integer, is_verbose, one_of
from keras_sac._model import Copies, check_model, compile_like
from keras_sac._run import Progress
from keras_sac.calibration import (
    Calibration,
    ChangedKernel,
    ObservedKernel,
    absolute_budgets,
    as_calibration,
    change_report,
    recalibrate_where_it_helps,
    relative_error,
)
from keras_sac.conversion._factor_choice import (
    Candidate,
    Factors,
    choose_by_budgets,
    choose_ranks,
)
from keras_sac.layers import sac_class_of, why_no_sac_class

if TYPE_CHECKING:
    import pandas as pd

CRITERIA = ("fisher", "output", "input")
_NO_GAIN = "factors would save nothing, or cost more of the loss than those of other layers"


def convert_to_sac(
    model: keras.Model,
    data: Any,
    y: Any = None,
    *,
    loss: Any = None,
    targets: Any = None,
    rank: int | Mapping[str, int] | None = None,
    explained_variance: float | None = None,
    parameters: float | None = None,
    macs: float | None = None,
    criterion: str | None = None,
    sequential: bool = True,
    round_to: int = 8,
    verbose: str | int = "auto",
) -> "tuple[keras.Model, pd.DataFrame]":
    """Replace layers of a trained model by SAC layers of low rank; return a new model.

    The kernel of rank `r` with the least expected error of the outputs is `A = W U Uᵀ`, with `U`
    the leading eigenvectors of `Wᵀ C W` and `C` the covariance of the inputs, and the bias is
    `b + (W - A)ᵀ E[x]`. With labels, the error is measured in units of the loss: `U` are the
    eigenvectors of `G^1/2 Wᵀ C W G^1/2`, and ranks are given to the layers where the loss needs
    them. Nothing is trained.

    Args:
        model: built and trained; not changed.
        data: a `Calibration` of the model, or data for one: what `predict` takes, or batches.
        y: labels as for `fit`, unless `data` have them.
        loss: as for `compile`; defaults to that of the compiled model.
        targets: the layers to convert, as for `PruningOptimizer`. Defaults to all that can be.
        rank: rank of each layer, of a convolution the channels in the middle; or a dict from the
            names of layers to ranks. Layers that would not become smaller stay.
        explained_variance: fraction of the variance of each layer's outputs to keep, in (0, 1].
        parameters: budget for all weights: a fraction of the original up to 1, a number above.
        macs: budget for the multiplications of convolutions and matrix products, likewise.
        criterion: `"fisher"` (units of the loss), `"output"` (variance of the outputs) or
            `"input"` (principal components of the inputs). Defaults to `"fisher"` with labels,
            else `"output"`.
        sequential: fit each layer to its original outputs on the inputs that the layers before it,
            already converted, give it; kernels that are not factored are fitted, too. Otherwise
            on its original inputs.
        round_to: ranks are multiples of this; below it, and below four times it where only
            `parameters` counts, of a quarter of it. Not with `rank`.
        verbose: 0, or `"auto"`, 1 or 2 for progress.

    Returns:
        `(model, report)`: a model of SAC layers, compiled as the original with a fresh optimizer,
        and a DataFrame with a row for each kernel: `layer`, `kernel`, `method` (`"low_rank"`,
        `"refit"` or `"none"`), `reason` why it was not factored, `reading`, `rank`, `parameters`
        and `macs` before and after, `predicted_loss`, and `measured_loss`, the fraction of the
        variance of its outputs that is lost. `attrs["total"]` has the sums of the whole model.

    Raises:
        ValueError: if the model is not built, no layer can be converted, arguments contradict each
            other, the budget cannot be met, or the calibration belongs to another model.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import convert_to_sac
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, name="wide")])
        >>> x = np.random.default_rng(0).normal(size=(500, 64)).astype("float32")
        >>> small, report = convert_to_sac(model, x, parameters=0.6, verbose=0)
        >>> small.get_layer("wide").rank, report["method"].tolist()
        (12, ['low_rank'])

    Reference:
        Wang et al., 2024, "SVD-LLM"; Chen et al., 2021, "DRONE"; Yu & Wu, 2023, "Compressing
        Transformers: Features Are Low-Rank, but Weights Are Not!".
    """
    check_model(model)
    round_to = integer("round_to", round_to, 1)
    given = {"rank": rank, "explained_variance": explained_variance}
    given |= {"parameters": parameters, "macs": macs}
    _check_levels(given)
    if criterion is not None:
        one_of("criterion", criterion, (None, *CRITERIA))
    calibration = as_calibration(model, data, y, loss=loss, targets=targets, verbose=verbose)
    criterion = _criterion(criterion, calibration)
    kernels, reasons = calibration.selected(targets)
    candidates = _candidates(model, kernels, reasons, calibration, criterion)
    chosen = _choose(model, candidates, calibration, given, round_to)
    converted = {
        each.kernel.key: (each, factors)
        for each, factors in zip(candidates, chosen, strict=True)
        if factors is not None
    }
    unconverted = [each.kernel.key for each in candidates if each.kernel.key not in converted]
    reasons |= dict.fromkeys(unconverted, _NO_GAIN)
    work = _with_sac_layers(model, converted)
    compile_like(work, model)
    measured = _fit(work, calibration, kernels, converted, sequential, is_verbose(verbose))
    recalibrate_where_it_helps(work, calibration)
    changes: dict[str, dict[str, Any]] = {
        key: {"method": "refit", "reason": reasons[key], "measured_loss": loss}
        for key, loss in measured.items()
        if key not in converted
    }
    changes |= {
        key: {
            "method": "low_rank",
            "reading": factors.reading.name,
            "rank": factors.rank,
            "parameters_after": factors.reading.parameters(factors.rank),
            "macs_after": round(candidate.macs(factors.reading, factors.rank)),
            "predicted_loss": factors.loss,
            "measured_loss": measured[key],
        }
        for key, (candidate, factors) in converted.items()
    }
    return work, change_report(model, work, calibration, changes, reasons, ("reading", "rank"))


def _check_levels(given: dict[str, Any]) -> None:
    """Raise `ValueError` unless one way to say how small is given, and its value is valid."""
    levels = {name: value for name, value in given.items() if value is not None}
    budgets = levels.keys() <= {"parameters", "macs"}
    if not levels or (len(levels) > 1 and not budgets):
        shown = ", ".join(f"{name}={value!r}" for name, value in levels.items()) or "none of them"
        raise ValueError(
            "`convert_to_sac` needs exactly one of `rank`, `explained_variance`, or one or both of "
            f"`parameters` and `macs`. Received: {shown}."
        )
    ranks = levels.get("rank", 1)
    for each in ranks.values() if isinstance(ranks, Mapping) else [ranks]:
        integer("rank", each, 1)
    for name in levels.keys() & {"parameters", "macs"}:
        budget(name, levels[name])
    share = levels.get("explained_variance", 1.0)
    number = isinstance(share, int | float | np.number) and not isinstance(share, bool)
    if not number or not 0 < share <= 1:
        raise ValueError(
            "`explained_variance` must be a number in (0, 1]. Received: "
            f"explained_variance={share!r}"
        )


def _criterion(criterion: str | None, calibration: Calibration) -> str:
    if criterion is None:
        return "output" if calibration.loss is None else "fisher"
    if criterion == "fisher" and calibration.loss is None:
        raise ValueError(
            "criterion='fisher' needs labels, which give the gradients of the loss. Received: a "
            "calibration without labels. Pass `y`, or criterion='output'."
        )
    return criterion


def _candidates(
    model: keras.Model,
    kernels: list[ObservedKernel],
    reasons: dict[str, str],
    calibration: Calibration,
    criterion: str,
) -> list[Candidate]:
    """Return the kernels that SAC layers can replace; add to `reasons` why others are left."""
    found = []
    for kernel in kernels:
        reason = why_no_sac_class(kernel.layer)
        if reason is None and not kernel.has_outputs:
            reason = "its outputs are not those of one product with its kernel"
        if reason is None and criterion == "fisher" and calibration.loss_metric(kernel) is None:
            reason = "the gradients of the loss at its outputs are not known"
        if reason is None:
            found.append(Candidate(kernel, calibration, criterion))
        else:
            reasons[kernel.key] = reason
    if not found:
        listed = "; ".join(f"{key}: {why}" for key, why in reasons.items())
        raise ValueError(
            f"No layer of {model.name!r} can be converted. Received: {listed or 'no kernel'}."
        )
    return found


def _choose(
    model: keras.Model,
    candidates: list[Candidate],
    calibration: Calibration,
    given: dict[str, Any],
    round_to: int,
) -> list[Factors | None]:
    if given["rank"] is not None:
        return choose_ranks(candidates, given["rank"])
    if given["explained_variance"] is not None:
        return [each.explaining(given["explained_variance"], round_to) for each in candidates]
    wanted = {name: given[name] for name in ("parameters", "macs") if given[name] is not None}
    budgets, totals = absolute_budgets(model, calibration, wanted)
    return choose_by_budgets(candidates, budgets, totals, round_to)


def _with_sac_layers(
    model: keras.Model, converted: dict[str, tuple[Candidate, Factors]]
) -> keras.Model:
    """Return a copy of the model with SAC layers that are still to be fitted."""
    copies = Copies()
    for candidate, factors in converted.values():
        kernel = candidate.kernel
        basis = np.eye(factors.reading.rows, factors.rank)
        learner = np.zeros((factors.rank, factors.reading.columns))
        sac_class = sac_class_of(kernel.layer)
        assert sac_class is not None  # checked when it became a candidate
        # Convolutions have several readings, other layers one.
        reading = {} if factors.reading.name == "patches" else {"reading": factors.reading.name}
        copies.put(
            kernel.layer, sac_class.from_stock_layer(kernel.layer, basis, learner, **reading)
        )
    return copies.of(model)


def _fit(
    work: keras.Model,
    calibration: Calibration,
    kernels: list[ObservedKernel],
    converted: dict[str, tuple[Candidate, Factors]],
    sequential: bool,
    progress: bool,
) -> dict[str, float]:
    """Fit the kernels of a copy to their original outputs, in the order of their calls.

    Kernels that were not factored are fitted, too, once the layers before them have changed.

    Returns:
        The fraction of the variance of its outputs that each fitted kernel loses.
    """
    measured: dict[str, float] = {}
    bar = Progress(len(kernels), enabled=progress)
    for kernel in kernels:
        bar.step()
        if kernel.key not in converted and not (sequential and measured):
            continue
        place, originals = ChangedKernel(kernel, work), kernel.matrices()
        fits = place.fits(calibration, sequential=sequential)
        regular = [fit.regularized(matrix) for fit, matrix in zip(fits, originals, strict=True)]
        if kernel.key in converted:
            candidate, factors = converted[kernel.key]
            found = candidate.low_rank(factors.reading, regular[0], factors.rank)
            basis, learner = found.factors(factors.rank)
            place.layer.basis.assign(basis)
            place.layer.learner.assign(learner)
            made = found.kernel(basis, learner)[None]
            place.correct(made, fits)
        else:
            made = np.stack([fit.solution() for fit in regular])
            place.assign(made, fits)
        measured[kernel.key] = relative_error(made, fits)
    bar.close()
    return measured
