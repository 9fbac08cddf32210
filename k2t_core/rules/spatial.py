"""Padding, cropping, upsampling, resizing and augmentation of images.

Source: keras/src/layers/reshaping/, keras/src/layers/preprocessing/image_preprocessing/ and
backend/tensorflow/image.py.

Long because resizing and cropping to a target are made of the padding and slicing before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from k2t_core.rules.broadcasting import cast, is_float
from k2t_core.rules.common import compact, fixed, ntuple, spatial_axes
from k2t_core.rules.convolution import image_input, padded
from k2t_core.rules.registry import ANY, INERT, SELF, Call, Mapping, Module, demand_channels_first, image_layout, rule
from k2t_core.rules.slots import formula

Pair = tuple[int, int]


# --- padding and cropping ---------------------------------------------------------------------------------------


def _borders(call: Call, name: str, rank: int) -> dict[int, Pair]:
    """(before, after) by Keras axis."""
    call.refuse(call.x.rank != rank + 2, f"its input has {call.x.rank} axes, where k2t expects {rank + 2}")
    value = call.option(name)
    pairs = [ntuple(value, 2)] if rank == 1 else [ntuple(pair, 2) for pair in value]
    start = 2 if call.option("data_format", "channels_last") == "channels_first" else 1
    return {start + k: (before, after) for k, (before, after) in enumerate(pairs)}


@rule("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", demand=ANY, range="kept")
def zero_padding(call: Call) -> Mapping:
    """In whatever order the axes come."""
    borders, x = _borders(call, "padding", int(call.layer.kind[-2])), call.x
    call.refuse(x.dtype == "bool", "it pads a bool tensor; cast it first")
    return Mapping(
        pad(str(x), x.layout, borders),
        gives=(x.layout,),
        why="F.pad takes its pairs last axis first.",
        keras="pad(x, padding)",
        torch="F.pad(x, pairs)",
    )


def pad(x: str, layout, borders: dict[int, Pair], value: float = 0.0) -> str:
    """``F.pad``, its pairs last torch axis first; nothing where all are 0."""
    pairs = [borders.get(axis, (0, 0)) for axis in layout.perm]
    while pairs and pairs[0] == (0, 0):
        pairs.pop(0)
    flat = ", ".join(str(n) for pair in reversed(pairs) for n in pair)
    return f"F.pad({x}, ({flat}){f', value={value!r}' if value else ''})" if pairs else x


@rule("Cropping1D", "Cropping2D", "Cropping3D", demand=ANY, range="kept")
def cropping(call: Call) -> Mapping:
    """Slices, in whatever order the axes come."""
    borders, x = _borders(call, "cropping", int(call.layer.kind[-2])), call.x
    slices = {axis: (before, -after if after else None) for axis, (before, after) in borders.items()}
    return Mapping(
        sliced(str(x), x.layout, slices), gives=(x.layout,), why="A slice.", keras="x[cropping]", torch="x[cropping]"
    )


def sliced(x: str, layout, slices: dict[int, tuple[int, int | None]]) -> str:
    """``x[:, :, 1:-1]`` from (start, stop) by Keras axis; nothing where nothing is cut."""
    items = []
    for axis in layout.perm:
        start, stop = slices.get(axis, (0, None))
        items.append(f"{start or ''}:{'' if stop is None else stop}")
    while items and items[-1] == ":":
        items.pop()
    return f"{x}[{', '.join(items)}]" if items else x


# --- upsampling -------------------------------------------------------------------------------------------------


@rule("UpSampling1D", demand=ANY)
def upsampling_1d(call: Call) -> Mapping:
    x, size = call.x, call.option("size")
    call.refuse(x.rank != 3, f"its input has {x.rank} axes, where k2t expects 3")
    expression = repeated(str(x), {x.layout.axis(1): int(size)})
    return Mapping(
        expression,
        gives=(x.layout,),
        why="Each step repeated.",
        keras=f"repeat(x, {size}, axis=1)",
        torch="repeat_interleave",
    )


def repeated(x: str, repeats: dict[int, int]) -> str:
    """Each entry repeated along torch axes."""
    return x + "".join(f".repeat_interleave({n}, dim={dim})" for dim, n in sorted(repeats.items()) if n != 1)


@rule("UpSampling2D", "UpSampling3D", demand=demand_channels_first)
def upsampling(call: Call) -> Mapping:
    """Nearest repeats pixels; the others resize with half-pixel centres (torch's align_corners=False)."""
    x, rank = call.x, int(call.layer.kind[-2])
    factors, mode = (
        ntuple(call.option("size"), rank),
        call.option("interpolation", "nearest") if rank == 2 else "nearest",
    )
    call.refuse(x.rank != rank + 2, f"its input has {x.rank} axes, where k2t expects {rank + 2}")
    layout = image_layout(call)
    common: dict[str, Any] = {"wants": (layout,), "gives": (layout,), "keras": f"resize(x, size={factors}, {mode})"}
    if set(factors) == {1}:
        return Mapping(str(x), why="A factor of 1 changes nothing.", torch="x", **common)
    if mode == "nearest":
        if is_float(x.dtype) and all(_repeats_exactly(n) for n in factors):
            module = Module("nn.Upsample", {"scale_factor": compact(factors)})
            return Mapping(f"{SELF}({x})", module, why="Each pixel repeated.", torch="nn.Upsample", **common)
        return Mapping(
            repeated(str(x), {2 + k: n for k, n in enumerate(factors)}),
            why="Each pixel repeated.",
            torch="repeat_interleave",
            **common,
        )
    image_input(call, rank)
    # Keras declares the input's dtype but gives float32 (backend/tensorflow/image.py:resize does not cast back).
    half = x.dtype != "float32"
    call.refuse(
        half and call.node.outputs[0] in call.graph.outputs,
        f"it gives float32 where the model declares {x.dtype}; add a layer of dtype float32 after it",
    )
    if mode == "bilinear":
        module = Module("nn.Upsample", {"scale_factor": compact(factors), "mode": "bilinear"})
        return Mapping(
            f"{SELF}({x})", module, why="Bilinear with half-pixel centres in both.", torch="nn.Upsample", **common
        )
    sizes = [x.shape[axis] for axis in spatial_axes(layout)]
    targets = [None if n is None else n * f for n, f in zip(sizes, factors)]
    if mode == "bicubic" and all(_on_table(1, f) for f in factors) and factors[1] > 1:
        expression = _interpolate(call, str(x), f"scale_factor={compact(factors)}", "bicubic", True)
        return Mapping(expression, why=KEYS, torch="F.interpolate, antialias=True", **common)
    size = ", ".join(str(n) if n else f"{f} * {x}.shape[{2 + k}]" for k, (n, f) in enumerate(zip(targets, factors)))
    expression, why = _resize(call, str(x), sizes, size, targets, mode, False)
    return Mapping(expression, why=why, torch=expression.split("(")[0], **common)


def _repeats_exactly(n: int) -> bool:
    """Whether torch's ⌊i · float32(1/n)⌋ is i // n: 1/n must not be rounded down."""
    return Fraction(float(np.float32(1) / np.float32(n))) >= Fraction(1, n)


# --- resizing ---------------------------------------------------------------------------------------------------

KEYS = "Keys's cubic, a = −0.5, which torch has in its antialias mode only; enlarging, that mode does nothing else."


def _resize(
    call: Call,
    x: str,
    sizes: Sequence[int | None],
    size: str,
    targets: Sequence[int | None],
    mode: str,
    antialias: bool,
) -> tuple[str, str]:
    """(expression, why) for keras.ops.image.resize of an NCHW expression; ``size`` is the source of ``targets``."""
    known = [n for n in sizes if n is not None]
    wanted = [n for n in targets if n is not None]
    fits = len(known) == len(sizes) and len(wanted) == len(targets)  # all of them are known
    if fits and known == wanted:
        return x, "The image has this size already."
    if mode == "nearest":
        if fits and all(_nearest_agrees(n, m) for n, m in zip(known, wanted)):
            return (
                f'F.interpolate({x}, ({size}), mode="nearest-exact")',
                "TensorFlow takes the pixel under each centre, as torch's nearest-exact does; "
                "its nearest takes the one before.",
            )
        return f"nearest_resize({x}, ({size}))", "The pixel under each centre, computed in float32 as TensorFlow does."
    # torch 2.13 resizes the height wrongly where antialias meets an output one pixel wide.
    narrow = targets[1] == 1
    if antialias and narrow and mode in ("bilinear", "bicubic"):
        return (
            f'antialias_resize({x}, ({size}), mode="{mode}")',
            "torch's own antialias goes wrong where the output is one pixel wide.",
        )
    if mode == "bilinear":
        return _interpolate(call, x, f"({size})", mode, antialias), "Bilinear with half-pixel centres in both."
    if mode == "bicubic":
        if antialias:
            return _interpolate(call, x, f"({size})", mode, True), "Keys's cubic, a = −0.5, in both."
        if fits and not narrow and all(m >= n and _on_table(n, m) for n, m in zip(known, wanted)):
            return _interpolate(call, x, f"({size})", mode, True), KEYS
        return (
            f"bicubic_resize({x}, ({size}))",
            "TensorFlow's bicubic has a = −0.5 and fractions of 1/1024, torch's a = −0.75.",
        )
    if mode == "area":
        return (
            f"area_resize({x}, ({size}))",
            "The mean of the old pixels under each new one; torch's area rounds their borders to whole pixels.",
        )
    call.refuse(
        mode not in ("lanczos3", "lanczos5"),
        f"its interpolation {mode!r} is not known to k2t; choose bilinear, bicubic, nearest, area or lanczos",
    )
    return (
        f"lanczos_resize({x}, ({size}), radius={mode[-1]}{', antialias=True' if antialias else ''})",
        "torch has no Lanczos; a helper computes the same weights.",
    )


def _interpolate(call: Call, x: str, size: str, mode: str, antialias: bool) -> str:
    half = antialias and call.x.dtype in ("float16", "bfloat16")  # torch's antialias has no half precision on CPUs
    source = cast(x, "float32") if half else x
    expression = f'F.interpolate({source}, {size}, mode="{mode}"{", antialias=True" if antialias else ""})'
    return cast(expression, call.x.dtype) if half else expression


def _on_table(n: int, m: int) -> bool:
    """Whether every fraction of a bicubic resize from n to m is one of the 1024 in TensorFlow's table
    (resize_bicubic_op.cc)."""
    return all(((Fraction(2 * i + 1, 2) * n / m - Fraction(1, 2)) * 1024).denominator == 1 for i in range(m))


def _nearest_agrees(n: int, m: int) -> bool:
    """Whether torch's nearest-exact, which multiplies in double, finds TensorFlow's pixels, found in float32."""
    step, i = np.float32(n) / np.float32(m), np.arange(m)
    theirs = np.floor((i.astype(np.float32) + np.float32(0.5)) * step)
    return bool(
        np.array_equal(theirs, np.floor((i + 0.5) * np.float64(step)))
        and np.array_equal(theirs, np.floor(((i + 0.5) * np.float64(step)).astype(np.float32)))
    )


@rule("Resizing", "ops.Resize", demand=demand_channels_first, range="kept")
def resizing(call: Call) -> Mapping:
    x, layer = call.x, call.layer.kind == "Resizing"
    call.refuse(
        not is_float(x.dtype),
        f"its input is {x.dtype}, for which Keras declares float32 and gives rounded integers; "
        "give the model's Input dtype float32",
    )
    image_input(call, 2)
    call.refuse(
        not layer and x.dtype != "float32",
        f"it works on {x.dtype}, for which Keras gives float32; cast to float32 first",
    )
    layout = image_layout(call)
    targets = (call.option("height"), call.option("width")) if layer else ntuple(call.option("size"), 2)
    mode, antialias = str(call.option("interpolation")).lower(), call.option("antialias")
    crop, fill = call.option("crop_to_aspect_ratio"), call.option("pad_to_aspect_ratio")
    fill_mode, fill_value = call.option("fill_mode"), float(call.option("fill_value"))
    axes = spatial_axes(layout)
    sizes = [x.shape[axis] for axis in axes]
    source, note = str(x), ""
    if crop or fill:
        whole = fixed(sizes, "it keeps the aspect ratio of images of free size; give the model's Input its size")
        (h, w), (height, width) = whole, targets
        across = int(np.float32(w * height) / np.float32(width)), int(np.float32(h * width) / np.float32(height))
        if crop:
            kept = [max(min(n, m), 1) for n, m in zip(whole, across)]
            starts = [int((n - m) / 2) for n, m in zip(whole, kept)]
            source = sliced(
                source,
                layout,
                {axis: (s, s + m if s + m < n else None) for axis, s, m, n in zip(axes, starts, kept, whole)},
            )
            sizes, note = [*kept], " The middle of the target's aspect ratio is cut out first."
        else:
            call.refuse(fill_mode != "constant", f"its fill_mode {fill_mode!r} is not known to k2t")
            more = [int((max(n, m) - n) / 2) for n, m in zip(whole, across)]
            source = pad(source, layout, {axis: (n, n) for axis, n in zip(axes, more)}, fill_value)
            sizes, note = [n + 2 * m for n, m in zip(whole, more)], " It is padded to the target's aspect ratio first."
    expression, why = _resize(call, source, sizes, ", ".join(map(str, targets)), targets, mode, antialias)
    return Mapping(
        expression,
        wants=(layout,),
        gives=(layout,),
        why=why + note,
        keras=f"resize(x, {tuple(targets)}, {mode})",
        torch=formula(expression),
    )


@rule("ops.DepthToSpace", "ops.SpaceToDepth", demand=demand_channels_first)
def depth_and_space(call: Call) -> Mapping:
    """Keras has the block's row and column before the channel, torch's pixel_shuffle behind it."""
    image_input(call, 2)
    layout, block, x = image_layout(call), call.option("block_size"), call.x
    if call.layer.kind == "ops.DepthToSpace":
        expression = f"F.pixel_shuffle({x}.unflatten(1, ({block**2}, -1)).transpose(1, 2).flatten(1, 2), {block})"
    else:
        expression = f"F.pixel_unshuffle({x}, {block}).unflatten(1, (-1, {block**2})).transpose(1, 2).flatten(1, 2)"
    return Mapping(
        expression,
        wants=(layout,),
        gives=(layout,),
        why="Keras has the block's row and column before the channel, torch behind it.",
        keras=f"{call.layer.kind[4:]}(x, {block})",
        torch=formula(expression),
    )


@rule("ops.ExtractPatches", demand=demand_channels_first)
def extract_patches(call: Call) -> Mapping:
    """F.unfold; Keras runs through a patch by row, column, channel, torch by channel, row, column."""
    size = tuple(call.option("size"))
    call.refuse(call.option("is_3d", False), "it takes patches out of volumes; reshape and transpose instead")
    image_input(call, 2)
    layout = image_layout(call)
    strides, dilation = ntuple(call.option("strides"), 2), ntuple(call.option("dilation_rate"), 2)
    x, inside = padded(call, size, strides, dilation, layout)
    inner = (0, 0) if inside == 0 else ntuple(inside, 2)
    more = "".join(
        f", {name}={compact(value)}"
        for name, value, default in (("dilation", dilation, (1, 1)), ("padding", inner, (0, 0)))
        if value != default
    )
    expression = f"image_patches({x}, {size}, {strides}{more})"
    return Mapping(
        expression,
        wants=(layout,),
        gives=(layout,),
        why="Keras runs through a patch by row, column, channel; torch by channel first.",
        keras=f"extract_patches(x, {size})",
        torch="F.unfold",
    )


@rule("CenterCrop", demand=demand_channels_first, range="kept")
def center_crop(call: Call) -> Mapping:
    """A slice; an image that is too small is cropped to the target's aspect ratio and enlarged
    (utils/image_utils.py:smart_resize)."""
    image_input(call, 2)
    x, layout, targets = call.x, image_layout(call), (call.option("height"), call.option("width"))
    axes = spatial_axes(layout)
    sizes = fixed([x.shape[axis] for axis in axes], "it crops images of free size; give the model's Input its size")
    if all(n >= m for n, m in zip(sizes, targets)):
        kept, starts = targets, [(n - m) // 2 for n, m in zip(sizes, targets)]
    else:
        (h, w), (height, width) = sizes, targets
        kept = max(min(h, int(float(w * height) / width)), 1), max(min(w, int(float(h * width) / height)), 1)
        starts = [int(float(n - m) / 2) for n, m in zip(sizes, kept)]
    source = sliced(
        str(x), layout, {axis: (s, s + m if s + m < n else None) for axis, s, m, n in zip(axes, starts, kept, sizes)}
    )
    expression, why = _resize(call, source, kept, ", ".join(map(str, targets)), targets, "bilinear", False)
    call.refuse(
        expression != source and x.dtype != "float32" and call.node.outputs[0] in call.graph.outputs,
        f"it gives float32 where the model declares {x.dtype}; add a layer of dtype float32 after it",
    )
    why = "The middle of the image." if expression == source else "The image is too small: its middle is enlarged."
    return Mapping(
        expression,
        wants=(layout,),
        gives=(layout,),
        why=why,
        keras=f"center_crop(x, {tuple(targets)})",
        torch=formula(expression),
    )


# --- augmentation -----------------------------------------------------------------------------------------------

# In inference these pass images through; those of the first list turn integers into floats first.
CASTING = """AugMix CutMix RandAugment RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur
    RandomPerspective RandomRotation RandomSharpness RandomShear RandomTranslation RandomZoom Solarization""".split()
KEEPING = """MaxNumBoundingBoxes MixUp RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast
    RandomGrayscale RandomHue RandomInvert RandomPosterization RandomSaturation""".split()


@rule(*CASTING, *KEEPING, demand=ANY)
def augmentation(call: Call) -> Mapping:
    """Random changes of training images: nothing in inference, whatever the options."""
    x = call.x
    for name in call.layer.config:
        call.option(name)
    declared = call.outputs[0].dtype
    call.refuse(
        call.layer.kind in KEEPING and x.dtype != declared,
        f"its input is {x.dtype}, for which Keras declares {declared} but gives {x.dtype}; "
        "give the model's Input dtype float32",
    )
    expression = str(x) if x.dtype == declared else cast(str(x), declared)
    if call.layer.kind == "MaxNumBoundingBoxes":
        return Mapping(
            expression,
            gives=(x.layout,),
            status=INERT,
            why="It changes bounding boxes only, and passes images through.",
            keras="x",
            torch="x",
        )
    why = (
        "Augmentation acts in training only: in inference it passes images through. To train in torch, "
        "augment in the data loader (torchvision.transforms)."
    )
    return Mapping(expression, gives=(x.layout,), status=INERT, why=why, keras="x in inference", torch="x")


@rule("RandomCrop", demand=ANY)
def random_crop(call: Call) -> Mapping:
    """Keras 3 crops in training only, though it declares the cropped shape (image_preprocessing/random_crop.py)."""
    x = call.x
    for name in call.layer.config:
        call.option(name)
    call.refuse(
        x.shape != call.outputs[0].shape or None in x.shape[1:],
        f"in inference Keras leaves the image as it is but declares the shape {call.outputs[0].shape}; "
        "crop in the data pipeline, or use CenterCrop",
    )
    call.refuse(x.dtype != call.outputs[0].dtype, f"its input is {x.dtype}; give the model's Input dtype float32")
    return Mapping(
        str(x),
        gives=(x.layout,),
        status=INERT,
        why="It crops in training only, and the image has the cropped size already.",
        keras="x in inference",
        torch="x",
    )


@rule("AutoContrast", demand=ANY)
def auto_contrast(call: Call) -> Mapping:
    """Over Keras axes 1 and 2, also with channels_first."""
    x, (low, high) = call.x, call.option("value_range")
    call.option("data_format")
    call.option("factor", None)
    call.refuse(x.rank != 4, f"its input has {x.rank} axes, where k2t expects 4")
    call.refuse(not is_float(x.dtype), f"its input is {x.dtype}; give the model's Input dtype float32")
    dim = tuple(sorted(x.layout.axis(axis) for axis in (1, 2)))
    limits = "" if (low, high) == (0, 255) else f", low={float(low)!r}, high={float(high)!r}"
    return Mapping(
        f"auto_contrast({x}, {dim}{limits})",
        gives=(x.layout,),
        why="Stretches each channel to the whole range, in inference too.",
        keras="(x − min) · 255 / (max − min)",
        torch="the same",
    )
