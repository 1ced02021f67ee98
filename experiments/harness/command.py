"""The command line of an experiment, from its arguments to its exit code."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from harness.errors import ExperimentError
from harness.options import Options

_Options = TypeVar("_Options", bound=Options)


def run_command(
    name: str,
    kind: type[_Options],
    experiment: Callable[[_Options], None],
    description: str | None,
    arguments: Sequence[str] | None,
) -> int:
    """Parse the options, run the experiment, and say in one line what went wrong.

    Args:
        name: Of the script, without `.py`.
        kind: The options' class.
        experiment: Is called with the options.
        description: For `--help`.
        arguments: Command line; None: the process' own.

    Returns:
        0; 2 after an error of the user or of the file system, 130 after an interrupt.
    """
    options = tyro.cli(kind, prog=f"{name}.py", description=description, args=arguments)
    try:
        experiment(options)
    except ExperimentError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{name}: {error}. Check the folder, or pass another --output-dir.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"{name}: stopped. Start again to go on after the last finished run.", file=sys.stderr
        )
        return 130
    return 0
