"""Take units out of a trained model: channels, units of dense and recurrent layers, and heads."""

from keras_sac.removal._remove_units import remove_units
from keras_sac.removal._remove_zero_filters import remove_zero_filters

__all__ = ["remove_units", "remove_zero_filters"]
