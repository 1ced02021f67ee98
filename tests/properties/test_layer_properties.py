"""Properties of SAC layers of any size: both orders of the products agree, equations factor."""

import keras
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_sac._model._einsum_equation import EinsumEquation
from keras_sac.layers import SACDense
from keras_sac.layers._product_order import factored_is_cheaper


@given(st.integers(1, 8), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31 - 1))
def test_the_orders_of_the_products_agree(rows, in_dim, units, seed):
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, in_dim + 1))
    layer = SACDense(units, rng.normal(size=(in_dim, rank)))
    x = rng.normal(size=(rows, in_dim)).astype("float32")
    y = keras.ops.convert_to_numpy(layer(x))
    factored = keras.ops.convert_to_numpy(layer.combine(layer.project(x)))
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    np.testing.assert_allclose(y, factored, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(y, x @ kernel, rtol=1e-4, atol=1e-4)


@given(*[st.integers(1, 64)] * 4, st.integers(1, 9))
def test_the_cheaper_order_is_the_cheaper_one(rows, in_dim, rank, units, spread):
    two_thin = spread * rows * in_dim * rank + rows * rank * units
    merged = in_dim * rank * units + rows * in_dim * units
    assert factored_is_cheaper(rows, in_dim, rank, units, spread=spread) == (two_thin <= merged)


@given(st.data())
def test_an_equation_in_two_steps_is_the_equation(data):
    labels = data.draw(st.permutations("abcdefgh"))
    sizes = {label: data.draw(st.integers(1, 3)) for label in labels}
    cuts = sorted(data.draw(st.lists(st.integers(1, 7), min_size=2, max_size=2, unique=True)))
    kept, contracted, made = labels[: cuts[0]], labels[cuts[0] : cuts[1]], labels[cuts[1] :]
    inputs, kernel, outputs = (
        "".join(data.draw(st.permutations(part)))
        for part in (kept + contracted, contracted + made, kept + made)
    )
    equation = f"{inputs},{kernel}->{outputs}"
    parsed = EinsumEquation.parse(equation)
    rng = np.random.default_rng(0)
    rank = 2
    x = rng.normal(size=[sizes[c] for c in inputs])
    basis = rng.normal(size=[*(sizes[c] for c in parsed.contracted), rank])
    learner = rng.normal(size=[rank, *(sizes[c] for c in parsed.made)])
    steps = np.einsum(
        parsed.combine_equation(), np.einsum(parsed.project_equation(), x, basis), learner
    )
    merged = np.tensordot(basis, learner, axes=1)
    order = parsed.contracted + parsed.made
    merged = merged.transpose([order.index(c) for c in kernel])
    np.testing.assert_allclose(steps, np.einsum(equation, x, merged), atol=1e-9)
