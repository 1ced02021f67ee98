"""The command line: `python -m keras_sac inspect model.keras`, `... export model.keras out`."""

import argparse
import sys
from collections.abc import Sequence

import keras

from keras_sac._run import custom_objects
from keras_sac.analysis import footprint
from keras_sac.deployment import FORMATS, ExportError, export
from keras_sac.sparse_file import load_sparse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: of the command line; those of this process by default.

    Returns:
        0, or 1 where the command could not do what it was asked.
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
        "python -m keras_sac", description="What a Keras model takes, and files made of it."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    tell = commands.add_parser("inspect", help="parameters, zeros, operations, bytes of each layer")
    _add_model(tell)
    tell.add_argument("--fast", action="store_true", help="leave compressed sizes out")
    tell.set_defaults(command=_inspect)

    write = commands.add_parser("export", help="write a model for other programs")
    _add_model(write)
    write.add_argument("path", help="of the new folder or file")
    write.add_argument("--format", default="tf_saved_model", choices=FORMATS)
    write.add_argument("--merge", default="auto", choices=_MERGE, help="SAC layers into one kernel")
    write.add_argument("--no-verify", action="store_true", help="do not load the file to compare")
    write.add_argument("--overwrite", action="store_true", help="replace what is at the path")
    write.set_defaults(command=_export)
    return parser


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="a .keras file, or a sparse file of keras_sac")
    command.add_argument(
        "--custom-objects-module", metavar="MODULE", help="with the classes of your own layers"
    )


_MERGE = {"auto": "auto", "always": True, "never": False}


def _inspect(options: argparse.Namespace) -> None:
    table = footprint(_loaded(options), compression=not options.fast)
    print(table.to_string(index=False))


def _export(options: argparse.Namespace) -> None:
    export(
        _loaded(options),
        options.path,
        options.format,
        merge=_MERGE[options.merge],
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
