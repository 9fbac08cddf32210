"""Normalisation layers. Formulas: keras/src/layers/normalization/ and keras/src/ops/nn.py.

Long because the kinds of normalisation share their axes, their scale and offset, and their precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from k2t_core.graph import Layer
from k2t_core.layout import Layout
from k2t_core.rules.broadcasting import cast
from k2t_core.rules.registry import ANY, LAST, SELF, Alternative, Call, Mapping, Module, Slot, Weight, rule
from k2t_core.rules.slots import formula
from k2t_core.transforms import Cast, Fill, Permute, ReorderFlatten, Reshape, Transform

THAWED = Alternative(
    "trainable",
    "nn.BatchNorm, which in training normalises by the batch and learns",
    "when you mean to fine-tune the converted model: in Keras the layer is frozen (trainable=False)",
)


@rule("BatchNormalization", demand=ANY, flat="pass", role="normalization", normalises="batch", widths=("num_features",))
def batch_normalization(call: Call) -> Mapping:
    """nn.BatchNormNd over torch's axis 1, which holds Keras's ``axis``."""
    x, axis = call.x, call.option("axis")
    text = _widened(x)
    call.argument("mask")  # weighs the batch statistics in training, nothing in inference
    call.refuse(
        bool(call.option("renorm", False)),
        "it uses batch renormalization (renorm=True), whose extra statistics torch has no place for; "
        "rebuild it with renorm=False and the same weights",
    )
    call.option("renorm_clipping", None), call.option("renorm_momentum", None)
    center, scale = call.option("center"), call.option("scale")
    momentum, frozen = call.option("momentum"), call.option("trainable", True) is False
    layout = _channel_second(x, axis)
    size = call.variable("moving_mean").shape[0]
    steps = _flat_steps(x, axis)
    weights = (
        [*_affine((size,), "gamma" if scale else None, "beta" if center else None, steps, steps)]
        if scale or center or frozen
        else []
    )
    weights += [Weight("running_mean", "moving_mean", steps), Weight("running_var", "moving_variance", steps)]
    init: tuple[str, ...] = ()
    expression = f"{SELF}({text})"
    if frozen and call.choice != THAWED.name:
        module = Module("FrozenBatchNorm", {"num_features": size, "eps": call.option("epsilon")}, 1, learns=False)
        why = "Keras froze it (trainable=False): it uses its stored statistics in training too, and learns nothing."
    else:
        dimensions = {2: 1, 3: 1, 4: 2, 5: 3}.get(x.rank, 1)
        if x.rank > 5:
            expression = f"{SELF}({text}.flatten(2)).view_as({text})"
        arguments = {
            "num_features": size,
            "eps": call.option("epsilon"),
            "momentum": round(1 - momentum, 12),
            "affine": scale or center,
        }
        module = Module(f"nn.BatchNorm{dimensions}d", arguments, 1)
        init = _fixed(scale, center) if scale or center else ()
        weights = weights if scale or center else weights[-2:]
        weights.append(Weight("num_batches_tracked", None, (Fill((), 0, "int64"),)))
        why = (
            f"Same formula; Keras's momentum {momentum:g} is torch's 1 − {momentum:g}. "
            "In training torch puts the unbiased variance (n − 1) into running_var, Keras the biased one (n)."
        )
    mapping = Mapping(
        expression,
        module,
        tuple(weights),
        wants=(layout, *(slot.layout for slot in call.inputs[1:])),
        gives=(layout,),
        init=init,
        why=why,
        keras="gamma · (x − moving_mean) / √(moving_variance + epsilon) + beta",
        torch="weight · (x − running_mean) / √(running_var + eps) + bias",
        alternatives=(THAWED,) if frozen else (),
    )
    return _at_least_float32(call, mapping)


def _last_axis(layer: Layer) -> str:
    return LAST if layer.config.get("axis") in (-1, [-1], (-1,)) else ANY


@rule("LayerNormalization", demand=_last_axis, flat="pass", normalises="sample", widths=("normalized_shape", "shape"))
def layer_normalization(call: Call) -> Mapping:
    """nn.LayerNorm over the last axes of torch's order, brought there where they are elsewhere."""
    x = call.x
    text = _widened(x)
    _refuse_integers(call)
    raw, axes, layout = _inner_axes(call)
    center, scale, epsilon = call.option("center"), call.option("scale"), call.option("epsilon")
    rms_scaling = call.option("rms_scaling", False)
    common: dict[str, Any] = {
        "wants": (layout,),
        "gives": (layout,),
        "keras": "gamma · (x − mean) / √(variance + epsilon) + beta",
        "torch": "weight · (x − mean) / √(variance + eps) + bias",
    }
    inner = [axis for axis in layout.perm if axis in axes]
    shape = tuple(x.shape[axis] for axis in inner)
    if not (scale or center or rms_scaling) and None in shape:
        forward = f"F.layer_norm({text}, {text}.shape[-{len(inner)}:], eps={epsilon!r})"
        return _at_least_float32(
            call, Mapping(forward, why="Without weights, over sizes known at run time only.", **common)
        )
    steps = _inner_steps(x, raw, inner)
    if rms_scaling:
        mapping = Mapping(
            f"{SELF}({text})",
            Module("ScaleByDeviation", {"shape": shape, "dim": tuple(range(-len(inner), 0)), "eps": epsilon}, 2),
            (Weight("weight", "gamma", steps),),
            why=(
                "rms_scaling divides by the standard deviation without taking the mean away: "
                "neither torch's LayerNorm nor its RMSNorm."
            ),
            **{**common, "keras": "gamma · x / √(variance + epsilon)", "torch": "weight · x / √(variance + eps)"},
        )
        return _at_least_float32(call, mapping)
    weights: tuple[Weight, ...] = ()
    init: tuple[str, ...] = ()
    if scale or center:
        weights = _affine(
            tuple(map(x.size, inner)), "gamma" if scale else None, "beta" if center else None, steps, steps
        )
        if not center:
            weights = weights[:1]
        init = _fixed(scale, True)
    arguments = {
        "normalized_shape": shape[0] if len(shape) == 1 else shape,
        "eps": epsilon,
        "elementwise_affine": bool(weights),
    }
    if scale and not center:
        arguments["bias"] = False
    why = "Same formula; Keras's epsilon is 0.001 by default, torch's 1e-05."
    if layout != x.layout:
        why += " torch normalises over the last axes only, so they are brought there."
    mapping = Mapping(f"{SELF}({text})", Module("nn.LayerNorm", arguments, 1), weights, init=init, why=why, **common)
    return _at_least_float32(call, mapping)


@rule("GroupNormalization", demand=ANY, normalises="sample", widths=("num_channels",))
def group_normalization(call: Call) -> Mapping:
    """nn.GroupNorm: groups of neighbouring channels, together with all of space."""
    x, axis = call.x, call.option("axis")
    text = _widened(x)
    _refuse_integers(call)
    call.refuse(axis % x.rank == 0, "its axis is the batch axis; normalise over another one")
    groups, center, scale = call.option("groups"), call.option("center"), call.option("scale")
    layout = _channel_second(x, axis)
    size = x.shape[axis]
    groups = size if groups == -1 else groups
    call.refuse(
        x.rank == 2 and groups == size,
        "each group has a single element, so its output is beta whatever the input; remove it, or set fewer groups",
    )
    weights: tuple[Weight, ...] = ()
    init: tuple[str, ...] = ()
    if scale or center:
        weights = _affine((size,), "gamma" if scale else None, "beta" if center else None)
        init = _fixed(scale, center)
    mapping = Mapping(
        f"{SELF}({text})",
        Module(
            "nn.GroupNorm",
            {"num_groups": groups, "num_channels": size, "eps": call.option("epsilon"), "affine": bool(weights)},
            2,
        ),
        weights,
        wants=(layout,),
        gives=(layout,),
        init=init,
        why="Same formula over the same groups; Keras's epsilon is 0.001 by default, torch's 1e-05."
        + (" One channel a group is instance normalisation." if groups == size else ""),
        keras="gamma · (x − mean of group) / √(variance of group + epsilon) + beta",
        torch="weight · (x − mean of group) / √(variance of group + eps) + bias",
    )
    return _at_least_float32(call, mapping)


@rule("RMSNormalization", demand=_last_axis, flat="pass", normalises="sample", widths=("normalized_shape", "shape"))
def rms_normalization(call: Call) -> Mapping:
    """nn.RMSNorm where the axes are Keras's last ones; elsewhere Keras lines the scale up with the last axes all the
    same."""
    x = call.x
    text = _widened(x)
    _refuse_integers(call)
    raw, axes, layout = _inner_axes(call)
    epsilon, shape = call.option("epsilon"), call.variable("scale").shape
    rank = x.rank
    inner = [axis for axis in layout.perm if axis in axes]
    rounding = _autocast(call, "scale")
    why = "Same formula: no mean is taken away, no bias added."
    if [axis % rank for axis in raw] == list(range(rank - len(raw), rank)):
        steps = (*_inner_steps(x, raw, inner), *rounding)
        sizes = tuple(shape[inner_axis - rank + len(inner)] for inner_axis in inner)
        module = Module("nn.RMSNorm", {"normalized_shape": sizes[0] if len(sizes) == 1 else sizes, "eps": epsilon}, 1)
    else:
        call.refuse(
            x.layout.flat is not None, "it normalises over the batch of a flattened image; put a Reshape in between"
        )
        layout = Layout(tuple(range(rank)))
        steps = rounding
        module = Module("AxisRMSNorm", {"shape": shape, "dim": tuple(axes), "eps": epsilon}, 2)
        why = "Keras lines the scale up with the last axes of x, whatever axis it normalises over."
    mapping = Mapping(
        f"{SELF}({text})",
        module,
        (Weight("weight", "scale", steps),),
        wants=(layout,),
        gives=(layout,),
        why=why,
        keras="scale · x / √(mean(x²) + epsilon)",
        torch="weight · x / √(mean(x²) + eps)",
    )
    return _at_least_float32(call, mapping)


@rule("UnitNormalization", demand=ANY, flat="pass")
def unit_normalization(call: Call) -> Mapping:
    x, axis = call.x, call.option("axis")
    _refuse_integers(call)
    dims = sorted(x.layout.axis(a) for a in ([axis] if isinstance(axis, int) else axis))
    dim = dims[0] if len(dims) == 1 else tuple(dims)
    forward = f"F.normalize({x})" if dim == 1 else f"F.normalize({x}, dim={-1 if dim == x.rank - 1 else dim})"
    return Mapping(
        forward,
        gives=(x.layout,),
        why="Both divide by the Euclidean norm, at least 1e-12.",
        keras="x / ‖x‖ over axis",
        torch=formula(forward),
    )


def _refuse_integers(call: Call) -> None:
    """Keras casts the result back to the dtype of the input: integers are all that is left of it."""
    call.refuse(
        "float" not in call.x.dtype,
        f"it normalises {call.x.dtype}, and Keras cuts the result to integers; "
        "cast its input to float32 in the Keras model",
    )


# --- pieces ----------------------------------------------------------------------------------------------------


def _channel_second(x: Slot, axis: int) -> Layout:
    """The layout nearest to the input's that has Keras's ``axis`` second, as torch's normalisations want it."""
    axis %= x.rank
    if x.layout.perm[1] == axis:
        return x.layout
    first, *others = [a for a in x.layout.perm if a != axis]
    return Layout((first, axis, *others), x.layout.flat)


def _flat_steps(x: Slot, axis: int) -> tuple[Transform, ...]:
    """How a vector over a flattened axis is re-ordered."""
    flat = x.layout.flat
    return (ReorderFlatten(0, flat.shape, flat.perm),) if flat and axis % x.rank == x.rank - 1 else ()


def _inner_axes(call: Call) -> tuple[list[int], set[int], Layout]:
    """Keras's axes as its weights run over them, the same from 0, and the nearest layout that has them last."""
    x, axis = call.x, call.option("axis")
    raw = sorted([axis] if isinstance(axis, int) else axis)
    axes = {a % x.rank for a in raw}
    call.refuse(len(axes) < len(raw), f"its axis {axis} names an axis twice")
    perm = x.layout.perm
    return raw, axes, Layout((*(a for a in perm if a not in axes), *(a for a in perm if a in axes)), x.layout.flat)


def _inner_steps(x: Slot, raw: Sequence[int], inner: Sequence[int]) -> tuple[Transform, ...]:
    """Keras's weight over the axes ``raw`` → torch's over ``inner``.

    Keras sorts axes before it counts negative ones from the end, then *reshapes* the weight to the sizes in the order
    of the tensor (keras/src/ops/nn.py, _layer_normalization): for axis=[-1, 1] that is no transpose.
    """
    steps: list[Transform] = []
    axes = [axis % x.rank for axis in raw]
    if axes != sorted(axes):
        steps.append(Reshape(tuple(map(x.size, axes)), tuple(map(x.size, sorted(axes)))))
    if list(inner) != sorted(axes):
        steps.append(Permute(tuple(sorted(axes).index(a) for a in inner)))
    if x.layout.flat and x.rank - 1 in axes:
        flat = x.layout.flat
        steps.append(ReorderFlatten(len(inner) - 1, flat.shape, flat.perm))
    return tuple(steps)


def _affine(
    shape: tuple[int, ...],
    gamma: str | None,
    beta: str | None,
    scale: tuple[Transform, ...] = (),
    offset: tuple[Transform, ...] = (),
) -> tuple[Weight, ...]:
    """weight and bias; what Keras does not have is filled in."""
    return (
        Weight("weight", gamma, scale if gamma else (Fill(shape, 1.0),)),
        Weight("bias", beta, offset if beta else (Fill(shape, 0.0),)),
    )


def _fixed(scale: bool, center: bool) -> tuple[str, ...]:
    """Statements that keep what Keras does not have from being trained."""
    return tuple(
        f"{SELF}.{name}.requires_grad_(False)  # {option}=False"
        for name, option, there in (("weight", "scale", scale), ("bias", "center", center))
        if not there
    )


def _autocast(call: Call, name: str) -> tuple[Transform, ...]:
    """The rounding of a variable that Keras casts to the layer's half-precision compute dtype before it is used."""
    dtype = call.outputs[0].dtype
    return (Cast(dtype),) if dtype in ("float16", "bfloat16") and call.variable(name).dtype != dtype else ()


def _wide(x: Slot) -> str:
    """The dtype that Keras normalises in: float32 at least."""
    return "float64" if x.dtype == "float64" else "float32"


def _widened(x: Slot) -> str:
    return str(x) if x.dtype == _wide(x) else cast(str(x), _wide(x))


def _at_least_float32(call: Call, mapping: Mapping) -> Mapping:
    """The mapping of a layer that reads `_widened` input: Keras casts the result to the layer's dtype."""
    dtype, result = _wide(call.x), call.outputs[0].dtype
    forward = mapping.forward
    if result != dtype:
        assert isinstance(forward, str)  # normalisations are expressions
        forward = cast(forward, result)
    if mapping.module is None:
        return replace(mapping, forward=forward)

    def stored(weight: Weight) -> Weight:
        """As float32 where Keras stores or rounds it otherwise."""
        ends = [step.dtype for step in weight.steps if isinstance(step, (Cast, Fill))] or [
            call.variable(weight.source).dtype if weight.source else dtype
        ]
        return weight if ends[-1] in (dtype, "int64") else replace(weight, steps=(*weight.steps, Cast(dtype)))

    return replace(
        mapping,
        forward=forward,
        module=replace(mapping.module, dtype=dtype),
        weights=tuple(stored(w) for w in mapping.weights),
    )
