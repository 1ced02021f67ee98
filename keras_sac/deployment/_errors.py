"""What exporting raises."""


class ExportError(RuntimeError):
    """An export that came to nothing: what was at the path before is there still.

    Examples:
        >>> import keras
        >>> from keras_sac import export
        >>> from keras_sac.deployment import ExportError
        >>> issubclass(ExportError, RuntimeError)
        True
    """
