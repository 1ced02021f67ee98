"""Encode one array without its zeros: positions and values, compressed with zstd.

| question | file |
| --- | --- |
| How is an array encoded and decoded? | `_codec.py` |
| What does the header of an encoded array say, and when is it invalid? | `_header.py` |
| How are the positions of the values stored? | `_positions.py` |
| How are the values stored? | `_values.py` |
| How is a damaged zstd frame found? | `_zstd.py` |
| How many bytes does an array take, and how many at least? | `_size.py` |
"""

from keras_sac._sparse_array._codec import Encoded, decode, encode
from keras_sac._sparse_array._header import ArrayHeader
from keras_sac._sparse_array._size import encoded_size, entropy_bound

__all__ = ["ArrayHeader", "Encoded", "decode", "encode", "encoded_size", "entropy_bound"]
