"""What a model costs, and what it was measured with."""

from keras_sac.analysis._activation_sparsity import activation_sparsity
from keras_sac.analysis._environment import environment

__all__ = ["activation_sparsity", "environment"]
