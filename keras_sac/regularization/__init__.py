"""Add an L1 penalty to an existing model, or train with L1 to exact zeros."""

from keras_sac.regularization._kernel_l1 import add_kernel_l1
from keras_sac.regularization._proximal_l1 import ProximalL1

__all__ = ["ProximalL1", "add_kernel_l1"]
