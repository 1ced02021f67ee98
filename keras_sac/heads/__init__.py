"""Sparse heads: probabilities that are exactly 0 for most classes, and their losses."""

from keras_sac.heads._fenchel_young import Entmax15Loss, SparsemaxLoss
from keras_sac.heads._head_layers import Entmax15, Sparsemax
from keras_sac.heads._keras_sparsemax import keras_sparsemax_is_wrong
from keras_sac.heads._sparse_functions import entmax15, sparsemax
from keras_sac.heads._swap_head import swap_head

__all__ = [
    "Entmax15",
    "Entmax15Loss",
    "Sparsemax",
    "SparsemaxLoss",
    "entmax15",
    "keras_sparsemax_is_wrong",
    "sparsemax",
    "swap_head",
]
