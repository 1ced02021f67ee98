"""Some of the variables of a model, by whatever names them."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import keras

from keras_sac._model._kernels import Kernel
from keras_sac._model._places import found, place
from keras_sac._model._selectors import Selector, check_selector, picks, portable


@keras.saving.register_keras_serializable(package="keras_sac")
class Selection:
    """Some of the variables of a model.

    Args:
        select: a layer (or model), a variable, a regular expression that is searched for in
            `variable.path`, a callable from a variable to a boolean, or a list of those. What is
            unsuited is left out unless the variable itself is given.

    Raises:
        ValueError: if `select` is none of these, or an empty list.
    """

    # Callables that are no functions of a variable.
    refused: ClassVar[tuple[type, ...]] = (type,)

    def __init__(self, select: Selector | Sequence[Selector]):
        selectors = tuple(select) if isinstance(select, list | tuple) else (select,)
        if not selectors:
            raise ValueError("A target needs at least one selector. Received an empty list.")
        for selector in selectors:
            check_selector(selector, self.refused)
        self.selectors = selectors
        self._at_places: set[int] = set()
        self._picked: list[list[Any]] = []

    @classmethod
    def is_one(cls, target: Any) -> bool:
        """Return whether a target is of this kind already."""
        # Where plain selections are asked for, one that says more (a schedule) is a mistake.
        return type(target) is Selection if cls is Selection else isinstance(target, cls)

    def meet(self, kernels: Sequence[Kernel]) -> None:
        """Look at all variables, before it is asked about each."""
        self._picked = []
        self._at_places = set()
        for selector in self.selectors:
            if isinstance(selector, dict) and "places" in selector:
                self._at_places |= found(selector["places"], kernels)

    def picks(self, variable: keras.Variable, kernel: Kernel) -> bool:
        """Return whether one of the selectors names the variable."""
        return kernel.index in self._at_places or any(
            picks(selector, variable, kernel) for selector in self.selectors
        )

    def take(self, kernel: Kernel) -> None:
        """Remember a variable that it picked, and no selection before it."""
        self._picked.append(place(kernel.index, kernel.path, kernel.shape))

    def layers(self) -> list[keras.layers.Layer]:
        """Return the layers among the selectors."""
        return [s for s in self.selectors if isinstance(s, keras.layers.Layer)]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor; what was picked by its place in the model."""
        if self._picked and not all(isinstance(selector, str) for selector in self.selectors):
            # Not the function: what it chose is certain, and a lambda would not load safely.
            return {"select": [{"places": self._picked}]}
        return {"select": [portable(selector) for selector in self.selectors]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Selection":
        """Make a selection from what `get_config` returned; other arguments may be serialized."""
        restore = keras.saving.deserialize_keras_object
        select = [
            restore(s) if isinstance(s, dict) and "class_name" in s else s for s in config["select"]
        ]
        rest = {name: restore(value) for name, value in config.items() if name != "select"}
        return cls(select, **rest)


Kind = TypeVar("Kind", bound=Selection)


def as_selections(targets: Any, kind: type[Kind]) -> tuple[Kind, ...] | None:
    """Return `targets=` of an optimizer as selections of a kind; `None` stays: all kernels."""
    if targets is None:
        return None
    if isinstance(targets, list | tuple):
        if not targets:
            raise ValueError(
                "`targets=[]` would choose nothing. Leave `targets` out to choose all kernels."
            )
        return tuple(t if kind.is_one(t) else kind(t) for t in targets)
    return (targets if kind.is_one(targets) else kind(targets),)
