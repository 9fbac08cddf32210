"""Layers that act in training only: identity in inference. Source: keras/src/layers/regularization/."""

from __future__ import annotations

from k2t_core.rules.registry import ANY, INERT, SELF, Call, Mapping, Module, rule

PASSES = "In inference it passes its input through"


@rule("Dropout", demand=ANY, flat="pass", draws="elements")
def dropout(call: Call) -> Mapping:
    return _dropout(
        call,
        "nn.Dropout",
        "SharedDropout",
        f"{PASSES}; in training both set elements to 0 and divide the others by 1 − rate.",
    )


@rule("AlphaDropout", demand=ANY, flat="pass", draws="noise")
def alpha_dropout(call: Call) -> Mapping:
    return _dropout(
        call,
        "nn.AlphaDropout",
        "SharedAlphaDropout",
        f"{PASSES}; in training both set elements to SELU's lower limit and keep mean and variance.",
    )


def _dropout(call: Call, plain: str, shared: str, why: str) -> Mapping:
    """torch's module; with a noise_shape, which torch does not have, a helper."""
    x, rate, shape = call.x, float(call.option("rate")), call.option("noise_shape", None)
    if shape is None or all(n is None for n in shape):
        return _inert(call, Module(plain, {"p": rate}, 1), why)
    call.refuse(
        len(shape) != x.rank,
        f"its noise_shape {tuple(shape)} has not one entry for each axis of its input; give it one",
    )
    call.refuse(
        x.layout.flat is not None and shape[-1] != 1,
        "its noise_shape applies to a flattened image; put a Reshape in between",
    )
    return _inert(
        call,
        Module(shared, {"p": rate, "shape": tuple(shape[axis] for axis in x.layout.perm)}, 2),
        f"{why} Elements are dropped together along axes of size 1 of noise_shape.",
    )


@rule("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", demand=ANY, draws="channels")
def spatial_dropout(call: Call) -> Mapping:
    """nn.DropoutNd drops whole maps of axis 1: exact where torch's order has the channels there."""
    x, rate = call.x, float(call.option("rate"))
    channel = 1 if call.option("data_format", "channels_last") == "channels_first" else x.rank - 1
    why = f"{PASSES}; in training both drop whole channels."
    if x.layout.perm[:2] == (0, channel):
        return _inert(call, Module(f"nn.Dropout{x.rank - 2}d", {"p": rate}, 1), why)
    shape = tuple(None if axis in (0, channel) else 1 for axis in x.layout.perm)
    return _inert(
        call,
        Module("SharedDropout", {"p": rate, "shape": shape}, 2),
        f"{why} torch's own module takes axis 1 for the channels.",
    )


@rule("GaussianDropout", demand=ANY, flat="pass", draws="noise")
def gaussian_dropout(call: Call) -> Mapping:
    why = f"{PASSES}; in training it multiplies by noise of mean 1 and variance rate / (1 − rate)."
    return _inert(call, Module("GaussianDropout", {"rate": float(call.option("rate"))}, 1), why)


@rule("GaussianNoise", demand=ANY, flat="pass", draws="noise")
def gaussian_noise(call: Call) -> Mapping:
    return _inert(
        call,
        Module("GaussianNoise", {"stddev": float(call.option("stddev"))}, 1),
        f"{PASSES}; in training it adds noise.",
    )


@rule("ActivityRegularization", demand=ANY, flat="pass")
def activity_regularization(call: Call) -> Mapping:
    """Nothing but a term of the loss."""
    l1, l2, x = call.option("l1"), call.option("l2"), call.x
    why = (
        f"It passes its input through and in training adds {float(l1):g}·Σ|x| + {float(l2):g}·Σx² to the loss; "
        "in torch the training loop adds such a term."
    )
    return Mapping(str(x), gives=(x.layout,), status=INERT, why=why, keras="x", torch="x")


def _inert(call: Call, module: Module, why: str) -> Mapping:
    x = call.x
    if not next(iter(module.args.values())):
        return Mapping(
            str(x),
            gives=(x.layout,),
            status=INERT,
            why="Its rate is 0: it does nothing, in training either.",
            keras="x",
            torch="x",
        )
    return Mapping(
        f"{SELF}({x})", module, gives=(x.layout,), status=INERT, why=why, keras="x in inference", torch="x in eval mode"
    )
