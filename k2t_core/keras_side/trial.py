"""Whether a rule takes one call of an operation: tried while a model is read, where another way is open.

An operation that its rule refuses (a logarithm of integers, a norm of another order, a bias of attention) is opened
as one without a rule is: TensorFlow computes it of simpler ones, which may have theirs.
"""

from __future__ import annotations

from typing import Any

from k2t_core.errors import K2TError
from k2t_core.graph import Graph, Layer, Node, Tensor
from k2t_core.keras_side import internals
from k2t_core.keras_side.calls import bind, tensors_in, with_refs
from k2t_core.keras_side.describing import kind_of
from k2t_core.layout import identity
from k2t_core.rules import registry


def is_taken(operation: Any) -> bool:
    """Whether the rule of an operation, if there is one, takes its last call, in Keras's order of axes.

    True for an operation that has not been called.
    """
    rule = registry.find(kind_of(operation))
    nodes = internals.calls_to(operation)
    if rule is None or not nodes:
        return rule is not None
    arguments = bind(operation, nodes[-1].arguments.args, nodes[-1].arguments.kwargs)
    given = list({id(x): x for x in tensors_in(arguments)}.values())
    ids = {id(x): f"x{k}" for k, x in enumerate([*given, *nodes[-1].outputs])}
    tensors = {ids[id(x)]: Tensor(ids[id(x)], tuple(x.shape), str(x.dtype)) for x in (*given, *nodes[-1].outputs)}
    config = {k: v for k, v in vars(operation).items() if not k.startswith("_") and k != "name"}
    layer = Layer("trial", "trial", kind_of(operation), config)
    outputs = tuple(ids[id(y)] for y in nodes[-1].outputs)
    node = Node("trial", layer, with_refs(arguments, ids), outputs)
    graph = Graph("trial", tuple(ids[id(x)] for x in given), outputs, (node,), tensors)
    call = registry.Call(node, graph, [identity(len(tensors[t].shape)) for t in node.inputs])
    try:
        rule.function(call)
    except K2TError:
        raise
    except Exception:  # a rule may fail in any way on options that make no sense to it: the planner says how
        return False
    return set(call.read_arguments) >= set(node.arguments)
