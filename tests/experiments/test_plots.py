"""Figures: labels that do not overlap, files that are whole."""

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness import plots, tables
from harness.labels import label_points


def test_labels_cover_neither_each_other_nor_points():
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    axes.set_xscale("log")
    x = np.array([1e4, 1e4, 1e4, 1.1e4, 3e4, 1e6])
    y = np.array([50.0, 50.01, 50.02, 50.0, 50.01, 53.0])
    axes.plot(x, y, "o")
    axes.set_xlim(5e3, 1.1e6)
    texts = [f"row-{i}-with-a-name" for i in range(6)]
    label_points(axes, x, y, texts, ["black"] * 6, np.full(6, 0.1))
    figure.draw_without_rendering()
    labels = [text for text in axes.texts if text.get_text()]
    assert sorted(text.get_text() for text in labels) == texts
    boxes = [Text.get_window_extent(text) for text in labels]
    points = axes.transData.transform(np.column_stack([x, y]))
    for i, box in enumerate(boxes):
        assert box.count_overlaps(boxes[i + 1 :]) == 0
        assert not any(box.contains(*point) for point in points)
        assert box.x1 <= axes.get_window_extent().x1


@pytest.fixture
def runs(outcome):
    return [
        {"row": row, "seed": 1, "row_settings": {"method": row}, **outcome(trainable=size)}
        for row, size in (("dense", 1000), ("pca-8", 50))
    ]


def size_of(path):
    return keras.utils.img_to_array(keras.utils.load_img(path)).shape


def test_figures_are_written_whole(tmp_path, runs):
    table = tables.summary(runs, ["dense", "pca-8"], "dense")
    plots.accuracy_against_parameters(
        table, tmp_path / "new" / "a.png", baseline="dense", title="digits"
    )
    plots.learning_curves(runs, ["dense", "pca-8"], tmp_path / "b.png", title="digits")
    assert size_of(tmp_path / "new" / "a.png")[2] == 3
    assert size_of(tmp_path / "b.png")[1] > 1000
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == ["a.png", "b.png"]


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 3)])
@pytest.mark.parametrize("rank", [1, 9, 13])
def test_basis_vectors_as_images(tmp_path, rng, shape, rank):
    matrix = rng.normal(size=(int(np.prod(shape)), rank)).astype("float32")
    matrix[:, 0] = 0
    plots.basis_images(matrix, shape, tmp_path / "c.png", title="PCA", count=12)
    assert size_of(tmp_path / "c.png")[2] == 3
