"""Remove compile settings from the configuration of a saved model."""

from typing import Any


def plain_config(config: Any) -> tuple[Any, set[str]]:
    """Return the configuration of a model as if it had never been compiled.

    Args:
        config: content of Keras' `config.json`.

    Returns:
        The configuration without the compile settings of the model and of models inside it, and
        the set of the names of their optimizers. Shared objects are numbered in order, because
        Keras numbers them by their addresses in memory.
    """
    numbers: dict[Any, int] = {}
    optimizers: set[str] = set()

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "class_name" not in value or "config" not in value:
            return {key: plain(each) for key, each in value.items()}
        kept = {}
        for key, each in value.items():
            if key == "compile_config":
                optimizers.update(_optimizer_names(each))
            elif key == "shared_object_id":
                kept[key] = numbers.setdefault(each, len(numbers))
            else:
                kept[key] = plain(each)
        return kept

    return plain(config), optimizers


def _optimizer_names(compile_config: Any) -> set[str]:
    match compile_config:
        case {"optimizer": {"config": {"name": str(name)}}}:
            return {name}
        # A model's own `get_compile_config` may return the identifier of a Keras optimizer.
        case {"optimizer": str(name)}:
            return {name}
        case _:
            return set()
