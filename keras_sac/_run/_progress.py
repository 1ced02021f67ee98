"""Show a progress bar when a pass over data takes more than a moment."""

import time

import keras


class Progress:
    """Keras' progress bar, hidden for the first `delay` seconds.

    Args:
        steps: number of steps, or `None` if it is unknown.
        enabled: whether a bar may be shown.
        delay: seconds before the bar appears.

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
        # Created now, shown later: the bar computes the time per step from its creation.
        self._bar = keras.utils.Progbar(steps, unit_name="batch") if enabled else None

    def step(self) -> None:
        """Count one step, and show the bar once the delay is over."""
        self._done += 1
        if self._bar is not None and time.monotonic() - self._start >= self._delay:
            self._shown = True
            self._bar.update(self._done, finalize=False)

    def close(self) -> None:
        """Finish the line of the bar if it was shown."""
        if self._bar is not None and self._shown:
            self._bar.update(self._done, finalize=True)
