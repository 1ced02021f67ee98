"""Describe the environment of a measurement: versions, backend, device, threads."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import keras

_PACKAGES = ("keras", "numpy", "scipy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Describe the environment of a measurement, to store it with the results.

    Returns:
        A dict of JSON values: `backend`, `device` (name of the accelerator that the backend uses,
        or of the CPU), `accelerator` (whether there is one), `threads`, `python`, `system` and
        `versions` of Keras, the backend and the libraries for numbers.

    Examples:
        >>> from keras_sac.analysis import environment
        >>> environment()["backend"] in {"tensorflow", "torch", "jax"}
        True
    """
    backend = keras.config.backend()
    versions = {name: metadata.version(name) for name in _PACKAGES}
    versions[backend] = _backend_version(backend)
    return {
        "backend": backend,
        "device": device_name(),
        "accelerator": accelerator_name() is not None,
        "threads": thread_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def device_name() -> str:
    """Return the name of the accelerator that the backend uses, or of the CPU without one."""
    return accelerator_name() or cpu_name()


def accelerator_name() -> str | None:
    """Return the name of the accelerator that the backend uses by default; `None` on a CPU."""
    match keras.config.backend():
        case "torch":
            import torch

            if torch.cuda.is_available():
                return torch.cuda.get_device_name()
            return "Apple MPS" if torch.backends.mps.is_available() else None
        case "jax":
            import jax

            device = jax.devices()[0]
            return None if device.platform == "cpu" else device.device_kind
        case "tensorflow":
            import tensorflow as tf

            devices = tf.config.list_physical_devices("GPU")
            if not devices:
                return None
            return tf.config.experimental.get_device_details(devices[0]).get("device_name", "GPU")
        case _:
            return None


def cpu_name() -> str:
    """Return the model name of the CPU if the system reports it, else the architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def thread_count() -> int:
    """Return how many CPU threads the backend may use.

    On torch that is its own setting, elsewhere the number of cores of this process.
    """
    if keras.config.backend() == "torch":
        import torch

        return torch.get_num_threads()
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(number: int) -> None:
    """Set how many CPU threads the backend uses for one operation.

    Raises:
        ValueError: if the backend fixes the number when the program starts.
    """
    backend = keras.config.backend()
    if backend != "torch":
        raise ValueError(
            f"`threads` must be None on {backend}, which fixes the number of threads when the "
            f"program starts. Received: threads={number}. Start the program on as many cores "
            "instead (`taskset -c 0,1 python ...` on Linux)."
        )
    import torch

    torch.set_num_threads(number)


def _backend_version(backend: str) -> str:
    # Only `torch.__version__` names the build (+cpu, +cu130).
    if backend == "torch":
        import torch

        return str(torch.__version__)
    return metadata.version(backend)
