import dask
import dask.array
import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from keras_sac._model._labelled_batches import labelled_batches
from keras_sac.bases import Moments, pca

pytestmark = pytest.mark.backend_free


class Sequence(keras.utils.PyDataset):
    """Batches of a fixed size from arrays; endless without a length."""

    def __init__(self, x, y=None, size=4, endless=False):
        super().__init__()
        self.x, self.y, self.size, self.endless = x, y, size, endless

    @property
    def num_batches(self):
        return None if self.endless else -(-len(self.x) // self.size)

    def __len__(self):
        return self.num_batches

    def __getitem__(self, i):
        part = slice(i * self.size, (i + 1) * self.size)
        return self.x[part] if self.y is None else (self.x[part], self.y[part])


def collect(data, labels=None, **kwargs):
    batches = list(labelled_batches(data, labels, **kwargs))
    assert all(isinstance(x, np.ndarray) for x, _ in batches)
    x = np.concatenate([x for x, _ in batches])
    with_labels = batches[0][1] is not None
    return x, np.concatenate([y for _, y in batches]) if with_labels else None


@pytest.fixture
def x(rng):
    return rng.normal(size=(11, 2, 3)).astype(np.float32)


@pytest.fixture
def y():
    return np.arange(11) % 3


def memmap_of(x, folder):
    path = folder / "x.npy"
    np.save(path, x)
    return np.load(path, mmap_mode="r")


KINDS = {
    "array": lambda x, tmp: x,
    "memmap": memmap_of,
    "tensor": lambda x, tmp: keras.ops.convert_to_tensor(x),
    "variable": lambda x, tmp: keras.Variable(x),
    "dask": lambda x, tmp: dask.array.from_array(x, chunks=(4, 1, 2)),
    "list": lambda x, tmp: [x[:5], x[5:]],
    "generator": lambda x, tmp: (x[i : i + 4] for i in range(0, 11, 4)),
    "pydataset": lambda x, tmp: Sequence(x),
    "tuple": lambda x, tmp: (x,),
    "tensors": lambda x, tmp: [keras.ops.convert_to_tensor(x[:5]), (x[5:],)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_yields_each_sample_once_in_order(kind, x, tmp_path):
    seen, labels = collect(KINDS[kind](x, tmp_path), batch_size=4)
    np.testing.assert_array_equal(seen, x)
    assert labels is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_labels_beside_it(kind, x, y, tmp_path):
    seen, labels = collect(KINDS[kind](x, tmp_path), y.tolist(), batch_size=4)
    np.testing.assert_array_equal(seen, x)
    np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: (x, y),
        lambda x, y: (x, y, np.ones(len(x))),
        lambda x, y: [(x[:5], y[:5]), (x[5:], y[5:])],
        lambda x, y: [[x[:5], y[:5], np.ones(5)], [x[5:], y[5:], np.ones(6)]],
        lambda x, y: ((x[i : i + 1], y[i : i + 1]) for i in range(11)),
        lambda x, y: Sequence(x, y),
        lambda x, y: (dask.array.from_array(x, chunks=3), dask.array.from_array(y, chunks=5)),
    ],
)
def test_data_that_bring_their_labels(make, x, y):
    seen, labels = collect(make(x, y), batch_size=4)
    np.testing.assert_array_equal(seen, x)
    np.testing.assert_array_equal(labels, y)


def test_tensorflow_dataset(x, y):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    seen, labels = collect(dataset)
    np.testing.assert_array_equal(seen, x)
    np.testing.assert_array_equal(labels, y)
    unknown_length = dataset.filter(lambda a, b: True)
    np.testing.assert_array_equal(collect(unknown_length)[0], x)
    with pytest.raises(ValueError, match="infinite"):
        labelled_batches(dataset.repeat())


def test_torch_loader(x, y):
    import torch

    dataset = torch.utils.data.TensorDataset(
        torch.from_numpy(x).requires_grad_(), torch.from_numpy(y)
    )
    seen, labels = collect(torch.utils.data.DataLoader(dataset, batch_size=4))
    np.testing.assert_array_equal(seen, x)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(collect(torch.from_numpy(x).to(torch.bfloat16))[0].shape, x.shape)


def test_data_frames(rng):
    values = rng.normal(size=(9, 4))
    frame = pd.DataFrame(values, columns=list("abcd"), index=np.arange(9)[::-1])
    labels = pd.Series(list("xyzxyzxyz"), index=frame.index)
    seen, got = collect(frame, labels, batch_size=2)
    np.testing.assert_array_equal(seen, values)
    assert got.tolist() == labels.tolist()


@pytest.mark.parametrize("shape", [(40, 6), (5, 30)])
def test_sparse_arrays(rng, shape):
    values = rng.normal(size=shape) * (rng.uniform(size=shape) < 0.3)
    sparse = scipy.sparse.csr_array(values)
    np.testing.assert_array_equal(collect(sparse, batch_size=4)[0], values)
    np.testing.assert_allclose(pca(sparse, 2).matrix, pca(values, 2).matrix, atol=1e-5)


def test_nested_lists_of_numbers_are_an_array():
    assert [x.tolist() for x, _ in labelled_batches([[1, 2], [3, 4]], batch_size=1)] == [
        [[1, 2]],
        [[3, 4]],
    ]


def test_arrays_are_cut_and_iterables_are_not(x):
    assert [len(b) for b, _ in labelled_batches(x, batch_size=4)] == [4, 4, 3]
    assert [len(b) for b, _ in labelled_batches([x], batch_size=4)] == [11]


def test_dask_is_read_block_by_block():
    read = []

    def block(block_info):
        read.append(block_info[None]["chunk-location"])
        return np.zeros(block_info[None]["chunk-shape"])

    lazy = dask.array.map_blocks(
        block, chunks=((3, 3, 3), (2,)), dtype=float, meta=np.empty((0, 0))
    )
    batches = labelled_batches(lazy)
    next(batches)
    assert set(read) == {(0, 0)}
    assert len(list(batches)) == 2
    assert len(read) == 3


def test_dask_blocks_of_unknown_length(rng):
    values = rng.normal(size=(20, 3))
    lazy = dask.array.from_array(values, chunks=(6, 2))
    positive = lazy[lazy[:, 0] > 0]
    assert np.isnan(positive.shape[0])
    expected = values[values[:, 0] > 0]
    np.testing.assert_array_equal(collect(positive, np.arange(len(expected)))[0], expected)
    with pytest.raises(ValueError, match="labels for"):
        collect(positive, np.arange(len(expected) + 1))


def test_dask_that_is_no_array():
    with pytest.raises(ValueError, match="to_dask_array"):
        labelled_batches(dask.delayed(np.zeros)((3, 2)))


def test_a_memmap_is_never_read_whole(tmp_path, rng):
    stored = memmap_of(rng.normal(size=(64, 8)), tmp_path)
    for batch, _ in labelled_batches(stored, batch_size=16):
        assert isinstance(batch, np.memmap)


def test_a_generator_is_consumed_once(x):
    generator = (x for _ in range(2))
    assert sum(len(b) for b, _ in labelled_batches(generator)) == 22
    with pytest.raises(ValueError, match="empty.*read once"):
        list(labelled_batches(generator))


@pytest.mark.parametrize("data", [np.zeros((0, 3)), [], (), iter([]), [np.zeros((0, 3))]])
def test_refuses_no_samples(data):
    with pytest.raises(ValueError, match="no samples"):
        list(labelled_batches(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(3), r"at least two axes.*\(3,\)"),
        (3.0, "Received: float"),
        ("images.npy", "Received: str"),
        ({"x": np.zeros((2, 2))}, "Received: dict"),
        (None, "Received: NoneType"),
        (lambda: iter([]), "Received: function.*Call it"),
        ([{"x": np.zeros((2, 2))}], "Received: dict"),
        ([("a", "b")], "Received: str"),
        ([(np.zeros((2, 2)), {"y": 1})], "Received: dict"),
        ([(np.zeros((2, 2)),) * 4], "Received: a tuple of 4 entries"),
        ([np.array(1.0)], "single value"),
        ([(np.zeros((2, 2)), np.zeros(3))], r"samples 0 to 1 with labels of shape \(3,\)"),
    ],
)
def test_refuses_what_it_cannot_read(data, message):
    with pytest.raises(ValueError, match=message):
        list(labelled_batches(data))


def test_refuses_an_endless_dataset(x):
    with pytest.raises(ValueError, match="infinite"):
        labelled_batches(Sequence(x, endless=True))


def test_refuses_labels_of_another_length(x, y):
    with pytest.raises(ValueError, match="10 labels for 11 samples"):
        labelled_batches(x, y[:-1])
    with pytest.raises(ValueError, match="samples 8 to 11"):
        list(labelled_batches((x[i : i + 4] for i in (0, 4, 7)), y))
    with pytest.raises(ValueError, match="11 labels for 8 samples"):
        list(labelled_batches((x[i : i + 4] for i in (0, 4)), y))
    with pytest.raises(ValueError, match="single value"):
        labelled_batches(x, 3)


def test_refuses_labels_given_twice(x, y):
    with pytest.raises(ValueError, match="twice"):
        labelled_batches((x, y), y)
    with pytest.raises(ValueError, match="passed twice"):
        list(labelled_batches([(x, y)], y))


@pytest.mark.parametrize("size", [0, -3, 2.5, True, None])
def test_refuses_a_batch_size(x, size):
    with pytest.raises(ValueError, match="`batch_size` must be"):
        labelled_batches(x, batch_size=size)


def test_short_passes_are_silent_and_long_ones_show_a_bar(x, capsys, monkeypatch):
    Moments.from_data(x, batch_size=2)
    assert capsys.readouterr().out == ""
    clock = iter(np.arange(100.0))
    monkeypatch.setattr("keras_sac._run._progress.time.monotonic", lambda: next(clock))
    Moments.from_data(x, batch_size=2, verbose=1)
    assert "6/6" in capsys.readouterr().out
    Moments.from_data(x, batch_size=2, verbose=0)
    assert capsys.readouterr().out == ""
    Moments.from_data(x[i : i + 1] for i in range(11))
    assert "batch" in capsys.readouterr().out


def test_pca_of_each_kind_is_the_same(tmp_path, x):
    expected = pca(x, 2).matrix
    for make in KINDS.values():
        np.testing.assert_allclose(pca(make(x, tmp_path), 2).matrix, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["coo", "csc", "csr", "dia", "bsr", "lil", "dok"])
@pytest.mark.parametrize("family", ["matrix", "array"])
def test_every_kind_of_sparse_array(rng, kind, family):
    dense = rng.poisson(0.2, (40, 6)).astype(float)
    data = getattr(scipy.sparse, f"{kind}_{family}")(scipy.sparse.csr_array(dense))
    np.testing.assert_array_equal(collect(data, batch_size=7)[0], dense)
    np.testing.assert_array_equal(collect([data, data])[0], np.concatenate([dense, dense]))
    y = np.arange(40)
    np.testing.assert_array_equal(collect((data, y), batch_size=7)[1], y)


def frame():
    return pd.DataFrame(
        {"a": [0.5, 1.5, 2.5], "b": [True, False, True], "c": np.array([1, 2, 3], "int8")}
    )


@pytest.mark.parametrize(
    "types",
    [
        {},
        {"a": "float32"},
        {"a": "Float64"},
        {"a": "Float32", "b": "boolean", "c": "Int8"},
        {"b": "boolean"},
        {"c": pd.SparseDtype("int8", 0)},
    ],
)
def test_data_frames_of_several_types(types):
    data = frame().astype(types)
    x, _ = collect(data, batch_size=2)
    assert x.dtype.kind == "f"
    np.testing.assert_array_equal(x, [[0.5, 1, 1], [1.5, 0, 2], [2.5, 1, 3]])
    np.testing.assert_array_equal(collect([data, data])[0], np.concatenate([x, x]))


def test_missing_values_in_a_data_frame_are_not_finite():
    data = frame().astype({"c": "Int8"})
    data.loc[1, "c"] = pd.NA
    with pytest.raises(ValueError, match="first bad column is 2, where sample 1 is nan"):
        Moments.from_data(data)


def test_columns_that_are_no_numbers_are_named():
    data = frame().assign(
        city=pd.Categorical(["x", "y", "x"]),
        day=pd.to_datetime(["2020-01-01"] * 3),
        name=["p", "q", "r"],
    )
    message = r"3 of 6 columns.*'city' \(category\), 'day' \(datetime.*'name' \(.*get_dummies"
    for source in (data, [data]):
        with pytest.raises(ValueError, match=message):
            collect(source)
