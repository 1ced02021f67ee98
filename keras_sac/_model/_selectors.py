"""What the `targets=` argument accepts, and how a text among the targets is read.

A text is the name of a layer (or of a nested model) if there is one; otherwise it is a regular
expression that is searched for in paths.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

# A dictionary is how a file stores one of the others.
Selector = keras.layers.Layer | keras.Variable | str | Callable[[keras.Variable], bool] | dict
_ACCEPTED = (
    "a layer, a variable, the name of a layer, a regular expression on the path, a callable from a "
    "variable to a boolean, or a list of those"
)
_MOST_NAMED = 20


def as_list(targets: Any) -> list[Any]:
    """Return `targets=` as a list with at least one entry.

    Raises:
        ValueError: if the list is empty.
    """
    found = list(targets) if isinstance(targets, list | tuple) else [targets]
    if not found:
        raise ValueError(
            f"`targets` must be {_ACCEPTED}. Received: []. Leave `targets` out to select all "
            "kernels."
        )
    return found


def check_selector(selector: Any, refused: tuple[type, ...] = (type,)) -> None:
    """Raise `ValueError` if this is no selector; `refused` are callables that are none."""
    if isinstance(selector, str):
        try:
            re.compile(selector)
        except re.error as error:
            raise ValueError(
                "A text in `targets` must be the name of a layer or a regular expression. "
                f"Received: {selector!r} ({error})"
            ) from error
        return
    known = isinstance(selector, keras.layers.Layer | keras.Variable) or (
        isinstance(selector, dict)
        and len(selector) == 1
        and set(selector) <= {"layer", "variable", "places"}
    )
    if not known and not (callable(selector) and not isinstance(selector, refused)):
        raise ValueError(
            f"`targets` must be {_ACCEPTED}. Received: {selector!r} of type "
            f"{type(selector).__name__}"
        )


def matching_paths(text: str, paths: Sequence[str], layers: Sequence[str]) -> list[bool]:
    """Return which paths a text in `targets` selects.

    Args:
        text: the name of a layer, or a regular expression.
        paths: of variables or layers, which the regular expression is searched in.
        layers: the path of the layer that each belongs to. Two equal entries of `paths` belong to
            two layers of the same name.

    Raises:
        ValueError: if two layers have the name.
    """
    holders = [_holder(text, layer) for layer in layers]
    named = {holder for holder in holders if holder is not None}
    if not named:
        return [re.search(text, path) is not None for path in paths]
    chosen = [path for path, holder in zip(paths, holders, strict=True) if holder is not None]
    if len(named) > 1 or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"Several layers have the name {text!r} in `targets`: "
            f"{', '.join(sorted(set(chosen)))}. Pass the layers themselves, or a regular "
            f"expression that is no name, such as {_pattern(text, named)!r}."
        )
    return [holder is not None for holder in holders]


def _holder(name: str, layer: str) -> str | None:
    """Return the part of a layer's path up to a layer of that name, `None` without one."""
    parts = layer.split("/")
    if name not in parts:
        return None
    return "/".join(parts[: parts.index(name) + 1])


def _pattern(name: str, holders: Iterable[str]) -> str:
    longest = max(sorted(holders), key=len)
    return f"{longest}/" if longest != name else f"(^|/){name}/"


def no_match(targets: Sequence[Any], candidates: dict[str, str], purpose: str) -> ValueError:
    """Return the error for targets that select nothing.

    Args:
        targets: the selectors, as the user wrote them.
        candidates: path -> why it was not selected, or `""`.
        purpose: completes "nothing that can be ...": `"pruned"`.
    """
    names = {part for path in candidates for part in (path, *path.split("/"))}
    near = [
        name
        for each in targets
        if isinstance(each, str)
        for name in difflib.get_close_matches(each, sorted(names), n=3)
    ]
    hint = f" Did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
    listed = [f"{path}: {why}" if why else path for path, why in candidates.items()]
    more = len(listed) - _MOST_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    return ValueError(
        f"`targets` match nothing that can be {purpose}. Received: targets="
        f"{[_shown(each) for each in targets]}.{hint} Available: "
        f"{'; '.join(listed[:_MOST_NAMED]) or 'nothing'}{rest}."
    )


def _shown(selector: Any) -> str:
    if isinstance(selector, keras.layers.Layer):
        return f"<{type(selector).__name__} {selector.name}>"
    if isinstance(selector, keras.Variable):
        return f"<Variable {selector.path}>"
    return selector if isinstance(selector, str) else getattr(selector, "__name__", repr(selector))
