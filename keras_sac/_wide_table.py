"""A DataFrame that prints all of its columns."""

from typing import Any

import pandas as pd


class WideTable(pd.DataFrame):
    """A DataFrame that prints all of its columns, however narrow the terminal is."""

    @property
    def _constructor(self) -> Any:
        return WideTable

    def __repr__(self) -> str:
        with pd.option_context("display.max_columns", None, "display.width", None):
            return super().__repr__()
