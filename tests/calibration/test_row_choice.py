"""A random part of the rows tells what all of them tell."""

import keras
import numpy as np
import pytest

from keras_sac import Calibration, convert_to_sac
from keras_sac.calibration import _product_pairs, _row_choice


@pytest.fixture
def images(rng):
    x = rng.normal(size=(40, 12, 12, 3)).astype("float32")
    return x + np.roll(x, 1, axis=1) + np.roll(x, 1, axis=2)


def small_cnn():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            keras.layers.Conv2D(8, 3, activation="relu", name="first"),
            keras.layers.Conv2D(12, 3, name="second"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="last"),
        ]
    )


def test_moments_and_conversion_from_a_part(images, monkeypatch):
    keras.utils.set_random_seed(0)
    model = small_cnn()
    labels = np.arange(40) % 4
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    whole = Calibration.from_data(model, images, labels, loss=loss, verbose=0)
    monkeypatch.setattr(_row_choice, "_ROWS", 600)
    monkeypatch.setattr(_row_choice, "_ROWS_PER_FEATURE", 1)
    part = Calibration.from_data(model, images, labels, loss=loss, verbose=0)
    rows = part.summary().set_index("layer")["rows"]
    assert whole.summary()["rows"].tolist() == [4000, 2560, 40]
    assert rows["first"] == pytest.approx(600, rel=0.15)
    assert rows["second"] == pytest.approx(600, rel=0.15)
    assert rows["last"] == 40
    for kernel, same in zip(whole.kernels, part.kernels, strict=True):
        every, some = whole.fits(kernel)[0], part.fits(same)[0]
        error = np.linalg.norm(every.outputs - some.outputs) / np.linalg.norm(every.outputs)
        assert error < 0.2, kernel.path
        # Gradients are those of all rows.
        np.testing.assert_allclose(
            whole.loss_metric(kernel), part.loss_metric(same), rtol=1e-4, atol=1e-9
        )
    _, report = convert_to_sac(model, part, macs=0.5, verbose=0)
    _, expected = convert_to_sac(model, whole, macs=0.5, verbose=0)
    assert report["measured_loss"].tolist() == pytest.approx(
        expected["measured_loss"].tolist(), rel=0.3, abs=0.02
    )


@pytest.mark.parametrize("limit", [0, 20_000, 1 << 28])
def test_what_is_kept_of_the_original_changes_nothing(limit, images, monkeypatch):
    keras.utils.set_random_seed(0)
    model = small_cnn()
    monkeypatch.setattr(_row_choice, "_ROWS", 600)
    monkeypatch.setattr(_row_choice, "_ROWS_PER_FEATURE", 1)
    monkeypatch.setattr(_product_pairs, "_KEPT_BYTES", limit)
    calibration = Calibration.from_data(model, images, batch_size=10, verbose=0)
    options = {"rank": {"first": 4, "second": 3}, "verbose": 0}
    first, _ = convert_to_sac(model, calibration, **options)
    fresh = Calibration.from_data(model, images, batch_size=10, verbose=0)
    expected, _ = convert_to_sac(model, fresh, **options)
    again, report = convert_to_sac(model, calibration, **options)
    assert report["method"].tolist() == ["low_rank", "low_rank", "refit"]
    for other in (first, again):
        for one, two in zip(expected.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)
    kept = sum(r.nbytes for made in calibration._made._made.values() for r, _ in made)
    assert kept <= limit
    assert bool(kept) == bool(limit)


@pytest.mark.backend_free
def test_the_same_numbers_for_the_same_count():
    choose = _row_choice.random_choice(np.random.default_rng(0), 0.25)
    first = choose(1000)
    assert len(first) == pytest.approx(250, rel=0.2)
    np.testing.assert_array_equal(choose(1000), first)
    assert _row_choice.random_choice(np.random.default_rng(0), 1.0) is None
