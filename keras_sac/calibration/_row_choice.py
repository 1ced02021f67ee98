"""A random part of the rows of a kernel, where there are more than a fit needs."""

import functools

import numpy as np

from keras_sac._model import Choose
from keras_sac.calibration._observed_kernels import ObservedKernel

# Rows that a fit needs: of every kernel at least, and for each input and output.
_ROWS = 1 << 16
_ROWS_PER_FEATURE = 64


def needed_share(kernel: ObservedKernel, samples: int) -> float:
    """Return the share of its rows that a fit of a kernel needs, at most 1.

    Neighbouring patches are alike: of millions of rows, a random part tells the same.
    """
    needed = max(_ROWS, _ROWS_PER_FEATURE * (kernel.in_dim + kernel.units))
    return min(1.0, needed / max(samples * kernel.uses, 1.0))


def random_choice(random: np.random.Generator, share: float) -> Choose | None:
    """Return a function from a number of rows to a random part of their numbers.

    It returns the same numbers for the same number of rows. `None` stands for all rows.
    """
    if share >= 1:
        return None
    return functools.cache(lambda count: np.flatnonzero(random.random(count) < share))
