"""What a figure was measured with: versions, backend, device, threads."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import keras

_PACKAGES = ("keras", "numpy", "scipy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Return what a measurement depends on: versions, backend, device, threads.

    Returns:
        A dict that fits into JSON: `backend`, `device` (the accelerator that the backend uses,
        else the CPU), `accelerator` (whether it is one), `threads`, `python`, `system` and
        `versions`.

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
    """Name of the accelerator that the backend uses, else of the CPU."""
    return accelerator_name() or cpu_name()


def accelerator_name() -> str | None:
    """Name of the accelerator that the active backend uses by default, `None` on a CPU."""
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
    """Model name of the CPU where the system tells it, else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def thread_count() -> int:
    """CPU threads that the backend may use: torch's own setting, else the cores of this process."""
    if keras.config.backend() == "torch":
        import torch

        return torch.get_num_threads()
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(number: int) -> None:
    """Let the backend use a number of CPU threads for one product.

    Raises:
        ValueError: where that is decided before the program begins.
    """
    backend = keras.config.backend()
    if backend != "torch":
        raise ValueError(
            f"`threads` of {backend} are set before it begins. Received: threads={number}. Start "
            "the program on as many cores (`taskset -c 0,1 python ...` on Linux)."
        )
    import torch

    torch.set_num_threads(number)


def _backend_version(backend: str) -> str:
    # torch says which build it is (+cpu, +cu130) only here.
    if backend == "torch":
        import torch

        return str(torch.__version__)
    return metadata.version(backend)
