"""Nests: dicts, lists, tuples and slices around values, as Keras hands arguments and configs about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(nest: Any) -> Iterator[Any]:
    """The values in a nest, in order; a slice's are its start, stop and step."""
    if isinstance(nest, dict):
        for value in nest.values():
            yield from leaves(value)
    elif isinstance(nest, (list, tuple)):
        for value in nest:
            yield from leaves(value)
    elif isinstance(nest, slice):
        yield from (nest.start, nest.stop, nest.step)
    else:
        yield nest


def mapped(change: Callable[[Any], Any], nest: Any) -> Any:
    """The nest with ``change(value)`` in the place of each of its `leaves`, in the same order.

    Named tuples stay what they are.
    """
    if isinstance(nest, dict):
        return {key: mapped(change, value) for key, value in nest.items()}
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(mapped(change, value) for value in nest))
    if isinstance(nest, (list, tuple)):
        return type(nest)(mapped(change, value) for value in nest)
    if isinstance(nest, slice):
        return slice(change(nest.start), change(nest.stop), change(nest.step))
    return change(nest)
