"""A progress bar for passes that turn out to be long."""

import time

import keras


class Progress:
    """Keras' progress bar, silent for the first `delay` seconds.

    Args:
        steps: number of steps, or `None` if it is not known.
        enabled: `False` never shows anything.
        delay: seconds of work before the bar appears.

    Examples:
        >>> progress = Progress(steps=2, enabled=False)
        >>> progress.step()
        >>> progress.close()
    """

    def __init__(self, steps: int | None, *, enabled: bool, delay: float = 2.0):
        self._delay = delay
        self._done = 0
        self._shown = False
        self._start = time.monotonic()
        # Made at once, shown late: it measures the time a step from its own creation.
        self._bar = keras.utils.Progbar(steps, unit_name="batch") if enabled else None

    def step(self) -> None:
        """Count one step, and shows the bar if the pass is long."""
        self._done += 1
        if self._bar is not None and time.monotonic() - self._start >= self._delay:
            self._shown = True
            self._bar.update(self._done, finalize=False)

    def close(self) -> None:
        """End the line of the bar, if it was shown."""
        if self._bar is not None and self._shown:
            self._bar.update(self._done, finalize=True)
