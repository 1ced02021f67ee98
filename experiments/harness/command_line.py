"""Run an experiment from the command line."""

import sys
from collections.abc import Sequence

import tyro

from harness import ExperimentError
from harness.experiment import Experiment, Session, run_missing
from harness.report import write_report


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> int:
    """Parse the options, train the missing runs, write the report, and print errors in one line.

    Args:
        experiment: the experiment.
        arguments: command line. Defaults to that of the process.

    Returns:
        0 after success, 2 after an error of the user or of the file system, 130 after an interrupt.
    """
    name = experiment.name
    options = tyro.cli(
        experiment.options,
        prog=f"{name}.py",
        description=experiment.description,
        args=arguments,
    )
    try:
        session = Session(experiment, options)
        files = session.run_files()
        run_missing(session, files)
        write_report(session, files)
    except ExperimentError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{name}: {error}. Check the folder, or pass another --output-dir.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: stopped. Start it again to continue with the next run.", file=sys.stderr)
        return 130
    return 0
