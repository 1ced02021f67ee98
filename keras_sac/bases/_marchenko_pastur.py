"""Optimal hard threshold for singular values in white noise of unknown level."""

import math

import scipy.integrate
import scipy.optimize


def hard_threshold(beta: float) -> float:
    """Return `ω(β) = λ*(β) / √μ(β)`: the threshold as a multiple of the median singular value.

    `λ*(β) = √(2 (β + 1) + 8 β / ((β + 1) + √(β² + 14 β + 1)))`, and `μ(β)` is the median of the
    Marchenko-Pastur distribution, computed from its density, not by the cubic fit of the paper.

    Args:
        beta: shorter side of the matrix divided by the longer side, `0 < beta <= 1`.

    Raises:
        ValueError: if `beta` is out of range.

    Examples:
        >>> round(hard_threshold(1.0), 3)
        2.858

    Reference:
        Gavish & Donoho, 2014, equations 10 and 11.
    """
    if not 0 < beta <= 1:
        raise ValueError(f"`beta` must be above 0 and at most 1. Received: beta={beta}")
    root = math.sqrt(beta**2 + 14 * beta + 1)
    known = math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + root))
    return known / math.sqrt(_median(beta))


def _median(beta: float) -> float:
    center, radius = 1 + beta, 2 * math.sqrt(beta)

    def mass(angle: float) -> float:
        # With t = center + radius · cos(angle), the square root in the density is a smooth sine.
        t = center + radius * math.cos(angle)
        if t <= 0:
            # beta = 1 at the lower edge: sin² / t tends to 2 / radius there.
            return 2 * radius / (2 * math.pi * beta)
        return (radius * math.sin(angle)) ** 2 / (2 * math.pi * beta * t)

    def above_half(angle: float) -> float:
        return scipy.integrate.quad(mass, 0.0, angle)[0] - 0.5

    found = scipy.optimize.root_scalar(above_half, bracket=(0.0, math.pi), xtol=1e-12)
    return center + radius * math.cos(found.root)
