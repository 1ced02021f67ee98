"""Measure a model: parameters, operations, bytes, latency and activation sparsity."""

from keras_sac._run import environment
from keras_sac.analysis._activation_sparsity import activation_sparsity
from keras_sac.analysis._footprint import compare, footprint
from keras_sac.analysis._latency import latency

__all__ = ["activation_sparsity", "compare", "environment", "footprint", "latency"]
