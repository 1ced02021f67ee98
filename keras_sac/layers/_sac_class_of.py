"""Find the SAC layer class that stands for a stock layer, or the reason why none does."""

from typing import Any

import keras

from keras_sac.layers._subspace_layer import SubspaceLayer


def sac_class_of(layer: keras.layers.Layer) -> type[SubspaceLayer] | None:
    """Return the class whose `from_stock_layer` takes a layer, `None` if there is none.

    Classes that are derived from `SubspaceLayer` elsewhere count, too, if they implement
    `arguments_from_stock`; for the same stock class, the one that was defined first.
    """
    return None if why_no_sac_class(layer) else _sac_class(layer)


def why_no_sac_class(layer: keras.layers.Layer) -> str | None:
    """Return why no SAC layer stands for a layer, `None` if one does."""
    found = _sac_class(layer)
    if found is None:
        return f"no SAC layer stands for {type(layer).__name__}"
    return found.why_not_from_stock(layer)


def _sac_class(layer: Any) -> type[SubspaceLayer] | None:
    default = SubspaceLayer.arguments_from_stock.__func__  # type: ignore[attr-defined]
    for each in _derived(SubspaceLayer):
        # A subclass of a stock layer may do more than its class does.
        if getattr(each, "stock_class", None) is not type(layer):
            continue
        if each.arguments_from_stock.__func__ is not default:  # type: ignore[attr-defined]
            return each
    return None


def _derived(base: type) -> list[type[SubspaceLayer]]:
    return [each for direct in base.__subclasses__() for each in (direct, *_derived(direct))]
