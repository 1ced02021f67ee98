"""Prune weights during training or in one shot: schedules x criteria x patterns -> masks."""

from keras_sac.pruning._block import Block
from keras_sac.pruning._criteria import OBD, Criterion, GradientSaliency, Magnitude, Random

# For `keras_sac.tfmot`; not public.
from keras_sac.pruning._masks import Masks as Masks
from keras_sac.pruning._nm import NM
from keras_sac.pruning._obs import OBS
from keras_sac.pruning._one_shot import (
    apply_masks,
    prune_by_threshold,
    prune_filters_by_norm,
    prune_to_sparsity,
)
from keras_sac.pruning._patterns import Filters, Pattern, Unstructured
from keras_sac.pruning._plot_sparsity import plot_sparsity
from keras_sac.pruning._prune_with_data import prune_with_data
from keras_sac.pruning._pruned_kernels import Target
from keras_sac.pruning._pruned_kernels import select_pruned as select_pruned
from keras_sac.pruning._pruning_optimizer import PruningOptimizer
from keras_sac.pruning._pruning_optimizer import pruning_optimizer as pruning_optimizer
from keras_sac.pruning._schedules import ConstantSparsity, PolynomialDecay, PruningSchedule
from keras_sac.pruning._schedules import schedule_key as schedule_key
from keras_sac.pruning._sparsity_logger import SparsityLogger
from keras_sac.pruning._sparsity_tables import filter_sparsity, sparsity

__all__ = [
    "NM",
    "OBD",
    "OBS",
    "Block",
    "ConstantSparsity",
    "Criterion",
    "Filters",
    "GradientSaliency",
    "Magnitude",
    "Pattern",
    "PolynomialDecay",
    "PruningOptimizer",
    "PruningSchedule",
    "Random",
    "SparsityLogger",
    "Target",
    "Unstructured",
    "apply_masks",
    "filter_sparsity",
    "plot_sparsity",
    "prune_by_threshold",
    "prune_filters_by_norm",
    "prune_to_sparsity",
    "prune_with_data",
    "sparsity",
]
