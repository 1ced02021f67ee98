"""Labels of points cover neither each other nor a point."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.plot_labels import label_points

pytestmark = pytest.mark.backend_free


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
