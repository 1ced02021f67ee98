"""Code that the experiments share: data, training, result files, tables and plots."""


class ExperimentError(ValueError):
    """Wrong input to an experiment. The command line shows it as one line, without a traceback."""


class CannotRun(ExperimentError):
    """A row cannot be run with its arguments. It is skipped, and the report says why."""
