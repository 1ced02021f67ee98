"""Pruning while two devices train one model, with the method of each backend."""

import keras
import numpy as np
import pytest

from tests.children import python


# The gradients of "obd" differ between replicas, those of "magnitude" are not looked at.
@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["magnitude", "obd"])
def test_two_replicas_have_the_masks_of_one_device(tmp_path, criterion):
    assert_equal_to_one_device(tmp_path, criterion)


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="`DistributedDataParallel` is torch's"
)
@pytest.mark.parametrize("criterion", ["magnitude", "early"])
def test_an_optimizer_that_is_built_before_the_weights_are_shared(tmp_path, criterion):
    assert_equal_to_one_device(tmp_path, criterion, "optimizer first")


def assert_equal_to_one_device(tmp_path, *arguments):
    path = tmp_path / "results.npz"
    module = f"tests.integration.replicas.{keras.backend.backend()}"
    python("-m", module, path, *arguments, CUDA_VISIBLE_DEVICES="")
    with np.load(path) as loaded:
        found = dict(loaded)
    for i in range(2):
        first, second = found[f"replica0_mask_{i}"], found[f"replica1_mask_{i}"]
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, found[f"alone_mask_{i}"])
        assert 1 - first.mean() == pytest.approx(0.8, abs=0.01)
        # Kernels are the even ones.
        kernel = found[f"replica0_weight_{2 * i}"]
        assert not kernel[~first].any()
    for i in range(4):
        first, second = found[f"replica0_weight_{i}"], found[f"replica1_weight_{i}"]
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, found[f"alone_weight_{i}"], atol=1e-6)
