"""The one error that an experiment shows to its user without a traceback."""


class ExperimentError(ValueError):
    """Wrong input to an experiment: says what was received, what was expected, how to mend it."""
