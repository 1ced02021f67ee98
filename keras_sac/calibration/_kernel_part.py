"""The part of a kernel that a narrower layer has."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class KernelPart:
    """Which inputs and outputs of a kernel are left.

    Attributes:
        inputs: shape `(in_dim,)`, the same in all groups.
        outputs: shape `(groups, units / groups)`; a group is gone if none of its outputs is left.
    """

    inputs: np.ndarray
    outputs: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """Which groups are left."""
        return np.asarray(self.outputs.any(axis=1))

    @property
    def units(self) -> int:
        """Number of outputs in all groups."""
        return int(self.outputs.sum())

    def of(self, matrices: np.ndarray) -> np.ndarray:
        """Return the part of matrices `(groups, in_dim, units / groups)`."""
        pairs = zip(matrices, self.outputs, strict=True)
        return np.stack([each[self.inputs][:, left] for each, left in pairs if left.any()])
