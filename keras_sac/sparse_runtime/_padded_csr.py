"""Store the nonzero entries of a kernel row by row, each row padded to pieces of equal width."""

from typing import Any, NamedTuple

import numpy as np

WIDTH = 32


class PaddedCsr(NamedTuple):
    """Transpose of a kernel in compressed sparse row (CSR) format, with rows padded by zeros.

    Each row is padded to a whole number of pieces. A library that finds rows by their offsets reads
    an ordinary CSR matrix; a compiler that needs arrays of fixed shape reads it piece by piece.

    The fields are arrays, or tensors or variables of a backend.

    Attributes:
        values: `(pieces, WIDTH)`, the entries.
        columns: `(pieces, WIDTH)` int32, the input index of each entry; 0 for padding.
        rows: `(pieces,)` int32, the unit of each piece, ascending.
        offsets: `(units + 1,)` int32, the start of each row in the flattened values.
    """

    values: Any
    columns: Any
    rows: Any
    offsets: Any

    def to_kernel(self, in_dim: int) -> np.ndarray:
        """Return the kernel `(in_dim, units)`, from fields that are arrays."""
        kernel = np.zeros((in_dim, len(self.offsets) - 1), self.values.dtype)
        # Padding is added to the first input, and is zero.
        np.add.at(kernel, (self.columns, self.rows[:, None]), self.values)
        return kernel


def padded_csr(kernel: np.ndarray) -> PaddedCsr:
    """Return the transpose of a kernel `(in_dim, units)`, with at least one piece.

    Args:
        kernel: matrix of shape `(in_dim, units)`.
    """
    transposed = np.ascontiguousarray(kernel.T)
    row, column = np.nonzero(transposed)
    counts = np.bincount(row, minlength=len(transposed))
    pieces = -(-counts // WIDTH)
    pieces[0] = max(pieces[0], 1)
    offsets = WIDTH * np.concatenate([[0], np.cumsum(pieces)])
    # The n-th entry of a row is n places after the start of the row.
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
