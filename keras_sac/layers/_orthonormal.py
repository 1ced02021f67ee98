"""`Orthonormal`: a constraint that keeps the columns of a matrix orthonormal."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_sac")
class Orthonormal(keras.constraints.Constraint):
    """Replace a matrix by the orthonormal factor of its QR decomposition.

    `B <- Q sign(diag(R))` with `B = Q R`, the QR retraction onto the Stiefel manifold. The signs
    make it the identity on matrices with orthonormal columns. The span does not change. For a
    basis that is trained; see `unfreeze_basis(orthonormal=True)`.

    Input: shape `(in_dim, rank)`, `rank <= in_dim`, any float dtype (computed in float32 at least).

    Examples:
        >>> import numpy as np
        >>> b = np.array([[3.0, 1.0], [0.0, 2.0], [0.0, 0.0]], dtype="float32")
        >>> q = keras.ops.convert_to_numpy(Orthonormal()(b))
        >>> bool(np.allclose(q, [[1, 0], [0, 1], [0, 0]], atol=1e-6))
        True

    Reference:
        Absil, Mahony, Sepulchre, 2008, "Optimization Algorithms on Matrix Manifolds", section 4.1.
    """

    def __call__(self, w):
        """Return the orthonormal factor of `w`, shape `(in_dim, rank)`."""
        if len(w.shape) != 2 or w.shape[0] < w.shape[1]:
            raise ValueError(
                "`Orthonormal` needs a matrix with at least as many rows as columns. Received: "
                f"shape {tuple(w.shape)}"
            )
        dtype = keras.backend.standardize_dtype(w.dtype)
        wide = w if dtype == "float64" else ops.cast(w, "float32")
        q, r = ops.qr(wide)
        # Not `sign`, which is 0 for a zero pivot and would erase the column.
        signs = ops.where(ops.diagonal(r) < 0, -1.0, 1.0)
        return ops.cast(q * ops.cast(signs, q.dtype), dtype)
