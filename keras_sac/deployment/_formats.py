"""The exported formats: their file endings, and the backends that write them."""

import importlib.util
import pathlib
from typing import Any, Literal, NamedTuple

import keras

from keras_sac.deployment import _tensorflow_writers, _torch_writers
from keras_sac.deployment._signature import Signature

FormatName = Literal["tf_saved_model", "onnx", "litert", "tflite", "openvino", "torch"]
# Other names for a format.
_ALIASES = {"tflite": "litert"}


class Format:
    """An exported format: how its files end, which backends write it, and how.

    A format of your own overrides `write`.

    Args:
        name: what users pass as `format=`.
        suffix: ending of the path; `""` for a folder.
        writers: backend -> the package that it needs for the format; the backend to install comes
            first.

    Examples:
        >>> from keras_sac.deployment import Format
        >>> class Weights(Format):
        ...     def write(self, model, path, signature):
        ...         model.save_weights(path)
        >>> Weights("weights", ".h5", {"torch": "h5py"}).suffix
        '.h5'
    """

    def __init__(self, name: str, suffix: str, writers: dict[str, str]):
        self.name = name
        self.suffix = suffix
        self.writers = dict(writers)

    def write(self, model: keras.Model, path: str, signature: Signature) -> None:
        """Write a model on the active backend, in inference mode.

        Args:
            model: built model of stock layers, without pruning optimizer. It must not be changed.
            path: new file or folder.
            signature: names and shapes of the inputs and outputs, and an example of the inputs.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `write`.")


class _Stock(Format):
    """A format of this package: a function for each backend."""

    def __init__(self, name: str, suffix: str, writers: dict[str, tuple[str, Any]]):
        super().__init__(
            name, suffix, {backend: package for backend, (package, _) in writers.items()}
        )
        self._functions = {backend: function for backend, (_, function) in writers.items()}

    def write(self, model: keras.Model, path: str, signature: Signature) -> None:
        self._functions[keras.config.backend()](model, path, signature)


def _with_torchscript(model: keras.Model, path: str, signature: Signature) -> None:
    _torch_writers.write_onnx(model, path, signature, dynamo=False)


def _with_dynamo(model: keras.Model, path: str, signature: Signature) -> None:
    _torch_writers.write_onnx(model, path, signature, dynamo=True)


_tf, _torch = _tensorflow_writers, _torch_writers
_STOCK = (
    _Stock("tf_saved_model", "", {"tensorflow": ("tensorflow", _tf.write_saved_model)}),
    _Stock(
        "onnx",
        ".onnx",
        {"torch": ("onnx", _with_torchscript), "tensorflow": ("tf2onnx", _tf.write_onnx)},
    ),
    # For layers that TorchScript cannot write, such as LayerNormalization with an open axis.
    _Stock("onnx", ".onnx", {"torch": ("onnxscript", _with_dynamo)}),
    _Stock("litert", ".tflite", {"tensorflow": ("tensorflow", _tf.write_litert)}),
    _Stock(
        "openvino",
        ".xml",
        {
            "tensorflow": ("openvino", _tf.write_openvino),
            "torch": ("openvino", _torch.write_openvino),
        },
    ),
    _Stock("torch", ".pt2", {"torch": ("torch", _torch.write_program)}),
)
# Name -> the ways to write the format; where one fails, the next one is tried.
FORMATS: dict[str, list[Format]] = {}
for _each in _STOCK:
    FORMATS.setdefault(_each.name, []).append(_each)


def register_format(form: Format) -> None:
    """Let `export` write a format of your own.

    `export(..., verify=True)` can check formats that an engine of keras_sac reads (see `latency`);
    pass `verify=False` for others. A format is written in this process, so the active backend must
    be one of its writers. An ending that several formats share stands for the first of them; pass
    `format=` for the others.

    Args:
        form: the format. Its name must be new.

    Raises:
        ValueError: if it is no `Format`, or a format with its name exists.

    Examples:
        >>> import keras
        >>> from keras_sac.deployment import Format, register_format
        >>> class Json(Format):
        ...     def write(self, model, path, signature):
        ...         with open(path, "w") as file:
        ...             file.write(model.to_json())
        >>> register_format(Json("json", ".json", {keras.backend.backend(): "keras"}))
    """
    if not isinstance(form, Format):
        raise ValueError(f"`form` must be a `keras_sac.deployment.Format`. Received: {form!r}")
    if form.name in FORMATS:
        raise ValueError(f"The name of a format must be new. Received: {form.name!r}")
    FORMATS[form.name] = [form]


def format_of(path: Any, format: str | None) -> str:
    """Return the name of the format to write.

    Args:
        path: destination; its ending tells the format if `format` is `None`.
        format: name of a format, or `None`.

    Raises:
        ValueError: if the format is unknown, or its files end otherwise.
    """
    suffix = pathlib.Path(path).suffix
    endings: dict[str, str] = {}
    for name, forms in FORMATS.items():
        endings.setdefault(forms[0].suffix, name)
    listed = ", ".join(f"{end!r} ({name})" for end, name in endings.items() if end)
    if format is None:
        if suffix not in endings:
            raise ValueError(
                f"The format cannot be inferred from the ending {suffix!r}. Received: "
                f"path={str(path)!r}. Use one of {listed}, or pass `format=`; a path without an "
                "ending is a folder for a SavedModel."
            )
        return endings[suffix]
    name = _ALIASES.get(format, format)
    if name not in FORMATS:
        raise ValueError(
            f"`format` must be one of {', '.join(map(repr, FORMATS))}, or None. Received: {format=}"
        )
    expected = FORMATS[name][0].suffix
    if suffix != expected and (expected or suffix in endings):
        wanted = f"end with {expected!r}" if expected else "be a folder without that ending"
        raise ValueError(
            f"`path` must {wanted} for {format=}. Received: path={str(path)!r}. Endings of files: "
            f"{listed}."
        )
    return name


class Way(NamedTuple):
    """A way to write a format.

    Attributes:
        backend: the backend that writes it.
        index: position of the way in `FORMATS[name]`.
    """

    backend: str
    index: int


def ways(name: str) -> list[Way]:
    """Return the ways in which installed backends write a format; the active backend comes first.

    Raises:
        ImportError: if no backend that writes it is installed; the message says what to install.
    """
    active = keras.config.backend()
    forms = FORMATS[name]
    found = [
        Way(backend, index)
        for index, form in enumerate(forms)
        for backend in form.writers
        if _installed(backend) and _installed(form.writers[backend])
    ]
    if not found:
        needs = [list(dict.fromkeys(each)) for each in forms[0].writers.items()]
        raise ImportError(
            f"The format {name!r} is written by {' or by '.join(map(' with '.join, needs))}, "
            "whatever the backend of the model, and that is not installed here. Install it: "
            f"`pip install {' '.join(needs[0])}`."
        )
    first = list(forms[0].writers)
    return sorted(found, key=lambda way: (way.backend != active, first.index(way.backend)))


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
