"""The door of the Keras side: whatever stands for a model, as a graph with its live model."""

from __future__ import annotations

from typing import Any

from k2t_core.errors import InputError
from k2t_core.keras_side.batches import random_batch
from k2t_core.keras_side.loading import load
from k2t_core.keras_side.running import check_original
from k2t_core.keras_side.traced import Traced
from k2t_core.keras_side.tracing import trace


def read(model: Any, *, allow_unsafe: bool = False, compared: bool = True) -> Traced:
    """Load, trace and compare a model: a path, a keras.Model or a loaded `Source`; a `Traced` is read already.

    compared: for a file of Keras 2, refuse a layer that Keras 3 computes otherwise than tf_keras (`Original.check`),
        once for each file that is loaded. A verification does without: it compares with tf_keras's outputs itself.

    Raises what `load` and `trace` raise, and UnsupportedError for such a layer.
    """
    traced = model if isinstance(model, Traced) else trace(load(model, allow_unsafe=allow_unsafe))
    if compared and traced.source.original is not None and not traced.source.original.checked:
        try:
            check_original(traced, random_batch(traced.graph, 2))
        except InputError:
            pass  # it takes no random numbers; a verification with inputs of the user's own compares with tf_keras
    return traced
