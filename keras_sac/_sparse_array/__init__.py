"""One array, zeros left out: where the others are, and what they are, compressed with zstd."""

from keras_sac._sparse_array._codec import Encoded, decode, encode
from keras_sac._sparse_array._header import ArrayHeader
from keras_sac._sparse_array._size import encoded_size, entropy_bound

__all__ = ["ArrayHeader", "Encoded", "decode", "encode", "encoded_size", "entropy_bound"]
