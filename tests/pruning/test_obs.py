"""Optimal brain surgeon, against the optimum of the quadratic model, found by linear algebra."""

import itertools

import keras
import numpy as np
import pytest

from keras_sac.pruning import OBS, PolynomialDecay, PruningOptimizer, Unstructured
from keras_sac.pruning._distribution import masks_for
from tests.pruning.reference import kernel, numpy, quadratic_optimum, tensor


def random_hessians(rng, blocks, block):
    factors = rng.normal(size=(blocks, block, 2 * block))
    return factors @ factors.transpose(0, 2, 1) / (2 * block)


def damped(fisher, damping):
    diagonals = np.diagonal(fisher, axis1=1, axis2=2)
    levels = damping * (diagonals + diagonals.mean(1, keepdims=True))
    return fisher + levels[:, :, None] * np.eye(fisher.shape[-1])


def lines(array, block):
    """The weights as the blocks see them: those into the same output next to each other."""
    flat = np.moveaxis(array, -1, 0).ravel()
    return np.pad(flat, (0, -len(flat) % block)).reshape(-1, block)


def unlined(rows, shape):
    flat = rows.ravel()[: int(np.prod(shape))]
    return np.moveaxis(flat.reshape(shape[-1], *shape[:-1]), 0, -1)


CASES = [((4, 3), 4), ((4, 3), 64), ((5, 3), 4), ((3, 2, 2, 3), 6), ((7,), 3)]


@pytest.mark.parametrize(("shape", "block_size"), CASES)
def test_the_correction_is_the_optimum_of_the_quadratic_model(rng, shape, block_size):
    criterion = OBS(block_size, damping=1e-2)
    blocks, block, _ = criterion.slot_shape("fisher", shape)
    fisher = random_hessians(rng, blocks, block)
    weight, keep = rng.normal(size=shape), rng.random(shape) < 0.5
    got = criterion.correct(
        tensor(weight, "float32"), tensor(keep), {"fisher": tensor(fisher, "float32")}
    )
    rows = [
        quadratic_optimum(*arguments)
        for arguments in zip(
            damped(fisher, 1e-2), lines(weight, block), lines(keep, block), strict=True
        )
    ]
    np.testing.assert_allclose(numpy(got), unlined(np.array(rows), shape), atol=2e-5)
    assert not numpy(got)[~keep].any()


@pytest.mark.parametrize(("shape", "block_size"), CASES)
def test_the_score_is_the_rise_when_one_weight_goes(rng, shape, block_size):
    criterion = OBS(block_size, damping=1e-2)
    blocks, block, _ = criterion.slot_shape("fisher", shape)
    fisher = random_hessians(rng, blocks, block)
    weight = rng.normal(size=shape)
    rises = np.zeros((blocks, block))
    for i, q in itertools.product(range(blocks), range(block)):
        hessian, row = damped(fisher, 1e-2)[i], lines(weight, block)[i]
        moved = quadratic_optimum(hessian, row, np.arange(block) != q) - row
        rises[i, q] = moved @ hessian @ moved / 2
    got = criterion.scores(tensor(weight, "float32"), {"fisher": tensor(fisher, "float32")})
    np.testing.assert_allclose(numpy(got), unlined(rises, shape), rtol=1e-4, atol=1e-7)


def test_no_other_single_removal_costs_less(rng):
    hessian = random_hessians(rng, 1, 6)
    weight = rng.normal(size=(6, 1))
    criterion = OBS(damping=1e-6)
    state = {"fisher": tensor(hessian, "float32")}
    costs = []
    for q in range(6):
        keep = np.arange(6)[:, None] != q
        moved = numpy(criterion.correct(tensor(weight, "float32"), tensor(keep), state)) - weight
        costs.append((moved.T @ hessian[0] @ moved).item() / 2)
    assert np.argmin(costs) == np.argmin(numpy(criterion.scores(tensor(weight, "float32"), state)))


def test_the_outputs_of_a_linear_layer_are_mended(rng):
    # The loss |X w - y|^2 / 2 has the Hessian X^T X: after removal the rest is the regression.
    x = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5))
    w = rng.normal(size=(5, 1))
    keep = np.array([True, False, True, True, False])[:, None]
    fisher = (x.T @ x / len(x))[None]
    got = OBS(damping=1e-7).correct(
        tensor(w, "float32"), tensor(keep), {"fisher": tensor(fisher, "float32")}
    )
    solution = np.linalg.lstsq(x[:, keep[:, 0]], x @ w, rcond=None)[0]
    np.testing.assert_allclose(numpy(got)[keep], solution[:, 0], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_fisher_matrix_averages_outer_products_of_each_block(rng, momentum):
    criterion = OBS(block_size=4, momentum=momentum)
    shape = (3, 2, 3)
    gradients = rng.normal(size=(5, *shape))
    state = {"fisher": keras.ops.zeros(criterion.slot_shape("fisher", shape))}
    expected = np.zeros((5, 4, 4))
    for gradient in gradients:
        state = criterion.observe(keras.ops.ones(shape), tensor(gradient, "float32"), state)
        for i, row in enumerate(lines(gradient, 4)):
            expected[i] = momentum * expected[i] + (1 - momentum) * np.outer(row, row)
    np.testing.assert_allclose(numpy(state["fisher"]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "block_size", "expected"),
    [((8, 4), 8, (4, 8, 8)), ((8, 4), 7, (5, 7, 7)), ((3, 3), 64, (1, 9, 9)), ((2,), 1, (2, 1, 1))],
)
def test_the_shape_of_what_is_remembered(shape, block_size, expected):
    assert OBS(block_size).slot_shape("fisher", shape) == expected


def test_without_correlation_it_is_optimal_brain_damage(rng):
    weight, diagonal = rng.normal(size=(6, 1)), rng.uniform(0.5, 2, size=6)
    criterion = OBS(damping=1e-9)
    state = {"fisher": tensor(np.diag(diagonal)[None], "float32")}
    scores = numpy(criterion.scores(tensor(weight, "float32"), state))
    np.testing.assert_allclose(scores[:, 0], diagonal * weight[:, 0] ** 2 / 2, rtol=1e-5)
    keep = np.arange(6)[:, None] % 2 == 0
    moved = numpy(criterion.correct(tensor(weight, "float32"), tensor(keep), state))
    np.testing.assert_allclose(moved, weight * keep, atol=1e-6)


def test_before_any_gradient_it_is_the_order_of_magnitudes(rng):
    weight = tensor(rng.normal(size=(4, 2)), "float32")
    state = {"fisher": keras.ops.zeros((1, 8, 8))}
    order = np.argsort(numpy(OBS().scores(weight, state)), axis=None)
    np.testing.assert_array_equal(order, np.argsort(np.abs(numpy(weight)), axis=None))
    keep = rng.random((4, 2)) < 0.5
    np.testing.assert_array_equal(
        numpy(OBS().correct(weight, tensor(keep), state)), numpy(weight) * keep
    )


def test_weights_that_never_had_a_gradient_go_first():
    # The second output is dead: without its weights the loss is the same.
    criterion = OBS(block_size=3, momentum=0.0)
    weight = tensor([[0.1, 5.0], [0.2, 6.0], [0.3, 7.0]], "float32")
    gradient = tensor([[1e-3, 0.0], [-2e-3, 0.0], [5e-4, 0.0]], "float32")
    state = criterion.observe(weight, gradient, {"fisher": keras.ops.zeros((2, 3, 3))})
    scores = numpy(criterion.scores(weight, state))
    assert scores[:, 1].max() < scores[:, 0].min()


@pytest.mark.parametrize("scale", [1e-45, 1e-42, 1e-39, 1e-36, 1e-30, 1.0, 1e30, 1e36])
def test_a_fisher_matrix_of_any_scale_gives_finite_numbers(scale):
    # The average of a unit that died falls by a factor at each step, down to the least number.
    fisher = np.array([[[1.0, 0.5], [0.5, 1.0]]]) * scale
    state = {"fisher": tensor(fisher.astype("float32"))}
    weight = tensor([[1.0], [2.0]])
    assert np.isfinite(numpy(OBS().scores(weight, state))).all()
    moved = numpy(OBS().correct(weight, tensor([[True], [False]]), state))
    assert np.isfinite(moved).all()
    if 1e-30 <= scale <= 1e30:
        np.testing.assert_allclose(moved, [[1 + 2 * 0.5 / 1.02], [0.0]], rtol=1e-5)


def test_a_weight_that_is_nan_spoils_no_other():
    criterion = OBS(block_size=4)
    weight = tensor([[np.nan], [1.0], [2.0], [3.0]])
    state = {"fisher": tensor(np.eye(4)[None] + 0.1, "float32")}
    scores = criterion.scores(weight, state)
    (keep,) = masks_for(
        [scores], [kernel((4, 1))], [Unstructured()], tensor(0.5, "float32"), "uniform"
    )
    np.testing.assert_array_equal(numpy(keep)[:, 0], [False, False, True, True])
    assert np.isfinite(numpy(criterion.correct(weight, keep, state))[2:]).all()


def trained_on(x, y):
    rng = np.random.default_rng(100)
    built = keras.Sequential(
        [keras.Input((20,)), keras.layers.Dense(40, activation="relu"), keras.layers.Dense(6)]
    )
    built.set_weights([rng.normal(0, 0.3, w.shape) for w in built.get_weights()])
    schedule = PolynomialDecay(0.5, 0.8, begin_step=0, end_step=38, frequency=5)
    optimizer = PruningOptimizer(keras.optimizers.SGD(0.05), schedule, criterion="obs")
    built.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    built.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    return list(optimizer.masks.values()), built.get_weights()


def test_a_rounding_error_in_the_data_changes_no_mask():
    # With the damping and float32 of before: 36 of 1,040 entries, and weights by 1.2.
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(640, 20)).astype("float32"), rng.integers(0, 4, 640)
    masks, weights = trained_on(x, y)
    for change in (1e-7, 2e-7):
        near = (x.astype("float64") * (1 + change)).astype("float32")
        assert np.any(near != x)
        other_masks, other_weights = trained_on(near, y)
        for mine, theirs in zip(masks, other_masks, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for mine, theirs in zip(weights, other_weights, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=2e-4)


def test_a_kernel_that_is_too_large_is_refused_with_the_mend():
    with pytest.raises(ValueError, match=r"2,097,152 floats.*max_floats=2,000,000.*block_size"):
        OBS(block_size=64, max_floats=2_000_000).slot_shape("fisher", (256, 128))
    assert OBS(block_size=60, max_floats=2_000_000).slot_shape("fisher", (256, 128))


@pytest.mark.parametrize("block_size", [0, -1, 1.5, True])
def test_a_block_size_below_1_is_refused(block_size):
    with pytest.raises(ValueError, match="block_size"):
        OBS(block_size=block_size)


@pytest.mark.parametrize("damping", [0.0, -1.0, float("nan")])
def test_a_damping_that_is_not_positive_is_refused(damping):
    with pytest.raises(ValueError, match="damping"):
        OBS(damping=damping)
