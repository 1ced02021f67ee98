"""Networks that are trained once and kept on disk."""

import json

import keras
import numpy as np
import pytest

from harness import splits, trained_networks
from harness.datasets import load
from harness.trained_networks import NETWORKS, ImageBatches, trained_network


@pytest.fixture(scope="module")
def split():
    return splits.split(load("digits").limited(200), 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, split):
    folder = tmp_path_factory.mktemp("networks")
    trained_network("digits-cnn", split, folder)
    return folder


def test_a_trained_network_is_read_again(folder, split, monkeypatch):
    monkeypatch.setattr(trained_networks, "_train", lambda *_: pytest.fail("trained"))
    model = trained_network("digits-cnn", split, folder)
    accuracy = model.evaluate(split.x_train, split.y_train, verbose=0)[1]
    assert accuracy > 0.8
    assert {path.name for path in folder.iterdir()} == {
        *(".gitignore", "digits-cnn.json", "digits-cnn.keras")
    }


def test_a_network_of_other_settings_is_trained_again(folder, split, tmp_path, monkeypatch):
    trained = []

    def train(network, _):
        trained.append(network)
        return network.build((8, 8, 1), 10)

    monkeypatch.setattr(trained_networks, "_train", train)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    facts = tmp_path / "digits-cnn.json"
    settings = json.loads(facts.read_text())
    facts.write_text(json.dumps({**settings, "epochs": 1}))
    trained_network("digits-cnn", split, tmp_path)
    assert trained == [NETWORKS["digits-cnn"]]
    assert json.loads(facts.read_text()) == settings


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("lenet-300-100", (28, 28, 1), 266_610),
        ("lenet-5", (28, 28, 1), 431_080),
        ("mnist-cnn", (28, 28, 1), 225_034),
        # Convolutions, normalization, dense layers.
        ("cifar-cnn", (32, 32, 3), 286_560 + 4 * 448 + 262_272 + 1_290),
        # Convolutions, projections, normalization, dense layer; He et al.: 0.27 million.
        ("resnet-20", (32, 32, 3), 267_696 + 2_560 + 4 * 784 + 650),
    ],
)
def test_the_sizes_of_the_networks(name, shape, parameters):
    model = NETWORKS[name].build(shape, 10)
    assert model.count_params() == parameters
    assert model.output_shape == (None, 10)


@pytest.mark.backend_free
def test_each_epoch_has_all_samples_in_a_new_order(split):
    batches = ImageBatches(split, 64, 0, seed=5)
    orders = []
    for _ in range(2):
        x, y = (np.concatenate(part) for part in zip(*(batches[i] for i in range(3)), strict=True))
        assert len(batches) == 3
        orders.append(y)
        np.testing.assert_array_equal(np.sort(y), np.sort(split.y_train))
        assert (x**2).sum() == pytest.approx((split.x_train**2).sum(), rel=1e-4)
        batches.on_epoch_end()
    assert (orders[0] != orders[1]).any()
    again = ImageBatches(split, 64, 0, seed=5)
    np.testing.assert_array_equal(again[0][1], orders[0][:64])


@pytest.mark.backend_free
def test_augmented_images_are_moved_and_mirrored(split):
    x, _ = ImageBatches(split, 180, 4, seed=5)[0]
    plain, _ = ImageBatches(split, 180, 0, seed=5)[0]
    kinds = set()
    for image, moved in zip(plain[..., 0], x[..., 0], strict=True):
        for flipped in (False, True):
            padded = np.pad(image[:, ::-1] if flipped else image, 4)
            for top, left in np.ndindex(9, 9):
                if np.array_equal(padded[top : top + 8, left : left + 8], moved):
                    kinds.add((flipped, top, left))
    assert {flipped for flipped, _, _ in kinds} == {False, True}
    assert len({(top, left) for _, top, left in kinds}) > 40


def test_the_loss_is_that_of_logits(folder, split):
    model = trained_network("digits-cnn", split, folder)
    logits = model.predict(split.x_test, verbose=0)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(split.y_test, logits)
    loss = model.evaluate(split.x_test, split.y_test, verbose=0)[0]
    assert loss == pytest.approx(float(keras.ops.convert_to_numpy(expected)), rel=1e-4)
