"""The closed form against dense NumPy least squares, and against other kernels of the rank."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sac import Calibration
from keras_sac.bases import Moments
from keras_sac.calibration import LinearFit
from keras_sac.conversion._low_rank import LowRank
from keras_sac.conversion._readings import readings


@st.composite
def regressions(draw):
    """Return rows, a kernel, targets that it nearly makes of the rows, and a metric or `None`."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    in_dim, units = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    x = rng.normal(size=(draw(st.integers(40, 80)), in_dim)) @ rng.normal(size=(in_dim, in_dim))
    x += 3 * rng.normal(size=in_dim)
    kernel = rng.normal(size=(in_dim, units))
    y = x @ kernel + draw(st.sampled_from([0.0, 0.5])) * rng.normal(size=(len(x), units))
    factor = rng.normal(size=(units, units))
    return x, kernel, y, draw(st.sampled_from([None, factor @ factor.T]))


def observed(kernel):
    """Return the observed kernel of a layer that holds a matrix."""
    layer = keras.layers.Dense(kernel.shape[1])
    model = keras.Sequential([keras.Input((kernel.shape[0],)), layer])
    layer.kernel.assign(kernel)
    x = np.random.default_rng(0).normal(size=(9, len(kernel)))
    return Calibration.from_data(model, x, verbose=0).kernels[0]


def fit_of(x, y, kernel):
    rows = np.concatenate([x, y], axis=1)
    return LinearFit.of_rows(Moments().update(rows), x.shape[1]).regularized(kernel)


def ridged(x, y, kernel):
    """Return rows whose plain least squares are those with the ridge towards the kernel."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    d, n = x.shape[1], len(x)
    added = max(1e-3, 0.2 * d / n) * np.trace(x.T @ x / n) / d
    more = np.sqrt(n * added) * np.eye(d)
    return np.concatenate([x, more]) / np.sqrt(n), np.concatenate([y, more @ kernel]) / np.sqrt(n)


def root(metric, units):
    values, vectors = np.linalg.eigh(np.eye(units) if metric is None else metric)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


@given(regressions())
def test_against_least_squares(problem):
    x, kernel, y, metric = problem
    found = LowRank(
        readings(observed(kernel))[0], observed(kernel).axes, fit_of(x, y, kernel), metric=metric
    )
    rows, targets = ridged(x, y, kernel)
    best = np.linalg.lstsq(rows, targets, rcond=None)[0]
    half = root(metric, kernel.shape[1])
    # Eckart-Young: what no kernel makes, and the tail of what the best one makes.
    rest = np.square((targets - rows @ best) @ half).sum()
    values = np.linalg.svd(rows @ best @ half, compute_uv=False) ** 2
    scale = np.square(targets @ half).sum() + 1e-12
    rng = np.random.default_rng(0)
    for rank in range(1, min(kernel.shape) + 1):
        expected = rest + values[rank:].sum()
        assert found.losses[rank] == pytest.approx(expected, abs=1e-6 * scale)
        made = found.kernel(*found.factors(rank))
        assert np.linalg.matrix_rank(made, tol=1e-8 * np.abs(made).max()) <= rank
        lost = np.square((targets - rows @ made) @ half).sum()
        assert lost == pytest.approx(expected, abs=1e-6 * scale)
        basis, learner = found.factors(rank)
        np.testing.assert_allclose(basis @ learner, made, atol=1e-8 * np.abs(made).max())
        np.testing.assert_allclose(basis.T @ basis, np.eye(rank), atol=1e-8)
        other = rng.normal(size=(len(kernel), rank))
        coefficients = np.linalg.lstsq(rows @ other, targets, rcond=None)[0]
        assert (
            np.square((targets - rows @ other @ coefficients) @ half).sum() >= lost - 1e-6 * scale
        )


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: keras.layers.Conv2D(9, 3, padding="same"), (6, 6, 4)),
        (lambda: keras.layers.Conv1D(9, 4, strides=2), (12, 4)),
        (lambda: keras.layers.Conv3D(6, 2), (4, 4, 4, 3)),
    ],
)
def test_readings_of_a_convolution(layer, shape, rng):
    model = keras.Sequential([keras.Input(shape), layer()])
    x = rng.normal(size=(30, *shape)).astype("float32")
    x[:, 1:] += x[:, :-1]  # neighbours are correlated
    calibration = Calibration.from_data(model, x, verbose=0)
    kernel = calibration.kernels[0]
    matrix = kernel.matrices()[0]
    fit = calibration.fits(kernel)[0].regularized(matrix)
    for reading in readings(kernel):
        found = LowRank(reading, kernel.axes, fit)
        last = found.variances[-1]
        assert last < 1e-9, reading.name
        np.testing.assert_allclose(
            found.kernel(*found.factors(reading.full_rank)), matrix, atol=1e-5
        )
        assert (np.diff(found.losses) <= 1e-9).all()
        for rank in (1, 2, reading.full_rank - 1):
            basis, learner = found.factors(rank)
            error = fit.error(found.kernel(basis, learner))
            if reading.name == "patches" or rank == reading.full_rank:
                assert error == pytest.approx(found.losses[rank], rel=1e-5, abs=1e-7)
            else:  # turns of basis and learner lower it
                assert 0.5 * found.losses[rank] < error < found.losses[rank]
            np.testing.assert_allclose(basis.T @ basis, np.eye(rank), atol=1e-8)
            assert basis.size + learner.size == reading.parameters(rank)


def test_principal_components_of_the_inputs(rng):
    x = (
        rng.normal(size=(200, 6))
        * [9, 5, 3, 1, 0.1, 0.01]
        @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    )
    kernel = rng.normal(size=(6, 4))
    each = observed(kernel)
    found = LowRank(readings(each)[0], each.axes, fit_of(x, x @ kernel, kernel), criterion="input")
    leading = np.linalg.svd(x - x.mean(axis=0))[2][:2].T
    basis, _ = found.factors(2)
    np.testing.assert_allclose(np.abs(leading.T @ basis), np.eye(2), atol=1e-4)


@pytest.mark.parametrize(
    "x",
    [np.zeros((9, 5)), np.ones((9, 5)), np.arange(5.0)[None], np.tile(np.arange(9.0)[:, None], 5)],
)
def test_inputs_that_say_little(x, rng):
    kernel = rng.normal(size=(5, 4))
    each = observed(kernel)
    fit = LinearFit.of_kernel(Moments().update(x), kernel).regularized(kernel)
    for metric in (None, 1e-20 * np.eye(4), 1e-3 * np.eye(4) + np.ones((4, 4))):
        for criterion in ("output", "input"):
            found = LowRank(readings(each)[0], each.axes, fit, metric=metric, criterion=criterion)
            for rank in range(1, 5):
                assert np.isfinite(found.kernel(*found.factors(rank))).all()
            assert np.isfinite(found.losses).all()
            if criterion == "output":
                np.testing.assert_allclose(found.kernel(*found.factors(4)), kernel, atol=1e-6)
