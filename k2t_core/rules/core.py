"""Dense and what stands next to it. Source: keras/src/layers/core/."""

from __future__ import annotations

from k2t_core.layout import identity
from k2t_core.rules.activations import apply_activation
from k2t_core.rules.registry import LAST, SELF, Call, Mapping, Module, Weight, rule
from k2t_core.transforms import Permute, ReorderFlatten


@rule("Dense", demand=LAST, flat="absorb")
def dense(call: Call) -> Mapping:
    """Kernel (in, out) → weight (out, in). Works on the last Keras axis, whatever the rank."""
    units, use_bias = call.option("units"), call.option("use_bias")
    x = call.argument("inputs")
    flat = x.layout.flat
    layout = x.layout if flat else identity(x.rank)
    kernel = call.variable("kernel")
    steps = (Permute((1, 0)),)
    why = "Keras stores the kernel (in, out), torch (out, in)."
    if flat:
        steps = (ReorderFlatten(0, flat.shape, flat.perm), *steps)
        why += " Its rows are re-ordered because torch flattens channels first."
    weights = [Weight("weight", "kernel", steps)] + ([Weight("bias", "bias")] if use_bias else [])
    return Mapping(
        forward=apply_activation(call.option("activation"), f"{SELF}({x})", identity(x.rank)),
        module=Module("nn.Linear", {"in_features": kernel.shape[0], "out_features": units, "bias": use_bias}, 2),
        weights=tuple(weights),
        wants=(layout,),
        gives=(identity(x.rank),),
        why=why,
        keras="activation(x · kernel + bias)",
        torch="activation(x · weightᵀ + bias)",
    )
