"""Eager torch counts steps on the host; the others count in the compiled step."""

import keras
import numpy as np
import pytest

from keras_sac import ConstantSparsity, PolynomialDecay, ProximalL1, PruningOptimizer, _backend
from keras_sac.pruning import PruningSchedule
from tests.pruning.problem import model, zeros

TORCH = keras.backend.backend() == "torch"
only_torch = pytest.mark.skipif(not TORCH, reason="only torch runs a step eagerly by default")
READS = ["__bool__", "__int__", "__float__", "__index__", "item", "tolist", "numpy", "cpu"]


def reads(monkeypatch, optimizer, steps):
    """How often each step reads a tensor from its device, as CUDA would have to wait for."""
    import torch

    found = []

    def watch(patches, name):
        read = getattr(torch.Tensor, name)

        def counted(self, *arguments, **kwargs):
            found[-1] += 1
            return read(self, *arguments, **kwargs)

        patches.setattr(torch.Tensor, name, counted)

    built = model()
    optimizer.build(built.trainable_variables)
    gradients = [torch.full(tuple(v.shape), 0.01) for v in built.trainable_variables]
    with torch.no_grad():
        optimizer.apply(gradients, built.trainable_variables)
        with monkeypatch.context() as patches:
            for name in READS:
                watch(patches, name)
            for _ in range(steps):
                found.append(0)
                optimizer.apply(gradients, built.trainable_variables)
    return found


@only_torch
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner, schedule: PruningOptimizer(inner, schedule),
        lambda inner, schedule: PruningOptimizer(inner, schedule, criterion="obd"),
        lambda inner, schedule: PruningOptimizer(inner, schedule, refreshes="on_call"),
        lambda inner, schedule: PruningOptimizer(ProximalL1(inner, 0.0), schedule),
    ],
)
def test_a_step_without_a_refresh_waits_for_nothing(monkeypatch, wrap):
    schedule = PolynomialDecay(0.1, 0.5, begin_step=4, end_step=8, frequency=4)
    alone = reads(monkeypatch, keras.optimizers.SGD(0.1), 8)
    # The refreshes of steps 4 and 8 come in the second and the sixth of the steps 2 to 9.
    found = np.array(reads(monkeypatch, wrap(keras.optimizers.SGD(0.1), schedule), 8)) - alone
    quiet = [i for i in range(8) if i not in (1, 5)]
    assert found[quiet].tolist() == [0] * 6


@only_torch
def test_the_count_follows_what_others_assign():
    variable = keras.Variable(3, dtype="int", trainable=False)
    count = _backend.StepCount(variable)
    assert [count.advance(True), count.advance(False), count.advance(True)] == [4, 4, 5]
    assert int(variable) == 5
    variable.assign(41)
    assert count.on_host == 41
    assert count.advance(np.bool_(True)) == 42
    assert int(variable) == 42


def test_in_a_stateless_scope_the_count_is_a_tensor():
    variable = keras.Variable(3, dtype="int", trainable=False)
    count = _backend.StepCount(variable)
    given = keras.ops.convert_to_tensor(7, variable.dtype)
    with keras.StatelessScope([(variable, given)]) as scope:
        assert count.on_host is None
        assert int(count.advance(True)) == 8
    assert int(scope.get_current_value(variable)) == 8
    assert int(keras.ops.convert_to_numpy(variable)) == 3


class AtSquares(PruningSchedule):
    """A schedule of a user, with tensors whatever it is asked."""

    def __call__(self, step):
        step = keras.ops.cast(keras.ops.convert_to_tensor(step), "float32")
        root = keras.ops.round(keras.ops.sqrt(step))
        return keras.ops.equal(root * root, step), root / 10


def test_a_schedule_that_only_knows_tensors():
    built = model()
    optimizer = PruningOptimizer(keras.optimizers.SGD(0.0), AtSquares())
    optimizer.build(built.trainable_variables)
    gradients = [keras.ops.zeros(v.shape) for v in built.trainable_variables]
    found = [zeros(built)[0]]
    for _ in range(9):
        optimizer.apply(gradients, built.trainable_variables)
        found.append(zeros(built)[0])
    # Asked about steps 1 to 10: due at 1, 4 and 9.
    expected = [0.1] * 3 + [0.2] * 5 + [0.3] * 2
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    "schedule",
    [
        ConstantSparsity(0.37, begin_step=3, frequency=4),
        PolynomialDecay(0.1, 0.8, begin_step=2, end_step=17, frequency=5),
    ],
)
def test_an_integer_needs_no_tensor(schedule):
    due, sparsity = schedule(7)
    assert isinstance(due, np.bool_)
    assert isinstance(sparsity, np.float32)


@only_torch
def test_an_accelerator_sorts(monkeypatch):
    import torch

    class OnCuda(torch.Tensor):
        @property
        def device(self):
            return torch.device("cuda")

        def numpy(self):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def slow(*_):
        raise AssertionError("`kthvalue` is slow on CUDA")

    monkeypatch.setattr(torch, "kthvalue", slow)
    keys = torch.tensor([5, -1, 9, 2, 7], dtype=torch.int32).as_subclass(OnCuda)
    found = [int(_backend.kth_largest([keys], k)) for k in (1, 2, 3, 4, 5)]
    assert found == [9, 7, 5, 2, 0]
