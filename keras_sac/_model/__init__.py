"""Ground floor: walk, copy, call and describe a Keras model, and resolve what `targets=` means.

| question | file |
| --- | --- |
| Which layers are in a model, and where? | `_walk.py` |
| Which models are graphs of layers that can be exchanged? | `_graphs.py` |
| How is a model copied with other layers in it, and compiled? | `_copying.py`, `_compiling.py` |
| What does each layer receive and return in a forward pass? | `_calls.py` |
| What is known about a class of layers? | `_layer_table.py`, `_stock_layers.py` |
| Which variables are kernels, and which axes are which? | `_kernels.py` |
| What does `targets=` select? | `_selectors.py`, `_targets.py`, `_select_layers.py`, `_places.py` |
| How are inputs read, batch by batch? | `_input_batches.py`, `_labelled_batches.py` |
| What can a model be called with? | `_sample_inputs.py` |
| Which inputs and outputs show whether a copy of a model is right? | `_drawn_inputs.py` |
"""

from keras_sac._model import _stock_layers
from keras_sac._model._calls import Call, replaced, watched_calls
from keras_sac._model._compiling import compile_like
from keras_sac._model._copying import Copies
from keras_sac._model._drawn_inputs import Batch, comparison_batches
from keras_sac._model._einsum_equation import EinsumEquation
from keras_sac._model._graphs import check_graph, is_graph, reachable_layers, run_graph
from keras_sac._model._input_batches import input_batches, sample_batches
from keras_sac._model._kernels import Kernel, check_model, describe, kernels_of
from keras_sac._model._labelled_batches import labelled_batches
from keras_sac._model._layer_table import (
    Choose,
    KernelAxes,
    LayerKind,
    kind_of,
    register_layer,
    why_not_one_product,
)
from keras_sac._model._places import places_of, restored
from keras_sac._model._sample_inputs import (
    batch_of,
    has_symbolic_inputs,
    input_names,
    input_specs,
    noise,
    sample_for,
    symbolic_inputs,
)
from keras_sac._model._select_layers import select_layers
from keras_sac._model._selectors import Selector, as_list
from keras_sac._model._targets import Selection, as_selections, report_rows, select_kernels
from keras_sac._model._to_numpy import is_array, is_frame, is_lazy, to_numpy
from keras_sac._model._walk import STEPWISE, all_layers, inner_layers, layer_paths, own_weights
