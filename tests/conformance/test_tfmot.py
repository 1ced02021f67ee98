"""The same masks and the same weights as tfmot, from equal weights on equal batches.

tfmot refreshes its masks at the start of the forward pass of step t, ours right after update t - 1.
So after t updates ours are compared with tfmot's of step t + 1.
"""

import keras
import numpy as np
import pytest

from keras_sac import pruning
from tests.conformance.cases import BATCH_SIZE, CASES
from tests.conformance.rule import emulate

# The first `fit` is of one step, before most schedules begin.
pytestmark = pytest.mark.filterwarnings("ignore:The `PruningOptimizer` pruned nothing")


def make(case, arrays):
    model = keras.Sequential([keras.Input(case.input_shape)])
    for kind, config in case.layers:
        model.add(getattr(keras.layers, kind)(**config))
    for layer in weighted(model):
        layer.set_weights([arrays[f"{layer.name}/{i}"] for i in range(len(layer.weights))])
    kind, config = case.our_schedule or case.schedule
    schedule = getattr(pruning, kind)(**config, **case.ours)
    pattern = None
    if case.block:
        size, pooling = case.block
        pattern = pruning.Block(size, pooling=pooling)
    if case.n_m:
        n_zeros, m = case.n_m
        pattern = pruning.NM(m=m, n_zeros=n_zeros)
    kind, config = case.optimizer
    model.compile(
        pruning.PruningOptimizer(
            getattr(keras.optimizers, kind)(**config), schedule, pattern=pattern
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def weighted(model):
    return [layer for layer in model.layers if layer.weights]


def fit(model, arrays, start, stop):
    batches = slice(start * BATCH_SIZE, stop * BATCH_SIZE)
    model.fit(
        arrays["x"][batches],
        arrays["y"][batches],
        batch_size=BATCH_SIZE,
        shuffle=False,
        verbose=0,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_masks_and_weights_are_those_of_tfmot(case, reference):
    arrays, theirs = case.data(), reference[case.name]
    model = make(case, arrays)
    done = 0
    # JAX shows weights only between two calls of `fit`.
    for step in (1, case.steps // 3, 2 * case.steps // 3, case.steps):
        fit(model, arrays, done, step)
        done = step
        for layer in weighted(model):
            mask = theirs[f"mask/{layer.name}"][step + 1]
            where = f"{layer.name} after {step} updates"
            np.testing.assert_array_equal(
                model.optimizer.masks[layer.kernel.path], mask, err_msg=f"mask of {where}"
            )
            kernel, bias = layer.get_weights()
            expected = theirs[f"raw/{layer.name}/0"][step] * mask
            np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-6, err_msg=where)
            assert not kernel[~mask].any(), f"{where} has weights where its mask is 0"
            expected = theirs[f"raw/{layer.name}/1"][step]
            np.testing.assert_allclose(bias, expected, rtol=0, atol=1e-6, err_msg=where)


def test_tfmot_itself_follows_the_rule(reference):
    came_back = 0
    for case in CASES:
        theirs = reference[case.name]
        for name in (key.removeprefix("mask/") for key in theirs if key.startswith("mask/")):
            masks = theirs[f"mask/{name}"]
            expected, gap = emulate(case, theirs[f"raw/{name}/0"])
            np.testing.assert_array_equal(masks, expected, err_msg=f"{case.name}, {name}")
            # Else another order of summation could choose another weight: take another seed.
            assert gap > 1e-5, f"{case.name}, {name}: a near-tie"
            # At the end of an epoch its callback masks the weights.
            np.testing.assert_array_equal(
                theirs[f"final/{name}/0"], theirs[f"raw/{name}/0"][-1] * masks[-2]
            )
            back = (masks[2:] & ~masks[1:-1]).sum()
            came_back += back > 0
    assert came_back >= 8, "hardly any pruned weight comes back: the cases would not show it"
