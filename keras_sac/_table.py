"""Make the tables that reports return; pandas is imported with the first one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def table(
    rows: Sequence[dict[str, Any]],
    columns: Sequence[str] | None = None,
    total: dict[str, Any] | None = None,
) -> "pd.DataFrame":
    """Return a table of the rows.

    Args:
        rows: one dict for each row.
        columns: their order; without rows, the table still has them.
        total: of all rows, by column. It is `table.attrs["total"]`, not a row of the table.
    """
    from keras_sac._wide_table import WideTable

    found = WideTable(list(rows), columns=None if columns is None else list(columns))
    if total is not None:
        found.attrs["total"] = total
    return found
