"""Which variables of a model are kernels, and which of them somebody means."""

from keras_sac._targets._kernels import KERNEL_NAMES, Kernel, describe
from keras_sac._targets._model import check_model, kernels_of
from keras_sac._targets._pick import Picked, pick, rows
from keras_sac._targets._places import found, place
from keras_sac._targets._selection import Selection, as_selections
from keras_sac._targets._selectors import Selector

__all__ = [
    "KERNEL_NAMES",
    "Kernel",
    "Picked",
    "Selection",
    "Selector",
    "as_selections",
    "check_model",
    "describe",
    "found",
    "kernels_of",
    "pick",
    "place",
    "rows",
]
