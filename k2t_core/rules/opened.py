"""What opening a layer leaves in the graph beside operations: variables and constants."""

from __future__ import annotations

import numpy as np

from k2t_core.layout import identity
from k2t_core.rules.registry import SELF, Call, Expression, Mapping, Module, Weight, rule
from k2t_core.transforms import Constant


@rule("Variable")
def variable(call: Call) -> Mapping:
    """A weight that the call() of an opened layer uses itself."""
    (source,) = call.layer.variables
    module = Module(
        "nn.Parameter" if "float" in source.dtype else "nn.Buffer", {"data": _unfilled(source.shape, source.dtype)}, 1
    )
    return Mapping(
        SELF,
        module,
        (Weight("", source.name),),
        gives=(identity(len(source.shape)),),
        why="A weight that the layer's own code uses.",
        keras=f"self.{source.name}",
        torch=f"self.{source.name}",
    )


def _unfilled(shape: tuple[int, ...], dtype: str) -> Module:
    """A tensor that load_state_dict fills."""
    more = {} if dtype == "float32" else {"dtype": Expression(f"torch.{dtype}")}
    return Module("torch.empty", {"size": shape, **more}, 1)


@rule("Constant")
def constant(call: Call) -> Mapping:
    """Plain numbers that an opened layer calls another layer on, such as the positions of an embedding."""
    value = call.option("value")
    weights: tuple[Weight, ...] = ()
    if value.size > 1 and value.dtype.kind == "i" and np.array_equal(value.ravel(), np.arange(value.size)):
        numbers = f"torch.arange({value.size})" + (f".view{value.shape}" if value.ndim > 1 else "")
        buffer = Module("nn.Buffer", {"data": Expression(numbers), "persistent": False}, 1)
    else:
        dtype = value.dtype.name
        buffer, weights = (
            Module("nn.Buffer", {"data": _unfilled(value.shape, dtype)}, 1),
            (Weight("", None, (Constant(value.tolist(), dtype),)),),
        )
    return Mapping(
        SELF,
        buffer,
        weights,
        gives=(identity(value.ndim),),
        why="Numbers that the layer's own code makes.",
        keras="constant",
        torch="nn.Buffer",
    )
