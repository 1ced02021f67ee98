"""Tables and pruning of kernels that are stored packed, or with LoRA adapters."""

import keras
import numpy as np
import pytest

from keras_sac import add_kernel_l1, filter_sparsity, prune_to_sparsity, sparsity
from tests.pruning.reference import numpy

L = keras.layers


def pruned():
    """Return a model with 80 % zeros, and a unit without weights."""
    model = keras.Sequential(
        [keras.Input((256,)), L.Dense(8, activation="relu", name="a"), L.Dense(4, name="b")]
    )
    prune_to_sparsity(model, 0.8)
    kernel = numpy(model.layers[0].kernel).copy()
    kernel[:, 3] = 0
    model.layers[0].kernel.assign(kernel)
    return model


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_zeros_stay_counted_after_quantization(mode, rng):
    model = pruned()
    before, filters = sparsity(model), filter_sparsity(model)
    for layer in model.layers:
        layer.quantize(mode)
    after = sparsity(model)
    assert after["shape"].tolist() == [tuple(each) for each in before["shape"]]
    # Quantization rounds some small weights to zero; no zero becomes another number.
    assert (after["zeros"] >= before["zeros"]).all()
    assert after.attrs["total"]["sparsity"] == pytest.approx(0.85, abs=0.06)
    assert (filter_sparsity(model)["zero_filters"] >= filters["zero_filters"]).all()
    x = rng.normal(size=(3, 256)).astype("float32")
    weights, outputs = model.get_weights(), model.predict(x, verbose=0)
    for change in (
        lambda: prune_to_sparsity(model, 0.9),
        lambda: prune_to_sparsity(model, 0.9, targets="a"),
        lambda: add_kernel_l1(model, 0.1),
        lambda: add_kernel_l1(model, 0.1, targets="b"),
    ):
        with pytest.raises(ValueError, match=r"Received: .*/kernel: .* before `quantize`"):
            change()
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(model.predict(x, verbose=0), outputs)
    assert model.losses == []


def test_low_rank_adapters_are_part_of_what_is_counted(rng, tmp_path):
    model = pruned()
    layer = model.layers[0]
    layer.enable_lora(2)
    assert sparsity(model)["zeros"][0] == np.count_nonzero(numpy(layer.kernel) == 0) > 1500
    layer.lora_kernel_b.assign(rng.normal(size=(2, 8)))
    assert sparsity(model)["zeros"][0] == np.count_nonzero(numpy(layer.kernel) == 0) < 10
    with pytest.raises(ValueError, match=r"a/kernel: its layer has LoRA adapters.*save and load"):
        prune_to_sparsity(model, 0.8)
    model.save(tmp_path / "m.keras")
    merged = keras.saving.load_model(tmp_path / "m.keras")
    assert sparsity(merged)["zeros"][0] == sparsity(model)["zeros"][0]
