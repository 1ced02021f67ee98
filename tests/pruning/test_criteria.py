"""Criteria: scores against their formulas, averages against explicit sums."""

import keras
import numpy as np
import pytest

from keras_sac.pruning import (
    OBD,
    OBS,
    ConstantSparsity,
    Criterion,
    GradientSaliency,
    Magnitude,
    PruningOptimizer,
    Random,
    Unstructured,
)
from keras_sac.pruning._distribution import masks_for
from keras_sac.pruning._identifiers import get_criterion
from tests.pruning.reference import FLOATS, kept, kernel, numpy, tensor


def averaged(values, momentum):
    average = np.zeros_like(values[0])
    for value in values:
        average = momentum * average + (1 - momentum) * value
    return average


def observed(criterion, slot, weights, gradients):
    state = {slot: keras.ops.zeros(weights[0].shape)}
    for weight, gradient in zip(weights, gradients, strict=True):
        state = criterion.observe(tensor(weight, "float32"), tensor(gradient, "float32"), state)
    return state


@pytest.fixture
def steps(rng):
    return rng.normal(size=(2, 9, 5, 4))


def test_magnitude_is_the_absolute_value(rng):
    w = rng.normal(size=(3, 3, 2, 4)).astype("float32")
    np.testing.assert_array_equal(numpy(Magnitude().scores(tensor(w), {})), np.abs(w))


@pytest.mark.parametrize("dtype", FLOATS)
def test_magnitude_does_not_round(rng, dtype):
    w = tensor(rng.normal(size=(6, 5)), dtype)
    np.testing.assert_array_equal(numpy(Magnitude().scores(w, {})), np.abs(numpy(w)))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_gradient_saliency_averages_w_times_g(steps, momentum):
    weights, gradients = steps
    criterion = GradientSaliency(momentum)
    state = observed(criterion, "saliency", weights, gradients)
    expected = averaged(np.abs(weights * gradients), momentum)
    got = numpy(criterion.scores(tensor(weights[0], "float32"), state))
    np.testing.assert_allclose(got, expected, rtol=2e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_obd_is_half_the_fisher_times_the_square(steps, momentum):
    weights, gradients = steps
    criterion = OBD(momentum)
    state = observed(criterion, "fisher", weights, gradients)
    expected = averaged(gradients**2, momentum) * weights[3] ** 2 / 2
    got = numpy(criterion.scores(tensor(weights[3], "float32"), state))
    np.testing.assert_allclose(got, expected, rtol=2e-6)


def test_obd_is_the_rise_of_a_separable_quadratic_loss(rng):
    # E[g^2] = h of a loss sum_i h_i (w_i - x_i)^2 / 2 where h_i var(x_i) = 1.
    h = rng.uniform(0.5, 4, size=6)
    w = rng.normal(size=6)
    gradients = h * rng.normal(size=(4000, 6)) / np.sqrt(h)
    criterion = OBD(momentum=0.999)
    state = observed(criterion, "fisher", np.broadcast_to(w, gradients.shape), gradients)
    correction = 1 - 0.999 ** len(gradients)
    got = numpy(criterion.scores(tensor(w, "float32"), state)) / correction
    np.testing.assert_allclose(got, h * w**2 / 2, rtol=0.2)


def test_the_random_order_is_uniform_and_fixed_by_seed_and_place():
    order = Random(seed=3).initial_slot("order", (100, 50), 4)
    assert order.dtype == np.float32
    np.testing.assert_array_equal(order, Random(seed=3).initial_slot("order", (100, 50), 4))
    counts, _ = np.histogram(order, bins=10, range=(0, 1))
    assert counts.sum() == 5000
    assert abs(counts - 500).max() < 100
    for other in (
        Random(seed=4).initial_slot("order", (100, 50), 4),
        Random(seed=3).initial_slot("order", (100, 50), 5),
    ):
        assert abs(np.corrcoef(order.ravel(), other.ravel())[0, 1]) < 0.05


def test_the_random_order_is_the_score_whatever_the_weight(rng):
    order = tensor(rng.random((4, 3)), "float32")
    for scale in (1.0, 1e6):
        w = tensor(scale * rng.normal(size=(4, 3)), "float32")
        scores = Random(0).scores(w, {"order": order})
        np.testing.assert_array_equal(numpy(scores), numpy(order))


@pytest.mark.parametrize("kind", [GradientSaliency, OBD])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_gradients_of_half_precision_are_not_lost(rng, kind, dtype):
    # 1e-4 squared is below what float16 can hold; what is remembered is float32.
    variable = keras.Variable(1e-3 * rng.normal(size=(6, 5)), dtype=dtype, name="kernel")
    gradient = tensor(2e-4 * rng.normal(size=(6, 5)), dtype)
    w, g = numpy(variable).astype("float64"), numpy(gradient).astype("float64")
    scores = g**2 * w**2 / 2 if kind is OBD else np.abs(w * g)
    optimizer = PruningOptimizer(
        keras.optimizers.SGD(0.0), ConstantSparsity(0.5, 2, frequency=1), criterion=kind(0.0)
    )
    optimizer.build([variable])
    optimizer.apply([gradient], [variable])
    np.testing.assert_array_equal(next(iter(optimizer.masks.values())), kept(scores, 15))


@pytest.mark.parametrize("kind", [GradientSaliency, OBD])
def test_inputs_that_are_never_seen_do_not_stop_the_pruning(rng, kind):
    # 12 of 20 inputs are always zero, as pixels at the border or words that do not occur: their
    # weights have no gradient and tie, and what ties with the k-th largest score stays.
    criterion = kind(momentum=0.0)
    weight, gradient = rng.normal(size=(2, 20, 10))
    gradient[:12] = 0.0
    (slot,) = criterion.slots
    state = observed(criterion, slot, [weight], [gradient])
    scores = criterion.ranking(tensor(weight, "float32"), state)
    (mask,) = masks_for(
        [scores], [kernel((20, 10))], [Unstructured()], tensor(0.5, "float32"), "uniform"
    )
    assert numpy(mask).sum() == 100
    assert numpy(mask)[12:].all()


def test_a_criterion_of_ones_own_is_five_lines(rng):
    class SmallFirst(Criterion):
        def scores(self, weight, state):
            return 1.0 / (1.0 + keras.ops.abs(weight))

    criterion = SmallFirst()
    assert not criterion.needs_gradients
    assert not criterion.corrects
    assert criterion.initial_slot("any", (2,), 0) is None
    w = tensor(rng.normal(size=(3, 2)), "float32")
    np.testing.assert_allclose(numpy(criterion.scores(w, {})), 1 / (1 + np.abs(numpy(w))))


def test_the_base_class_asks_for_scores():
    with pytest.raises(NotImplementedError, match="Criterion must implement `scores`"):
        Criterion().scores(tensor([1.0]), {})


def test_only_those_that_learn_ask_for_gradients():
    needs = {kind().needs_gradients: [] for kind in (Magnitude, OBD)}
    for kind in (Magnitude, Random, GradientSaliency, OBD, OBS):
        needs[kind().needs_gradients].append(kind)
    assert needs == {False: [Magnitude, Random], True: [GradientSaliency, OBD, OBS]}


@pytest.mark.parametrize("kind", [GradientSaliency, OBD, OBS])
@pytest.mark.parametrize("momentum", [-0.1, 1.0, 2, float("nan"), True])
def test_a_momentum_outside_0_1_is_refused(kind, momentum):
    with pytest.raises(ValueError, match="momentum"):
        kind(momentum=momentum)


def test_a_seed_that_was_drawn_is_kept():
    keras.utils.set_random_seed(5)
    first, second = Random(), get_criterion("random")
    assert first.seed != second.seed
    assert Random.from_config(first.get_config()).seed == first.seed
    keras.utils.set_random_seed(5)
    assert (Random().seed, get_criterion("random").seed) == (first.seed, second.seed)


@pytest.mark.parametrize("name", ["magnitude", "gradient", "obd", "obs"])
def test_only_the_random_criterion_draws_a_number(name):
    keras.utils.set_random_seed(5)
    expected = Random().seed
    keras.utils.set_random_seed(5)
    get_criterion(name)
    assert Random().seed == expected


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_an_invalid_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        Random(seed=seed)


@pytest.mark.parametrize("given", ["magnitudes", "Magnitude", None, 3, Magnitude])
def test_an_unknown_criterion_is_refused_with_those_that_exist(given):
    with pytest.raises(ValueError, match="'magnitude', 'gradient', 'obd', 'obs', 'random'"):
        get_criterion(given)


@pytest.mark.parametrize("criterion", ["gradient", "obd", "obs"])
@pytest.mark.parametrize(
    "jit", [False, True] if keras.backend.backend() == "tensorflow" else [None]
)
def test_the_gradient_of_an_embedding(criterion, jit, rng):
    # On TensorFlow it is an `IndexedSlices`, with rows that occur twice.
    x, y = rng.integers(0, 30, (64, 5)), rng.integers(0, 3, 64)
    built = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(40, 8),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3),
        ]
    )
    optimizer = PruningOptimizer(
        keras.optimizers.SGD(0.1),
        ConstantSparsity(0.8, begin_step=4, frequency=4),
        criterion=criterion,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile(optimizer, loss, **({} if jit is None else {"jit_compile": jit}))
    built.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    embeddings, kernel = (w for w in built.get_weights() if w.ndim == 2)
    assert np.mean(embeddings == 0) == pytest.approx(0.8, abs=0.01)
    assert np.mean(kernel == 0) == pytest.approx(0.8, abs=0.02)
    # The rows that no batch has used go first. OBS damps them like the others.
    assert criterion == "obs" or not embeddings[30:].any()
