import keras
import numpy as np
import pandas as pd
import pytest

from keras_sac.bases import Moments, _device, _moments, pca
from tests.bases.correlated_data import clusters, correlated

pytestmark = pytest.mark.backend_free


def assert_moments(moments, x, rtol=1e-6):
    """Compare with NumPy in double precision; `rtol` of the largest entry."""
    x = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    cov = np.atleast_2d(np.cov(x.T))
    assert (moments.count, moments.in_dim) == x.shape
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=rtol, atol=rtol * x.std())
    np.testing.assert_allclose(moments.covariance, cov, atol=rtol * np.abs(cov).max())
    np.testing.assert_allclose(moments.total_variance, np.trace(cov), rtol=rtol)
    second = x.T @ x / len(x)
    np.testing.assert_allclose(moments.second_moment, second, atol=rtol * np.abs(second).max())


def test_against_numpy(rng):
    x = correlated(rng, 1000, 20, mean=rng.normal(size=20))
    for batch_size in (64, 333, 4096):
        assert_moments(Moments.from_data(x, batch_size=batch_size), x)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "uint8", "int16", "int32", "int64", "uint32", "bool"]
)
def test_every_real_type(rng, dtype):
    x = rng.uniform(0, 2, size=(500, 5)) if dtype == "bool" else rng.uniform(0, 200, (500, 5))
    x = x.astype(dtype)
    assert_moments(Moments.from_data(x, batch_size=100), x)


def test_bfloat16_tensor(rng):
    x = keras.ops.cast(rng.normal(size=(50, 3)), "bfloat16")
    values = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
    assert_moments(Moments.from_data(x), values)


def test_results_are_in_double_precision_and_symmetric(rng):
    moments = Moments.from_data(rng.normal(size=(30, 4)))
    for value in (moments.mean, moments.covariance, moments.second_moment):
        assert value.dtype == np.float64
    np.testing.assert_array_equal(moments.covariance, moments.covariance.T)


def test_the_properties_are_copies(rng):
    moments = Moments.from_data(rng.normal(size=(30, 2)), np.arange(30) % 2)
    for name in ("mean", "covariance", "class_means", "class_counts", "classes", "second_moment"):
        before = getattr(moments, name).copy()
        getattr(moments, name)[...] = 7
        np.testing.assert_array_equal(getattr(moments, name), before)


def test_leading_axes_are_samples(rng):
    x = rng.normal(size=(10, 7, 3, 4))
    assert_moments(Moments.from_data(x), x)
    y = rng.integers(0, 3, size=(10, 7, 3))
    moments = Moments.from_data(x, y)
    assert moments.class_counts.tolist() == np.bincount(y.ravel()).tolist()


@pytest.mark.parametrize(("mean", "dtype"), [(1e4, np.float32), (1e9, np.float64)])
def test_a_mean_far_above_the_deviation(rng, mean, dtype):
    x = correlated(rng, 2000, 8, mean=mean).astype(dtype)
    moments = Moments.from_data(x, batch_size=100)
    cov = np.cov(x.astype(np.float64).T)
    np.testing.assert_allclose(moments.covariance, cov, atol=2e-6 * cov.max())
    np.testing.assert_allclose(moments.mean, x.mean(0, dtype=np.float64), rtol=1e-9)


def test_the_first_batch_may_be_far_from_the_others(rng):
    x = correlated(rng, 400, 4)
    x[:10] += 1000.0
    assert_moments(Moments.from_data(x, batch_size=10), x)


def exact_covariance(x):
    return np.cov(x.astype(np.float64).T)


@pytest.mark.parametrize("level", [1e3, 1e4, 6e4, 1e5])
@pytest.mark.parametrize("batch_size", [100, 256, 8192])
@pytest.mark.parametrize("order", ["zeros first", "zeros last", "mixed"])
def test_dark_and_bright_samples_in_any_order(rng, level, batch_size, order):
    scales = np.arange(1, 9)
    x = np.concatenate([np.zeros((256, 8)), level + rng.normal(size=(10_000, 8)) * scales])
    x = x.astype(np.float32)
    x = {"zeros first": x, "zeros last": x[::-1], "mixed": rng.permutation(x)}[order]
    found = np.linalg.eigvalsh(Moments.from_data(x, batch_size=batch_size).covariance)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(exact_covariance(x)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["exposure", "clusters", "one outlier"])
def test_a_few_directions_of_much_more_variance_in_one_batch(rng, kind):
    """More features than the test of single precision looks at."""
    n, width = 2000, 40
    x = rng.normal(size=(n, width))
    if kind == "exposure":
        x += 1e4 * rng.normal(size=(n, 1)) * rng.uniform(0.5, 1, width)
    elif kind == "clusters":
        x += (1e4 * rng.normal(size=(6, width)))[rng.integers(0, 6, n)]
    else:
        x[7] += 1e6
    x = x.astype(np.float32)
    found = np.linalg.eigvalsh(Moments.from_data(x).covariance)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(exact_covariance(x)), rtol=1e-4)


def test_a_gpu_has_the_same_precision(rng, monkeypatch):
    monkeypatch.setattr(_device, "on_gpu", lambda: True)
    monkeypatch.setattr(_device, "_WORTH_A_TRANSFER", 0)
    monkeypatch.setattr(_device, "_keras_matmul", lambda a, b: a @ b)
    x = (1e4 * rng.normal(size=(1000, 1)) + rng.normal(size=(1000, 20))).astype(np.float32)
    found = np.linalg.eigvalsh(Moments.from_data(x).covariance)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(exact_covariance(x)), rtol=1e-4)


def test_merging_very_many_parts(rng):
    x = (6e4 + rng.normal(size=(5000, 3))).astype(np.float32)
    y = rng.integers(0, 3, 5000)
    parts = [Moments().update(x[i : i + 1], y[i : i + 1]) for i in range(5000)]
    merged = Moments()
    for part in parts * 10:
        merged.merge(part)
    assert merged.count == 50_000
    exact = exact_covariance(np.concatenate([x] * 10))
    np.testing.assert_allclose(merged.covariance, exact, rtol=1e-9, atol=1e-9)
    for c in range(3):
        np.testing.assert_allclose(
            merged.class_means[c], x[y == c].mean(0, dtype=float), rtol=1e-12
        )


def test_classes_of_levels_far_apart(rng):
    y = np.repeat([0, 1, 2], 500)
    x = (np.array([0.0, 6e4, -3e4])[y][:, None] + rng.normal(size=(1500, 4))).astype(np.float32)
    moments = Moments.from_data(x, y, batch_size=130)
    for c in range(3):
        np.testing.assert_allclose(
            moments.class_means[c], x[y == c].mean(0, dtype=float), rtol=1e-9, atol=1e-6
        )


def test_a_bad_value_late_in_a_large_batch_leaves_the_moments(rng):
    moments = Moments().update(rng.normal(size=(10, 2)))
    before = moments.covariance
    x = rng.normal(size=(9000, 2))
    x[8999, 1] = np.nan
    with pytest.raises(ValueError, match="samples from 8192 on, with NaN.*sample 807 is nan"):
        moments.update(x)
    assert moments.count == 10
    np.testing.assert_array_equal(moments.covariance, before)


def test_a_batch_of_many_rows_is_cut(rng):
    x, y = clusters(rng, 20_000, 3, 4)
    moments = Moments().update(x, y)
    assert_moments(moments, x)
    for c, mean in zip(moments.classes, moments.class_means, strict=True):
        np.testing.assert_allclose(mean, x[y == c].mean(0), atol=1e-6)


def test_memory_layouts(rng):
    x = rng.normal(size=(60, 12)).astype(np.float32)
    expected = Moments.from_data(x).covariance
    for view in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x[::-1][::-1]):
        np.testing.assert_allclose(Moments.from_data(view).covariance, expected, atol=1e-6)


def test_data_are_left_as_they_are(rng):
    x = rng.normal(size=(20, 3)).astype(np.float32)
    before = x.copy()
    x.setflags(write=False)
    Moments.from_data(x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: y,
        lambda y: y.astype(np.uint8)[:, None],
        lambda y: y.astype(np.float32),
        lambda y: y.tolist(),
        lambda y: keras.ops.convert_to_tensor(y),
    ],
)
def test_classes(rng, labels):
    x, y = clusters(rng, 300, 5, 4)
    y = y * 10 - 3
    moments = Moments.from_data(x, labels(np.abs(y)), batch_size=37)
    classes, counts = np.unique(np.abs(y), return_counts=True)
    assert moments.classes.tolist() == classes.tolist()
    assert moments.class_counts.tolist() == counts.tolist()
    means = np.stack([x[np.abs(y) == c].mean(0) for c in classes])
    np.testing.assert_allclose(moments.class_means, means, atol=1e-6)


@pytest.mark.parametrize("dtype", [str, object])
def test_string_classes_that_appear_late(dtype):
    x = np.arange(12.0).reshape(6, 2)
    y = np.array(["pear", "fig", "pear", "apple", "fig", "cherimoya"], dtype=dtype)
    moments = Moments.from_data(x, y, batch_size=2)
    assert moments.classes.tolist() == ["apple", "cherimoya", "fig", "pear"]
    assert moments.class_counts.tolist() == [1, 1, 2, 2]
    np.testing.assert_allclose(moments.class_means[2], x[[1, 4]].mean(0), atol=1e-6)


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, pd.NaT, np.float32("nan")])
@pytest.mark.parametrize("kind", ["object", "series", "category", "string"])
def test_missing_labels_are_no_class(rng, missing, kind):
    labels = np.array(["cat", "dog", missing, "dog"], dtype=object)
    if kind != "object":
        types = {"series": None, "category": "category", "string": "string"}
        labels = pd.Series(labels, dtype=types[kind])
    with pytest.raises(
        ValueError, match="batch 0 with 1 of 4 labels that are NaN or None.*sample 2"
    ):
        Moments.from_data(rng.normal(size=(4, 2)), labels)


def test_missing_integer_labels(rng):
    labels = pd.Series([1, None, 2], dtype="Int64")
    with pytest.raises(ValueError, match="with 1 of 3 labels that are NaN or None"):
        Moments.from_data(rng.normal(size=(3, 2)), labels)
    moments = Moments.from_data(rng.normal(size=(3, 2)), labels.fillna(1))
    assert moments.classes.tolist() == [1, 2]


def test_without_labels_there_are_no_classes(rng):
    moments = Moments.from_data(rng.normal(size=(5, 2)))
    assert moments.classes is moments.class_counts is moments.class_means is None


def test_merge_into_empty_and_of_empty(rng):
    x, y = clusters(rng, 50, 3, 2)
    moments = Moments.from_data(x, y)
    assert_moments(Moments().merge(moments), x)
    assert_moments(moments.merge(Moments()), x)
    assert moments.merge(Moments()) is moments


def test_merge_with_itself_counts_twice(rng):
    x, y = clusters(rng, 50, 3, 2)
    moments = Moments.from_data(x, y)
    moments.merge(moments)
    assert_moments(moments, np.concatenate([x, x]))
    assert moments.class_counts.sum() == 100


def test_merge_leaves_the_other(rng):
    a, b = (
        Moments.from_data(rng.normal(size=(9, 3))),
        Moments.from_data(rng.normal(size=(5, 3)) + 9),
    )
    before = b.covariance
    a.merge(b)
    np.testing.assert_array_equal(b.covariance, before)
    merged = Moments().merge(b)
    merged.update(np.ones((3, 3)))
    np.testing.assert_array_equal(b.covariance, before)


def test_merge_refuses(rng):
    x = rng.normal(size=(5, 3))
    plain, labelled = Moments.from_data(x), Moments.from_data(x, [0, 1, 0, 1, 0])
    with pytest.raises(ValueError, match="must have 3 features.*moments of 4 features"):
        plain.merge(Moments.from_data(rng.normal(size=(5, 4))))
    with pytest.raises(ValueError, match="one with labels and one without"):
        plain.merge(labelled)
    with pytest.raises(ValueError, match="integers or all strings"):
        labelled.merge(Moments.from_data(x, list("ababa")))
    with pytest.raises(ValueError, match="Received: ndarray"):
        plain.merge(x)
    assert_moments(plain, x)
    assert_moments(labelled, x)


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_data_that_are_not_finite(rng, batch, value):
    x = rng.normal(size=(30, 4)).astype(np.float32)
    x[batch * 10 + 3, 2] = value
    x[batch * 10 + 4, 3] = np.nan
    message = f"batch {batch} with NaN.*first bad column is 2, where sample 3 is {value}"
    with pytest.raises(ValueError, match=message):
        Moments.from_data(x, batch_size=10)


@pytest.mark.parametrize(
    ("bad", "labels", "message"),
    [
        (np.full((3, 4), np.nan), [0, 1, 0], "NaN"),
        (np.full((3, 4), 1e25), [0, 1, 0], "below 1e19.*batch 1 with a value of 1e\\+25"),
        (np.full((3, 4), 1e300), [0, 1, 0], "too large"),
        (
            np.zeros((3, 5)),
            [0, 1, 0],
            r"have 4 features.*batch 1 with 5 \(shape \(3, 5\)\)",
        ),
        (np.zeros(4), [0], r"\(samples, ..., features\). Received: batch 1 of shape \(4,\)"),
        (np.zeros((3, 4), complex), [0, 1, 0], "real numbers.*complex128"),
        (np.array([["a"] * 4]), [0], "real numbers"),
        (np.zeros((3, 4)), [0, 1], r"labels of shape \(2,\)"),
        (np.zeros((3, 4)), np.eye(3), "one-hot.*np.argmax"),
        (np.zeros((3, 4)), [0.5, 1, 0], "whole numbers"),
        (np.zeros((3, 4)), [1, np.nan, 0], "missing.*batch 1 with 1 of 3.*sample 1"),
        (np.zeros((3, 4)), [1j, 1, 0], "integers or strings"),
        (np.zeros((3, 4)), list("abc"), "all integers or all strings"),
        (np.zeros((3, 4)), None, "batch 1 without labels, unlike the batches before it"),
    ],
)
def test_a_refused_batch_leaves_the_moments_as_they_were(rng, bad, labels, message):
    x, y = clusters(rng, 40, 4, 2)
    moments = Moments().update(x, y)
    before = (moments.mean, moments.covariance, moments.class_counts, moments.class_means)
    with pytest.raises(ValueError, match=message):
        moments.update(bad, labels)
    after = (moments.mean, moments.covariance, moments.class_counts, moments.class_means)
    assert moments.count == 40
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_refused_first_batch_leaves_empty_moments(rng):
    moments = Moments()
    with pytest.raises(ValueError, match="NaN"):
        moments.update([[np.nan, 1.0]])
    x = rng.normal(size=(4, 3))
    assert_moments(moments.update(x), x)


def test_labels_only_from_some_batch_on(rng):
    with pytest.raises(ValueError, match="batch 1 with labels, unlike"):
        Moments().update(np.zeros((2, 2))).update(np.zeros((2, 2)), [0, 1])


def test_before_there_are_samples():
    moments = Moments()
    assert moments.count == 0
    assert repr(moments) == "<Moments of no samples>"
    for name in ("mean", "covariance", "in_dim", "second_moment", "total_variance"):
        with pytest.raises(ValueError, match="seen no samples"):
            getattr(moments, name)


def test_a_single_sample_has_a_mean_but_no_covariance():
    moments = Moments().update([[1.0, 2.0]])
    assert moments.mean.tolist() == [1.0, 2.0]
    for name in ("covariance", "total_variance"):
        with pytest.raises(ValueError, match="at least two samples"):
            getattr(moments, name)


def test_a_constant_feature_has_no_variance_at_all(rng):
    x = rng.normal(size=(100, 3))
    x[:, 1] = 0.1
    cov = Moments.from_data(x.astype(np.float32), batch_size=7).covariance
    assert np.all(cov[1] == 0)


def test_an_empty_batch_changes_nothing(rng):
    x = rng.normal(size=(10, 3))
    moments = Moments().update(x)
    moments.update(np.zeros((0, 3)))
    assert_moments(moments, x)


def test_more_features_than_a_covariance_can_have(monkeypatch):
    monkeypatch.setattr(_moments, "_memory", lambda: 16 * 10**9)
    batches = iter([np.zeros((2, 200_000), np.float32)])
    with pytest.raises(ValueError, match=r"200,000 features takes 480 GB.*16 GB.*`bases.dct`"):
        pca(batches, 3)


def test_verbose_is_checked():
    with pytest.raises(ValueError, match="`verbose` must be"):
        Moments.from_data(np.zeros((2, 2)), verbose="loud")


def test_repr(rng):
    x = rng.normal(size=(6, 3))
    assert repr(Moments.from_data(x)) == "<Moments of 6 samples, 3 features>"
    labelled = Moments.from_data(x, np.arange(6) % 2)
    assert repr(labelled) == "<Moments of 6 samples, 3 features, 2 classes>"
