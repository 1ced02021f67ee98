"""Plots of the vectors of a basis."""

import types

import keras
import numpy as np
import pytest

from harness import basis_plots, tables

pytestmark = pytest.mark.backend_free


def size_of(path):
    return keras.utils.img_to_array(keras.utils.load_img(path)).shape


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 3)])
@pytest.mark.parametrize("rank", [1, 9, 13])
def test_basis_vectors_as_images(tmp_path, rng, shape, rank):
    matrix = rng.normal(size=(int(np.prod(shape)), rank)).astype("float32")
    matrix[:, 0] = 0
    basis_plots.basis_images(matrix, shape, tmp_path / "c.png", title="PCA", count=12)
    assert size_of(tmp_path / "c.png")[2] == 3


def test_a_basis_is_drawn_if_a_row_uses_it_and_only_once(tmp_path, rng):
    def run(basis, rank):
        return {"row_settings": {"basis": basis, "rank": rank}, "data": {"label": "digits"}}

    ranks = []

    def make(trial, kind, rank):
        ranks.append((kind, rank))
        return rng.normal(size=(16, rank))

    trial = types.SimpleNamespace(split=types.SimpleNamespace(image_shape=(4, 4, 1)))
    results = tables.Results(
        [{"row_settings": {}}, run("pca", 3), run("pca", 5), run("dct", 7)],
        [],
        first_trial=lambda: trial,
    )
    plots = basis_plots.basis_plots({"pca": "PCA", "lda-pca": "LDA"}, make)
    for _ in range(2):
        for name, draw in plots.items():
            draw(results, tmp_path / name)
    assert list(plots) == ["basis_pca.png", "basis_lda_pca.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["basis_pca.png"]
    assert ranks == [("pca", 5)]
