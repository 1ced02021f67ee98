"""Ground floor: walk, copy, call and describe a Keras model, and resolve what `targets=` means."""

from keras_sac._model._calls import STEPWISE, Call, layer_paths, watched_calls
from keras_sac._model._copying import check_graph, copied, is_graph, reachable_layers
from keras_sac._model._einsum_equation import EinsumEquation
from keras_sac._model._input_batches import input_batches
from keras_sac._model._kernels import KERNEL_NAMES, Kernel, describe
from keras_sac._model._labelled_batches import iterate
from keras_sac._model._layer_table import Uses, products_without_kernel, subspace_factors, uses_of
from keras_sac._model._patches import extract_patches
from keras_sac._model._places import found, place
from keras_sac._model._sample_inputs import batch_of, has_symbolic_inputs, noise, symbolic_inputs
from keras_sac._model._selection import Selection, as_selections
from keras_sac._model._selectors import Selector
from keras_sac._model._targets import Picked, pick, rows
from keras_sac._model._to_numpy import is_array, is_frame, is_lazy, to_numpy
from keras_sac._model._whole_model import check_model, kernels_of
