"""Layers that prepare data: scaling, binning, encoding of categories. Source: keras/src/layers/preprocessing/.

Long because binning, lookup and hashing end in the same encoding of categories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from k2t_core.graph import Layer, Node
from k2t_core.layout import Layout, channels_first, identity
from k2t_core.rules.broadcasting import cast, number, torch_dtype
from k2t_core.rules.registry import (
    ANY,
    LAST,
    SELF,
    Call,
    Mapping,
    Module,
    Slot,
    Unconvertible,
    Weight,
    demand_channels_first,
    rule,
)
from k2t_core.rules.slots import formula, operand
from k2t_core.transforms import Cast, Constant, Permute, ReorderFlatten, Reshape, SqrtAtLeast, Transform, float_dtype

EPSILON = 1e-7  # keras.config.epsilon() unless the user changes it
CUT = (
    "cut it off (an override on the Mapping page, or of kind 'cut' in the recipe) and do the same in the data "
    "pipeline: the model then starts with what it gives"
)


def _scales(node: Node) -> list[float]:
    try:
        return [float(factor) for factor in _array(node.layer.config.get("scale"), "its scale").flat]
    except Unconvertible:  # so says its rule; the layer may have been replaced by a snippet
        return []


@rule("Rescaling", demand=ANY, flat="pass", factors=_scales)
def rescaling(call: Call) -> Mapping:
    """x · scale + offset, by numbers or by a number for each entry of the last axes."""
    x, dtype = call.x, call.outputs[0].dtype
    scale, offset = (_array(call.option(name), f"its {name}") for name in ("scale", "offset"))
    text = str(x) if x.dtype == dtype else cast(str(x), dtype)
    common: dict[str, Any] = {"gives": (x.layout,), "keras": "x · scale + offset"}
    if scale.ndim == offset.ndim == 0:
        forward = _scaled(text, float(scale), float(offset), dtype)
        return Mapping(forward, why="The same two numbers.", torch=formula(forward), **common)
    weights, shapes = [], {}
    for name, array in (("scale", scale), ("offset", offset)):
        call.refuse(
            array.ndim > x.rank, f"its {name} of shape {array.shape} has more axes than its input; give it fewer"
        )
        array = _lined_up(array.reshape((1,) * (x.rank - array.ndim) + array.shape), x.layout)
        weights.append(Weight(name, None, (Constant(array.tolist(), "float32"),)))
        shapes[name] = array.shape
    module = Module("ScaleAndShift", {"scale_shape": shapes["scale"], "offset_shape": shapes["offset"]}, 2)
    return Mapping(
        f"{SELF}({text})",
        module,
        tuple(weights),
        why="Scale and offset follow the order of axes.",
        torch="x · scale + offset",
        **common,
    )


def _scaled(x: str, scale: float, offset: float, dtype: str) -> str:
    """``x / 127.5 - 1``: a division where the scale is the reciprocal of a short number."""
    if dtype in ("float16", "bfloat16"):  # Keras rounds both numbers first
        scale, offset = (float(np.asarray(v, float_dtype(dtype))) for v in (scale, offset))
    divisor = round(1 / scale, 4) if scale else 0.0
    if divisor and dtype in ("float32", "float64") and 1 / divisor == scale and abs(divisor) > 1:
        x = f"{x} / {_plain(divisor)}"
    elif scale != 1:
        x = f"{x} * {_plain(scale)}"
    if offset:
        x = f"{x} {'-' if offset < 0 else '+'} {_plain(abs(offset))}"
    return x


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e6 else number(value)


def _statistics(layer: Layer, value: Callable[[str], Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """What a Normalization was adapted to, where that lies along the last axis or is one number."""
    if layer.config.get("invert") or layer.config.get("axis") not in (-1, [-1], (-1,), None):
        return None
    found = []
    for name in ("mean", "variance"):
        given, variable = layer.config.get(name), layer.variable(name)
        if given is None and variable is not None:
            given = value(variable.path)
        if given is None:
            return None
        found.append(np.asarray(given, "float64").ravel())
    mean, variance = found
    return (mean, variance) if np.isfinite(mean).all() and np.isfinite(variance).all() else None


@rule("Normalization", demand=ANY, flat="pass", widths=("shape",), expects=_statistics)
def normalization(call: Call) -> Mapping:
    """(x − mean) / max(√variance, 1e-7): the divisor is computed once, in the weights file."""
    x, dtype = call.x, call.outputs[0].dtype
    axis, invert = call.option("axis"), call.option("invert", False)
    mean, variance = call.option("mean", None), call.option("variance", None)
    keep = sorted(a % x.rank for a in ([] if axis is None else [axis] if isinstance(axis, int) else axis))
    text = str(x) if x.dtype == dtype else cast(str(x), dtype)
    common: dict[str, Any] = {
        "gives": (x.layout,),
        "keras": "mean + x · max(√variance, 1e-7)" if invert else "(x − mean) / max(√variance, 1e-7)",
        "torch": "mean + x · std" if invert else "(x − mean) / std",
    }
    root = (Cast(dtype), SqrtAtLeast(EPSILON)) if dtype in ("float16", "bfloat16") else (SqrtAtLeast(EPSILON),)
    if mean is None:
        steps = _kept_steps(x, keep)
        weights = (Weight("mean", "mean", steps), Weight("std", "variance", (*root, *steps)))
        inner = [axis for axis in x.layout.perm if axis in keep]
        shape = _trimmed([x.size(axis) if axis in inner else 1 for axis in x.layout.perm])
    else:
        mean, variance = np.asarray(mean, "float32"), np.asarray(variance, "float32")
        spread = [1] * x.rank
        for i in range(1, mean.ndim + 1):  # from the right, along the kept axes
            spread[keep[-i]] = mean.shape[-i]
        mean, variance = (_lined_up(v.reshape(spread), x.layout) for v in (mean, variance))
        shape = mean.shape
        weights = (
            Weight("mean", None, (Constant(mean.tolist()),)),
            Weight("std", None, (Constant(variance.tolist()), *root)),
        )
    return Mapping(
        f"{SELF}({text})",
        Module("Unstandardize" if invert else "Standardize", {"shape": shape}, 1, learns=False),
        weights,
        why=(
            "The statistics follow the order of axes; std is max(√variance, 1e-7), "
            "so that a constant feature divides by 1e-7, as in Keras."
        ),
        **common,
    )


def _kept_steps(x: Slot, keep: Sequence[int]) -> tuple[Transform, ...]:
    """A statistic over the kept axes, in Keras's order, so that it broadcasts against torch's tensor."""
    steps: list[Transform] = []
    order = [axis for axis in x.layout.perm if axis in keep]
    if order != list(keep):
        steps.append(Permute(tuple(list(keep).index(axis) for axis in order)))
    if x.layout.flat and x.rank - 1 in keep:
        steps.append(ReorderFlatten(len(order) - 1, x.layout.flat.shape, x.layout.flat.perm))
    before = tuple(x.size(axis) for axis in order)
    shape = _trimmed([x.size(axis) if axis in keep else 1 for axis in x.layout.perm])
    return (*steps, Reshape(before, shape)) if before != shape else tuple(steps)


def _trimmed(shape: Sequence[int]) -> tuple[int, ...]:
    """Without the leading 1s, which broadcasting adds by itself."""
    shape = list(shape)
    while len(shape) > 0 and shape[0] == 1:
        shape.pop(0)
    return tuple(shape)


def _lined_up(array: np.ndarray, layout: Layout) -> np.ndarray:
    """An array with an axis for each of x's, in torch's order, without leading 1s."""
    array = layout.to_torch(array) if layout.flat and array.shape[-1] > 1 else array.transpose(layout.perm)
    return array.reshape(_trimmed(array.shape))


def _array(value: Any, what: str) -> np.ndarray:
    """A number, list or serialized NumPy array of a layer's configuration."""
    if isinstance(value, dict):
        if value.get("class_name") not in ("__numpy__", "__tensor__"):
            raise Unconvertible(
                f"{what} is a {value.get('class_name')}, which k2t cannot read; give it as a number or a list"
            )
        value = value["config"]["value"]
    return np.asarray(value, "float32") if np.ndim(value) else np.asarray(value, "float64")


# --- categories --------------------------------------------------------------------------------------------------


@rule("Discretization", demand=ANY)
def discretization(call: Call) -> Mapping:
    """Bucket i holds boundaries[i − 1] ≤ x < boundaries[i], which torch.bucketize calls ``right=True``."""
    x, mode, boundaries = call.x, call.option("output_mode"), call.option("bin_boundaries")
    call.option("num_bins", None), call.option("epsilon", None)  # of adapt()
    call.refuse(bool(call.option("sparse", False)), f"it gives sparse tensors; set sparse=False, or {CUT}")
    call.refuse(boundaries is None, "it has no bin boundaries yet; call adapt() before saving the model")
    layout = x.layout if mode == "int" else identity(x.rank)
    text = str(x) if x.dtype == "float32" else cast(str(x), "float32")
    indices = f"torch.bucketize({text}, {SELF}.value, right=True{', out_int32=True' if mode == 'int' else ''})"
    return Mapping(
        indices if mode == "int" else _encoded(call, indices, mode, len(boundaries) + 1),
        Module("ConstantTensor", {"shape": [len(boundaries)]}, 1, dtype="float32"),
        (Weight("value", None, (Constant([float(b) for b in boundaries]),)),),
        wants=(layout,),
        gives=(layout if mode == "int" else identity(len(call.outputs[0].shape)),),
        why="Both put a value on a boundary into the bucket above it (torch with right=True).",
        keras="number of boundaries ≤ x" + ("" if mode == "int" else f", then {mode}"),
        torch="torch.bucketize(x, boundaries, right=True)",
    )


@rule("CategoryEncoding")
def category_encoding(call: Call) -> Mapping:
    """one_hot, multi_hot or count along a new last axis; indices out of range count for nothing."""
    x, mode, depth = call.x, call.option("output_mode"), call.option("num_tokens")
    weights = call.argument("count_weights")
    call.refuse(bool(call.option("sparse", False)), f"it gives sparse tensors; set sparse=False, or {CUT}")
    call.refuse(
        weights is not None and not isinstance(weights, Slot), "its count_weights are not a tensor of the model"
    )
    wants = tuple(identity(slot.rank) for slot in call.inputs)
    forward = _encoded(call, str(x), mode, depth, weights)
    return Mapping(
        forward,
        wants=wants,
        gives=(identity(len(call.outputs[0].shape)),),
        why=(
            "Indices out of range are ignored, where torch's own F.one_hot raises; "
            "Keras raises for negative ones when it counts."
        ),
        keras=f"{mode} of x, {depth} categories",
        torch=formula(forward),
    )


def _encoded(call: Call, indices: str, mode: str, depth: int, weights: Slot | None = None) -> str:
    """keras/src/utils/numerical_utils.py, encode_categorical_inputs."""
    x, dtype = call.x, call.outputs[0].dtype
    call.refuse(
        call.layer.policy.startswith("mixed_"),
        "its dtype policy is mixed, under which Keras itself is at odds about the dtype of the result; "
        "give this layer dtype='float32'",
    )
    option = "" if dtype == "float32" else f", dtype={torch_dtype(dtype)}"
    if mode == "one_hot":
        squeezed = x.rank > 1 and x.shape[-1] == 1
        return (
            f"one_hot({operand(indices)}.squeeze(-1), {depth}{option})"
            if squeezed
            else f"one_hot({indices}, {depth}{option})"
        )
    call.refuse(
        x.rank != 2,
        f"it makes {mode} of a tensor of {x.rank} axes, where Keras reduces another axis than it says; "
        "reshape its input to (batch, n)",
    )
    call.refuse(dtype in ("int8", "int16", "uint8"), f"it counts in {dtype}; give the layer dtype='float32'")
    if mode == "multi_hot":
        return f"one_hot({indices}, {depth}{option}).amax(1)"
    if weights is not None:
        factor = str(weights) if weights.dtype == dtype else cast(str(weights), dtype)
        return f"(one_hot({indices}, {depth}{option}) * {operand(factor)}.unsqueeze(-1)).sum(1)"
    call.refuse(mode != "count", f"its output_mode {mode!r} is not known to k2t")
    return f"one_hot({indices}, {depth}{option}).sum(1{option if dtype == 'int32' else ''})"


# --- sound -------------------------------------------------------------------------------------------------------


@rule("STFTSpectrogram", demand=demand_channels_first)
def stft_spectrogram(call: Call) -> Mapping:
    """Two convolutions with the kernels that Keras keeps as weights
    (keras/src/layers/preprocessing/stft_spectrogram.py)."""
    (
        call.option("window"),
        call.option("periodic"),
        call.option("scaling"),
        call.option("fft_length"),
    )  # seen in the kernels
    mode, step, length = call.option("mode"), call.option("frame_step"), call.option("frame_length")
    padding, expand, first = (
        call.option("padding"),
        call.option("expand_dims"),
        call.option("data_format") == "channels_first",
    )
    call.refuse(call.x.dtype == "bfloat16", "it does not take bfloat16; give it dtype='float32'")
    names = [name for name in ("real", "imag") if name != {"real": "imag", "imag": "real"}.get(mode)]
    kernels = [call.variable(f"{name}_kernel") for name in names]
    rank = len(call.outputs[0].shape)
    arguments = {
        "frequencies": kernels[0].shape[2],
        "frame_length": length,
        "frame_step": step or length // 2,
        "mode": mode,
        "same": padding == "same",
        "expand_dims": expand,
    }
    return Mapping(
        f"{SELF}({call.x})",
        Module("STFTSpectrogram", arguments, 1),
        tuple(Weight(f"{name}.weight", f"{name}_kernel", (Permute((2, 1, 0)),)) for name in names),
        wants=(identity(3) if first else channels_first(3),),
        gives=(identity(rank) if first else channels_first(rank),),
        why=(
            "The window and the Fourier transform are convolution kernels among Keras's weights, "
            "so the converted model trains them too."
        ),
        keras=f"{mode} of the STFT",
        torch="two nn.Conv1d",
    )


@rule("MelSpectrogram", demand=LAST)
def mel_spectrogram(call: Call) -> Mapping:
    """torch.stft with the same reflection at the ends; window and mel filters are written into the weights file."""
    x = call.x
    call.refuse(
        x.rank != 2,
        f"its input has {x.rank} axes, and Keras itself is at odds about the shape of the result; "
        "reshape it to (batch, time)",
    )
    fft, stride, length = call.option("fft_length"), call.option("sequence_stride"), call.option("sequence_length")
    bands, rate, low, high = (
        call.option("num_mel_bins"),
        call.option("sampling_rate"),
        call.option("min_freq"),
        call.option("max_freq"),
    )
    dtype = "float64" if call.outputs[0].dtype == "float64" else "float32"
    arguments = {
        "bands": bands,
        "n_fft": fft,
        "hop_length": stride,
        "win_length": length,
        "exponent": float(call.option("mag_exp")),
        "db": call.option("power_to_db"),
        "min_power": float(call.option("min_power")),
        "ref_power": float(call.option("ref_power")),
        "top_db": float(call.option("top_db")),
    }
    text = str(x) if x.dtype == dtype else cast(str(x), dtype)
    forward = f"{SELF}({text})"
    result = call.outputs[0].dtype
    return Mapping(
        forward if result == dtype else cast(forward, result),
        Module("MelSpectrogram", arguments, 4, dtype=dtype),
        (
            Weight("window", None, (Constant(_window(call, length), dtype),)),
            Weight("mel", None, (Constant(_mel_filters(bands, fft // 2 + 1, rate, low, high).T.tolist(), dtype),)),
        ),
        wants=(identity(2),),
        gives=(identity(3),),
        why="In decibels, the floor top_db below the loudest value is taken over the whole batch, in Keras too.",
        keras="mel filters · |stft(x)|^mag_exp, in decibels",
        torch="mel @ |torch.stft(x)|^exponent, in decibels",
    )


def _window(call: Call, length: int) -> list[float]:
    """tf.signal.hann_window and hamming_window, periodic."""
    window = call.option("window")
    if window is None:
        return [1.0] * length
    if not isinstance(window, str):
        return [float(v) for v in window]
    call.refuse(
        window not in ("hann", "hamming"), f"its window {window!r} is not known to k2t; use 'hann' or 'hamming'"
    )
    a = 0.5 if window == "hann" else 0.54
    period = length + (length % 2 == 0) - 1  # tensorflow/python/ops/signal/window_ops.py: an odd window is symmetric
    return (a - (1 - a) * np.cos(2 * np.pi * np.arange(length) / period)).tolist() if length > 1 else [1.0]


def _mel_filters(bands: int, bins: int, rate: float, low: float, high: float) -> np.ndarray:
    """MelSpectrogram.linear_to_mel_weight_matrix, in float32 as there: shape (bins, bands)."""

    def mel(hertz: Any) -> np.ndarray:
        return np.float32(1127.0) * np.log(np.float32(1) + np.asarray(hertz, "float32") / np.float32(700))

    frequencies = mel(np.linspace(0, rate / 2, bins, dtype="float32")[1:])[:, None]
    edges = np.linspace(mel(low), mel(high), bands + 2, dtype="float32")
    lower, center, upper = edges[None, :-2], edges[None, 1:-1], edges[None, 2:]
    slopes = np.minimum((frequencies - lower) / (center - lower), (upper - frequencies) / (upper - center))
    return np.pad(np.maximum(slopes, 0), [(1, 0), (0, 0)])


@rule("IntegerLookup", demand=ANY, widths=("size",))
def integer_lookup(call: Call) -> Mapping:
    """Token → its place in the vocabulary, after the mask's and the unknown tokens' places; or, with invert, back."""
    x, mode, vocabulary = call.x, call.option("output_mode"), call.option("vocabulary")
    unknown, mask, invert = call.option("num_oov_indices"), call.option("mask_token"), call.option("invert")
    oov_token, method = call.option("oov_token"), call.option("oov_method", "floormod")
    for name in ("max_tokens", "pad_to_max_tokens", "idf_weights", "vocabulary_dtype", "vocabulary_size", "salt"):
        call.option(name, None)  # of adapt(), of other output modes, or of hashing
    call.refuse(
        mode != "int",
        f"with output_mode={mode!r} Keras gives integers where it announces floats; "
        "use output_mode='int' and a CategoryEncoding after it",
    )
    call.refuse(not vocabulary, "it has no vocabulary yet; call adapt() before saving the model")
    call.refuse(
        unknown > 1 and method != "floormod" and not invert,
        f"it hashes unknown tokens (oov_method={method!r}), which torch cannot; {CUT}",
    )
    start = int(mask is not None) + unknown
    ids = list(range(start, start + len(vocabulary)))
    order = np.argsort(vocabulary).tolist()
    keys, values = (ids, vocabulary) if invert else ([vocabulary[i] for i in order], [ids[i] for i in order])
    if invert:
        default, special = oov_token, (0, mask)
    else:
        default, special = (start - unknown if unknown else -1), (mask, 0)
    arguments = {"size": len(keys), "default": default, "buckets": 1 if invert else max(unknown, 1)}
    forward = f"{SELF}({x})"
    if mask is not None:
        forward = f"torch.where({x} == {special[0]}, {special[1]}, {forward})"
    return Mapping(
        forward,
        Module("IntegerLookup", arguments, 1),
        (Weight("keys", None, (Constant(keys, "int64"),)), Weight("values", None, (Constant(values, "int64"),))),
        gives=(x.layout,),
        why="The vocabulary is in the weights file."
        + ("" if unknown or invert else " An unknown token gives −1, where Keras raises an error."),
        keras="table.lookup(x)",
        torch="values[searchsorted(keys, x)]",
    )


@rule("Hashing", demand=ANY)
def hashing(call: Call) -> Mapping:
    """Whole numbers: TensorFlow hashes their decimal text, by FarmHash or, with a salt, by SipHash."""
    x, mode, bins = call.x, call.option("output_mode"), call.option("num_bins")
    salt, masked = call.option("salt"), call.option("mask_value")
    call.refuse(
        x.dtype == "string",
        f"it hashes strings, and torch has no strings: the work of a data pipeline. {CUT[0].upper()}{CUT[1:]}",
    )
    call.refuse(x.dtype == "bool", "it hashes a bool; cast it to int32 first")
    call.refuse(bool(call.option("sparse", False)), f"it gives sparse tensors; set sparse=False, or {CUT}")
    call.refuse(
        mode == "one_hot" and x.shape[-1] != 1,
        "it makes one_hot of several values a sample, where Keras declares another shape than it gives; "
        "use output_mode='int' and a CategoryEncoding after it",
    )
    layout = x.layout if mode == "int" else identity(x.rank)
    reserved = masked is not None and bins > 1  # bin 0 is the mask's
    function = (
        f"sip_hash_bucket({x}, {bins - reserved}, {tuple(salt)})"
        if salt is not None
        else f"farm_hash_bucket({x}, {bins - reserved})"
    )
    indices = f"torch.where({x} == {masked!r}, 0, {function} + 1)" if reserved else function
    dtype = call.outputs[0].dtype
    return Mapping(
        (indices if dtype == "int64" else cast(indices, dtype))
        if mode == "int"
        else _encoded(call, indices, mode, bins),
        wants=(layout,),
        gives=(layout if mode == "int" else identity(len(call.outputs[0].shape)),),
        why="TensorFlow hashes the decimal text of a number; the helper computes the same hash.",
        keras=f"{'SipHash' if salt is not None else 'FarmHash'}(text of x) mod {bins - reserved}",
        torch=formula(function),
    )


HOST = {
    "StringLookup": "it looks strings up, and torch has no strings",
    "TextVectorization": "it splits and looks up strings, and torch has no strings",
    "HashedCrossing": "it hashes with TensorFlow's fingerprint of several features",
}


@rule(*HOST)
def on_the_host(call: Call) -> Mapping:
    """Refused by name: the work of a data pipeline, in TensorFlow too."""
    raise Unconvertible(f"{HOST[call.layer.kind]}: the work of a data pipeline. {CUT[0].upper()}{CUT[1:]}")
