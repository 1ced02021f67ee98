"""Plots: they are drawn, and written completely."""

import keras
import pytest

from harness import accuracy_plots, tables

pytestmark = pytest.mark.backend_free


@pytest.fixture
def runs(outcome):
    return [
        {"row": row, "seed": 1, "row_settings": {"method": row}, **outcome(trainable=size)}
        for row, size in (("dense", 1000), ("pca-8", 50))
    ]


def size_of(path):
    return keras.utils.img_to_array(keras.utils.load_img(path)).shape


def test_plots_are_written_completely(tmp_path, runs):
    results = tables.Results(runs, ["dense", "pca-8"], title="digits")
    accuracy_plots.accuracy_against_parameters(results, tmp_path / "new" / "a.png")
    accuracy_plots.learning_curves(results, tmp_path / "b.png")
    assert size_of(tmp_path / "new" / "a.png")[2] == 3
    assert size_of(tmp_path / "b.png")[1] > 1000
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["a.png", "b.png"]
