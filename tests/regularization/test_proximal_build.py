"""Building a `ProximalL1`: targets, axes, saved files, invalid arguments."""

import json

import keras
import numpy as np
import pytest

from keras_sac import ConstantSparsity, PruningOptimizer, SACDense, bases
from keras_sac.pruning import Target, filter_sparsity
from keras_sac.regularization import ProximalL1
from tests.model.models import ALL, ends, mixed
from tests.pruning.problem import BATCH, data, fitted, model, zeros
from tests.regularization.reference import apply, assert_same

L = keras.layers
SGD = keras.optimizers.SGD


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (None, ALL),
        (lambda m: m.get_layer("inner"), ["first/kernel"]),
        (lambda m: m.get_layer("conv").bias, ["conv/bias"]),
        (lambda m: "conv|first", ["conv/kernel", "first/kernel"]),
        (lambda m: lambda variable: variable.shape[-1] == 3, ["last/kernel"]),
        (lambda m: [m.get_layer("conv"), "last"], ["conv/kernel", "last/kernel"]),
    ],
)
def test_targets_are_those_of_pruning(targets, expected):
    built = mixed()
    optimizer = ProximalL1("sgd", 0.1, targets=targets and targets(built))
    optimizer.build(built.trainable_variables)
    table = optimizer.report()
    assert ends(table[table["thresholded"]]["path"]) == expected
    assert (table[~table["thresholded"]]["reason"] != "").all()
    assert (table[table["thresholded"]]["reason"] == "").all()
    assert list(table.columns) == ["path", "shape", "weights", "thresholded", "reason", "sparsity"]


def test_the_report_has_the_sparsity_of_now():
    built = fitted(ProximalL1(SGD(0.1), 0.1))
    assert built.optimizer.report()["sparsity"].tolist()[::2] == pytest.approx(zeros(built))


KERNELS = [
    (lambda: L.Dense(7), (5,), -1),
    (lambda: L.Conv2D(7, 3), (6, 6, 5), -1),
    (lambda: L.Conv2DTranspose(7, 3), (6, 6, 5), -2),
    (lambda: L.SeparableConv2D(7, 3), (6, 6, 5), -1),
    (lambda: L.EinsumDense("abc,cd->abd", (None, 7)), (4, 5), -1),
]


@pytest.mark.parametrize(("make", "shape", "axis"), KERNELS)
def test_groups_run_along_the_output_channels(rng, make, shape, axis):
    layer = make()
    layer.build((None, *shape))
    (kernel,) = [v for v in layer.trainable_variables if v.name in ("kernel", "pointwise_kernel")]
    scale = np.ones([1] * len(kernel.shape))
    scale = np.swapaxes(scale * np.array([1e-3, 1, 1, 1e-3, 1, 1, 1]), -1, axis)
    values = (np.sign(rng.normal(size=kernel.shape)) * scale).astype("float32")
    kernel.assign(values)
    # The layer itself as the target, so that its axes are certain.
    optimizer = ProximalL1(SGD(0.1), 0.1, targets=layer, group="filters")
    optimizer.build(layer.trainable_variables)
    apply(
        optimizer, layer.trainable_variables, [np.zeros(v.shape) for v in layer.trainable_variables]
    )
    found = np.moveaxis(keras.ops.convert_to_numpy(kernel), axis, 0)
    gone = np.all(found.reshape(7, -1) == 0, axis=1)
    assert gone.tolist() == [j in (0, 3) for j in range(7)]


def test_filters_of_a_convolutional_model():
    built = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(6, 3), L.GlobalAveragePooling2D(), L.Dense(4)]
    )
    built.compile(ProximalL1(keras.optimizers.Adam(0.01), 3.0, group="filters"), "mse")
    rng = np.random.default_rng(0)
    built.fit(rng.normal(size=(128, 8, 8, 3)), rng.normal(size=(128, 4)), epochs=3, verbose=0)
    table = filter_sparsity(built)
    sparsity = 1 - np.count_nonzero(built.get_weights()[0]) / built.get_weights()[0].size
    assert table["zero_filters"].iloc[0] > 0
    assert sparsity == pytest.approx(table["sparsity"].iloc[0])


def test_a_bias_that_is_named_is_thresholded_weight_by_weight():
    built = model()
    start = np.linspace(-0.4, 0.4, 16).astype("float32")
    built.layers[0].bias.assign(start)
    optimizer = ProximalL1(SGD(0.1), 2.0, targets=built.layers[0].bias, group="filters")
    optimizer.build(built.trainable_variables)
    variables = built.trainable_variables
    apply(optimizer, variables, [np.zeros(v.shape) for v in variables])
    found = keras.ops.convert_to_numpy(built.layers[0].bias)
    np.testing.assert_array_equal(found == 0, np.abs(start) <= 0.2)


def test_sac_layers_are_thresholded_in_the_learner(rng):
    x = rng.normal(size=(256, 16)).astype("float32")
    built = keras.Sequential([keras.Input((16,)), SACDense(12, bases.pca(x, rank=8))])
    basis = keras.ops.convert_to_numpy(built.layers[0].basis)
    built.compile(ProximalL1(SGD(0.1), 0.3), "mse")
    built.fit(x, rng.normal(size=(256, 12)), batch_size=8, verbose=0)
    assert not keras.ops.convert_to_numpy(built.layers[0].learner).all()
    np.testing.assert_array_equal(basis, keras.ops.convert_to_numpy(built.layers[0].basis))


CONFIGURATIONS = [
    lambda m: ProximalL1("adam", 0.1),
    lambda m: ProximalL1(SGD(0.1, momentum=0.9), 0.1, targets="first", group="filters", name="p"),
    lambda m: ProximalL1(keras.optimizers.LossScaleOptimizer(SGD(0.1)), 0.1),
    lambda m: ProximalL1(SGD(0.1), 0.1, targets=[m.layers[0], m.layers[1].kernel]),
    lambda m: ProximalL1(
        PruningOptimizer(SGD(0.1), ConstantSparsity(0.5, begin_step=3)), 0.1, targets="second"
    ),
    lambda m: PruningOptimizer(
        ProximalL1(SGD(0.1), 0.1, group="filters"), ConstantSparsity(0.5, begin_step=3)
    ),
    lambda m: ProximalL1(ProximalL1(SGD(0.1), 0.1), 0.1, targets=lambda v: v is m.layers[1].kernel),
]


@pytest.mark.parametrize("make", CONFIGURATIONS)
def test_what_is_saved_is_what_is_loaded(make, tmp_path):
    built = model()
    fitted(make(built), steps=10, built=built)
    config = built.optimizer.get_config()
    # A copy: `LossScaleOptimizer.from_config` takes its configuration to pieces.
    again = type(built.optimizer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    built.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config()["inner_optimizer"] == config["inner_optimizer"]
    # Both go on alike.
    for each in (built, loaded):
        each.fit(*data(20), batch_size=BATCH, shuffle=False, verbose=0)
    assert_same(loaded, built.get_weights(), atol=1e-6)
    columns = ["weights", "reason", "sparsity"]
    assert loaded.optimizer.report()[columns].equals(built.optimizer.report()[columns])


def test_targets_come_back_from_a_file(tmp_path):
    built = model()
    kernel = built.layers[1].kernel
    fitted(ProximalL1(SGD(0.1), 0.1, targets=lambda v: v is kernel), built=built)
    built.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.report()["thresholded"].tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": -0.1}, "`strength` must be a number >= 0. Received: strength=-0.1"),
        ({"strength": float("nan")}, "`strength` must be a number >= 0"),
        ({"strength": float("inf")}, "`strength` must be a number >= 0"),
        ({"strength": "0.1"}, "`strength` must be a number >= 0"),
        ({"strength": True}, "`strength` must be a number >= 0"),
        ({"group": "channels"}, '`group` must be `None` or "filters".*channels'),
        ({"targets": []}, r"Received: \[\]"),
        ({"targets": 3}, "`targets` must be a layer"),
        ({"targets": "("}, "regular expression"),
        ({"targets": [Target("first")]}, "`targets` must be a layer.*Target"),
        ({"inner_optimizer": "nothing"}, "nothing"),
        (
            {"inner_optimizer": keras.optimizers.MultiOptimizer(lambda v: SGD())},
            "`MultiOptimizer`. Received: .*inside the",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ProximalL1(**{"inner_optimizer": "sgd", "strength": 0.1, **arguments})


def test_targets_that_match_nothing_leave_it_unbuilt():
    built = model()
    optimizer = ProximalL1("sgd", 0.1, targets=["first", "third"])
    number = len(optimizer.variables)
    with pytest.raises(ValueError, match=r"nothing that can be thresholded.*third.*first/kernel"):
        optimizer.build(built.trainable_variables)
    assert not optimizer.built
    assert not optimizer.inner_optimizer.built
    assert len(optimizer.variables) == number


def test_built_for_other_variables():
    optimizer = ProximalL1("sgd", 0.1)
    first, second = model(), model()
    optimizer.build(first.trainable_variables)
    optimizer.build(first.trainable_variables)
    with pytest.raises(ValueError, match="`ProximalL1` was built for other variables"):
        optimizer.build(second.trainable_variables)


def test_a_report_before_it_is_built():
    with pytest.raises(ValueError, match="not selected its kernels yet"):
        ProximalL1("sgd", 0.1).report()


def test_a_model_that_is_built_in_fit():
    built = keras.Sequential([L.Dense(16), L.Dense(4)])
    fitted(ProximalL1(SGD(0.1), 0.1), built=built)
    assert min(zeros(built)) > 0.1
