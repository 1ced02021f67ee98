"""Schedules: steps and sparsities against formulas in Python floats, and invalid arguments."""

import keras
import numpy as np
import pytest

from keras_sac.pruning import ConstantSparsity, PolynomialDecay, PruningSchedule
from tests.pruning.reference import INTEGERS, tensor


def polynomial(step, initial, final, begin, end, power):
    progress = min(max((step - begin) / (end - begin), 0.0), 1.0)
    return final + (initial - final) * (1.0 - progress) ** power


def turns(schedule, steps):
    return [step for step in steps if bool(schedule(step)[0])]


@pytest.mark.parametrize("power", [1, 3, 0.5, 7])
@pytest.mark.parametrize(
    ("initial", "final", "begin", "end"), [(0.5, 0.8, 0, 2000), (0.1, 0.97, 13, 57), (0.9, 0, 4, 9)]
)
def test_polynomial_sparsity_is_the_formula(initial, final, begin, end, power):
    schedule = PolynomialDecay(initial, final, begin, end, power=power)
    for step in [0, begin, begin + 1, (begin + end) // 2, end - 1, end, end + 1, 10 * end]:
        expected = polynomial(step, initial, final, begin, end, power)
        assert float(schedule(step)[1]) == pytest.approx(expected, abs=2e-7), step


def test_the_final_sparsity_is_reached_to_the_last_bit():
    schedule = PolynomialDecay(0.3, 0.9, 7, 31)
    assert float(schedule(31)[1]) == np.float32(0.9)
    assert float(schedule(10**6)[1]) == np.float32(0.9)


@pytest.mark.parametrize(
    ("begin", "end", "frequency"), [(0, 20, 5), (3, 21, 4), (7, 7, 3), (1, 19, 1), (2, 6, 100)]
)
def test_polynomial_refreshes_at_each_frequency_and_at_the_end(begin, end, frequency):
    grid = set(range(begin, end + 1, frequency))
    schedule = PolynomialDecay(0.1, 0.5, begin, end, frequency=frequency)
    strict = PolynomialDecay(0.1, 0.5, begin, end, frequency=frequency, prune_at_end=False)
    assert turns(schedule, range(30)) == sorted(grid | {end})
    assert turns(strict, range(30)) == sorted(grid)


def test_a_decay_of_no_length_is_the_final_sparsity():
    schedule = PolynomialDecay(0.2, 0.6, begin_step=5, end_step=5)
    assert float(schedule(5)[1]) == pytest.approx(0.6)
    assert turns(schedule, range(20)) == [5]


@pytest.mark.parametrize(
    ("begin", "end", "frequency", "expected"),
    [
        (0, -1, 100, [0, 100, 200]),
        (7, -1, 50, [7, 57, 107, 157, 207, 257]),
        (7, 107, 50, [7, 57, 107]),
        (7, 106, 50, [7, 57]),
        (0, 0, 1, [0]),
    ],
)
def test_constant_sparsity_refreshes_from_begin_to_end(begin, end, frequency, expected):
    schedule = ConstantSparsity(0.37, begin, end, frequency)
    assert turns(schedule, range(270)) == expected
    for step in (0, begin, 1000):
        assert float(schedule(step)[1]) == np.float32(0.37)


def test_defaults_are_those_of_the_literature_and_of_tfmot():
    constant = ConstantSparsity(0.5, 0)
    assert (constant.end_step, constant.frequency) == (-1, 100)
    decay = PolynomialDecay(0.0, 0.5, 0, 10)
    assert (decay.power, decay.frequency, decay.prune_at_end) == (3, 100, True)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32"])
def test_a_step_may_be_a_tensor_of_any_type(dtype):
    schedule = PolynomialDecay(0.5, 0.9, 2, 12, frequency=5)
    due, sparsity = schedule(tensor(np.array(7), dtype))
    assert bool(due)
    assert float(sparsity) == pytest.approx(polynomial(7, 0.5, 0.9, 2, 12, 3), abs=1e-7)
    assert not bool(schedule(tensor(np.array(8), dtype))[0])


def test_a_training_of_many_steps_keeps_its_turns():
    # Beyond 2^24, where float32 no longer holds each integer.
    schedule = ConstantSparsity(0.5, begin_step=2**24 + 1, frequency=2)
    assert [bool(schedule(2**24 + i)[0]) for i in range(4)] == [False, True, False, True]


def test_numpy_numbers_and_whole_floats_are_numbers():
    schedule = PolynomialDecay(np.float32(0.25), np.float64(0.5), np.int64(2), 10.0, frequency=4.0)
    config = schedule.get_config()
    assert config["begin_step"] == 2
    assert config["end_step"] == 10
    assert {type(config[name]) for name in ("begin_step", "end_step", "frequency")} == {int}
    assert {type(config[name]) for name in ("initial_sparsity", "final_sparsity")} == {float}


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, 80, float("nan"), float("inf"), True])
def test_a_sparsity_outside_0_1_is_refused(sparsity):
    with pytest.raises(ValueError, match="target_sparsity"):
        ConstantSparsity(sparsity, 0)
    with pytest.raises(ValueError, match="initial_sparsity"):
        PolynomialDecay(sparsity, 0.5, 0, 10)
    with pytest.raises(ValueError, match="final_sparsity"):
        PolynomialDecay(0.5, sparsity, 0, 10)


def test_a_percentage_gets_the_fraction_as_a_hint():
    with pytest.raises(ValueError, match=r"80.*Did you mean 0\.8"):
        ConstantSparsity(80, 0)


@pytest.mark.parametrize("frequency", [0, -1, 1.5, True])
def test_a_frequency_below_1_is_refused(frequency):
    with pytest.raises(ValueError, match="frequency"):
        ConstantSparsity(0.5, 0, frequency=frequency)
    with pytest.raises(ValueError, match="frequency"):
        PolynomialDecay(0.1, 0.5, 0, 10, frequency=frequency)


@pytest.mark.parametrize(("begin", "end"), [(5, 4), (100, 0), (1, 0)])
def test_an_end_before_the_beginning_is_refused(begin, end):
    with pytest.raises(ValueError, match="begin_step <= end_step.*Received: begin_step="):
        ConstantSparsity(0.5, begin, end)
    with pytest.raises(ValueError, match="begin_step <= end_step.*Received: begin_step="):
        PolynomialDecay(0.1, 0.5, begin, end)


@pytest.mark.parametrize(("begin", "end"), [(-1, 10), (0, -2), (0.5, 10), (0, 2.5)])
def test_steps_that_are_no_steps_are_refused(begin, end):
    with pytest.raises(ValueError, match="_step"):
        ConstantSparsity(0.5, begin, end)
    with pytest.raises(ValueError, match="_step"):
        PolynomialDecay(0.1, 0.5, begin, end)


def test_a_decay_needs_an_end():
    with pytest.raises(ValueError, match=r"end_step=-1.*ConstantSparsity"):
        PolynomialDecay(0.1, 0.5, 0, -1)


@pytest.mark.parametrize("power", [0, -3, float("nan"), True])
def test_a_power_that_is_not_positive_is_refused(power):
    with pytest.raises(ValueError, match="power"):
        PolynomialDecay(0.1, 0.5, 0, 10, power=power)


def test_the_base_class_asks_for_a_call():
    with pytest.raises(NotImplementedError, match="PruningSchedule must implement"):
        PruningSchedule()(1)


def test_a_schedule_of_ones_own_has_the_turns_of_the_base_class():
    class Staircase(PruningSchedule):
        def __call__(self, step):
            return self.is_due(step), keras.ops.where(keras.ops.less(step, 10), 0.25, 0.75)

    schedule = Staircase(begin_step=4, end_step=12, frequency=4)
    assert turns(schedule, range(20)) == [4, 8, 12]
    assert [float(schedule(step)[1]) for step in (4, 12)] == [0.25, 0.75]
