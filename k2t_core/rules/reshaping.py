"""Flatten, Reshape, Permute and their like. Source: keras/src/layers/reshaping/."""

from __future__ import annotations

from k2t_core.layout import Flat, Layout, identity
from k2t_core.rules.registry import AMBIGUOUS, Alternative, Call, Mapping, rule

PLAIN = Alternative(
    "plain flatten",
    "flatten in torch's own order (channels first) and leave the next kernel as it is",
    "only where the kernel that follows was trained on channels-first data",
)
PERMUTE = Alternative(
    "permute first",
    "bring the tensor into Keras's order at run time, then flatten; the next kernel stays as Keras stores it",
    "when another program must see the flattened features in Keras's order",
)


@rule("Flatten", demand=None)
def flatten(call: Call) -> Mapping:
    """Flattening H, W, C and C, H, W gives other orders. Where only Dense layers follow, their kernels absorb it."""
    x = call.argument("inputs")
    channels_first = call.option("data_format", "channels_last") == "channels_first"
    rank = x.rank
    if rank <= 2:
        forward = f"{x}" if rank == 2 else f"{x}.unsqueeze(-1)"
        return Mapping(forward, gives=(x.layout if rank == 2 else identity(2),), why="Nothing to flatten.")
    # The order in which Keras runs through the axes: its own, or channels last brought to the front of the rest.
    order = (0, *range(2, rank), 1) if channels_first else tuple(range(rank))
    target = Layout(order)
    common = {"keras": "reshape(x, (batch, −1)), last axis fastest", "torch": "x.flatten(1)"}
    alternatives = (PLAIN, PERMUTE)
    if x.layout.same_memory(target, x.shape):
        return Mapping(f"{x}.flatten(1)", wants=(x.layout,), gives=(identity(2),), why="Both run through the elements in the same order.", **common)
    if call.choice == PLAIN.name:
        return Mapping(f"{x}.flatten(1)", wants=(x.layout,), gives=(identity(2),), status=AMBIGUOUS, why="Plain flatten: the order differs from Keras's.", alternatives=alternatives, **common)
    static = all(n is not None for n in x.shape[1:])
    if call.choice != PERMUTE.name and call.absorbs_flat and static and x.layout.perm[0] == 0:
        block = tuple(x.shape[axis] for axis in order[1:])
        perm = tuple(order[1:].index(axis) for axis in x.layout.perm[1:])
        flat = Flat(block, perm)
        return Mapping(
            f"{x}.flatten(1)",
            wants=(x.layout,),
            gives=(Layout((0, 1), flat),),
            status=AMBIGUOUS,
            why=f"Keras flattens in the order {identity(rank)}, torch in {x.layout}; the Dense kernel that follows is re-ordered instead of the data.",
            alternatives=alternatives,
            **common,
        )
    return Mapping(f"{x}.flatten(1)", wants=(target,), gives=(identity(2),), why="Brought into Keras's order first, because what follows needs it.", alternatives=alternatives, **common)
