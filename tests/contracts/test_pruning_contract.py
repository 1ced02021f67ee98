"""The contract of every schedule, criterion and pattern, tested for each row of the table."""

import inspect
import json

import keras
import numpy as np
import pytest

from keras_sac.pruning import ConstantSparsity, PruningOptimizer
from keras_sac.pruning._distribution import DISTRIBUTIONS, masks_for
from keras_sac.pruning._identifiers import CRITERIA as NAMED_CRITERIA
from keras_sac.pruning._identifiers import PATTERNS as NAMED_PATTERNS
from keras_sac.pruning._identifiers import get_criterion, get_pattern
from tests.contracts.pruning_table import CRITERIA, PATTERNS, SCHEDULES, label
from tests.pruning import reference
from tests.pruning.reference import INTEGERS, kernel, numpy, tensor

PARTS = [*SCHEDULES, *CRITERIA, *(pattern for pattern, _ in PATTERNS)]
SHAPES = [(6, 5), (2, 3, 4, 3)]

each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=label)
each_criterion = pytest.mark.parametrize("criterion", CRITERIA, ids=label)
each_pattern = pytest.mark.parametrize(("pattern", "shape"), PATTERNS, ids=label)


@pytest.mark.parametrize("part", PARTS, ids=label)
def test_what_is_saved_is_what_is_loaded(part):
    text = json.dumps(keras.saving.serialize_keras_object(part))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(part)
    assert again is not part
    assert again.get_config() == part.get_config()
    assert type(part).from_config(part.get_config()).get_config() == part.get_config()
    # JSON knows no tuples.
    plain = json.loads(json.dumps(part.get_config()))
    assert type(part).from_config(plain).get_config() == part.get_config()


@pytest.mark.parametrize("part", PARTS, ids=label)
def test_the_configuration_holds_all_arguments(part):
    assert set(part.get_config()) == set(inspect.signature(type(part)).parameters)


@each_schedule
@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_schedule_is_the_same_for_a_traced_step(schedule, dtype):
    eager = [schedule(step) for step in range(25)]
    assert any(bool(due) for due, _ in eager)
    for compiled in reference.compilers():
        function = compiled(lambda step: schedule(step))
        for step, (due, sparsity) in enumerate(eager):
            traced_due, traced = function(tensor(np.array(step), dtype))
            assert bool(traced_due) == bool(due), step
            np.testing.assert_allclose(float(traced), float(sparsity), rtol=3e-7, atol=3e-7)


@each_schedule
def test_a_schedule_gives_a_boolean_and_a_fraction(schedule):
    for step in [*range(25), 10**6]:
        due, sparsity = schedule(step)
        assert keras.backend.standardize_dtype(due.dtype) == "bool"
        assert keras.backend.standardize_dtype(sparsity.dtype) == "float32"
        assert tuple(due.shape) == tuple(sparsity.shape) == ()
        assert 0.0 <= float(sparsity) < 1.0
        if bool(due):
            assert schedule.begin_step <= step
            assert schedule.end_step == -1 or step <= schedule.end_step


@each_schedule
def test_a_schedule_shows_its_arguments(schedule):
    for name, value in schedule.get_config().items():
        assert f"{name}={value}" in repr(schedule)


def started(criterion, shape):
    state = {}
    for slot in criterion.slots:
        first = criterion.initial_slot(slot, shape, 2)
        slot_shape = criterion.slot_shape(slot, shape)
        assert first is None or first.shape == slot_shape
        state[slot] = tensor(np.zeros(slot_shape) if first is None else first, "float32")
    return state


def trained(criterion, shape, rng, steps=3):
    """The state after some gradients, and a weight."""
    state = started(criterion, shape)
    for _ in range(steps):
        weight, gradient = (tensor(rng.normal(size=shape), "float32") for _ in range(2))
        state = criterion.observe(weight, gradient, state)
    return weight, state


@each_criterion
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_criterion_scores_each_weight(criterion, shape, rng):
    weight, state = trained(criterion, shape, rng)
    scores = numpy(criterion.scores(weight, state))
    assert scores.shape == shape
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert np.unique(scores).size == scores.size
    np.testing.assert_array_equal(numpy(criterion.scores(weight, state)), scores)


@each_criterion
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_a_criterion_remembers_keeps_its_names_shapes_and_types(criterion, shape, rng):
    _, state = trained(criterion, shape, rng)
    assert tuple(state) == criterion.slots
    for slot, value in state.items():
        assert tuple(value.shape) == criterion.slot_shape(slot, shape)
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
    changed = any(
        np.abs(numpy(state[slot]) - numpy(first)).max() > 0
        for slot, first in started(criterion, shape).items()
    )
    assert changed == criterion.needs_gradients


@each_criterion
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_criterion_prunes_half_precision(criterion, dtype, rng):
    variable = keras.Variable(rng.normal(size=(6, 5)), dtype=dtype, name="kernel")
    schedule = ConstantSparsity(0.5, begin_step=2, frequency=1)
    optimizer = PruningOptimizer(keras.optimizers.SGD(0.01), schedule, criterion=criterion)
    optimizer.build([variable])
    optimizer.apply([tensor(rng.normal(size=(6, 5)), dtype)], [variable])
    (mask,) = optimizer.masks.values()
    # Half precision has ties.
    assert 15 <= mask.sum() <= 17
    assert np.isfinite(numpy(variable)).all()
    assert not numpy(variable)[~mask].any()


@each_criterion
def test_a_criterion_compiled_is_the_same(criterion, rng):
    _, state = trained(criterion, (6, 5), rng)
    weight, gradient = (tensor(rng.normal(size=(6, 5)), "float32") for _ in range(2))
    keep = tensor(rng.random((6, 5)) < 0.5)

    def step(weight, gradient, keep, state):
        state = criterion.observe(weight, gradient, state)
        return criterion.scores(weight, state), criterion.correct(weight, keep, state), state

    scores, corrected, new = step(weight, gradient, keep, state)
    for compiled in reference.compilers():
        got = compiled(step)(weight, gradient, keep, state)
        np.testing.assert_allclose(numpy(got[0]), numpy(scores), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(numpy(got[1]), numpy(corrected), rtol=1e-4, atol=1e-5)
        for slot in criterion.slots:
            np.testing.assert_allclose(numpy(got[2][slot]), numpy(new[slot]), atol=1e-6)


@each_criterion
def test_a_weight_that_is_nan_stays_nan(criterion, rng):
    values = rng.normal(size=(6, 5)).astype("float32")
    values[2, 3] = np.nan
    variable = keras.Variable(values, name="kernel")
    schedule = ConstantSparsity(0.5, begin_step=2, frequency=1)
    optimizer = PruningOptimizer(keras.optimizers.SGD(0.01), schedule, criterion=criterion)
    optimizer.build([variable])
    optimizer.apply([tensor(rng.normal(size=(6, 5)), "float32")], [variable])
    np.testing.assert_array_equal(np.argwhere(np.isnan(numpy(variable))), [[2, 3]])
    (mask,) = optimizer.masks.values()
    assert mask.sum() == 15
    assert mask[2, 3]


@each_criterion
def test_only_what_corrects_moves_the_weights(criterion, rng):
    weight, state = trained(criterion, (6, 5), rng)
    keep = rng.random((6, 5)) < 0.5
    moved = numpy(criterion.correct(weight, tensor(keep), state))[keep]
    assert (np.abs(moved - numpy(weight)[keep]).max() > 1e-3) == criterion.corrects


def groups_kept(pattern, mask, described):
    """How many groups a mask keeps: pooled it is 1 where the group stays."""
    return int((numpy(pattern.pool(tensor(mask, "float32"), described)) > 0.5).sum())


@each_pattern
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_mask_is_boolean_deterministic_and_the_same_compiled(pattern, shape, distribution, rng):
    described = kernel(shape)
    scores = tensor(rng.random(shape), "float32")

    def function(scores, sparsity):
        return masks_for([scores], [described], [pattern], sparsity, distribution)[0]

    # Dynamo takes long to follow a loop; Keras itself runs PyTorch without it.
    slow = keras.backend.backend() == "torch" and (distribution, label(pattern)) != (
        "uniform",
        "Rows",
    )
    compilers = [] if slow else reference.compilers()
    sparsity = tensor(0.75, "float32")
    mask = function(scores, sparsity)
    assert keras.backend.standardize_dtype(mask.dtype) == "bool"
    assert tuple(mask.shape) == shape
    np.testing.assert_array_equal(numpy(function(scores, sparsity)), numpy(mask))
    for compiled in compilers:
        np.testing.assert_array_equal(numpy(compiled(function)(scores, sparsity)), numpy(mask))


def decide(pattern, described, distribution):
    return reference.quick(
        lambda scores, sparsity: masks_for(
            [scores], [described], [pattern], sparsity, distribution
        )[0]
    )


@each_pattern
def test_so_many_groups_stay_as_the_formula_says(pattern, shape, rng):
    described = kernel(shape)
    scores = tensor(rng.uniform(0.1, 1, size=shape), "float32")
    groups = int(np.prod(pattern.pool(scores, described).shape))
    function = decide(pattern, described, "uniform")
    for sparsity in (0.0, 0.3, 0.5, 0.99):
        mask = numpy(function(scores, tensor(sparsity, "float32")))
        if pattern.fixed_sparsity is None:
            expected = reference.budget(groups, sparsity)
            assert groups_kept(pattern, mask, described) == expected
        else:
            arguments = pattern.n_zeros, pattern.m, described.input_axis
            np.testing.assert_array_equal(mask, reference.nm_mask(numpy(scores), *arguments))


@each_pattern
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_score_that_is_nan_is_never_kept(pattern, shape, distribution, rng):
    scores = rng.random(shape).astype("float32")
    spoiled = rng.random(shape) < 0.2
    scores[spoiled] = np.nan
    mask = decide(pattern, kernel(shape), distribution)(tensor(scores), tensor(0.3, "float32"))
    assert not numpy(mask)[spoiled].any()


def fitted(run_eagerly, **pruning):
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(5)
    model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(7)])
    optimizer = PruningOptimizer(
        keras.optimizers.SGD(0.05), ConstantSparsity(0.6, begin_step=2, frequency=2), **pruning
    )
    model.compile(optimizer, "mse", run_eagerly=run_eagerly)
    x, y = rng.normal(size=(32, 9)), rng.normal(size=(32, 7))
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    ((_, mask),) = optimizer.masks.items()
    return mask, model.get_weights()[0]


@pytest.mark.parametrize(
    "pruning",
    [{"criterion": c} for c in CRITERIA]
    + [{"pattern": pattern} for pattern, shape in PATTERNS if len(shape) == 2],
    ids=lambda p: label(*p.values()),
)
def test_trained_eagerly_and_compiled_the_masks_are_the_same(pruning):
    mask, weights = fitted(False, **pruning)
    assert mask.dtype == bool
    assert 0 < mask.sum() < mask.size
    assert not weights[~mask].any()
    eager_mask, eager_weights = fitted(True, **pruning)
    np.testing.assert_array_equal(mask, eager_mask)
    np.testing.assert_allclose(weights, eager_weights, atol=1e-5)


def test_names_are_those_of_the_documentation():
    assert set(NAMED_CRITERIA) == {"magnitude", "gradient", "obd", "obs", "random"}
    assert set(NAMED_PATTERNS) == {"unstructured", "filters", "2:4"}
    for name in NAMED_CRITERIA:
        assert type(get_criterion(name)) is NAMED_CRITERIA[name]
    for criterion in CRITERIA:
        assert get_criterion(criterion) is criterion
    for pattern, _ in PATTERNS:
        assert get_pattern(pattern) is pattern
