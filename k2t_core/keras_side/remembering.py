"""What Keras gave is remembered while a verification goes on; and only one thread at a time uses a live model."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from k2t_core.errors import RAISED, InputError, K2TError, one_line
from k2t_core.keras_side import internals
from k2t_core.keras_side.traced import Traced

T = TypeVar("T")

# Of the thread, or task, that is `remembering`, and gone with that. Ids among the keys are of objects kept along.
_memory: ContextVar[dict[Any, Any] | None] = ContextVar("memory", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Within it, what Keras computes is kept and not computed again: for many verifications of an unchanged model."""
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)


def remembered(function: Callable[..., T]) -> Callable[..., T]:
    """A function whose results `remembering` keeps."""

    @wraps(function)
    def run(*args: Any) -> T:
        memory = _memory.get()
        if memory is None:
            return function(*args)
        key = (function.__name__, *map(_key, args))
        if key not in memory:
            memory[key] = (function(*args), args)  # with the arguments: their ids must not come again
        return memory[key][0]

    return run


def _key(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), hashlib.sha1(np.ascontiguousarray(value).tobytes()).digest()
    if isinstance(value, Mapping):
        return tuple((k, _key(v)) for k, v in value.items())
    if isinstance(value, (set, frozenset)):
        return frozenset(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_key, value))
    return value if isinstance(value, (str, int, float, type(None))) else id(value)


def holding_the_model(function: Callable[..., T]) -> Callable[..., T]:
    """The function, with the model to itself: another thread may be comparing a layer of it.

    Where other numbers are to stand in the place of the model's (`Traced.values`), they do so meanwhile.
    """

    @wraps(function)
    def locked(traced: Traced, *args: Any, **kwargs: Any) -> T:
        with traced.source.lock, internals.in_place(traced.variables, traced.values):
            return function(traced, *args, **kwargs)

    return locked


def refusing_bad_batches(function: Callable[..., T]) -> Callable[..., T]:
    """The function; it raises an InputError where Keras refuses the batch that it is given.

    Such as a token beyond a vocabulary, a size too small for a kernel, or any of a model that does not run at all: its
    layers then raise whatever Python raises. What k2t's own lines raise is no refusal.
    """

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> T:
        from tensorflow.errors import OpError

        try:
            return function(*args, **kwargs)
        except K2TError:
            raise
        except RAISED as error:
            if not isinstance(error, (OpError, ValueError)) and _is_ours(error):
                raise
            words = re.sub(r"\{\{[^}]*\}\}", "", str(error).split("Arguments received by")[0])
            raise InputError(
                f"Keras itself refuses this batch: {one_line(words, 220)}; give inputs that the model is made for"
            ) from error

    return run


def _is_ours(error: BaseException) -> bool:
    """Whether a line of k2t's raised it, and no framework's and no user's."""
    steps = list(traceback.walk_tb(error.__traceback__))
    return bool(steps) and Path(steps[-1][0].f_code.co_filename).is_relative_to(Path(__file__).parents[1])
