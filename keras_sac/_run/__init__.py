"""Ground floor: run and time models and exported files, here or in another process."""

from keras_sac._run import _engines as engines
from keras_sac._run._child_process import ChildError, run
from keras_sac._run._clock import times_in_turns
from keras_sac._run._custom_objects import custom_objects
from keras_sac._run._environment import (
    accelerator_name,
    cpu_name,
    device_name,
    environment,
    set_threads,
    thread_count,
)
from keras_sac._run._layer_timing import inference, median_milliseconds
from keras_sac._run._output_difference import largest_difference
from keras_sac._run._progress import Progress
