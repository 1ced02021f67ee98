"""The report of a method that changes a calibrated model, with a row for each kernel."""

import math
from typing import TYPE_CHECKING, Any

import keras

from keras_sac._model import layer_paths
from keras_sac._table import table
from keras_sac.calibration._calibration import Calibration

if TYPE_CHECKING:
    import pandas as pd

_FIRST = ("layer", "kernel", "method", "reason")
_LAST = ("predicted_loss", "measured_loss")


def change_report(
    model: keras.Model,
    changed: keras.Model,
    calibration: Calibration,
    changes: dict[str, dict[str, Any]],
    reasons: dict[str, str],
    details: tuple[str, ...],
) -> "pd.DataFrame":
    """Return a row for each kernel of a model, changed or not.

    Args:
        model: the original.
        changed: the result.
        calibration: of the original model.
        changes: what is known about each changed kernel by its key: `method`, the details, and
            `parameters_after`, `macs_after`, `predicted_loss` and `measured_loss` where they are
            not those of the original.
        reasons: why each other kernel was left alone, by its key.
        details: columns of the method.

    Returns:
        The table. `attrs["total"]` has the parameters, zeros and MACs of the whole model before and
        after.
    """
    counts = ("parameters_before", "parameters_after", "macs_before", "macs_after")
    rows = []
    for kernel in calibration.kernels:
        change = changes.get(kernel.key)
        parameters = math.prod(kernel.variable.shape)
        macs = round(parameters * kernel.uses)
        row = {"layer": kernel.path, "kernel": kernel.variable.name}
        row |= dict.fromkeys(details)
        row |= {"parameters_before": parameters, "macs_before": macs}
        row |= {"parameters_after": parameters, "macs_after": macs}
        row |= {"predicted_loss": 0.0, "measured_loss": 0.0}
        if change is None:
            row |= {"method": "none", "reason": reasons[kernel.key]}
        rows.append(row | {"reason": ""} | change if change else row)
    paths = layer_paths(model)
    for key, reason in calibration.reasons.items():
        path, _, name = key.rpartition(":")
        sizes = [math.prod(each.shape) for each in paths[path].weights if each.name == name]
        row = {"layer": path, "kernel": name, "method": "none", "reason": reason}
        row |= {"parameters_before": sizes[0], "parameters_after": sizes[0]} if sizes else {}
        rows.append(row | {"predicted_loss": 0.0, "measured_loss": 0.0})
    totals = {
        f"{name}_{when}": total[name]
        for when, each in (("before", model), ("after", changed))
        for total in [calibration.totals(each)]
        for name in ("parameters", "nonzeros", "macs")
    }
    return table(rows, (*_FIRST, *details, *counts, *_LAST), totals)
