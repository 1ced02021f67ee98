"""Run a pruned model with sparse matrix products where they are measured to be faster."""

from keras_sac.sparse_runtime._sparse_runtime import to_sparse_runtime

__all__ = ["to_sparse_runtime"]
