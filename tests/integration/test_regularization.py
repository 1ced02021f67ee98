"""L1 in common training settings: replicas, compilers, other backends, callbacks."""

import keras
import numpy as np
import pytest

from keras_sac import (
    BasisFinetuning,
    ConstantSparsity,
    ProximalL1,
    PruningOptimizer,
    SACDense,
    add_kernel_l1,
    bases,
)
from tests.children import python
from tests.marks import READERS
from tests.pruning.problem import BATCH, data, fitted, model, zeros

SGD = keras.optimizers.SGD


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["weights", "filters"])
def test_two_replicas_have_the_weights_of_one_device(tmp_path, kind):
    path = tmp_path / "results.npz"
    module = f"tests.integration.replicas.{keras.backend.backend()}"
    python("-m", module, str(path), kind, CUDA_VISIBLE_DEVICES="")
    with np.load(path) as loaded:
        found = dict(loaded)
    for i in range(4):
        first, second = found[f"replica0_weight_{i}"], found[f"replica1_weight_{i}"]
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, found[f"alone_weight_{i}"], atol=1e-6)
    kernel = found["replica0_weight_0"]
    assert 0.1 < 1 - np.count_nonzero(kernel) / kernel.size < 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("group", "strength"), [(None, 0.1), ("filters", 0.06)])
def test_torch_compile_and_xla_agree_with_the_plain_step(group, strength):
    def trained(**kwargs):
        return fitted(ProximalL1(SGD(0.1), strength, group=group), **kwargs)

    plain, jitted = trained(), trained(jit_compile=True)
    for a, b in zip(plain.get_weights(), jitted.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


CHILD = """
import sys
import keras
import numpy as np
import keras_sac
from tests.pruning.problem import BATCH, data
path = sys.argv[1]
model = keras.models.load_model(path + "/model.keras")
model.fit(*data(20), batch_size=BATCH, shuffle=False, verbose=0)
np.savez(path + "/child.npz", *model.get_weights(), l1=len(model.losses))
"""


@pytest.mark.parametrize("other", READERS)
def test_training_goes_on_on_another_backend(tmp_path, other):
    built = model()
    add_kernel_l1(built, 0.05, targets="second")
    inner = ProximalL1(SGD(0.1), 0.1, targets=built.layers[0], group="filters")
    optimizer = PruningOptimizer(inner, ConstantSparsity(0.5, begin_step=5, end_step=5))
    fitted(optimizer, built=built, steps=20)
    built.save(tmp_path / "model.keras")
    python("-c", CHILD, str(tmp_path), KERAS_BACKEND=other)
    built.fit(*data(20), batch_size=BATCH, shuffle=False, verbose=0)
    with np.load(tmp_path / "child.npz") as loaded:
        found = [loaded[f"arr_{i}"] for i in range(4)]
        assert loaded["l1"] == 1
    for mine, theirs in zip(built.get_weights(), found, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    for mine, theirs in zip(built.get_weights()[::2], found[::2], strict=True):
        np.testing.assert_array_equal(mine == 0, theirs == 0)


def test_it_survives_the_unfreezing_of_a_basis(rng):
    x = rng.normal(size=(256, 16)).astype("float32")
    built = keras.Sequential([keras.Input((16,)), SACDense(12, bases.pca(x, rank=8))])
    optimizer = ProximalL1(SGD(0.05, momentum=0.5), 0.2, targets=lambda v: "learner" in v.path)
    built.compile(optimizer, "mse")
    y = x[:, :12] * np.arange(12)
    unfreeze = BasisFinetuning(start_epoch=1)
    built.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=[unfreeze])
    learner, basis = map(
        keras.ops.convert_to_numpy, (built.layers[0].learner, built.layers[0].basis)
    )
    assert 0 < np.count_nonzero(learner) < learner.size
    assert basis.all()
    assert built.optimizer.report().set_index("path")["thresholded"].sum() == 1


def test_swapped_averages_are_sparse():
    seen = []
    built = model()
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: seen.append(zeros(built)))
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    optimizer = ProximalL1(keras.optimizers.Adam(0.01, use_ema=True), 0.5)
    fitted(optimizer, built=built, epochs=2, callbacks=[swap, watch])
    assert min(seen[0]) > 0.1
    assert zeros(built) == seen[1]
    assert min(seen[1]) > 0.1


def test_both_penalties_at_once():
    built = model()
    add_kernel_l1(built, 0.05)
    fitted(ProximalL1(SGD(0.1), 0.05), built=built)
    alone = fitted(ProximalL1(SGD(0.1), 0.05))
    # The penalty of the loss pushes more weights below the threshold.
    assert np.all(np.array(zeros(built)) > np.array(zeros(alone)))
