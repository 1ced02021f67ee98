"""Turns of basis and learner: against a dense least squares for the basis."""

import numpy as np
import pytest

from keras_sac.bases import Moments
from keras_sac.calibration import LinearFit
from keras_sac.conversion._shared_basis import improved_basis

pytestmark = pytest.mark.backend_free

ROWS, BLOCKS, RANK, UNITS = 4, 3, 2, 5


@pytest.mark.parametrize("weighted", [False, True])
def test_the_basis_of_least_squares(rng, weighted):
    width = ROWS * BLOCKS
    x = rng.normal(size=(300, width)) @ rng.normal(size=(width, width))
    kernel = rng.normal(size=(width, UNITS))
    root = rng.normal(size=(UNITS, UNITS)) if weighted else np.eye(UNITS)
    learner = rng.normal(size=(RANK, BLOCKS, UNITS))
    order = rng.permutation(width)
    fit = LinearFit.of_kernel(Moments().update(x), kernel).regularized(kernel)
    # The regularized covariance as rows: the design of the basis has a column for each entry.
    half = np.linalg.cholesky(fit.inputs.times(np.eye(width))).T
    design = np.einsum("nbi,rbu,uv->nvir", half[:, order].reshape(-1, BLOCKS, ROWS), learner, root)
    targets = (half @ kernel @ root).reshape(-1)
    best = np.linalg.lstsq(design.reshape(len(targets), -1), targets, rcond=None)[0]
    made = improved_basis(
        np.linalg.qr(rng.normal(size=(ROWS, RANK)))[0],
        learner,
        fit,
        order,
        root @ root.T if weighted else None,
    )
    np.testing.assert_allclose(made.T @ made, np.eye(RANK), atol=1e-10)
    best = np.linalg.qr(best.reshape(ROWS, RANK))[0]
    np.testing.assert_allclose(made @ made.T, best @ best.T, atol=1e-6)


def test_a_learner_of_zeros(rng):
    x = rng.normal(size=(50, ROWS * BLOCKS))
    kernel = np.zeros((ROWS * BLOCKS, UNITS))
    fit = LinearFit.of_kernel(Moments().update(x), kernel).regularized(kernel)
    basis = np.eye(ROWS, RANK)
    made = improved_basis(
        basis, np.zeros((RANK, BLOCKS, UNITS)), fit, np.arange(ROWS * BLOCKS), None
    )
    np.testing.assert_allclose(np.abs(made), basis, atol=1e-12)
