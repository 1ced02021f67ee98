"""Save a model to a file whose size follows the number of its nonzero weights."""

from keras_sac.sparse_file._sparse_file import load_sparse, save_sparse

__all__ = ["load_sparse", "save_sparse"]
