import dataclasses
import pickle
import re

import keras
import numpy as np
import pytest
from sklearn.decomposition import NMF, PCA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from keras_sac.bases import Basis, pca

pytestmark = pytest.mark.backend_free


@pytest.fixture
def basis(rng):
    return Basis(
        rng.normal(size=(6, 3)),
        kind="pca",
        mean=rng.normal(size=6),
        spectrum=[3.0, 2.0, 1.0],
        variances=[3.0, 2.0, 1.0],
        total_variance=8.0,
        n_samples=100,
        seed=5,
    )


def test_arrays_have_their_types_and_cannot_be_written(basis):
    assert basis.matrix.dtype == np.float32
    assert basis.matrix.flags.c_contiguous
    assert basis.mean.dtype == np.float32
    assert basis.spectrum.dtype == basis.variances.dtype == np.float64
    for array in (basis.matrix, basis.mean, basis.spectrum, basis.variances):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_callers_array_stays_his_own():
    matrix = np.eye(3, dtype=np.float32)
    basis = Basis(matrix)
    matrix[0, 0] = 7.0
    assert basis.matrix[0, 0] == 1.0


def test_equality_is_identity(basis):
    assert basis == basis
    assert basis != dataclasses.replace(basis)
    assert len({basis, dataclasses.replace(basis)}) == 2


def test_variance_ratios_are_of_unit_columns(rng):
    q = np.linalg.qr(rng.normal(size=(5, 2)))[0]
    plain = Basis(q, variances=[4.0, 1.0], total_variance=10.0)
    whitened = Basis(q / [2.0, 1.0], variances=[1.0, 1.0], total_variance=10.0)
    np.testing.assert_allclose(plain.explained_variance_ratio, [0.4, 0.1], rtol=1e-6)
    np.testing.assert_allclose(whitened.explained_variance_ratio, [0.4, 0.1], rtol=1e-6)


def test_no_variance_ratios_without_data_and_zeros_for_constant_data():
    assert Basis(np.eye(2)).explained_variance_ratio is None
    constant = Basis(np.eye(2), variances=[0.0, 0.0], total_variance=0.0)
    assert constant.explained_variance_ratio.tolist() == [0.0, 0.0]


def test_truncate_keeps_what_belongs_to_the_leading_columns(basis):
    cut = basis.truncate(2)
    np.testing.assert_array_equal(cut.matrix, basis.matrix[:, :2])
    assert cut.matrix.flags.c_contiguous
    assert cut.spectrum.tolist() == [3.0, 2.0]
    assert cut.variances.tolist() == [3.0, 2.0]
    np.testing.assert_array_equal(cut.mean, basis.mean)
    assert (cut.kind, cut.total_variance, cut.n_samples, cut.seed) == ("pca", 8.0, 100, 5)


@pytest.mark.parametrize("rank", [0, -1, 4, 2.5, True, "2"])
def test_truncate_refuses(basis, rank):
    with pytest.raises(ValueError, match="`rank` must be"):
        basis.truncate(rank)


def test_from_matrix_takes_tensors_variables_and_lists():
    values = np.arange(6.0).reshape(3, 2)
    for source in (
        values.tolist(),
        keras.ops.convert_to_tensor(values),
        keras.Variable(values),
        keras.ops.cast(values, "bfloat16"),
        values.astype(np.float16),
        values.astype(np.int8),
    ):
        np.testing.assert_array_equal(Basis.from_matrix(source).matrix, values)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones(3), r"Received: shape \(3,\)"),
        (np.ones((2, 3, 1)), r"Received: shape \(2, 3, 1\)"),
        (np.ones((3, 0)), r"Received: shape \(3, 0\)"),
        (np.ones((2, 3)), "more columns than rows.*transpose"),
        (np.array([[np.nan], [1.0]]), "`matrix` must be finite.*1 of 2"),
        (np.array([[np.inf], [1.0]]), "`matrix` must be finite"),
        (np.array([[1e300], [1.0]]), "too large"),
        (np.ones((2, 1), complex), "real numbers.*complex128"),
        (np.array([["a"], ["b"]]), "real numbers"),
        (np.array([[None], [1]]), "real numbers.*object"),
    ],
)
def test_refuses_a_matrix(matrix, message):
    with pytest.raises(ValueError, match=message):
        Basis(matrix)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": np.zeros(2)}, r"`mean` must have the shape \(3,\)"),
        ({"spectrum": np.zeros(3)}, r"`spectrum` must have the shape \(2,\)"),
        ({"variances": np.zeros((2, 1))}, r"`variances` must have the shape \(2,\)"),
        ({"mean": [0.0, np.nan, 0.0]}, "`mean` must be finite"),
        ({"total_variance": -1.0}, "`total_variance`"),
        ({"total_variance": np.inf}, "`total_variance`"),
        ({"n_samples": 1.5}, "`n_samples` must be an integer"),
        ({"seed": "1"}, "`seed` must be an integer"),
        ({"kind": ""}, "`kind`"),
        ({"kind": 3}, "`kind`"),
    ],
)
def test_refuses_statistics_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        Basis(np.eye(3)[:, :2], **fields)


def test_save_and_load(basis, tmp_path):
    path = tmp_path / "deep.basis"
    basis.save(path)
    loaded = Basis.load(str(path))
    for field in dataclasses.fields(Basis):
        before, after = getattr(basis, field.name), getattr(loaded, field.name)
        assert type(before) is type(after)
        np.testing.assert_array_equal(before, after)
    assert [p.name for p in tmp_path.iterdir()] == ["deep.basis"]


def test_save_replaces_a_file_only_if_asked(basis, tmp_path):
    path = tmp_path / "basis.npz"
    basis.save(path)
    with pytest.raises(FileExistsError, match="overwrite"):
        Basis(np.eye(2)).save(path)
    assert Basis.load(path).in_dim == 6
    with pytest.raises(FileNotFoundError):
        basis.save(tmp_path / "nowhere" / "basis.npz", overwrite=True)
    Basis(np.eye(2)).save(path, overwrite=True)
    loaded = Basis.load(path)
    assert (loaded.in_dim, loaded.kind, loaded.mean, loaded.seed) == (2, "custom", None, None)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(basis, tmp_path, monkeypatch):
    path = tmp_path / "basis.npz"
    basis.save(path)
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        Basis(np.eye(2)).save(path, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_load_refuses_truncated_files(basis, tmp_path):
    whole = tmp_path / "basis.npz"
    basis.save(whole)
    content = whole.read_bytes()
    cut = tmp_path / "cut.npz"
    for length in (0, 1, 10, len(content) // 2, len(content) - 30, len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.npz.*cannot be read"):
            Basis.load(cut)


def test_load_refuses_damaged_content(basis, tmp_path):
    path = tmp_path / "basis.npz"
    basis.save(path)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        Basis.load(path)


def test_load_refuses_foreign_files(tmp_path):
    np.savez(tmp_path / "theirs.npz", weights=np.eye(3))
    with pytest.raises(ValueError, match=r"must have the format.*weights.*from_matrix"):
        Basis.load(tmp_path / "theirs.npz")
    np.save(tmp_path / "array.npy", np.eye(3))
    with pytest.raises(ValueError, match="cannot be read"):
        Basis.load(tmp_path / "array.npy")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"matrix": 1}))
    with pytest.raises(ValueError, match="cannot be read"):
        Basis.load(tmp_path / "pickle.npz")
    np.savez(tmp_path / "objects.npz", matrix=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        Basis.load(tmp_path / "objects.npz")
    with pytest.raises(FileNotFoundError):
        Basis.load(tmp_path / "nothing.npz")


def test_load_refuses_our_format_with_other_content(tmp_path):
    np.savez(tmp_path / "no_matrix.npz", format="keras_sac.Basis/1", kind="pca")
    with pytest.raises(ValueError, match="must hold 'matrix' and 'kind'"):
        Basis.load(tmp_path / "no_matrix.npz")
    np.savez(tmp_path / "wide.npz", format="keras_sac.Basis/1", kind="pca", matrix=np.ones((2, 3)))
    with pytest.raises(ValueError, match="more columns than rows"):
        Basis.load(tmp_path / "wide.npz")


def test_the_repr_takes_one_line(rng, basis):
    assert repr(Basis(np.eye(4)[:, :2])) == '<Basis "custom": rank 2 of 4 inputs>'
    x = rng.normal(size=(50, 6)) * [3, 2, 1, 1, 1, 1]
    text = repr(pca(x, 2))
    assert re.fullmatch(
        r'<Basis "pca": rank 2 of 6 inputs, \d\d\.\d % of the variance of 50 samples>', text
    )


def test_transform_centers_where_there_is_a_mean(rng, basis):
    x = (1e4 + rng.normal(size=(7, 2, 6))).astype(np.float32)
    exact = (x - basis.mean.astype(float)) @ basis.matrix.astype(float)
    found = basis.transform(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    plain = Basis(basis.matrix)
    np.testing.assert_allclose(plain.transform(x[0, 0]), x[0, 0] @ basis.matrix, rtol=1e-6)
    found = basis.transform(x.astype(float))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    tensor = keras.ops.convert_to_tensor(x)
    np.testing.assert_array_equal(basis.transform(tensor), basis.transform(x))


@pytest.mark.parametrize("x", [np.zeros((2, 5)), np.zeros(()), np.array([["a"] * 6])])
def test_transform_refuses(basis, x):
    with pytest.raises(ValueError, match=r"`x` must hold real numbers of shape \(\.\.\., 6\)"):
        basis.transform(x)


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        (PCA(3), "pca"),
        (PCA(3, whiten=True), "pca_whitened"),
        (PCA(0.9), "pca"),
        (PCA(3, svd_solver="randomized", random_state=0), "pca"),
        (IncrementalPCA(3, batch_size=20), "pca"),
        (IncrementalPCA(3, batch_size=20, whiten=True), "pca_whitened"),
        (TruncatedSVD(3, algorithm="arpack", random_state=0), "custom"),
    ],
)
def test_from_a_fitted_estimator(rng, estimator, kind):
    x = rng.normal(size=(80, 6)) * [5, 4, 3, 2, 1, 1] + 2
    projections = estimator.fit(x).transform(x)
    basis = Basis.from_sklearn(estimator)
    assert basis.kind == kind
    np.testing.assert_allclose(basis.transform(x), projections, atol=1e-5)
    ddof = 0 if kind == "custom" else 1
    np.testing.assert_allclose(basis.variances, projections.var(axis=0, ddof=ddof), rtol=1e-2)
    ratios = estimator.explained_variance_ratio_
    np.testing.assert_allclose(basis.explained_variance_ratio, ratios, rtol=1e-5)
    assert basis.n_samples == (None if kind == "custom" else 80)


def test_a_basis_of_scikit_learn_is_ours(rng):
    x = rng.normal(size=(80, 6)) * [6, 5, 4, 3, 2, 1] + 2
    theirs, ours = Basis.from_sklearn(PCA(3).fit(x)), pca(x, 3)
    np.testing.assert_allclose(np.abs(theirs.matrix), np.abs(ours.matrix), atol=1e-5)
    for name in ("mean", "spectrum", "variances", "total_variance", "n_samples"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), rtol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (PCA(3), "PCA, which has no `components_`. Call its `fit"),
        (LinearDiscriminantAnalysis(), "`bases.lda`"),
        (NMF(2).fit(np.ones((5, 3))), r"Received: NMF.*from_matrix\(estimator\.components_\.T\)"),
        (np.eye(3), "Received: ndarray"),
    ],
)
def test_refuses_other_estimators(estimator, message):
    with pytest.raises(ValueError, match=message):
        Basis.from_sklearn(estimator)
