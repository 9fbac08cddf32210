"""A call of a layer or operation on symbolic tensors: what it receives, by name and with masks, and what it gives."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from k2t_core.errors import UnsupportedError
from k2t_core.graph import Ref
from k2t_core.keras_side.internals import mask_of, node_behind, patched, set_mask, takes_mask
from k2t_core.keras_side.traced import LiveScope
from k2t_core.nests import leaves, mapped
from k2t_core.rules import registry


@dataclass(eq=False)
class RecordedCall:
    """A call seen during the symbolic run.

    result: the outputs as the layer returns them. scope: of a nested model.
    """

    operation: Any
    arguments: dict[str, Any]
    outputs: list[Any]
    keras_node: Any = None
    scope: LiveScope | None = None
    result: Any = None


def symbolic_call(op: Any, args: tuple, kwargs: dict) -> RecordedCall:
    """Call a layer or operation on symbolic tensors; the arguments recorded are those its ``call`` receives."""
    import keras
    from keras import tree

    if not isinstance(op, keras.Layer):
        outputs = op(*args, **kwargs)
        return RecordedCall(op, bind(op, args, kwargs), tree.flatten(outputs))
    seen: list[tuple[tuple, dict]] = []
    original = op.symbolic_call

    def recording(*call_args: Any, **call_kwargs: Any) -> Any:
        seen.append((call_args, call_kwargs))
        return original(*call_args, **call_kwargs)

    with patched(op, symbolic_call=recording):
        inputs = args[0] if args else kwargs.get(next(iter(inspect.signature(op.call).parameters)))
        attached = [mask_of(x) for x in tree.flatten(inputs)]
        outputs = op(*args, **kwargs)
    if not seen:
        raise UnsupportedError(
            [f"layer {op.name!r} ({type(op).__name__}) cannot be traced: Keras did not call it on symbolic tensors"]
        )
    arguments = bind(op, *seen[0])
    if registry.known(type(op).__name__).takes_masks and any(m is not None for m in attached):
        arguments["masks"] = attached
    if isinstance(op, keras.layers.TimeDistributed) and not takes_mask(op.layer):
        arguments.pop("mask", None)  # it hands the mask on to such layers only (time_distributed.py)
    if type(op).__name__ == "ReversibleEmbedding" and op.mask_zero and not arguments.get("reverse"):
        # It sets its mask inside call(), which a symbolic call does not run (reversible_embedding.py).
        set_mask(outputs, keras.ops.not_equal(inputs, 0))
    if isinstance(op, keras.layers.MultiHeadAttention):
        # Its call() takes the mask off its inputs, so that layers called later do not see it (multi_head_attention.py).
        arguments["query_mask"] = attached[0]
        for x in (arguments["query"], arguments["value"], arguments.get("key")):
            if x is not None:
                set_mask(x, None)
    given = {k: v for k, v in arguments.items() if v is not None}
    return RecordedCall(op, given, tree.flatten(outputs), result=outputs)


def call_behind(tensor: Any) -> RecordedCall:
    """The call behind a tensor that a mask computation made: its node is in the tensor's own history."""
    node = node_behind(tensor)
    if node is None:
        raise UnsupportedError([f"tensor {tensor.name!r} does not come from the model's inputs"])
    arguments = bind(node.operation, node.arguments.args, node.arguments.kwargs)
    return RecordedCall(node.operation, arguments, list(node.outputs))


def bind(op: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """`bound_arguments` of a call of a layer or operation."""
    return bound_arguments(inspect.signature(op.call), args, kwargs)


def bound_arguments(signature: inspect.Signature, args: tuple, kwargs: dict) -> dict[str, Any]:
    """Arguments by parameter name, without a ``training`` that inference overrides: False, None, or the own default.

    Augmentation layers have training=True as their default; a functional model passes its own instead
    (models/functional.py).
    """
    bound = signature.bind(*args, **kwargs)
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        else:
            arguments[name] = value
    declared = bound.signature.parameters.get("training")
    if arguments.get("training") in (None, False, declared.default if declared else None):
        arguments.pop("training", None)
    return {
        k: v
        for k, v in arguments.items()
        if v is not None and not (isinstance(v, list) and v and all(i is None for i in v))
    }


def tensors_in(arguments: Any) -> Iterator[Any]:
    """The symbolic tensors in a nest of arguments, in order."""
    from keras import KerasTensor

    return (leaf for leaf in leaves(arguments) if isinstance(leaf, KerasTensor))


def replaced(arguments: Any, actual: Mapping[int, Any]) -> Any:
    """A nest of arguments with some symbolic tensors replaced, by their id."""
    return mapped(lambda leaf: actual.get(id(leaf), leaf), arguments) if actual else arguments


def with_refs(arguments: Any, ids: Mapping[int, str]) -> Any:
    """A nest of arguments as framework-free data: symbolic tensors → Ref, arrays → numpy.

    ids: tensor → its id in the graph.
    """
    from keras import KerasTensor

    def plain(leaf: Any) -> Any:
        if isinstance(leaf, KerasTensor):
            return Ref(ids[id(leaf)])
        return np.asarray(leaf.numpy()) if hasattr(leaf, "numpy") else leaf

    return mapped(plain, arguments)
