"""Which layout each tensor gets, by what the rules ask for."""

from __future__ import annotations

from k2t_core.graph import Graph, Node
from k2t_core.layout import Layout, channels_first, identity
from k2t_core.rules import registry
from k2t_core.rules.registry import ANY, FIRST, LAST


def demands(graph: Graph) -> dict[str, str | None]:
    """For each tensor, the order of axes that most of its consumers want: FIRST, LAST, or None for no wish."""
    votes: dict[str, list[str]] = {t: [] for t in graph.tensors}
    for node in reversed(graph.nodes):
        rule = registry.find(node.layer.kind)
        inner = None
        if node.layer.graph is not None:
            inner_wishes = demands(node.layer.graph)
            inner = [inner_wishes.get(t) for t in node.layer.graph.inputs]
        ranks = {len(graph.tensors[t].shape) for t in node.outputs}
        for index, t in enumerate(node.inputs):
            if inner is not None:
                wish = inner[index] if index < len(inner) else None
            else:
                wish = rule.demand_of(node.layer) if rule else LAST
            if wish == ANY:
                wish = (
                    _majority([v for out in node.outputs for v in votes[out]])
                    if len(graph.tensors[t].shape) in ranks
                    else None
                )
            if wish is not None:
                votes[t].append(wish)
    return {t: _majority(found) for t, found in votes.items()}


def _majority(votes: list[str]) -> str | None:
    if not votes:
        return None
    return FIRST if votes.count(FIRST) >= votes.count(LAST) else LAST


def layout_of(wish: str | None, rank: int) -> Layout | None:
    if wish is None:
        return None
    return channels_first(rank) if wish == FIRST and rank >= 3 else identity(rank)


def absorbs_flat(tensor: str, graph: Graph, consumers: dict[str, list[Node]]) -> bool:
    """Whether everything that reads a flattened tensor can take it in torch's order (Dense re-orders its kernel)."""
    if tensor in graph.outputs or not consumers[tensor]:
        return False
    for node in consumers[tensor]:
        rule = registry.find(node.layer.kind)
        if rule is None or rule.flat is None or len(node.inputs) != 1:
            return False
        if rule.flat == "absorb" and sum(n.layer is node.layer for n in graph.nodes) > 1:
            return False
        if rule.flat == "pass" and not all(absorbs_flat(t, graph, consumers) for t in node.outputs):
            return False
    return True
