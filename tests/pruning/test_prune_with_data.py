"""`prune_with_data`: zeros, refits, patterns, reports, and training that goes on."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_sac import Calibration, PruningOptimizer, prune_to_sparsity, prune_with_data, sparsity
from keras_sac.pruning import Block


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            L.Conv2D(12, 3, groups=2, use_bias=False, name="groups"),
            L.BatchNormalization(name="norm"),
            L.ReLU(),
            L.Conv2D(16, 3, activation="relu", name="conv"),
            L.Flatten(),
            L.Dense(20, activation="relu", name="wide"),
            L.Dense(4, name="last"),
        ]
    )


NAMES = ["groups", "conv", "wide", "last"]


@pytest.fixture
def data(rng):
    x = rng.normal(1.0, 1.0, (80, 8, 8, 4)).astype("float32")
    x[:, 1:] += x[:, :-1]
    return x, rng.integers(0, 4, 80)


def zeros(model):
    kernels = [numpy(model.get_layer(name).kernel) for name in NAMES]
    return [int((each == 0).sum()) for each in kernels], [each.size for each in kernels]


@pytest.mark.parametrize("distribution", ["global", "uniform"])
@pytest.mark.parametrize("criterion", ["admm", "magnitude", "wanda", "obs"])
def test_zeros_are_as_many_as_asked_for(distribution, criterion, data):
    x, y = data
    model = network()
    model.compile("sgd", CE)
    weights = model.get_weights()
    options = {"distribution": distribution, "criterion": criterion, "verbose": 0}
    sparse, report = prune_with_data(model, x, y, sparsity=0.75, **options)
    found, sizes = zeros(sparse)
    assert abs(sum(found) - 0.75 * sum(sizes)) <= len(sizes)
    if distribution == "uniform":
        assert all(abs(a - 0.75 * b) <= 1 for a, b in zip(found, sizes, strict=True))
    assert report["layer"].tolist() == NAMES
    fractions = [a / b for a, b in zip(found, sizes, strict=True)]
    np.testing.assert_allclose(report["sparsity"], fractions)
    assert report["parameters_after"].sum() == sum(sizes) - sum(found)
    assert report["measured_loss"].between(0, 1).all()
    total = report.attrs["total"]
    assert total["nonzeros_after"] == sum(np.count_nonzero(w) for w in sparse.get_weights())
    for one, two in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.isfinite(sparse.predict(x, verbose=0)).all()


def test_densities_of_global_magnitude(data):
    x, _ = data
    model = network()
    sparse, _ = prune_with_data(model, x, sparsity=0.6, verbose=0)
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    prune_to_sparsity(other, 0.6, distribution="global")
    for one, two in zip(zeros(sparse)[0], zeros(other)[0], strict=True):
        assert abs(one - two) <= 1


@pytest.mark.parametrize("sequential", [True, False])
def test_no_zeros_reproduce_the_model(sequential, data):
    x, y = data
    model = network()
    model.compile("sgd", CE)
    same, report = prune_with_data(model, x, y, sparsity=0.0, sequential=sequential, verbose=0)
    np.testing.assert_array_equal(same.predict(x, verbose=0), model.predict(x, verbose=0))
    assert (report["measured_loss"] <= 1e-9).all()


def test_each_unit_is_the_least_squares_on_its_support(rng):
    x = (rng.normal(size=(500, 20)) @ rng.normal(size=(20, 20)) + 3).astype("float32")
    model = keras.Sequential([keras.Input((20,)), L.Dense(6, name="layer")])
    model.layers[0].bias.assign(rng.normal(size=6))
    sparse, _ = prune_with_data(model, x, sparsity=0.7, verbose=0)
    kernel, bias = map(numpy, sparse.layers[0].weights)
    original = numpy(model.layers[0].kernel)
    wanted = numpy(model(x)).astype(np.float64)
    centered = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    # The ridge pulls towards the original kernel.
    added = max(1e-3, 0.2 * 20 / 500) * np.square(centered).mean()
    more = np.sqrt(500 * added) * np.eye(20)
    rows = np.concatenate([centered, more])
    targets = np.concatenate([wanted - wanted.mean(axis=0), more @ original])
    for unit in range(6):
        support = np.flatnonzero(kernel[:, unit])
        best = np.linalg.lstsq(rows[:, support], targets[:, unit], rcond=None)[0]
        np.testing.assert_allclose(kernel[support, unit], best, atol=2e-4 * np.abs(best).max())
    # The bias follows: the means of the outputs stay.
    np.testing.assert_allclose((x @ kernel + bias).mean(axis=0), wanted.mean(axis=0), atol=1e-3)


def test_refits_lose_less_than_zeros_alone(data):
    x, _ = data
    model = network()
    expected = model.predict(x, verbose=0)
    errors = {}
    for criterion in ("admm", "magnitude"):
        sparse, _ = prune_with_data(model, x, sparsity=0.7, criterion=criterion, verbose=0)
        errors[criterion] = np.square(sparse.predict(x, verbose=0) - expected).mean()
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    prune_to_sparsity(plain, 0.7, distribution="global")
    errors["alone"] = np.square(plain.predict(x, verbose=0) - expected).mean()
    assert errors["magnitude"] < 0.5 * errors["alone"]
    assert errors["admm"] < errors["magnitude"]


def test_two_of_four_along_the_inputs(data):
    x, _ = data
    model = network()
    sparse, report = prune_with_data(model, x, pattern="2:4", targets="conv|wide", verbose=0)
    for name in ("conv", "wide"):
        kernel = numpy(sparse.get_layer(name).kernel)
        channels = np.moveaxis(kernel, -2, -1).reshape(-1, 4)
        assert ((channels != 0).sum(axis=1) == 2).all()
    reasons = report.set_index("layer")["reason"]
    assert reasons["groups"] == reasons["last"] == "not among the targets"
    with pytest.raises(ValueError, match="sparsity=0.5 with pattern='2:4'"):
        prune_with_data(model, x, sparsity=0.5, pattern="2:4", verbose=0)


def test_blocks(data):
    x, _ = data
    options = {"pattern": Block((4, 4)), "targets": "wide", "verbose": 0}
    sparse, _ = prune_with_data(network(), x, sparsity=0.5, **options)
    kernel = numpy(sparse.get_layer("wide").kernel)
    blocks = kernel.reshape(len(kernel) // 4, 4, 5, 4).swapaxes(1, 2).reshape(-1, 16)
    full, empty = (blocks != 0).all(axis=1), (blocks == 0).all(axis=1)
    assert (full | empty).all()
    assert abs(empty.mean() - 0.5) <= 1 / len(blocks)


@pytest.mark.parametrize("criterion", ["admm", "obs"])
def test_recurrent_layers_and_embeddings(criterion, rng):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            L.Embedding(20, 8, mask_zero=True, name="table"),
            L.Bidirectional(L.LSTM(8, return_sequences=True), name="both"),
            L.GRU(6, name="gates"),
            L.Dense(3, name="last"),
        ]
    )
    x = rng.integers(1, 20, (60, 6))
    x[::2, 4:] = 0
    sparse, report = prune_with_data(model, x, sparsity=0.5, criterion=criterion, verbose=0)
    done = report["method"] == "unstructured"
    assert done.sum() == 7
    left = report[~done]
    assert left["layer"].tolist() == ["table"]
    assert left["reason"].ne("").all()
    assert report.loc[done, "measured_loss"].between(0, 0.5).all()
    expected = model.predict(x, verbose=0)
    error = np.square(sparse.predict(x, verbose=0) - expected).mean()
    assert error < 0.5 * np.square(expected).mean()


def test_training_goes_on_with_the_zeros(data):
    x, y = data
    model = network()
    sparse, _ = prune_with_data(model, x, y, loss=CE, sparsity=0.8, verbose=0)
    before, _ = zeros(sparse)
    masks = [numpy(sparse.get_layer(name).kernel) == 0 for name in NAMES]
    sparse.compile(PruningOptimizer("adam", schedule=None), CE)
    sparse.fit(x, y, epochs=2, verbose=0)
    assert zeros(sparse)[0] == before
    for name, mask in zip(NAMES, masks, strict=True):
        kernel = numpy(sparse.get_layer(name).kernel)
        np.testing.assert_array_equal(kernel == 0, mask)
    assert sparsity(sparse).attrs["total"]["sparsity"] > 0.75


def test_the_result_is_compiled_like_the_original(data, tmp_path):
    x, y = data
    model = network()
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), CE, metrics=["accuracy"])
    model.fit(x, y, verbose=0)
    sparse, _ = prune_with_data(model, x, y, sparsity=0.5, verbose=0)
    assert sparse.optimizer is not model.optimizer
    assert float(numpy(sparse.optimizer.learning_rate)) == pytest.approx(0.02)
    assert len(sparse.evaluate(x, y, verbose=0)) == 2
    expected = sparse.predict(x, verbose=0)
    sparse.save(tmp_path / "sparse.keras")
    loaded = keras.saving.load_model(tmp_path / "sparse.keras", compile=False)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-6)


def test_one_calibration_for_several_sparsities(data):
    x, _ = data
    model = network()
    calibration = Calibration.from_data(model, x, verbose=0)
    expected, errors = model.predict(x, verbose=0), []
    for level in (0.3, 0.6, 0.9):
        sparse, _ = prune_with_data(model, calibration, sparsity=level, verbose=0)
        errors.append(np.square(sparse.predict(x, verbose=0) - expected).mean())
        again, _ = prune_with_data(model, calibration, sparsity=level, verbose=0)
        for one, two in zip(sparse.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
    assert errors == sorted(errors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "sparsity"),
        ({"sparsity": 1.0}, "sparsity"),
        ({"sparsity": -0.1}, "sparsity"),
        ({"sparsity": float("nan")}, "sparsity"),
        ({"sparsity": "half"}, "sparsity"),
        ({"sparsity": 0.5, "criterion": "random"}, "criterion"),
        ({"sparsity": 0.5, "distribution": "erk"}, "distribution"),
        ({"sparsity": 0.5, "pattern": "x"}, "pattern"),
        ({"sparsity": 0.5, "targets": "nothing"}, "nothing"),
        ({"sparsity": 0.5, "loss": "mse"}, "`loss` needs labels"),
    ],
)
def test_arguments_that_are_wrong(options, message, data):
    with pytest.raises(ValueError, match=message):
        prune_with_data(network(), data[0], verbose=0, **options)


@pytest.mark.parametrize("samples", [1, 5])
def test_few_samples_dead_units_and_equal_columns(samples, data):
    x, y = data
    model = network()
    kernel = numpy(model.get_layer("conv").kernel)
    kernel[..., 3] = 0.0
    kernel[..., 5] = kernel[..., 4]
    model.get_layer("conv").kernel.assign(kernel)
    model.get_layer("wide").bias.assign(np.full(20, -100.0))
    for labels, loss in ((None, None), (y[:samples], CE)):
        sparse, report = prune_with_data(
            model, x[:samples], labels, loss=loss, sparsity=0.8, verbose=0
        )
        assert np.isfinite(sparse.predict(x, verbose=0)).all()
        assert np.isfinite(report["measured_loss"]).all()


def test_a_wide_layer_by_its_sketch(data):
    x, _ = data
    model = network()
    calibration = Calibration.from_data(model, x, max_features=60, verbose=0)
    sketched = [k.in_dim > 60 for k in calibration.kernels]
    assert any(sketched)
    expected = model.predict(x, verbose=0)
    for criterion in ("admm", "obs"):
        sparse, _ = prune_with_data(
            model, calibration, sparsity=0.5, criterion=criterion, verbose=0
        )
        error = np.square(sparse.predict(x, verbose=0) - expected).mean()
        assert error < 0.5 * np.square(expected).mean()


def test_nothing_is_printed(data, capsys):
    prune_with_data(network(), data[0], sparsity=0.5, verbose=0)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
