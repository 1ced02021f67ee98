"""Values, derivatives and bad input of `sparsemax` and `entmax15`."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sac import entmax15, sparsemax
from tests.heads import gradients, reference

FUNCTIONS = {"sparsemax": sparsemax, "entmax15": entmax15}
# On both sides of where the search changes: 16 classes, 512; blocks that divide and that do not.
EXTENTS = (1, 2, 10, 16, 17, 300, 511, 512, 1000, 1031, 5000)


@pytest.fixture(params=FUNCTIONS)
def name(request):
    return request.param


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def run(name, x, axis=-1):
    """Return the probabilities, compiled: an eager JAX would compile every operation by itself."""
    function = FUNCTIONS[name]
    return numpy(gradients.compiled(lambda x: function(x, axis=axis))(ops.convert_to_tensor(x)))


@pytest.mark.parametrize("scale", [0.02, 1.0, 6.0])
@pytest.mark.parametrize("n", EXTENTS)
def test_values(name, n, scale, rng):
    x = (rng.normal(size=(6, n)) * scale).astype("float32")
    p = run(name, x)
    np.testing.assert_allclose(p, reference.HEADS[name](x), atol=1e-6)
    np.testing.assert_allclose(p.sum(axis=-1), 1.0, atol=4e-6)


@pytest.mark.parametrize("n", [12, 700, 3000])
def test_values_in_float64(name, n, rng):
    x = rng.normal(size=(5, n))
    with gradients.float64():
        p = FUNCTIONS[name](ops.convert_to_tensor(x, "float64"))
        assert keras.backend.standardize_dtype(p.dtype) == "float64"
        np.testing.assert_allclose(numpy(p), reference.HEADS[name](x), atol=1e-13)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((7,), 0), ((3, 20), 0), ((3, 20), 1), ((2, 30, 5), 1), ((2, 3, 4, 6), -3), ((4, 600, 2), -2)],
)
def test_any_axis(name, shape, axis, rng):
    x = rng.normal(size=shape).astype("float32")
    p = run(name, x, axis)
    np.testing.assert_allclose(p, reference.HEADS[name](x, axis), atol=1e-6)


@pytest.mark.parametrize("n", [10, 100, 700])
def test_eager(name, n, rng):
    x = rng.normal(size=(3, n)).astype("float32")
    np.testing.assert_allclose(numpy(FUNCTIONS[name](x)), reference.HEADS[name](x), atol=1e-6)


def test_support_in_more_blocks_than_are_searched_first(name, rng):
    # Every block has as good a maximum as the others.
    x = np.tile(rng.normal(size=40) * 0.01, 50).astype("float32")[None]
    p = run(name, x)
    np.testing.assert_allclose(p, reference.HEADS[name](x), atol=1e-7)
    assert (p > 0).sum() > 100


def test_support_in_the_classes_beyond_the_last_block(name, rng):
    x = rng.normal(size=(3, 1031)).astype("float32")
    x[:, -2:] += 9.0
    p = run(name, x)
    np.testing.assert_allclose(p, reference.HEADS[name](x), atol=1e-6)


@pytest.mark.parametrize("n", [4, 40, 800])
def test_ties_and_the_boundary_are_exact(n):
    x = np.full((2, n), -5.0, "float32")
    x[0, :4] = [2.0, 2.0, 2.0, 1.0]
    x[1, :4] = [3.0, 2.0, 3.0, 2.0]
    p = run("sparsemax", x)
    np.testing.assert_allclose(p[0, :4], [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-7)
    assert p[0, 3] == 0
    assert p[1, :4].tolist() == [0.5, 0.0, 0.5, 0.0]
    # sqrt(p) is half the logit above twice the threshold: 1 is just outside of {0, 2}.
    pair = np.full((1, n), -9.0, "float32")
    pair[0, :2] = [2.0, 0.0]
    assert run("entmax15", pair)[0, :2].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("n", [6, 60, 900])
def test_equal_logits_share(name, n):
    np.testing.assert_allclose(run(name, np.full((2, n), 3.5, "float32")), 1 / n, rtol=1e-5)


@pytest.mark.parametrize("n", [5, 50, 2000])
def test_large_logits(name, n, rng):
    x = rng.normal(size=(4, n)).astype("float32")
    for shift in (-3e4, 3e4):
        moved = (x + np.float32(shift)).astype("float32")
        expected = reference.HEADS[name](moved)
        np.testing.assert_allclose(run(name, moved), expected, atol=1e-6)
    far = run(name, x * np.float32(1e30))
    np.testing.assert_array_equal(far, (x == x.max(axis=-1, keepdims=True)).astype("float32"))


@pytest.mark.parametrize("n", [9, 90, 1200])
def test_minus_infinity_has_probability_0(name, n, rng):
    x = rng.normal(size=(4, n)).astype("float32")
    x[rng.random((4, n)) < 0.5] = -np.inf
    x[:, 3] = 0.1
    p = run(name, x)
    np.testing.assert_allclose(p, reference.HEADS[name](x), atol=1e-6)
    assert np.all(p[np.isneginf(x)] == 0)
    g = rng.normal(size=x.shape).astype("float32")
    slope = gradients.vjp(FUNCTIONS[name], x, g)
    assert np.all(np.isfinite(slope))
    assert np.all(slope[np.isneginf(x)] == 0)


@pytest.mark.parametrize("n", [3, 30, 600])
@pytest.mark.parametrize("bad", [np.nan, np.inf, "all -inf"])
def test_nan_and_infinity_make_nan(name, n, bad, rng):
    x = rng.normal(size=(3, n)).astype("float32")
    x[1] = -np.inf if isinstance(bad, str) else x[1]
    if not isinstance(bad, str):
        x[1, n // 2] = bad
    p = run(name, x)
    assert np.all(np.isnan(p[1]))
    np.testing.assert_allclose(p[[0, 2]], reference.HEADS[name](x[[0, 2]]), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("n", [10, 200, 2500])
def test_half_precision_is_computed_in_float32(name, dtype, n, rng):
    x = ops.cast(rng.normal(size=(3, n)).astype("float32"), dtype)
    p = FUNCTIONS[name](x)
    assert keras.backend.standardize_dtype(p.dtype) == dtype
    exact = reference.HEADS[name](numpy(ops.cast(x, "float32")))
    expected = numpy(ops.cast(ops.cast(ops.convert_to_tensor(exact, "float32"), dtype), "float32"))
    np.testing.assert_allclose(numpy(ops.cast(p, "float32")), expected, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("n", [8, 80, 640])
def test_jacobian(name, n, rng):
    x = rng.normal(size=n).astype("float32")
    # Away from the kinks, where no derivative exists: half of the support is not at the threshold.
    expected = reference.jacobian(reference.HEADS[name], x.astype("float64"))
    units = rng.normal(size=(6, n)).astype("float32")
    for g in units:
        np.testing.assert_allclose(
            gradients.vjp(FUNCTIONS[name], x, g), g @ expected, atol=2e-5, rtol=1e-4
        )


@pytest.mark.parametrize("n", [8, 80, 640])
def test_jacobian_is_the_closed_form(name, n, rng):
    x = (0.3 * rng.normal(size=n)).astype("float32")
    p = reference.HEADS[name](x)
    s = (p > 0).astype("float64") if name == "sparsemax" else np.sqrt(p)
    expected = np.diag(s) - np.outer(s, s) / s.sum()
    g = rng.normal(size=n).astype("float32")
    np.testing.assert_allclose(gradients.vjp(FUNCTIONS[name], x, g), g @ expected, atol=1e-5)


def test_second_derivative_of_entmax15(rng):
    x = (0.2 * rng.normal(size=6)).astype("float32")
    g, h = rng.normal(size=(2, 6)).astype("float32")

    def slope(x):
        s = np.sqrt(reference.entmax15(x))
        return s * g - s * (s @ g) / s.sum()

    expected = h @ reference.jacobian(slope, x.astype("float64"))
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        leaf, g, h = gradients.leaf(x), ops.convert_to_tensor(g), ops.convert_to_tensor(h)
        first = torch.autograd.grad(entmax15(leaf), leaf, g, create_graph=True)[0]
        found = torch.autograd.grad(first, leaf, h)[0].cpu()
    elif backend == "jax":
        import jax

        found = jax.vjp(lambda x: jax.vjp(entmax15, x)[1](g)[0], x)[1](h)[0]
    else:
        import tensorflow as tf

        leaf = tf.constant(x)
        with tf.GradientTape() as outer:
            outer.watch(leaf)
            with tf.GradientTape() as inner:
                inner.watch(leaf)
                y = entmax15(leaf)
            first = inner.gradient(y, leaf, output_gradients=tf.constant(g))
        found = outer.gradient(first, leaf, output_gradients=tf.constant(h))
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("x", "axis", "message"),
    [
        (np.array([[1, 2, 3]]), -1, "expects floating-point logits. Received: dtype=int"),
        (np.array([True, False]), -1, "expects floating-point logits. Received: dtype=bool"),
        (np.zeros((2, 3), "float32"), 2, r"must be in \[-2, 2\) for logits with 2 axes"),
        (np.zeros((2, 3), "float32"), -3, r"Received: axis=-3"),
        (np.zeros((2, 3), "float32"), 0.5, "must be an integer. Received: axis=0.5"),
        (np.zeros((2, 3), "float32"), None, "must be an integer. Received: axis=None"),
        (np.zeros((2, 3), "float32"), True, "must be an integer. Received: axis=True"),
        (np.zeros((2, 0), "float32"), -1, "expects at least one class"),
        (np.float32(1.0), -1, "expects logits with at least one axis. Received: a scalar"),
    ],
)
def test_bad_input(name, x, axis, message):
    with pytest.raises(ValueError, match=message) as error:
        FUNCTIONS[name](x, axis=axis)
    assert name in str(error.value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_symbolic_result_has_the_dtype_of_the_logits(name, dtype):
    assert FUNCTIONS[name](keras.Input((20,), dtype=dtype)).dtype == dtype
    with pytest.raises(ValueError, match="expects floating-point logits"):
        FUNCTIONS[name](keras.Input((20,), dtype="int32"))
    with pytest.raises(ValueError, match="expects at least one class"):
        FUNCTIONS[name](keras.Input((0,)))


def test_unknown_number_of_classes(name, rng):
    inputs = keras.Input((None,))
    model = keras.Model(inputs, FUNCTIONS[name](inputs))
    for n in (3, 30, 700):
        x = rng.normal(size=(2, n)).astype("float32")
        p = model.predict_on_batch(x)
        np.testing.assert_allclose(p, reference.HEADS[name](x), atol=1e-6)


def test_more_pairs_than_are_compared(name, rng):
    x = rng.normal(size=(30_000, 12)).astype("float32")
    np.testing.assert_allclose(run(name, x), reference.HEADS[name](x), atol=2e-6)


@pytest.mark.parametrize("n", [5, 50, 800])
def test_no_rows(name, n):
    x = np.zeros((0, n), "float32")
    assert run(name, x).shape == numpy(FUNCTIONS[name](x)).shape == (0, n)


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 100, 3000])
def test_compiled_by_xla_or_inductor(name, n, rng):
    x = rng.normal(size=(4, n)).astype("float32")
    x[1, 3], x[2, 2] = -np.inf, np.nan
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        # Under `vmap` the rows share a loop.
        p = jax.jit(jax.vmap(FUNCTIONS[name]))(x)
    elif backend == "tensorflow":
        import tensorflow as tf

        p = tf.function(FUNCTIONS[name], jit_compile=True)(tf.constant(x))
    else:
        import torch

        p = torch.compile(FUNCTIONS[name])(ops.convert_to_tensor(x))
    p = numpy(p)
    np.testing.assert_allclose(p[[0, 1, 3]], reference.HEADS[name](x[[0, 1, 3]]), atol=1e-6)
    assert np.all(np.isnan(p[2]))


@pytest.mark.parametrize("seed", range(5))
def test_rounding_at_the_threshold_cannot_keep_rows_going(seed):
    """Rows whose counts of classes above the threshold go up and down, in turns, for ever."""
    rng = np.random.default_rng(seed)
    x = np.zeros((64, 40), "float32")
    for row in x:
        at_zero = int(rng.integers(2, 40))
        beside = np.float32(-1 / at_zero)
        for _ in range(int(rng.integers(0, 4))):
            beside = np.nextafter(beside, np.float32(rng.choice([-1, 0])))
        row[at_zero:] = beside
        row[:at_zero] += 1e-7 * rng.normal(size=at_zero)
    p = run("sparsemax", x)
    np.testing.assert_allclose(p, reference.sparsemax(x), atol=1e-6)


def test_in_a_functional_model(name, rng, tmp_path):
    inputs = keras.Input((20,))
    model = keras.Model(inputs, FUNCTIONS[name](2.0 * inputs))
    x = rng.normal(size=(3, 20)).astype("float32")
    np.testing.assert_allclose(numpy(model(x)), reference.HEADS[name](2 * x), atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
