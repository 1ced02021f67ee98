"""Compile a changed copy of a model as the original was."""

from typing import Any

import keras


def compile_like(model: keras.Model, original: keras.Model) -> None:
    """Compile a model with the arguments of another one, a fresh optimizer and fresh metrics.

    Nothing happens if the original is not compiled.

    Args:
        model: built; has the outputs of the original.
        original: the model whose arguments of `compile` are used.
    """
    if not original.compiled:
        return
    arguments = dict(original._compile_config.config)
    model.compile(**{name: keras.tree.map_structure(_fresh, x) for name, x in arguments.items()})


def _fresh(argument: Any) -> Any:
    if isinstance(argument, keras.optimizers.Optimizer | keras.Metric):
        return type(argument).from_config(argument.get_config())
    return argument
