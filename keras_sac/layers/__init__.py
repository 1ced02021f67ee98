"""Keras layers whose kernel is a fixed basis times a small trained learner."""

from keras_sac.layers._basis_finetuning import BasisFinetuning
from keras_sac.layers._basis_source import register_basis_kind
from keras_sac.layers._conv_reading import READINGS as READINGS
from keras_sac.layers._conv_reading import ConvReading as ConvReading
from keras_sac.layers._conv_reading import Window as Window
from keras_sac.layers._orthonormal import Orthonormal
from keras_sac.layers._precompute_projection import precompute_projection
from keras_sac.layers._sac_class_of import sac_class_of as sac_class_of
from keras_sac.layers._sac_class_of import why_no_sac_class as why_no_sac_class
from keras_sac.layers._sac_conv import SACConv1D, SACConv2D, SACConv3D
from keras_sac.layers._sac_dense import SACDense
from keras_sac.layers._sac_einsum_dense import SACEinsumDense
from keras_sac.layers._select_sac_layers import sac_layers as sac_layers
from keras_sac.layers._subspace_kind import SubspaceKind as SubspaceKind
from keras_sac.layers._subspace_layer import SubspaceLayer

__all__ = [
    "BasisFinetuning",
    "Orthonormal",
    "SACConv1D",
    "SACConv2D",
    "SACConv3D",
    "SACDense",
    "SACEinsumDense",
    "SubspaceLayer",
    "precompute_projection",
    "register_basis_kind",
]
