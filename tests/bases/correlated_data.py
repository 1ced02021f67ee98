"""Data sets and comparisons for the tests of the bases, in double precision."""

import numpy as np


def correlated(rng, n, in_dim, mean=0.0, decay=1.0):
    """Samples whose covariance has the eigenvalues `k^-decay` in a random orthonormal frame."""
    frame = np.linalg.qr(rng.normal(size=(in_dim, in_dim)))[0]
    scales = np.arange(1, in_dim + 1) ** (-decay / 2)
    return (rng.normal(size=(n, in_dim)) * scales) @ frame.T + mean


def clusters(rng, n, in_dim, n_classes):
    """Correlated samples around class means, and their labels (classes of unequal size)."""
    y = rng.choice(n_classes, size=n, p=np.arange(1, n_classes + 1) / sum(range(n_classes + 1)))
    y[:n_classes] = np.arange(n_classes)
    return correlated(rng, n, in_dim) + rng.normal(size=(n_classes, in_dim))[y], y


def smallest_cosine(a, b):
    """Cosine of the largest principal angle between two column spaces."""
    qa = np.linalg.qr(np.asarray(a, np.float64))[0]
    qb = np.linalg.qr(np.asarray(b, np.float64))[0]
    return np.linalg.svd(qa.T @ qb, compute_uv=False).min()


def assert_orthonormal(matrix, atol=1e-6):
    matrix = np.asarray(matrix, np.float64)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=atol)
