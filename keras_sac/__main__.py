"""The command line: `python -m keras_sac inspect model.keras`, `... export model.keras out`."""

import argparse
import errno
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from typing import Any

import keras

from keras_sac._table import table
from keras_sac.analysis import footprint
from keras_sac.deployment import FORMATS, ExportError, custom_objects, export
from keras_sac.sparse_file import load_sparse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: arguments of the command line. Defaults to those of this process.

    Returns:
        0, or 1 if the command failed.
    """
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (ValueError, OSError, ImportError, ExportError) as error:
        print(f"keras_sac: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m keras_sac", description="Inspect and export Keras models."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    inspect = commands.add_parser(
        "inspect", help="print parameters, zeros, operations and bytes of each layer"
    )
    _add_model(inspect)
    inspect.add_argument("--fast", action="store_true", help="omit compressed sizes")
    inspect.set_defaults(command=_inspect)

    write = commands.add_parser("export", help="write a model for another program")
    _add_model(write)
    write.add_argument("path", help="new folder or file")
    write.add_argument(
        "--format",
        choices=[*FORMATS, "tflite"],
        help="by default, what the ending of the path says; a folder is a SavedModel",
    )
    write.add_argument(
        "--merge",
        default="cheaper",
        choices=("always", "cheaper", "never"),
        help="which SAC layers become one layer with the merged kernel",
    )
    write.add_argument("--no-verify", action="store_true", help="do not load and compare the file")
    write.add_argument(
        "--overwrite", action="store_true", help="replace an existing file or folder"
    )
    write.set_defaults(command=_export)
    return parser


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="a .keras file, or a sparse file of keras_sac")
    command.add_argument(
        "--custom-objects-module", metavar="MODULE", help="module with the classes of your layers"
    )


def _inspect(options: argparse.Namespace) -> None:
    found = footprint(_loaded(options), compression=not options.fast)
    total = {"layer": "total", "type": "", **found.attrs["total"]}
    printed = table([*found.to_dict("records"), total], list(found.columns))
    # Counts that are not known are `<NA>` in the row of the totals too.
    print(printed.astype(found.dtypes).to_string(index=False))


def _export(options: argparse.Namespace) -> None:
    export(
        _loaded(options),
        options.path,
        options.format,
        merge=options.merge,
        verify=not options.no_verify,
        overwrite=options.overwrite,
        custom_objects_module=options.custom_objects_module,
    )


def _loaded(options: argparse.Namespace) -> keras.Model:
    classes = custom_objects(options.custom_objects_module)
    if not os.path.exists(options.model):
        raise FileNotFoundError(errno.ENOENT, "There is no such file", options.model)
    try:
        if options.model.endswith(".keras"):
            if not zipfile.is_zipfile(options.model):
                raise zipfile.BadZipFile("not a complete zip archive")
            return keras.saving.load_model(options.model, custom_objects=classes, compile=False)
        return load_sparse(options.model, custom_objects=classes)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        own = [name for name in _own_classes(options.model) if name.split(".")[-1] not in classes]
        if own:
            raise ValueError(
                f"{options.model!r} has classes that are not Keras': {', '.join(own)}. Pass the "
                "module that defines them, such as `--custom-objects-module my_layers`. Received: "
                f"--custom-objects-module {options.custom_objects_module}. {reason}"
            ) from error
        raise ValueError(
            f"{options.model!r} cannot be read as a model. It may be damaged, or not be complete: "
            f"save or copy it again. {reason}"
        ) from error


def _own_classes(path: str) -> list[str]:
    """Return the classes in a file's configuration that are neither Keras' nor this package's."""
    found: dict[str, None] = {}

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            module = value.get("module")
            if isinstance(value.get("class_name"), str) and "config" in value:
                first = str(module or "").split(".")[0]
                registered = str(value.get("registered_name") or "").split(">")[0]
                if not {first, registered} & {"keras", "keras_sac", "builtins"}:
                    found[f"{module}.{value['class_name']}" if module else value["class_name"]] = (
                        None
                    )
            for each in value.values():
                visit(each)
        elif isinstance(value, list):
            for each in value:
                visit(each)

    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    visit(json.loads(archive.read(name)))
    except (OSError, ValueError, zipfile.BadZipFile):
        # What a damaged file says of its classes is no reason for its error.
        return []
    return list(found)


if __name__ == "__main__":
    sys.exit(main())
