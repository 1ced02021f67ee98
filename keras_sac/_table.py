"""Tables for those who look at them: pandas loads when the first is made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Return a table of the rows; without any, it still has its columns."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=None if columns is None else list(columns))
