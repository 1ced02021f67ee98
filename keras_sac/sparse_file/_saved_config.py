"""A saved model's configuration, without what only training needs."""

from typing import Any


def plain_config(config: Any) -> tuple[Any, set[str]]:
    """Return a configuration as of a model that was never compiled.

    Args:
        config: content of Keras' `config.json`.

    Returns:
        The configuration without how the model, and models in it, were compiled, shared objects
        numbered in order (Keras uses their addresses in memory); and the names of the optimizers.
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
        # What a model's own `get_compile_config` may say: the name by which Keras knows it.
        case {"optimizer": str(name)}:
            return {name}
        case _:
            return set()
