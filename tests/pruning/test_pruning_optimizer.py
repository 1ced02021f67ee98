"""`PruningOptimizer` against SGD and pruning in NumPy, and in every training setting."""

import keras
import numpy as np
import pytest

from keras_sac import ConstantSparsity, PolynomialDecay, PruningOptimizer
from keras_sac.pruning import NM, Block, Target
from tests.pruning.problem import BATCH, data, fitted, model, reference, zeros

SGD = keras.optimizers.SGD
Adam = keras.optimizers.Adam
LossScale = keras.optimizers.LossScaleOptimizer


def schedule(**kwargs):
    return PolynomialDecay(0.5, 0.8, begin_step=0, end_step=38, frequency=5, **kwargs)


def polynomial(step):
    if step > 38 or (step % 5 and step != 38):
        return None
    return 0.8 + (0.5 - 0.8) * (1 - step / 38) ** 3


@pytest.mark.parametrize("steps", [4, 17, 40])
def test_fit_is_sgd_with_masks(steps):
    built = fitted(PruningOptimizer(SGD(0.1), schedule()), steps=steps)
    weights, masks = reference(steps, 0.1, polynomial)
    for mine, theirs in zip(built.get_weights(), weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    for mine, theirs in zip(built.optimizer.masks.values(), masks, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert built.optimizer.pruning_step == steps


def test_a_schedule_that_begins_at_step_1_prunes_before_the_first_batch():
    built = model()
    optimizer = PruningOptimizer(SGD(0.1), ConstantSparsity(0.75, begin_step=1))
    optimizer.build(built.trainable_variables)
    assert zeros(built) == [0.75, 0.75]


def test_weight_decay_is_that_of_the_inner_optimizer():
    built = fitted(PruningOptimizer(SGD(0.1, weight_decay=0.05), schedule()))
    weights, _ = reference(40, 0.1, polynomial, decay=0.05)
    for mine, theirs in zip(built.get_weights(), weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_the_learning_rate_is_that_of_the_inner_optimizer():
    optimizer = PruningOptimizer(SGD(0.1), schedule())
    optimizer.learning_rate = 0.02
    built = fitted(optimizer)
    weights, _ = reference(40, 0.02, polynomial)
    np.testing.assert_allclose(built.get_weights()[0], weights[0], atol=1e-5)
    assert float(optimizer.inner_optimizer.learning_rate) == pytest.approx(0.02)


def test_a_learning_rate_schedule():
    rates = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = PruningOptimizer(SGD(rates), schedule())
    assert zeros(fitted(optimizer)) == pytest.approx([0.8, 0.8], abs=0.01)
    assert float(optimizer.learning_rate) == pytest.approx(0.1 * 0.5**4)


def test_accumulated_gradients_count_as_one_update():
    # Four batches make one update, so 40 batches are 10 steps of the schedule.
    rule = PolynomialDecay(0.5, 0.8, begin_step=2, end_step=9, frequency=3)
    built = fitted(PruningOptimizer(SGD(0.1, gradient_accumulation_steps=4), rule))
    assert built.optimizer.pruning_step == 10
    assert zeros(built) == pytest.approx([0.8, 0.8], abs=0.01)
    with pytest.warns(UserWarning, match="made no update"):
        early = fitted(PruningOptimizer(SGD(0.1, gradient_accumulation_steps=4), rule), steps=3)
    assert early.optimizer.pruning_step == 0
    assert zeros(early) == [0.0, 0.0]


@pytest.mark.parametrize("clip", [{"clipnorm": 0.1}, {"global_clipnorm": 0.1}, {"clipvalue": 0.01}])
def test_clipping(clip):
    built = fitted(PruningOptimizer(SGD(0.1, **clip), schedule()))
    free = fitted(PruningOptimizer(SGD(0.1), schedule()))
    assert zeros(built) == pytest.approx([0.8, 0.8], abs=0.01)
    assert np.abs(built.get_weights()[1] - free.get_weights()[1]).max() > 1e-3


@pytest.mark.parametrize("overwrite", [None, 7])
def test_moving_averages_are_sparse_too(overwrite):
    inner = Adam(0.01, use_ema=True, ema_overwrite_frequency=overwrite)
    built = fitted(PruningOptimizer(inner, schedule()))
    # The end of `fit` writes the averages into the model.
    assert zeros(built) == pytest.approx([0.8, 0.8], abs=0.01)
    masks = list(built.optimizer.masks.values())
    averages = [v for v in inner.variables if v.name.endswith("kernel_average")]
    assert len(averages) == 2
    for average, mask in zip(averages, masks, strict=True):
        assert not keras.ops.convert_to_numpy(average)[~mask].any()


def test_swapped_averages_are_sparse():
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: seen.append(zeros(built)))
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    built = model()
    fitted(PruningOptimizer(Adam(use_ema=True), schedule()), built=built, callbacks=[swap, watch])
    assert seen[-1] == pytest.approx([0.8, 0.8], abs=0.01)


SETTINGS = {"eager": {"run_eagerly": True}, "steps per execution": {"steps_per_execution": 8}}
if keras.backend.backend() != "torch":
    # `torch.compile` takes tens of seconds: in tests/integration, marked slow.
    SETTINGS["jit"] = {"jit_compile": True}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("criterion", ["magnitude", "obd"])
def test_all_ways_to_run_a_step_agree(setting, criterion):
    arguments = dict(SETTINGS[setting])
    if keras.backend.backend() == "torch" and setting == "steps per execution":
        # Keras has none on torch, and says so.
        with pytest.raises(ValueError, match="steps_per_execution"):
            fitted(PruningOptimizer("sgd", schedule()), **arguments)
        return
    plain = fitted(PruningOptimizer(SGD(0.1), schedule(), criterion=criterion))
    other = fitted(PruningOptimizer(SGD(0.1), schedule(), criterion=criterion), **arguments)
    for a, b in zip(plain.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("where", ["outside", "inside", "added by compile"])
@pytest.mark.parametrize("criterion", ["magnitude", "gradient"])
def test_mixed_precision(where, criterion):
    built = model(dtype="mixed_float16")
    optimizer = PruningOptimizer(Adam(), schedule(), criterion=criterion)
    if where == "outside":
        optimizer = LossScale(optimizer)
    elif where == "inside":
        optimizer = PruningOptimizer(LossScale(Adam()), schedule(), criterion=criterion)
    else:
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            built = model()
        finally:
            keras.config.set_dtype_policy(policy)
    fitted(optimizer, built=built)
    assert isinstance(built.optimizer, LossScale) == (where != "inside")
    assert zeros(built) == pytest.approx([0.8, 0.8], abs=0.01)


def test_a_step_that_overflowed_is_no_step():
    built = model(dtype="mixed_float16")
    pruning = PruningOptimizer(SGD(0.1), schedule(), criterion="gradient")
    # So large a scale that the first gradients are infinite.
    fitted(LossScale(pruning, initial_scale=2.0**40), built=built)
    assert 0 < pruning.pruning_step < 40
    assert np.isfinite(built.get_weights()[0]).all()
    assert all(np.isfinite(keras.ops.convert_to_numpy(v)).all() for v in pruning.variables)


def test_two_loss_scales_are_refused():
    with pytest.raises(ValueError, match="auto_scale_loss=False"):
        LossScale(PruningOptimizer(LossScale(Adam()), schedule()))


def test_a_custom_loop():
    built, (x, y) = model(), data()
    optimizer = PruningOptimizer(SGD(0.1), schedule())
    optimizer.build(built.trainable_variables)
    backend = keras.backend.backend()
    for step in range(40):
        a, b = x[step * BATCH : (step + 1) * BATCH], y[step * BATCH : (step + 1) * BATCH]
        if backend == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.ops.square(built(a) - b))
            gradients = tape.gradient(loss, built.trainable_variables)
            optimizer.apply_gradients(zip(gradients, built.trainable_variables, strict=True))
        elif backend == "torch":
            import torch

            built.zero_grad()
            keras.ops.mean(keras.ops.square(built(a) - keras.ops.cast(b, "float32"))).backward()
            with torch.no_grad():
                gradients = [v.value.grad for v in built.trainable_variables]
                optimizer.apply(gradients, built.trainable_variables)
        else:
            import jax

            def loss_of(values, a=a, b=b):
                out, _ = built.stateless_call(values, [], a)
                return keras.ops.mean(keras.ops.square(out - b))

            values = [v.value for v in built.trainable_variables]
            state = [v.value for v in optimizer.variables]
            gradients = jax.grad(loss_of)(values)
            values, state = optimizer.stateless_apply(state, gradients, values)
            for variable, value in zip(
                [*built.trainable_variables, *optimizer.variables], [*values, *state], strict=True
            ):
                variable.assign(value)
    weights, masks = reference(40, 0.1, polynomial)
    np.testing.assert_allclose(built.get_weights()[0], weights[0], atol=1e-5)
    np.testing.assert_array_equal(next(iter(optimizer.masks.values())), masks[0])


def test_schedule_none_keeps_the_zeros_there_are():
    built = model()
    weights = built.get_weights()
    weights[0][np.abs(weights[0]) < 0.2] = 0.0
    weights[2][:, 1] = 0.0
    built.set_weights(weights)
    fitted(PruningOptimizer(Adam(0.01), schedule=None), built=built)
    for before, after in zip(weights[::2], built.get_weights()[::2], strict=True):
        np.testing.assert_array_equal(before == 0, after == 0)


def test_targets_with_schedules_and_patterns_of_their_own():
    built = model()
    targets = [
        Target(built.layers[0], ConstantSparsity(0.9, begin_step=1), Block((4, 4))),
        Target("second", pattern=NM(m=4, n_zeros=1)),
    ]
    fitted(PruningOptimizer(SGD(0.1), schedule(), targets=targets), built=built)
    assert zeros(built) == pytest.approx([0.9, 0.25], abs=0.01)


def test_the_report_says_what_is_pruned_and_why_not():
    built = fitted(PruningOptimizer(SGD(0.1), schedule(), targets="first"))
    table = built.optimizer.report().set_index("path")
    assert table["pruned"].tolist() == [True, False, False, False]
    assert "bias" in table["reason"].iloc[1]
    assert table["reason"].iloc[2] == "not among the targets"
    assert table["sparsity"].iloc[0] == pytest.approx(0.8)
    # A byte a weight is a quarter of float32.
    assert table["mask_bytes"].tolist() == [320, 0, 0, 0]
    assert "PolynomialDecay" in table["schedule"].iloc[0]
