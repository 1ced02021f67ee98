"""What is pruned and what is not, as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_sac.pruning._masks import Masks
from keras_sac.pruning._table import table

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
    members = {id(member.variable): member for member in masks.members}
    rows = []
    for variable in variables:
        member = members.get(id(variable))
        values = keras.ops.convert_to_numpy(variable)
        rows.append(
            {
                "path": variable.path,
                "shape": tuple(int(extent) for extent in variable.shape),
                "weights": values.size,
                "pruned": member is not None,
                "reason": "" if member else skipped[variable.path],
                "schedule": _text(member.choice.schedule) if member else "",
                "pattern": _text(member.choice.pattern) if member else "",
                "sparsity": 1.0 - np.count_nonzero(values) / values.size,
                "mask_bytes": values.size if member else 0,
            }
        )
    return table(rows)


def _text(part: object) -> str:
    if part is None:
        return "zeros stay"
    config = part.get_config() if hasattr(part, "get_config") else {}
    return f"{type(part).__name__}({', '.join(f'{k}={v}' for k, v in config.items())})"
