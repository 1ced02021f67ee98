"""Helpers that differ between the backends TensorFlow, PyTorch and JAX."""

import contextlib
import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np


def is_traced(tensor: Any) -> bool:
    """Return whether `tensor` has no value yet: in a graph, a trace, or shape inference."""
    if isinstance(tensor, keras.KerasTensor):
        return True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly()
    return _is_symbolic(tensor)


def _is_symbolic(tensor: Any) -> bool:
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    if backend == "torch":
        import torch

        return torch.compiler.is_compiling() or getattr(tensor, "is_meta", False)
    return False


def reading_waits(tensor: Any) -> bool:
    """Return whether eager torch would wait for an accelerator to read `tensor`."""
    return keras.backend.backend() == "torch" and tensor.device.type != "cpu"


def value_is_nan(variable: keras.Variable) -> bool | None:
    """Return whether the first entry of `variable` is NaN; `None` if no value can be read.

    Inside a compiled step a variable has no readable value. TensorFlow can read the current value
    outside the graph. JAX can, unless `fit` has moved the values into its own state. Torch always
    can, except in shape inference on the `meta` device.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            return _first_is_nan(variable.value) if tf.executing_eagerly() else None
    # No public attribute gives the value inside a stateless scope or on the `meta` device.
    value = getattr(variable, "_value", None)
    return None if value is None or _is_symbolic(value) else _first_is_nan(value)


def _first_is_nan(value: Any) -> bool:
    return bool(np.isnan(keras.ops.convert_to_numpy(value).flat[0]))


def cond(flag: Any, true: Callable[[], Any], false: Callable[[], Any]) -> Any:
    """Return `true()` or `false()`; eager torch avoids the overhead of `keras.ops.cond`."""
    if keras.backend.backend() == "torch" and not _is_symbolic(flag):
        return true() if flag else false()
    return keras.ops.cond(flag, true, false)


class StepCount:
    """A count of steps in an integer variable, followed on the host where the backend is eager.

    Eager torch would wait for the device to learn whether anything is due at a step. So the host
    counts too. It reads the variable only after something else has assigned it, such as a file.

    Args:
        variable: integer scalar variable.
    """

    def __init__(self, variable: keras.Variable):
        self._variable = variable
        self._count = 0
        self._seen: Any = None

    @property
    def on_host(self) -> int | None:
        """The count; `None` in a compiled step, in a stateless scope, or on another backend."""
        tensor: Any = getattr(self._variable, "_value", None)
        if keras.backend.backend() != "torch" or _is_symbolic(tensor):
            return None
        if keras.ops.convert_to_tensor(self._variable) is not tensor:
            return None
        # Each assignment raises the version of the memory.
        if self._seen != (id(tensor), tensor._version):
            self._count = int(tensor)
            self._seen = (id(tensor), tensor._version)
        return self._count

    def advance(self, updated: Any) -> Any:
        """Add 1 if `updated`, and return the new count: an integer where the host counts."""
        count = self.on_host
        if count is None:
            step = self._variable + keras.ops.cast(updated, self._variable.dtype)
            self._variable.assign(step)
            return step
        if updated:
            self._variable.assign_add(1)
            tensor = keras.ops.convert_to_tensor(self._variable)
            self._count, self._seen = count + 1, (id(tensor), tensor._version)
        return self._count


def on_cpu() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which eager torch creates tensors on the CPU, where reading is free."""
    if keras.backend.backend() == "torch":
        return keras.device("cpu")
    return contextlib.nullcontext()


def has_value(variable: keras.Variable) -> bool:
    """Return whether a variable holds its value; `fit` on JAX takes the values out of variables."""
    return getattr(variable, "_value", None) is not None


def is_readable(variable: keras.Variable) -> bool:
    """Return whether this process can read the whole value of a variable."""
    value = getattr(variable, "_value", None)
    return value is not None and getattr(value, "is_fully_addressable", True)


def dense(gradient: Any, rows: int) -> Any:
    """Return a gradient as a tensor; TensorFlow has that of an embedding as `IndexedSlices`.

    Args:
        gradient: gradient of a variable.
        rows: extent of the first axis of the variable.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if isinstance(gradient, tf.IndexedSlices):
            return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
    return gradient


def widest_float() -> str:
    """Return the widest float type that the backend computes with."""
    if keras.backend.backend() == "jax":
        import jax

        return "float64" if jax.config.jax_enable_x64 else "float32"
    if keras.backend.backend() == "torch":
        import torch

        # Keras uses the GPU of Apple where there is one. It has no float64.
        return "float32" if torch.backends.mps.is_available() else "float64"
    return "float64"


def eagerly() -> contextlib.AbstractContextManager[Any]:
    """Return a context that runs operations eagerly, even while a step is traced."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    if keras.backend.backend() == "jax":
        import jax

        return jax.ensure_compile_time_eval()
    return contextlib.nullcontext()


def is_exported_by_torch() -> bool:
    """Return whether torch is exporting the current code to a file, which unrolls loops."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def attributes(layer: Any) -> dict[str, Any]:
    """Return the attributes of a layer, with those that torch keeps in registers of its own."""
    if keras.backend.backend() != "torch":
        return vars(layer)
    registers = {**getattr(layer, "_modules", {}), **getattr(layer, "_buffers", {})}
    # Keras makes this list of its variables' values for torch whenever it is missing.
    registers.pop("_torch_params", None)
    return {**vars(layer), **registers}


def copied_module(value: Any, copies: Iterable[tuple[Any, Any]]) -> Any:
    """Return a copy of a torch module that is no Keras layer; return anything else itself.

    Args:
        value: any object.
        copies: pairs of an object and its copy. The values of the variables among them are the
            parameters of the module, and take their place in its copy.
    """
    if keras.backend.backend() == "torch":
        import torch

        if isinstance(value, torch.nn.Module):
            variables = [pair for pair in copies if isinstance(pair[0], keras.Variable)]
            values = {id(old.value): new.value for old, new in variables}
            return copy.deepcopy(value, values)
    return value


def gradients(
    function: Callable[[list[Any]], tuple[Any, Any]], values: Sequence[Any]
) -> tuple[list[Any], Any]:
    """Return the gradients of a scalar at some arrays, and what else the function returns.

    Args:
        function: from a list of tensors to a scalar, and anything that has no gradient.
        values: the arrays.
    """
    tensors = [keras.ops.convert_to_tensor(value) for value in values]
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.grad(function, has_aux=True)(tensors)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tensors)
            scalar, other = function(tensors)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(scalar, tensors, unconnected_gradients=zero), other
    import torch

    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        scalar, other = function(leaves)
        found = torch.autograd.grad(scalar, leaves, allow_unused=True, materialize_grads=True)
    return list(found), other


def conv(inputs: Any, kernel: Any, *, data_format: str, **options: Any) -> Any:
    """Return `keras.ops.conv` of inputs, without the copies that Keras makes on torch.

    Keras copies channels-last inputs there to channels-first memory and back (keras 3.15). Torch
    takes a transposed view, and makes outputs of the same layout.
    """
    if keras.backend.backend() != "torch" or data_format != "channels_last":
        return keras.ops.conv(inputs, kernel, data_format=data_format, **options)
    last = inputs.ndim - 1
    view = keras.ops.transpose(inputs, (0, last, *range(1, last)))
    outputs = keras.ops.conv(view, kernel, data_format="channels_first", **options)
    return keras.ops.transpose(outputs, (0, *range(2, last + 1), 1))


def without_gradients() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which torch records no gradients."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()


def assign_all(variables: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    """Assign each value to its variable, on all replicas that hold a copy of the variable.

    Inside a replica of `tf.distribute`, `variable.assign` would average the values of the replicas.
    This function lets each replica keep the value that it computed.
    """
    if not variables:
        return
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is not None and tf.distribute.has_strategy():

            def update(strategy: Any, targets: list[Any], new: list[Any]) -> None:
                for target, value in zip(targets, new, strict=True):
                    strategy.extended.update(target, lambda t, v: t.assign(v), args=(value,))

            replica.merge_call(update, args=([v.value for v in variables], list(values)))
            return
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def mask_all(variables: Sequence[keras.Variable], masks: Sequence[Any]) -> None:
    """Set the entries of each variable to zero where its mask is false, even if they are NaN."""
    values = [keras.ops.convert_to_tensor(variable) for variable in variables]
    in_place = list(map(_is_writable, variables, values))
    for value, mask, writable in zip(values, masks, in_place, strict=True):
        if writable:
            _mask_in_place(value, mask)
    rest = [i for i, writable in enumerate(in_place) if not writable]
    # `where`, because NaN times zero is NaN. `stop_gradient`, because torch would record the step.
    masked = [
        keras.ops.where(
            masks[i], keras.ops.stop_gradient(values[i]), keras.ops.zeros((), dtype=values[i].dtype)
        )
        for i in rest
    ]
    assign_all([variables[i] for i in rest], masked)


def _is_writable(variable: keras.Variable, value: Any) -> bool:
    """Return whether `value` is the memory of the variable, and the backend may write to it."""
    return (
        keras.backend.backend() == "torch"
        and value is getattr(variable, "_value", None)  # a stateless scope has another value
        and not _is_symbolic(value)
    )


def _mask_in_place(value: Any, mask: Any) -> None:
    """Multiply the bit patterns of a torch tensor by its mask, which gives 0 even for NaN.

    This takes a fourth of the time of `torch.where` and a copy, which read the weights three times.
    """
    import torch

    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[value.element_size()]
    value.detach().view(bits).mul_(mask.view(torch.int8))


def sum_over_replicas(gradients: list[Any]) -> list[Any]:
    """Return the gradients that are applied: the sum over the replicas of `tf.distribute`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is not None and tf.distribute.has_strategy():
            return list(replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients))
    return gradients


def sync_variables(model: keras.Model) -> None:
    """Update the variables of a model with their current values during `fit`."""
    if keras.backend.backend() == "jax":
        # `fit` keeps the values outside the model on this backend.
        model.jax_state_sync()


def clip_symmetric(x: Any, limit: Any) -> Any:
    """Clip `x` to `[-limit, limit]`.

    Eager torch is faster if the limit is a number. On an accelerator, reading the number would wait
    for all pending operations, so the tensor is used.
    """
    eager = not any(map(_is_symbolic, (x, limit)))
    if keras.backend.backend() == "torch" and x.device.type == "cpu" and eager:
        return x.clamp(-float(limit), float(limit))
    return keras.ops.clip(x, keras.ops.negative(limit), limit)


def kth_largest(keys: Sequence[Any], k: Any) -> Any | None:
    """Return the k-th largest integer in `keys`, at least 0; `None` if the backend cannot.

    Only eager torch can; TensorFlow and JAX have `top_k`, which sorts. On the CPU, NumPy's
    quickselect is faster than that of torch. On an accelerator a sort is faster than
    `torch.kthvalue`, which selects with few threads.
    """
    if keras.backend.backend() != "torch" or any(map(_is_symbolic, keys)):
        return None
    import torch

    joined = keys[0].reshape(-1) if len(keys) == 1 else torch.cat([k.reshape(-1) for k in keys])
    rank = joined.numel() - int(k)
    if not 0 <= rank < joined.numel():
        return None
    if joined.device.type == "cpu":
        value = torch.as_tensor(np.partition(joined.numpy(), rank)[rank], dtype=joined.dtype)
    else:
        value = torch.sort(joined).values[rank]
    return value.clamp_min(0)


def inverse(matrices: Any) -> Any:
    """Invert symmetric positive definite matrices of shape `(batch, n, n)`.

    JAX uses Gauss-Jordan elimination on all matrices at once, because two LAPACK calls in one step
    can deadlock (jaxlib 0.10, two cores).
    """
    if keras.backend.backend() != "jax":
        return keras.ops.inv(matrices)
    import jax
    import jax.numpy as jnp

    n = matrices.shape[-1]

    def eliminate(i: Any, a: Any) -> Any:
        here = jnp.arange(n) == i
        row, column = a[:, i, :], a[:, :, i]
        pivot = row[:, i][:, None, None]
        rest = a - column[:, :, None] * row[:, None, :] / pivot
        rest = jnp.where(here[:, None], row[:, None, :] / pivot, rest)
        rest = jnp.where(here[None, :], -column[:, :, None] / pivot, rest)
        return jnp.where(here[:, None] & here[None, :], 1.0 / pivot, rest)

    return jax.lax.fori_loop(0, n, eliminate, matrices)
