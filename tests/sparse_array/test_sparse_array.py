"""Every array is restored, and takes few more bytes than the entropy bound."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_sac._sparse_array import decode, encode, encoded_size, entropy_bound

pytestmark = pytest.mark.backend_free

DTYPES = [
    *("<f2", "<f4", "<f8", ">f4", "<c8", "<c16", "|b1", "|i1", "|u1", "<i2", "<u4", "<i8"),
    *("<M8[s]", "<m8[D]", "|S5", "<U3", "|V3", "|S40"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.int4),
]


def pruned(rng, shape, sparsity):
    values = rng.normal(0.0, 0.05, shape).astype("float32")
    return values * (np.abs(values) > np.quantile(np.abs(values), sparsity))


def bits(array):
    """The bytes of an array, -0.0 taken for 0.0."""
    array = np.array(array)
    if array.dtype.kind in "fc" or array.dtype.isbuiltin == 2:
        with np.errstate(invalid="ignore"):
            array[array == np.zeros((), array.dtype)] = 0
    return array.dtype, array.shape, array.tobytes()


def there_and_back(array, **options):
    encoded = encode(array, **options)
    assert encoded.header.frames == tuple(len(frame) for frame in encoded.frames)
    return decode(encoded.header, encoded.frames)


@st.composite
def sparse_arrays(draw):
    """Arrays of any bytes whatever, some of them zero: NaN of every kind, infinities, -0.0."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9))
    seed, density = draw(st.integers(0, 2**32)), draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    rng = np.random.default_rng(seed)
    if dtype.kind == "U":
        # Not every number is a character.
        raw = rng.integers(32, 127, (*shape, 3)).astype("<u4").view(dtype)
    elif dtype.kind == "b" or dtype == ml_dtypes.int4:
        raw = rng.integers(0, 2, (*shape, 1)).astype(dtype)
    else:
        raw = rng.integers(0, 256, (*shape, dtype.itemsize), dtype=np.uint8).view(dtype)
    array = raw.reshape(shape)
    array[rng.random(shape) >= density] = np.zeros((), dtype)
    if dtype.kind == "f":
        array[rng.random(shape) < 0.1] = draw(st.sampled_from([-0.0, np.nan, np.inf, -np.inf]))
    return array


@given(sparse_arrays(), st.sampled_from([1, 7]))
def test_every_array_comes_back(array, level):
    assert bits(there_and_back(array, level=level)) == bits(array)


@given(
    st.integers(0, 70_000), st.sampled_from([0.0, 1e-4, 0.01, 0.1, 0.5, 0.99]), st.integers(0, 99)
)
def test_positions_come_back_wherever_they_are(size, density, seed):
    rng = np.random.default_rng(seed)
    array = (rng.random(size) < density).astype("uint8") * rng.integers(1, 255, size, "uint8")
    np.testing.assert_array_equal(there_and_back(array), array)


@pytest.mark.parametrize("run", [0, 1, 253, 254, 255, 256, 509, 510, 511, 2**18, 2**18 * 255])
def test_runs_of_any_length(run):
    for before, after in ((run, 0), (0, run), (run, 3), (3, run)):
        array = np.zeros(before + 1 + after, "int8")
        array[before] = 5
        back = there_and_back(array)
        assert back[before] == 5
        assert back.size == array.size
        assert np.count_nonzero(back) == 1


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 0.99])
def test_more_than_one_chunk_of_everything(rng, sparsity):
    array = pruned(rng, (3, 2**18 + 17), sparsity)
    encoded = encode(array)
    np.testing.assert_array_equal(decode(encoded.header, encoded.frames), array)


def test_arrays_are_taken_as_they_lie_in_memory(rng):
    array = pruned(rng, (30, 40), 0.8)
    for view in (array.T, array[::2, 1::3], array[::-1], np.asfortranarray(array)):
        np.testing.assert_array_equal(there_and_back(view), view)
    back = there_and_back(array)
    assert back.flags.c_contiguous
    assert back.flags.writeable


def test_the_coding_is_the_one_that_takes_least(rng):
    codings = {s: encode(pruned(rng, (300, 300), s)).header.coding for s in (0.0, 0.3, 0.95)}
    assert codings == {0.0: "dense", 0.3: "mask", 0.95: "gaps"}
    # Of every four weights two are zero: a mask has that pattern, gaps have not.
    two_of_four = np.where(rng.random((4000, 4)).argsort(axis=1) < 2, 1.5, 0).astype("float32")
    assert encode(two_of_four).header.coding == "mask"
    # A single zero is not worth a mask.
    assert encode(np.r_[np.ones(1000, "float32"), 0]).header.coding == "dense"


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_within_five_percent_of_the_bound(rng, sparsity, dtype):
    array = pruned(rng, (400, 500), sparsity).astype(dtype)
    nonzeros = np.count_nonzero(array)
    bound = entropy_bound(array.size, nonzeros, array.itemsize)
    assert encoded_size(array) <= 1.05 * bound
    # Positions alone: the values win what positions might lose.
    ones = (array != 0).astype("int8")
    positions = encode(ones).header.frames[0]
    assert positions <= 1.06 * entropy_bound(array.size, nonzeros, 1) - nonzeros * 1.06 + 64


def test_patterns_take_next_to_nothing(rng):
    filters = np.where(rng.random(1000) < 0.2, rng.normal(size=(1000, 1000)), 0).astype("float32")
    frames = encode(filters).header.frames
    assert frames[0] < 0.01 * entropy_bound(10**6, np.count_nonzero(filters), 1)


def test_higher_levels_take_no_more_for_patterns(rng):
    blocks = np.kron(rng.random((100, 100)) < 0.1, np.ones((4, 4))).astype("float32")
    sizes = [sum(encode(blocks, level=level).header.frames) for level in (1, 9, 19)]
    assert sizes[2] < sizes[1] < sizes[0]


def test_float16_halves_the_values(rng):
    array = pruned(rng, (200, 200), 0.9)
    array[0, :3] = np.nan, np.inf, 1e-9
    encoded = encode(array, float16=True)
    assert encoded.header.stored == "<f2"
    assert encoded.header.values < np.count_nonzero(array)
    back = decode(encoded.header, encoded.frames)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, array.astype("float16").astype("float32"))
    assert encoded.header.frames[1] < 0.6 * encode(array).header.frames[1]


@pytest.mark.parametrize("dtype", ["<i4", "|b1", "<f2", ml_dtypes.bfloat16, "<c8"])
def test_float16_leaves_the_rest_alone(dtype):
    array = np.arange(40).astype(dtype)
    assert encode(array, float16=True) == encode(array)


@pytest.mark.parametrize("value", [65520.0, -1e30, 1e39])
def test_float16_refuses_what_becomes_infinite(value):
    with pytest.raises(ValueError, match=r"1 of 2 values.*65504.*largest.*values=None"):
        encode(np.array([1.0, value]), float16=True)
    assert decode(*vars(encode(np.array([65519.0]), float16=True)).values()) == 65504


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, None]),
        np.array(["a"], np.dtypes.StringDType()),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
    ],
    ids=["objects", "strings", "structures"],
)
def test_refuses_what_has_no_bytes_of_its_own(array):
    with pytest.raises(ValueError, match="Expected an array of numbers.*astype"):
        encode(array)


def test_the_bound_is_that_of_shannon():
    assert entropy_bound(8, 4, 4) == 1 + 16
    assert entropy_bound(1000, 0, 4) == 0
    assert entropy_bound(1000, 1000, 2) == 2000
    assert entropy_bound(0, 0, 4) == 0
    assert entropy_bound(10**6, 10**5, 4) == pytest.approx(10**6 * 0.468996 / 8 + 4e5, rel=1e-6)


@pytest.mark.parametrize("numbers", [(5, 6, 4), (5, -1, 4), (-1, -1, 4), (5, 2, 0)])
def test_the_bound_of_no_array(numbers):
    with pytest.raises(ValueError, match="nonzeros <= size.*Received: size="):
        entropy_bound(*numbers)
