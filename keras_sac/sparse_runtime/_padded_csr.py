"""The entries of a kernel that are not zero, row by row, in pieces of equal width."""

from typing import Any, NamedTuple

import numpy as np

WIDTH = 32


class PaddedCsr(NamedTuple):
    """The transpose of a kernel in the compressed sparse row format, with some zeros in it.

    Each row is filled up to a whole number of pieces. To whoever knows rows by their offsets this
    is an ordinary CSR matrix; a compiler that wants arrays of fixed shape takes it piece by piece.

    Arrays, or tensors or variables of a backend.

    Attributes:
        values: `(pieces, WIDTH)`, the entries.
        columns: `(pieces, WIDTH)` int32, the input that each belongs to; 0 where it was filled up.
        rows: `(pieces,)` int32, the unit that each piece belongs to, ascending.
        offsets: `(units + 1,)` int32, where each row begins in the flat values.
    """

    values: Any
    columns: Any
    rows: Any
    offsets: Any


def padded_csr(kernel: np.ndarray) -> PaddedCsr:
    """Return the transpose of a kernel `(in_dim, units)`; at least one piece, even of zeros."""
    transposed = np.ascontiguousarray(kernel.T)
    row, column = np.nonzero(transposed)
    counts = np.bincount(row, minlength=len(transposed))
    pieces = -(-counts // WIDTH)
    pieces[0] = max(pieces[0], 1)
    offsets = WIDTH * np.concatenate([[0], np.cumsum(pieces)])
    # The n-th entry of a row comes n places after the beginning of the row.
    before = np.concatenate([[0], np.cumsum(counts)])
    place = offsets[row] + np.arange(len(row)) - before[row]
    values = np.zeros(offsets[-1], kernel.dtype)
    columns = np.zeros(offsets[-1], np.int32)
    values[place] = transposed[row, column]
    columns[place] = column
    return PaddedCsr(
        values.reshape(-1, WIDTH),
        columns.reshape(-1, WIDTH),
        np.repeat(np.arange(len(pieces), dtype=np.int32), pieces),
        offsets.astype(np.int32),
    )
