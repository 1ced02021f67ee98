"""L1: as a penalty on models that are built already, and as exact zeros during training."""

from keras_sac.regularization._kernel_l1 import add_kernel_l1
from keras_sac.regularization._proximal_l1 import ProximalL1

__all__ = ["ProximalL1", "add_kernel_l1"]
