import keras
import numpy as np
import pytest

from keras_sac.bases import _device
from tests.bases.correlated_data import correlated


def tf32(x):
    """Round to TF32 as a product does: 10 bits after the point, the rest cut off."""
    return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def test_blas_gives_the_lower_triangle(rng):
    x = correlated(rng, 300, 17).astype(np.float32)
    np.testing.assert_allclose(
        np.tril(_device.gram(x)), np.tril(x.T.astype(np.float64) @ x), rtol=1e-5, atol=1e-4
    )


def test_split_product_keeps_single_precision_under_tf32(rng):
    x = correlated(rng, 500, 30, mean=0.5).astype(np.float32)
    exact = x.T.astype(np.float64) @ x

    def rounded(a, b):
        return tf32(np.ascontiguousarray(a)).astype(np.float64) @ tf32(b)

    plain = np.abs(rounded(x.T, x) - exact).max()
    split = np.abs(_device.split_gram(x, rounded) - exact).max()
    single = np.abs(x.T @ x - exact).max()
    assert plain > 1e-4 * exact.max()
    assert split < 1e-6 * exact.max()
    assert split < 10 * single


def test_split_product_is_symmetric_and_right_with_keras(rng):
    x = correlated(rng, 200, 12).astype(np.float32)
    product = _device.split_gram(x, _device._keras_matmul)
    np.testing.assert_allclose(product, x.T.astype(np.float64) @ x, atol=1e-4)
    np.testing.assert_allclose(product, product.T, atol=1e-4)


def test_a_gpu_is_used_where_keras_has_one_and_the_product_is_large(rng, monkeypatch):
    calls = []
    monkeypatch.setattr(_device, "on_gpu", lambda: True)
    monkeypatch.setattr(_device, "_keras_matmul", lambda a, b: calls.append(1) or a @ b)
    monkeypatch.setattr(_device, "_WORTH_A_TRANSFER", 100 * 10 * 10)
    small, large = rng.normal(size=(2, 100, 10)).astype(np.float32)
    _device.gram(small[:99])
    assert calls == []
    product = _device.gram(large)
    assert calls == [1, 1, 1]
    np.testing.assert_allclose(product, large.T.astype(np.float64) @ large, atol=1e-4)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cuda:0", True),
        ("CudaDevice(id=0)", True),
        ("/job:localhost/replica:0/task:0/device:GPU:0", True),
        ("cpu", False),
        ("TFRT_CPU_0", False),
        ("/job:localhost/replica:0/task:0/device:CPU:0", False),
    ],
)
def test_devices_are_told_apart_by_name(monkeypatch, device, expected):
    class Tensor:
        def __init__(self):
            self.device = device

    monkeypatch.setattr(keras.ops, "convert_to_tensor", lambda x: Tensor())
    assert _device.on_gpu() is expected


def test_this_backend_names_its_device():
    device = str(keras.ops.convert_to_tensor(0.0).device).lower()
    assert ("cpu" in device) is not _device.on_gpu()
