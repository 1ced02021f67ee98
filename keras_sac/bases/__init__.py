"""Compute the basis of a SAC layer from data, from a shape or from a seed."""

from keras_sac.bases._basis import Basis
from keras_sac.bases._dct import dct
from keras_sac.bases._lda import lda, lda_pca
from keras_sac.bases._moments import Moments
from keras_sac.bases._pca import pca
from keras_sac.bases._random import random_orthogonal
from keras_sac.bases._rank import choose_rank
from keras_sac.bases._statistics import with_statistics

__all__ = [
    "Basis",
    "Moments",
    "choose_rank",
    "dct",
    "lda",
    "lda_pca",
    "pca",
    "random_orthogonal",
    "with_statistics",
]
