"""Convert trained models to SAC layers of low rank, and SAC layers to stock Keras layers."""

from keras_sac.conversion._convert_to_sac import convert_to_sac
from keras_sac.conversion._merge_sac import merge_sac

__all__ = ["convert_to_sac", "merge_sac"]
