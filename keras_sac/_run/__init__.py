"""Ground floor: run and time models and exported files, here or in another process.

| question | file |
| --- | --- |
| How is a function run in another process? | `_child_process.py`, `_child_main.py` |
| Which engine reads an exported file, and how does it run? | `_engines.py` |
| What does an exported file return where keras_sac is not installed? | `_engine_process.py` |
| How far are outputs from the expected ones? | `_output_difference.py` |
| How are outputs computed without TF32? | `_full_precision.py` |
| How long do calls take? | `_clock.py` |
| How long does a layer take, compiled as in a model? | `_layer_timing.py` |
| On which device, with which versions and threads? | `_environment.py` |
| When is a progress bar shown? | `_progress.py` |
"""

from keras_sac._run import _engines as engines
from keras_sac._run._child_process import ChildError, run
from keras_sac._run._clock import IN_A_ROW, times_in_turns
from keras_sac._run._engine_process import FileOutputs, outputs_of_file
from keras_sac._run._environment import (
    accelerator_name,
    cpu_name,
    device_name,
    environment,
    set_threads,
    thread_count,
)
from keras_sac._run._full_precision import in_full_precision
from keras_sac._run._layer_timing import inference, median_milliseconds
from keras_sac._run._output_difference import largest_difference
from keras_sac._run._progress import Progress
