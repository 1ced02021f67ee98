"""What users pass as data: a calibration of the model, or data for one."""

from typing import Any

import keras

from keras_sac.calibration._calibration import Calibration


def as_calibration(
    model: keras.Model,
    data: Any,
    y: Any = None,
    *,
    loss: Any,
    verbose: str | int,
    targets: Any = None,
) -> Calibration:
    """Return the calibration that users pass in the place of data, or a new one from data.

    Raises:
        ValueError: if a calibration belongs to another model, or labels or a loss come with it.
    """
    if not isinstance(data, Calibration):
        return Calibration.from_data(model, data, y, loss=loss, targets=targets, verbose=verbose)
    if y is not None or loss is not None:
        name = "y" if y is not None else "loss"
        raise ValueError(
            f"A calibration has labels and loss already. Received: `{name}` beside a calibration. "
            f"Pass `{name}` to `Calibration.from_data`."
        )
    return data.bound_to(model)
