"""Budgets of a calibrated model: fractions of it, as numbers."""

from collections.abc import Mapping

import keras

from keras_sac.calibration._calibration import Calibration


def absolute_budgets(
    model: keras.Model, calibration: Calibration, given: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return budgets as absolute numbers, and the totals of the model that they limit.

    Args:
        model: the original.
        calibration: of the model; its samples are what operations are counted for.
        given: by `"parameters"` and `"macs"`: a fraction up to 1, a number above.

    Raises:
        ValueError: if there is a budget of operations, and some of the model are not known.
    """
    total = calibration.totals(model)
    if "macs" in given and total["macs"] is None:
        raise ValueError(
            "`macs` needs the operations of all layers, and those of a class are not known. "
            "Received a model for which `footprint(model)` counts none: describe the class with "
            "`keras_sac.register_layer`, or pass `parameters=`."
        )
    totals = {name: float(total[name]) for name in given}
    return {
        name: value * totals[name] if value <= 1 else value for name, value in given.items()
    }, totals
