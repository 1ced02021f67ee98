"""Any budget is met on the result, or refused with the smallest that can be met."""

import re

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers as L

from keras_sac import Calibration, convert_to_sac, footprint

CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def calibrated(model, x, y):
    model.compile("sgd", CE)
    return model, Calibration.from_data(model, x, y, verbose=0)


def totals(model):
    shape = (1, *model.input_shape[1:])
    x = np.zeros(shape, "float32")
    return footprint(model, x, compression=False).attrs["total"]


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    flat = rng.normal(size=(60, 24)) @ rng.normal(size=(24, 24))
    images = rng.normal(size=(30, 9, 8, 3))
    images[:, 1:] += images[:, :-1]
    dense = [keras.Input((24,)), L.Dense(20, activation="relu"), L.Dense(12), L.Dense(4)]
    convolutions = [
        keras.Input((9, 8, 3)),
        L.Conv2D(8, 3, padding="same", use_bias=False),
        L.BatchNormalization(),
        L.Conv2D(12, (3, 2), strides=2, activation="relu"),
        L.Flatten(),
        L.Dense(4),
    ]
    return [
        calibrated(keras.Sequential(dense), flat.astype("float32"), rng.integers(0, 4, 60)),
        calibrated(
            keras.Sequential(convolutions), images.astype("float32"), rng.integers(0, 4, 30)
        ),
    ]


@settings(max_examples=8, deadline=None)
@given(
    index=st.integers(0, 1),
    parameters=st.none() | st.floats(0.05, 1.0),
    macs=st.none() | st.floats(0.05, 1.0),
    absolute=st.booleans(),
    round_to=st.sampled_from([1, 2, 8]),
)
def test_a_budget_holds_or_is_refused(models, index, parameters, macs, absolute, round_to):
    assume(parameters or macs)
    model, calibration = models[index]
    before = totals(model)
    given_budgets = {"parameters": parameters, "macs": macs}
    limits = {name: v * before[name] for name, v in given_budgets.items() if v is not None}
    budgets = {name: v for name, v in given_budgets.items() if v is not None}
    if absolute:
        budgets = {name: max(limit, 2.0) for name, limit in limits.items()}
    options = {"sequential": False, "round_to": round_to, "verbose": 0}
    refused = ""
    try:
        small, report = convert_to_sac(model, calibration, **budgets, **options)
    except ValueError as error:
        refused = str(error)
    if refused:
        smallest = dict(re.findall(r"(parameters|macs)=([\d,]+) \(", refused))
        assert smallest.keys() == budgets.keys(), refused
        least = {name: float(value.replace(",", "")) for name, value in smallest.items()}
        # One budget is refused only below its own smallest; two, perhaps, because they conflict.
        assert len(budgets) == 2 or all(limits[name] < least[name] + 1 for name in least)
        return
    after = totals(small)
    for name, limit in limits.items():
        assert after[name] <= limit + 1e-6 * limit
        assert report.attrs["total"][f"{name}_after"] == after[name]


def test_factors_that_gain_no_time_are_no_choice(rng):
    keras.utils.set_random_seed(0)
    x = rng.normal(size=(40, 12, 12, 3)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            L.Conv2D(32, 3, padding="same", activation="relu", name="narrow"),
            L.Conv2D(64, 3, padding="same", activation="relu", name="wide"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, name="last"),
        ]
    )
    # Rank 8: factors lose nothing and have 472 multiplications at a position instead of 864, but
    # 8 values between them.
    kernel = rng.normal(size=(27, 8)) @ rng.normal(size=(8, 32)) / 10
    model.get_layer("narrow").kernel.assign(kernel.reshape(3, 3, 3, 32))
    calibration = Calibration.from_data(model, x, verbose=0)

    def method(**budget):
        _, report = convert_to_sac(model, calibration, verbose=0, **budget)
        return report.set_index("layer")["method"]["narrow"]

    assert method(macs=0.6) == "none"
    # Where time is not the aim, or the budget cannot be met otherwise.
    assert method(parameters=0.6) == "low_rank"
    assert method(macs=0.05) == "low_rank"
