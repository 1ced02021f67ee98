"""SAC layers are calibrated by what their learners multiply, the projections."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_sac import Calibration, convert_to_sac, prune_with_data
from keras_sac.layers import SACConv1D, SACConv2D, SACDense, SACEinsumDense

LAYERS = {
    "dense": (lambda: SACDense(6, "random", rank=5), (7, 9)),
    "centered": (lambda: SACDense(6, "pca", rank=5, center=True), (9,)),
    "convolution": (lambda: SACConv2D(6, 3, "random", rank=5, strides=2), (9, 9, 2)),
    "causal": (lambda: SACConv1D(6, 3, "random", rank=5, padding="causal"), (9, 2)),
    "einsum": (
        lambda: SACEinsumDense("abc,cde->abde", (None, 2, 3), "random", rank=5, bias_axes="de"),
        (4, 9),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_are_the_projections(name, rng):
    make, shape = LAYERS[name]
    layer = make()
    x = rng.normal(size=(40, *shape)).astype("float32")
    if name == "centered":
        layer.adapt(x + 1, verbose=0)
    model = keras.Sequential([keras.Input(shape), layer])
    layer.bias.assign(rng.normal(size=layer.bias.shape))
    calibration = Calibration.from_data(model, x, verbose=0)
    (kernel,) = calibration.kernels
    assert (kernel.variable, kernel.has_outputs) == (layer.learner, True)
    assert calibration.reasons == {}
    rows = ops.convert_to_numpy(layer.project(x)).reshape(-1, 5).astype(np.float64)
    fit = calibration.fits(kernel)[0].inputs
    np.testing.assert_allclose(fit.mean, rows.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(fit.matrix, np.cov(rows.T, ddof=0), atol=1e-4 * fit.matrix.max())


def test_a_converted_model_can_be_pruned(rng):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(12, 3, activation="relu", name="first"),
            L.Conv2D(12, 3, activation="relu", name="conv"),
            L.Flatten(),
            L.Dense(30, activation="relu", name="wide"),
            L.Dense(4, name="last"),
        ]
    )
    x = rng.normal(size=(300, 8, 8, 3)).astype("float32")
    small, _ = convert_to_sac(model, x, rank={"conv": 6, "wide": 10}, verbose=0)
    spatial = small.get_layer("conv").reading
    sparse, report = prune_with_data(small, x, sparsity=0.5, distribution="uniform", verbose=0)
    by_kernel = report.set_index(["layer", "kernel"])
    assert by_kernel.loc[("wide", "learner"), "sparsity"] == 0.5
    learner = ops.convert_to_numpy(sparse.get_layer("wide").learner)
    assert (learner == 0).mean() == 0.5
    basis = [ops.convert_to_numpy(each.get_layer("wide").basis) for each in (small, sparse)]
    np.testing.assert_array_equal(*basis)
    # In the other readings the learner is a convolution, whose rows are not known.
    assert spatial != "patches"
    assert by_kernel.loc[("conv", "learner"), "method"] == "none"
    assert "rows" in by_kernel.loc[("conv", "learner"), "reason"]
