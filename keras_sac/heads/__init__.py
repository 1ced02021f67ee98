"""Sparse output layers and attention: sparsemax, entmax 1.5, and the losses that train them."""

from keras_sac.heads._fenchel_young import Entmax15Loss, SparsemaxLoss
from keras_sac.heads._head_layers import Entmax15, Sparsemax
from keras_sac.heads._keras_activations import keras_sparsemax_is_wrong
from keras_sac.heads._loss_check import check_loss
from keras_sac.heads._sparse_functions import entmax15, sparsemax
from keras_sac.heads._swap_head import swap_head

__all__ = [
    "Entmax15",
    "Entmax15Loss",
    "Sparsemax",
    "SparsemaxLoss",
    "check_loss",
    "entmax15",
    "keras_sparsemax_is_wrong",
    "sparsemax",
    "swap_head",
]
