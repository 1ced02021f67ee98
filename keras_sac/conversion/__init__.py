"""Convert SAC models to stock Keras models."""

from keras_sac.conversion._merge_sac import merge_sac

__all__ = ["merge_sac"]
