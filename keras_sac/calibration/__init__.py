"""Record what the layers of a trained model receive and make, for methods that make it smaller."""

from keras_sac.calibration._batch_norm import recalibrate_batch_norm, recalibrate_where_it_helps
from keras_sac.calibration._calibration import Calibration, as_calibration
from keras_sac.calibration._change_report import change_report
from keras_sac.calibration._input_moments import Scatter
from keras_sac.calibration._linear_fit import LinearFit
from keras_sac.calibration._observed_kernels import ObservedKernel
from keras_sac.calibration._output_correction import OutputCorrection

__all__ = [
    "Calibration",
    "LinearFit",
    "ObservedKernel",
    "OutputCorrection",
    "Scatter",
    "as_calibration",
    "change_report",
    "recalibrate_batch_norm",
    "recalibrate_where_it_helps",
]
