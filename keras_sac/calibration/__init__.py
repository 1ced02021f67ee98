"""Record what the layers of a trained model receive and make, for methods that make it smaller."""

from keras_sac.calibration._as_calibration import as_calibration
from keras_sac.calibration._batch_norm import recalibrate_batch_norm, recalibrate_where_it_helps
from keras_sac.calibration._budgets import absolute_budgets
from keras_sac.calibration._calibration import Calibration
from keras_sac.calibration._change_report import change_report
from keras_sac.calibration._changed_kernel import ChangedKernel, predicted_loss, relative_error
from keras_sac.calibration._kernel_part import KernelPart
from keras_sac.calibration._linear_fit import LinearFit
from keras_sac.calibration._observed_kernels import ObservedKernel

__all__ = [
    "Calibration",
    "ChangedKernel",
    "KernelPart",
    "LinearFit",
    "ObservedKernel",
    "absolute_budgets",
    "as_calibration",
    "change_report",
    "predicted_loss",
    "recalibrate_batch_norm",
    "recalibrate_where_it_helps",
    "relative_error",
]
