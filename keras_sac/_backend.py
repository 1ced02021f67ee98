"""The few questions that the three backends answer differently."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


def is_traced(tensor: Any) -> bool:
    """Whether `tensor` stands for a value that is only known later: a graph, a trace, a shape."""
    if isinstance(tensor, keras.KerasTensor):
        return True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly()
    return _stands_for_a_value(tensor)


def _stands_for_a_value(tensor: Any) -> bool:
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    if backend == "torch":
        import torch

        return torch.compiler.is_compiling() or getattr(tensor, "is_meta", False)
    return False


def value_is_nan(variable: keras.Variable) -> bool | None:
    """Whether the first entry of `variable` is NaN now; `None` where no value can be read.

    Inside a compiled step a variable stands for its future value. TensorFlow lets the present one
    be read from outside the graph; JAX does as long as `fit` has not taken the values into its
    own state; torch always does, but for shape inference on its `meta` device.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            return _first_is_nan(variable.value) if tf.executing_eagerly() else None
    # No public accessor looks past JAX's stateless scope or torch's meta device.
    value = getattr(variable, "_value", None)
    if value is None or _stands_for_a_value(value):
        return None
    return _first_is_nan(value)


def _first_is_nan(value: Any) -> bool:
    return bool(np.isnan(keras.ops.convert_to_numpy(value).flat[0]))


def cond(flag: Any, true: Callable[[], Any], false: Callable[[], Any]) -> Any:
    """Return what one of two functions returns; in eager torch without the way through Keras."""
    if keras.backend.backend() == "torch" and not _stands_for_a_value(flag):
        return true() if flag else false()
    return keras.ops.cond(flag, true, false)


def counted(step: Any) -> Any:
    """Return a count as a number where reading it is cheaper than calculating with tensors."""
    if keras.backend.backend() == "torch" and not _stands_for_a_value(step):
        return int(step)
    return step


def eagerly() -> contextlib.AbstractContextManager[Any]:
    """Return a context that runs operations now, even where a step is being traced."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    if keras.backend.backend() == "jax":
        import jax

        return jax.ensure_compile_time_eval()
    return contextlib.nullcontext()


def is_exported_by_torch() -> bool:
    """Whether torch is making a graph of the code at hand for a file, where loops are unrolled."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def without_gradients() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which nothing is kept for a gradient."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()


def assign_all(variables: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    """Assign each value to its variable, on all replicas that hold a copy of it.

    Inside a replica of `tf.distribute` a plain assignment would average the replicas' values; here
    each replica keeps the one that it computed.
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
    """Set to zero, whatever they were, the entries of each variable that its mask leaves out."""
    values = [keras.ops.convert_to_tensor(variable) for variable in variables]
    in_place = [_can_change(v, value) for v, value in zip(variables, values, strict=True)]
    for value, mask, here in zip(values, masks, in_place, strict=True):
        if here:
            _mask_in_place(value, mask)
    rest = [i for i, here in enumerate(in_place) if not here]
    # What is left out may be NaN, so no product; torch would record it for a gradient.
    masked = [
        keras.ops.where(
            masks[i], keras.ops.stop_gradient(values[i]), keras.ops.zeros((), dtype=values[i].dtype)
        )
        for i in rest
    ]
    assign_all([variables[i] for i in rest], masked)


def _can_change(variable: keras.Variable, value: Any) -> bool:
    """Whether `value` is the memory of the variable itself, on a backend that may write to it."""
    return (
        keras.backend.backend() == "torch"
        and value is getattr(variable, "_value", None)  # not what a stateless scope holds for it
        and not _stands_for_a_value(value)
    )


def _mask_in_place(value: Any, mask: Any) -> None:
    """Multiply the bits of a torch tensor by its mask: 0 even for NaN, and never -0.

    A fourth of the time of `torch.where` and a copy, which goes through the weights three times.
    """
    import torch

    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[value.element_size()]
    value.detach().view(bits).mul_(mask.view(torch.int8))


def sum_over_replicas(gradients: list[Any]) -> list[Any]:
    """Return the gradients as they are applied: summed where replicas each have a part."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is not None and tf.distribute.has_strategy():
            return list(replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients))
    return gradients


def sync_variables(model: keras.Model) -> None:
    """Let the variables of a model hold their present values in the middle of a `fit`."""
    if keras.backend.backend() == "jax":
        # `fit` carries the values outside the model on this backend.
        model.jax_state_sync()


def limited(x: Any, most: Any) -> Any:
    """Return `x` limited to `[-most, most]`.

    Torch takes less time for limits that are numbers, which it has in eager mode; on an
    accelerator, to read one would wait for all that is still to do there.
    """
    eager = not any(map(_stands_for_a_value, (x, most)))
    if keras.backend.backend() == "torch" and x.device.type == "cpu" and eager:
        number = float(most)
        return x.clamp(-number, number)
    return keras.ops.clip(x, keras.ops.negative(most), most)


def kth_largest(keys: Sequence[Any], k: Any) -> Any | None:
    """Return the k-th largest of all integers in `keys`, at least 0; `None` if nothing selects it.

    An eager backend can select, on the CPU by NumPy's quickselect, which is faster than torch's
    and works on the same memory. TensorFlow and JAX only have `top_k`, which sorts what it returns.
    """
    if keras.backend.backend() != "torch" or any(map(_stands_for_a_value, keys)):
        return None
    import torch

    flat = [key.reshape(-1) for key in keys]
    whole = flat[0] if len(flat) == 1 else torch.cat(flat)
    rank = whole.numel() - int(k)
    if not 0 <= rank < whole.numel():
        return None
    if whole.device.type == "cpu":
        value = torch.as_tensor(np.partition(whole.numpy(), rank)[rank], dtype=whole.dtype)
    else:
        value = torch.kthvalue(whole, rank + 1).values
    return value.clamp_min(0)


def inverse(matrices: Any) -> Any:
    """Return the inverses of symmetric positive definite matrices, `(batch, n, n)`.

    On JAX by Gauss-Jordan elimination, all matrices at a time: the LAPACK calls of two kernels in
    one step can wait for each other for ever there (jaxlib 0.10, two cores).
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
