"""Expected tables of zeros, counted from the outputs of the layers."""

import numpy as np
import pytest


def relu(x):
    return np.maximum(x, 0)


def rows(table):
    """`layer -> (activations, zeros)` of all rows; the total is checked here."""
    assert list(table.columns) == ["layer", "type", "activations", "zeros", "sparsity"]
    total = table.attrs["total"]
    assert total["activations"] == table["activations"].sum()
    assert total["zeros"] == pytest.approx(table["zeros"].sum(), rel=1e-12)
    for row in (total, *table.to_dict("records")):
        assert row["sparsity"] == pytest.approx(row["zeros"] / row["activations"], rel=1e-12)
    return {r["layer"]: (r["activations"], r["zeros"]) for r in table.to_dict("records")}


def counted(outputs):
    """What a layer's row should hold, from its outputs."""
    return outputs[0].size, pytest.approx((outputs == 0).sum() / len(outputs), rel=1e-12)
