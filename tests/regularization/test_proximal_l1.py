"""`ProximalL1` against SGD and proximal steps in NumPy, and in every training setting."""

import keras
import numpy as np
import pytest

from keras_sac import ConstantSparsity, PruningOptimizer
from keras_sac.regularization import ProximalL1
from tests.pruning.problem import data, fitted, model, zeros
from tests.regularization.reference import apply, assert_same, group_soft, soft, trained

SGD = keras.optimizers.SGD
Adam = keras.optimizers.Adam
LossScale = keras.optimizers.LossScaleOptimizer
GROUPS = {None: soft, "filters": group_soft}


def prox(strength, group=None):
    return lambda v, lr: GROUPS[group](v, lr * strength)


each_group = pytest.mark.parametrize(("group", "strength"), [(None, 0.1), ("filters", 0.06)])


@each_group
@pytest.mark.parametrize("steps", [1, 17, 40])
def test_fit_is_sgd_with_proximal_steps(group, strength, steps):
    built = fitted(ProximalL1(SGD(0.1), strength, group=group), steps=steps)
    assert_same(built, trained(steps, lambda batch: 0.1, prox(strength, group)))
    if steps == 40:
        assert 0.1 < zeros(built)[0] < 0.9


def test_filters_go_as_a_whole():
    built = fitted(ProximalL1(SGD(0.1), 0.06, group="filters"))
    kernel = built.get_weights()[0]
    used = np.count_nonzero(kernel, axis=0)
    assert set(used.tolist()) == {0, 20}


def test_the_gradient_of_the_same_penalty_gives_no_zeros():
    regularized = model(kernel_regularizer=keras.regularizers.L1(0.1))
    assert zeros(fitted(SGD(0.1), built=regularized)) == [0.0, 0.0]
    assert min(zeros(fitted(ProximalL1(SGD(0.1), 0.1)))) > 0.1


@each_group
def test_a_schedule_counts_as_it_does_in_the_update(group, strength):
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([4, 9], [0.0, 0.2, 0.05])
    built = fitted(ProximalL1(SGD(rates), strength, group=group), steps=30)
    values = [0.0] * 5 + [0.2] * 5 + [0.05] * 20
    assert_same(built, trained(30, lambda batch: values[batch], prox(strength, group)))


def test_a_rate_that_is_set_during_training_counts():
    rates = [0.1, 0.02, 0.2]
    optimizer = ProximalL1(SGD(0.5), 0.1)
    watch = keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch])
    built = fitted(optimizer, steps=10, epochs=3, callbacks=[watch])
    expected = fitted(ProximalL1(SGD(0.1), 0.1), steps=10)
    for rate in rates[1:]:
        expected.optimizer.learning_rate = rate
        expected.fit(*data(10), batch_size=8, shuffle=False, verbose=0)
    assert_same(built, expected.get_weights())
    assert float(optimizer.inner_optimizer.learning_rate) == pytest.approx(0.2)


def test_a_rate_that_is_a_function():
    built = fitted(ProximalL1(SGD(lambda: 0.1), 0.1))
    assert_same(built, trained(40, lambda batch: 0.1, prox(0.1)))


@each_group
def test_batches_that_only_accumulate_change_nothing(group, strength):
    def optimizer():
        return ProximalL1(SGD(0.1, gradient_accumulation_steps=4), strength, group=group)

    built = fitted(optimizer())
    assert_same(built, trained(40, lambda batch: 0.1, prox(strength, group), every=4))
    untouched = fitted(optimizer(), steps=3)
    assert_same(untouched, model().get_weights(), atol=0)


def test_momentum_and_weight_decay_are_those_of_the_inner_optimizer():
    inner = SGD(0.05, momentum=0.8, weight_decay=0.5)
    expected = trained(40, lambda batch: 0.05, prox(0.1), decay=0.5, momentum=0.8)
    assert_same(fitted(ProximalL1(inner, 0.1)), expected)


@pytest.mark.parametrize("clip", [{"clipnorm": 0.1}, {"global_clipnorm": 0.1}, {"clipvalue": 0.01}])
def test_clipping_is_of_the_gradient_alone(clip):
    built = fitted(ProximalL1(SGD(0.1, **clip), 1.0))
    # The threshold is not clipped: 40 steps of 0.1.
    assert zeros(built) == [1.0, 1.0]


def test_no_strength_is_the_inner_optimizer():
    assert_same(fitted(ProximalL1(SGD(0.1), 0)), fitted(SGD(0.1)).get_weights(), atol=0)


SETTINGS = {"eager": {"run_eagerly": True}}
if keras.backend.backend() != "torch":
    # `torch.compile` takes tens of seconds: in tests/integration, marked slow. And Keras has no
    # `steps_per_execution` on torch, and says so.
    SETTINGS |= {"jit": {"jit_compile": True}, "8 steps at a time": {"steps_per_execution": 8}}


@each_group
@pytest.mark.parametrize("setting", SETTINGS)
def test_all_ways_to_run_a_step_agree(group, strength, setting):
    built = fitted(ProximalL1(SGD(0.1), strength, group=group), **SETTINGS[setting])
    assert_same(built, trained(40, lambda batch: 0.1, prox(strength, group)))


@pytest.mark.parametrize("overwrite", [None, 7])
def test_what_is_zero_in_the_end_is_zero_in_the_moving_averages(overwrite):
    seen = []
    inner = Adam(0.01, use_ema=True, ema_overwrite_frequency=overwrite)
    built = model()
    optimizer = ProximalL1(inner, 0.5)
    # The last step of the epoch: `fit` then writes the averages into the model.
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append([w == 0 for w in current(built)])
    )
    fitted(optimizer, built=built, callbacks=[watch])
    for weights, gone in zip(built.get_weights()[::2], seen[-1][::2], strict=True):
        assert 0.1 < gone.mean() < 0.9
        np.testing.assert_array_equal(weights == 0, gone)


def current(built):
    if keras.backend.backend() == "jax":
        # `fit` carries the values outside the model on this backend.
        built.jax_state_sync()
    return built.get_weights()


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_mixed_precision(where):
    built = model(dtype="mixed_float16")
    optimizer = ProximalL1(Adam(0.01), 0.5)
    if where == "outside":
        optimizer = LossScale(optimizer)
    else:
        optimizer = ProximalL1(LossScale(Adam(0.01)), 0.5)
    plain = fitted(ProximalL1(Adam(0.01), 0.5))
    fitted(optimizer, built=built)
    assert zeros(built) == pytest.approx(zeros(plain), abs=0.1)
    assert min(zeros(plain)) > 0.1


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_a_step_that_overflowed_changes_nothing(where):
    variable = keras.Variable(np.linspace(-1, 1, 20).reshape(5, 4), name="kernel")
    before = keras.ops.convert_to_numpy(variable)
    inside = where == "inside"
    optimizer = ProximalL1(LossScale(SGD(0.1)) if inside else SGD(0.1), 5.0)
    optimizer = optimizer if inside else LossScale(optimizer)
    optimizer.build([variable])
    apply(optimizer, [variable], [np.full((5, 4), np.inf)])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), before)
    apply(optimizer, [variable], [np.zeros((5, 4))])
    after = keras.ops.convert_to_numpy(variable)
    np.testing.assert_allclose(after, soft(before, 0.5), atol=1e-6)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_threshold_below_the_precision_of_the_weights(dtype, group):
    # 6e-8 is the least float16; the sum of squares of the second filter exceeds its range.
    start = np.array([[6e-8, 300.0], [-6e-8, 300.0]], "float32")
    variable = keras.Variable(start, dtype=dtype, name="kernel")
    optimizer = ProximalL1(SGD(1e-6), 0.2, group=group)
    optimizer.build([variable])
    apply(optimizer, [variable], [np.zeros((2, 2))])
    after = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
    assert after[:, 0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(after[:, 1], 300.0, rtol=5e-3)


def test_what_is_not_updated_is_left_alone():
    variables = [keras.Variable(np.ones((3, 2)), name="kernel") for _ in range(3)]
    optimizer = ProximalL1(SGD(0.1), 1.0)
    optimizer.build(variables)
    gradient = keras.ops.zeros((3, 2))
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([gradient, None, gradient], variables)
    if keras.backend.backend() != "jax":
        optimizer.apply([gradient], variables[:1])
    else:
        optimizer.apply([gradient, gradient], variables[::2])
    first, second, _ = (keras.ops.convert_to_numpy(v) for v in variables)
    np.testing.assert_allclose(first, 0.8, atol=1e-6)
    np.testing.assert_array_equal(second, 1.0)


PRUNED = {
    "pruning outside": lambda: PruningOptimizer(ProximalL1(SGD(0.1), 0.1), schedule()),
    "pruning inside": lambda: ProximalL1(PruningOptimizer(SGD(0.1), schedule()), 0.1),
}


def schedule():
    return ConstantSparsity(0.5, begin_step=1, end_step=1, frequency=1)


@pytest.mark.parametrize("order", PRUNED)
def test_pruned_and_thresholded(order):
    start = model().get_weights()
    masks = [np.abs(start[i]) > np.median(np.abs(start[i])) for i in (0, 2)]

    def step(v, lr):
        return soft(v, lr * 0.1) * masks[0 if v.shape == (20, 16) else 1]

    built = fitted(PRUNED[order]())
    for i, mask in zip((0, 2), masks, strict=True):
        assert not built.get_weights()[i][~mask].any()
        # The masks are made before the first batch.
        start[i] = start[i] * mask
    assert min(zeros(built)) > 0.55
    assert_same(built, trained(40, lambda batch: 0.1, step, start=start))


def test_one_inside_another_is_the_sparse_group_lasso():
    built = fitted(ProximalL1(ProximalL1(SGD(0.1), 0.03), 0.03, group="filters"))

    def step(v, lr):
        return group_soft(soft(v, lr * 0.03), lr * 0.03)

    assert_same(built, trained(40, lambda batch: 0.1, step))


def test_kernels_with_strengths_of_their_own():
    inner = ProximalL1(SGD(0.1), 0.05, targets="first")
    built = fitted(ProximalL1(inner, 0.2, targets="second"))

    def step(v, lr):
        return soft(v, lr * (0.05 if v.shape == (20, 16) else 0.2))

    assert_same(built, trained(40, lambda batch: 0.1, step))
