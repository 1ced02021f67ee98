"""Damaged frames and invalid headers are refused before an array is allocated."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import zstandard

from keras_sac._sparse_array import ArrayHeader, decode, encode

pytestmark = pytest.mark.backend_free

GAPS = encode(np.where(np.arange(3000) % 20 == 3, np.arange(3000), 0).astype("float32"))
MASK = encode(
    np.where(np.random.default_rng(0).random(999) < 0.6, np.arange(999), 0).astype("float32")
)
DENSE = encode(np.arange(1, 500, dtype="int32"))
ALL = {"gaps": GAPS, "mask": MASK, "dense": DENSE}


def test_these_are_what_they_are_called():
    assert {name: each.header.coding for name, each in ALL.items()} == {n: n for n in ALL}


def lying(encoded, **fields):
    return dataclasses.replace(encoded.header, **fields), encoded.frames


@pytest.mark.parametrize("name", ALL)
def test_a_changed_byte_of_a_frame(name):
    header, frames = ALL[name].header, ALL[name].frames
    whole = decode(header, frames)
    for which, frame in enumerate(frames):
        harmless = []
        for at in range(len(frame)):
            changed = bytearray(frame)
            changed[at] ^= 1 << (at % 8)
            changed = [*frames[:which], bytes(changed), *frames[which + 1 :]]
            try:
                np.testing.assert_array_equal(decode(header, changed), whole)
                harmless.append(at)
            except ValueError:
                continue
        # A few bits of a frame have no meaning.
        assert len(harmless) <= 2


@pytest.mark.parametrize("name", ALL)
def test_a_frame_cut_short(name):
    header, frames = ALL[name].header, ALL[name].frames
    for which, frame in enumerate(frames):
        for length in range(len(frame)):
            cut = [*frames[:which], frame[:length], *frames[which + 1 :]]
            with pytest.raises(ValueError, match="Expected frames of"):
                decode(header, cut)
            honest = dataclasses.replace(header, frames=tuple(len(f) for f in cut))
            with pytest.raises(ValueError, match=r"(?i)frame|expected"):
                decode(honest, cut)


HUGE = 2**50


@pytest.mark.parametrize(
    ("header", "frames"),
    [
        lying(GAPS, shape=(HUGE,)),
        lying(GAPS, shape=(3001,)),
        lying(GAPS, shape=(2999,)),
        lying(GAPS, shape=(HUGE,), values=HUGE),
        lying(GAPS, values=149),
        lying(GAPS, dtype="<f8", stored="<f8"),
        lying(GAPS, dtype="<f4", stored="<f2"),
        lying(GAPS, coding="mask"),
        lying(MASK, shape=(HUGE,)),
        lying(MASK, shape=(1001,)),
        lying(MASK, shape=(998,)),
        lying(MASK, values=MASK.header.values - 1),
        lying(MASK, coding="gaps"),
        lying(DENSE, shape=(HUGE,), values=HUGE),
        lying(DENSE, shape=(500,), values=500),
        lying(DENSE, dtype="<i8", stored="<i8"),
        lying(DENSE, shape=(0, 2**62, 499), values=0),
        (MASK.header, GAPS.frames),
        (GAPS.header, GAPS.frames[::-1]),
    ],
)
def test_a_header_that_does_not_fit_its_frames(header, frames):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"Expected|must|do not fit|cannot be stored"):
            decode(header, frames)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def frame_of(content, **options):
    return zstandard.ZstdCompressor(**{"write_checksum": True, **options}).compress(content)


@pytest.mark.parametrize(
    ("coding", "positions", "message"),
    [
        ("mask", bytes([0b111]), "mark 2 of 4.*marks 3"),
        ("mask", bytes([0b10011]), "mark 2 of 4.*marks 3"),
        ("mask", bytes([0b10001]), "mark 2 of 4.*marks 2"),
        ("mask", bytes([3, 0]), "positions of 2 values among 4.*Received: 2 bytes"),
        ("gaps", bytes([0, 0, 3]), "2 values among 5"),
        ("gaps", bytes([1, 1, 1]), "2 values among 5"),
        ("gaps", bytes([0, 0, 1]), "2 values among 3"),
        ("gaps", bytes([0, 0]), "positions of 2 values among 4.*Received: 2 bytes"),
        ("gaps", bytes([0, 0, 0, 2]), "positions of 2 values among 4.*Received: 4 bytes"),
        ("gaps", bytes([0, 2, 255]), "1 values among 258"),
    ],
)
def test_positions_that_are_none(coding, positions, message):
    frames = (frame_of(positions), frame_of(b"\x05\x06"))
    header = ArrayHeader((4,), "|u1", "|u1", coding, 2, tuple(len(f) for f in frames))
    with pytest.raises(ValueError, match=message):
        decode(header, frames)


def test_gaps_that_go_on_after_the_last():
    frames = (frame_of(bytes([1, 1, 0, 255])), frame_of(b"\x05\x06"))
    header = ArrayHeader((259,), "|u1", "|u1", "gaps", 2, tuple(len(f) for f in frames))
    with pytest.raises(ValueError, match="The gaps must describe"):
        decode(header, frames)


def test_positions_that_are_some():
    for coding, positions in (("mask", bytes([0b1010])), ("gaps", bytes([1, 1, 0]))):
        frames = (frame_of(positions), frame_of(b"\x05\x06"))
        header = ArrayHeader((4,), "|u1", "|u1", coding, 2, tuple(len(f) for f in frames))
        assert decode(header, frames).tolist() == [0, 5, 0, 6]


@pytest.mark.parametrize(
    "more", [b"#", bytes(8), frame_of(b"more")], ids=["byte", "zeros", "frame"]
)
def test_a_frame_and_more(more):
    for encoded in ALL.values():
        frames = tuple(frame + more for frame in encoded.frames)
        header = dataclasses.replace(encoded.header, frames=tuple(len(f) for f in frames))
        with pytest.raises(ValueError, match=r"The frame (does not end where|is damaged)"):
            decode(header, frames)


def dense(frame, size):
    return ArrayHeader((size,), "|u1", "|u1", "dense", size, (len(frame),)), [frame]


def test_a_frame_that_claims_more_than_it_can_hold():
    size = 2**40
    # A magic number, eight bytes of length and a checksum to come; then one empty block.
    frame = b"\x28\xb5\x2f\xfd\xe4" + size.to_bytes(8, "little") + b"\x01\x00\x00" + bytes(4)
    described = zstandard.get_frame_parameters(frame)
    assert (described.content_size, described.has_checksum) == (size, True)
    with pytest.raises(ValueError, match=f"claims {size} bytes; its {len(frame)} bytes can hold"):
        decode(*dense(frame, size))


@pytest.mark.parametrize(
    "options", [{"write_checksum": False}, {"write_content_size": False}], ids=str
)
def test_a_frame_that_does_not_say_enough(options):
    with pytest.raises(ValueError, match="with a length and a checksum"):
        decode(*dense(frame_of(b"abc", **options), 3))


def test_a_frame_that_wants_too_much_memory():
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, window_log=28, write_checksum=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=2**29)
    frame = b"".join([compressor.compress(bytes(2**29)), compressor.flush()])
    with pytest.raises(ValueError, match=r"frame is damaged.*memory"):
        decode(*dense(frame, 2**29))


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [-1]},
        {"shape": [1.0]},
        {"shape": [True]},
        {"shape": 3000},
        {"shape": None},
        {"shape": [1] * 65},
        {"values": 3001},
        {"values": "150"},
        {"frames": [1]},
        {"frames": [1, -2]},
        {"frames": [1, 2, 3]},
        {"coding": "zip"},
        {"coding": "dense"},
        {"dtype": "O", "stored": "O"},
        {"dtype": "float32", "stored": "float32"},
        {"dtype": "f4,f4", "stored": "f4,f4"},
        {"dtype": "(2,)f4", "stored": "(2,)f4"},
        {"dtype": "nonsense", "stored": "nonsense"},
        {"dtype": None, "stored": None},
        {"dtype": "|S40", "stored": "|S40"},
        {"dtype": "<i4", "stored": "<f2"},
        {"stored": "<f8"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_header_that_can_be_of_no_array(fields):
    with pytest.raises(ValueError, match=r"."):
        ArrayHeader.from_json({**as_json(GAPS.header), **fields})


def test_a_header_with_less_or_no_fields():
    fields = as_json(GAPS.header)
    del fields["coding"]
    for json in (fields, [], None, 3):
        with pytest.raises(ValueError, match="Expected the fields"):
            ArrayHeader.from_json(json)


def as_json(header):
    return {k: list(v) if isinstance(v, tuple) else v for k, v in header.to_json().items()}


def test_a_header_comes_back():
    for each in ALL.values():
        assert ArrayHeader.from_json(as_json(each.header)) == each.header
