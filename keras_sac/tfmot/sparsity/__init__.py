"""Replace `tfmot.sparsity`."""

from keras_sac.tfmot.sparsity import keras

__all__ = ["keras"]
