"""Tabulate which variables are pruned, and why others are not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from keras_sac._model import report_rows
from keras_sac._table import table
from keras_sac.pruning._masks import Masks

if TYPE_CHECKING:
    import pandas as pd


def report(
    masks: Masks, variables: Sequence[keras.Variable], skipped: dict[str, str]
) -> "pd.DataFrame":
    """Return one row for each trainable variable.

    Args:
        masks: of the variables that are pruned.
        variables: all.
        skipped: why each other path is not pruned.

    Returns:
        A table with the columns `path`, `shape`, `weights`, `pruned`, `reason`, `schedule`,
        `pattern`, `sparsity` and `mask_bytes`.
    """
    details = {
        id(each.variable): {"schedule": _text(each.schedule), "pattern": _text(each.pattern)}
        for each in masks.kernels
    }
    found = table(report_rows(variables, skipped, details, purpose="pruned"))
    # One byte for each weight.
    found["mask_bytes"] = found["weights"].where(found["pruned"], 0)
    return found


def _text(part: object) -> str:
    if part is None:
        return "zeros stay"
    config = part.get_config() if hasattr(part, "get_config") else {}
    return f"{type(part).__name__}({', '.join(f'{k}={v}' for k, v in config.items())})"
