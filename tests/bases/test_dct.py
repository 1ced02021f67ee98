import itertools

import numpy as np
import pytest
import scipy.fft

from keras_sac.bases import dct
from tests.bases.correlated_data import assert_orthonormal

pytestmark = pytest.mark.backend_free


@pytest.mark.parametrize(
    "shape", [(1,), (9,), (4, 6), (6, 4), (5, 4, 3), (1, 7, 1), (3, 2, 4, 2), 6]
)
def test_against_scipy(shape):
    axes = (shape,) if isinstance(shape, int) else shape
    size = int(np.prod(axes))
    basis = dct(shape, size)
    assert_orthonormal(basis.matrix)
    order = sorted(
        itertools.product(*(range(n) for n in axes)),
        key=lambda k: (round(sum(i / n for i, n in zip(k, axes, strict=True)), 9), k),
    )
    for column, index in zip(basis.matrix.T, order, strict=True):
        unit = np.zeros(axes)
        unit[index] = 1.0
        expected = scipy.fft.idctn(unit, norm="ortho")
        np.testing.assert_allclose(column.reshape(axes), expected, atol=1e-6)


def test_leading_columns_do_not_depend_on_the_rank():
    whole = dct((8, 8, 3), 192).matrix
    for rank in (1, 2, 50):
        np.testing.assert_array_equal(dct((8, 8, 3), rank).matrix, whole[:, :rank])


def test_brightness_comes_before_color():
    basis = dct((32, 32, 3), 30)
    image = basis.matrix.reshape(32, 32, 3, 30)
    assert np.ptp(image[..., 0]) < 1e-6
    assert np.ptp(image, axis=2).max() < 1e-6
    assert np.ptp(dct((32, 32, 3), 90).matrix.reshape(32, 32, 3, 90), axis=2).max() > 0.01


def test_large_grids_are_built_only_as_far_as_they_are_wanted():
    assert dct((512, 512, 3), 4).matrix.shape == (786432, 4)


def test_its_facts():
    basis = dct([4, 4], 3)
    assert (basis.kind, basis.in_dim, basis.rank) == ("dct", 16, 3)
    assert basis.mean is basis.spectrum is basis.explained_variance_ratio is None


@pytest.mark.parametrize("shape", [(), (0,), (4, -1), (4.0, 4), (None, 3), "32", None, (True, 4)])
def test_refuses_a_shape(shape):
    with pytest.raises(ValueError, match="`input_shape` must be positive integers"):
        dct(shape, 1)


@pytest.mark.parametrize("rank", [0, 13, 1.5])
def test_refuses_a_rank(rank):
    with pytest.raises(ValueError, match="`rank` must be"):
        dct((2, 2, 3), rank)
