"""What a model costs, and what it was measured with."""

from keras_sac.analysis._environment import environment

__all__ = ["environment"]
