"""`prune_with_data`: zeros in a trained model, the other weights adjusted to them."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_sac._arguments import fraction, is_verbose, one_of
from keras_sac._model import Copies, check_model, compile_like
from keras_sac._run import Progress
from keras_sac.calibration import (
    Calibration,
    ChangedKernel,
    ObservedKernel,
    as_calibration,
    change_report,
    predicted_loss,
    recalibrate_where_it_helps,
    relative_error,
)
from keras_sac.pruning._data_masks import admm_mask, scores
from keras_sac.pruning._distribution import masks_for
from keras_sac.pruning._identifiers import get_pattern
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._pruned_kernels import PrunedKernel, as_targets, select_pruned
from keras_sac.pruning._support_refit import refit_on_support

if TYPE_CHECKING:
    import pandas as pd

CRITERIA = ("admm", "magnitude", "wanda", "obs")


def prune_with_data(
    model: keras.Model,
    data: Any,
    y: Any = None,
    *,
    sparsity: float | None = None,
    criterion: str = "admm",
    distribution: str = "global",
    pattern: str | Pattern | None = None,
    loss: Any = None,
    targets: Any = None,
    sequential: bool = True,
    verbose: str | int = "auto",
) -> "tuple[keras.Model, pd.DataFrame]":
    """Set weights of a trained model to zero and adjust the others; return a new model.

    Each unit keeps the weights of a support `S`. They become the least squares of its original
    outputs, `w_S = (C_SS)^-1 (C w)_S`, with `C` the covariance of the inputs, and the bias follows.
    Nothing is trained.

    The result goes on training with its zeros if it is compiled with
    `PruningOptimizer(optimizer, schedule=None)`.

    Args:
        model: built and trained; not changed.
        data: a `Calibration` of the model, or data for one: what `predict` takes, or batches.
        y: labels as for `fit`, unless `data` have them. They only decide whether statistics of
            batch normalization are estimated anew.
        sparsity: fraction of the weights of all pruned kernels to set to zero, in [0, 1). Not for
            patterns with a sparsity of their own.
        criterion: what decides about the weights of a kernel: `"admm"` (alternating between least
            squares and the nearest sparse kernel; the most accurate), `"magnitude"`, `"wanda"`
            (magnitude times the deviation of the input) or `"obs"` (`w^2 / (C^-1)_ii`). Kernels
            with more inputs than the `max_features` of the calibration take `"wanda"` for `"admm"`.
        distribution: `"global"` gives each kernel the sparsity that a ranking of all weights by
            magnitude gives it; `"uniform"` the same to all.
        pattern: `None` (unstructured), `"2:4"` along the inputs, or a `Pattern` such as `Block`.
        loss: as for `compile`; defaults to that of the compiled model.
        targets: the kernels to prune, as for `PruningOptimizer`. Defaults to all.
        sequential: fit each layer on the inputs that the layers before it, already pruned, give it.
        verbose: 0, or `"auto"`, 1 or 2 for progress.

    Returns:
        `(model, report)`: the pruned model, compiled as the original with a fresh optimizer, and a
        DataFrame with a row for each kernel: `layer`, `kernel`, `method` (`"unstructured"` or
        `"none"`), `reason` why it was left alone, `sparsity`, `parameters` and `macs` before and
        after (those that are not zero), `predicted_loss` (in units of the loss with labels, NaN
        where its gradients are not known), and `measured_loss`, the fraction of the variance of its
        outputs that is lost. `attrs["total"]` has the sums of the whole model.

    Raises:
        ValueError: if the model is not built, no kernel can be pruned, an argument is out of range,
            or the calibration belongs to another model.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import prune_with_data
        >>> model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
        >>> x = np.random.default_rng(0).normal(size=(500, 20)).astype("float32")
        >>> sparse, report = prune_with_data(model, x, sparsity=0.75, verbose=0)
        >>> float(report["sparsity"][0])
        0.75

    Reference:
        Frantar & Alistarh, 2023, "SparseGPT"; Sun et al., 2024, "Wanda"; Boza, 2024, "Fast and
        Effective Weight Update for Pruned Large Language Models".
    """
    check_model(model)
    one_of("criterion", criterion, CRITERIA)
    one_of("distribution", distribution, ("global", "uniform"))
    shape = get_pattern(pattern)
    if (sparsity is None) != (shape.fixed_sparsity is not None):
        raise ValueError(
            "`sparsity` must be a number in [0, 1), and is not for patterns that have one of their "
            f"own. Received: sparsity={sparsity!r} with pattern={pattern!r}."
        )
    target = 0.0 if sparsity is None else fraction("sparsity", sparsity)
    pruned, _ = select_pruned(model.weights, as_targets(targets), None, shape, [model])
    calibration = as_calibration(model, data, y, loss=loss, verbose=verbose)
    by_variable = {id(each.variable): each for each in pruned}
    chosen = {
        kernel.key: (kernel, by_variable[id(kernel.variable)])
        for kernel in calibration.kernels
        if id(kernel.variable) in by_variable
    }
    if not chosen:
        listed = "; ".join(f"{key}: {why}" for key, why in calibration.reasons.items())
        raise ValueError(
            f"No kernel of {model.name!r} can be pruned with data. Received: {listed or 'none'}."
        )
    sparsities = _sparsities([each for _, each in chosen.values()], target, distribution)
    copies = Copies()
    work = copies.of(model)
    compile_like(work, model)
    bar = Progress(len(chosen), enabled=is_verbose(verbose))
    changes = {}
    for (key, (kernel, each)), zeros in zip(chosen.items(), sparsities, strict=True):
        changes[key] = _prune(calibration, work, kernel, each, zeros, criterion, sequential)
        bar.step()
    bar.close()
    recalibrate_where_it_helps(work, calibration)
    reasons = dict.fromkeys((k.key for k in calibration.kernels), "not among the targets")
    report = change_report(model, work, calibration, changes, reasons, ("sparsity",))
    return work, report


def _sparsities(pruned: list[PrunedKernel], sparsity: float, distribution: str) -> list[float]:
    """Return the fraction of zeros of each kernel."""
    if distribution == "uniform":
        return [sparsity] * len(pruned)
    magnitudes = [ops.absolute(ops.cast(each.variable.value, "float32")) for each in pruned]
    keep = masks_for(
        magnitudes,
        [each.kernel for each in pruned],
        [each.pattern for each in pruned],
        ops.convert_to_tensor(sparsity, "float32"),
        distribution,
    )
    return [1.0 - float(np.mean(ops.convert_to_numpy(mask))) for mask in keep]


def _prune(
    calibration: Calibration,
    work: keras.Model,
    kernel: ObservedKernel,
    pruned: PrunedKernel,
    sparsity: float,
    criterion: str,
    sequential: bool,
) -> dict[str, Any]:
    """Prune a kernel of the copy, and return its row of the report."""
    place, originals = ChangedKernel(kernel, work), kernel.matrices()
    fits = place.fits(calibration, sequential=sequential)
    regular = [fit.regularized(matrix) for fit, matrix in zip(fits, originals, strict=True)]
    solutions = np.stack([fit.solution() for fit in regular])

    def keep(ranking: np.ndarray, zeros: float) -> np.ndarray:
        """Return what the pattern keeps, for scores of all groups."""
        found = masks_for(
            [ops.convert_to_tensor(kernel.from_matrices(ranking), "float32")],
            [pruned.kernel],
            [pruned.pattern],
            ops.convert_to_tensor(zeros, "float32"),
            "uniform",
        )[0]
        return kernel.in_matrices(ops.convert_to_numpy(found))

    if sparsity == 0.0 and pruned.pattern.fixed_sparsity is None:
        made = solutions
    else:
        if criterion == "admm" and not fits[0].inputs.is_sketched:
            mask = admm_mask(regular, solutions, sparsity, keep)
        else:
            name = "wanda" if criterion == "admm" else criterion
            ranking = [scores(name, f, w) for f, w in zip(regular, solutions, strict=True)]
            mask = keep(np.stack(ranking), sparsity)
        made = np.stack([refit_on_support(f, m) for f, m in zip(regular, mask, strict=True)])
    place.assign(made, fits)
    lost = relative_error(made, fits)
    predicted = (
        lost if calibration.loss is None else predicted_loss(kernel, made, fits, calibration)
    )
    nonzeros = int(np.count_nonzero(made))
    return {
        "method": "unstructured",
        "sparsity": 1.0 - nonzeros / made.size,
        "parameters_after": nonzeros,
        "macs_after": round(nonzeros * kernel.uses),
        "predicted_loss": predicted,
        "measured_loss": lost,
    }
