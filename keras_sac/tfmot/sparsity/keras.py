"""Replace `tfmot.sparsity.keras` on Keras 3, with all its public names."""

from keras_sac.tfmot._interfaces import PrunableLayer, PruningPolicy, prune_scope
from keras_sac.tfmot._prune_low_magnitude import prune_low_magnitude
from keras_sac.tfmot._pruning_summaries import PruningSummaries
from keras_sac.tfmot._strip_pruning import strip_pruning
from keras_sac.tfmot._tfmot_schedules import ConstantSparsity, PolynomialDecay, PruningSchedule
from keras_sac.tfmot._update_pruning_step import UpdatePruningStep
from keras_sac.tfmot._xnnpack import PruneForLatencyOnXNNPack

__all__ = [
    "ConstantSparsity",
    "PolynomialDecay",
    "PrunableLayer",
    "PruneForLatencyOnXNNPack",
    "PruningPolicy",
    "PruningSchedule",
    "PruningSummaries",
    "UpdatePruningStep",
    "prune_low_magnitude",
    "prune_scope",
    "strip_pruning",
]
