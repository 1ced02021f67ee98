"""Scale of the learner's default initialization: it keeps the stock layer's output variance."""

import numpy as np

from keras_sac.bases import Basis


def input_gain(basis: Basis, center: bool) -> float:
    """Return `E|x|² / E|z|²`, the power of the inputs relative to the power of the projections.

    `z = Bᵀx`, or `Bᵀ(x - mean)` with `center`. If the basis has no statistics of the data, the
    inputs count as isotropic, which gives `in_dim / |B|²` (Frobenius norm).
    """
    matrix = basis.matrix.astype(np.float64)
    isotropic = basis.in_dim / float(np.sum(np.square(matrix)))
    if basis.variances is None or basis.total_variance is None or basis.mean is None:
        return isotropic
    mean = basis.mean.astype(np.float64)
    input_power = basis.total_variance + float(mean @ mean)
    projected_power = float(np.sum(basis.variances))
    if not center:
        projected_power += float(np.sum(np.square(mean @ matrix)))
    # The projections on a basis orthogonal to the data are zero; no finite learner can scale them.
    if projected_power <= 1e-12 * input_power or input_power == 0:
        return isotropic
    return input_power / projected_power


def matched_limit(gain: float, fan_in: int, fan_out: int) -> float:
    """Return the half-width of the uniform distribution that matches `glorot_uniform`.

    `Dense` with `glorot_uniform` has `Var(W) = 2 / (fan_in + fan_out)`, hence the output variance
    `Var(W) E|x|²`. The learner gives the same with `Var(L) = Var(W) E|x|² / E|z|²`.
    """
    return float(np.sqrt(3.0 * gain * 2.0 / (fan_in + fan_out)))
