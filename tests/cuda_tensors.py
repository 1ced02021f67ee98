"""A tensor that refuses NumPy as those on a GPU do, for machines without one."""

import numpy as np


class CudaTensor:
    """Holds an array; only `detach().cpu().numpy()` gives it away."""

    def __init__(self, array):
        self._values = np.asarray(array)
        self.shape, self.dtype, self.ndim = self._values.shape, "torch.float32", self._values.ndim

    def __array__(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")

    def __len__(self):
        return len(self._values)

    def __getitem__(self, key):
        return CudaTensor(self._values[key])

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self._values
