"""The command line: `python -m keras_sac inspect model.keras`, `... export model.keras out`."""

import argparse
import sys
from collections.abc import Sequence

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
    write.add_argument("--format", default="tf_saved_model", choices=FORMATS)
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
    if options.model.endswith(".keras"):
        return keras.saving.load_model(options.model, custom_objects=classes, compile=False)
    return load_sparse(options.model, custom_objects=classes)


if __name__ == "__main__":
    sys.exit(main())
