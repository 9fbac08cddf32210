"""TensorFlow's operations on images, sequences and volumes: windows, sizes, blocks, normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from k2t_core.keras_side.opened import CannotOpen
from k2t_core.keras_side.sized_operations import Size
from k2t_core.keras_side.tensorflow_operations import Bare, Result, operation

MOST = 4096  # entries along an axis that is resized by a matrix


def _keras(name: str) -> Any:
    from keras import ops

    return getattr(ops.image if name in ("extract_patches", "resize") else ops, name)


def _inner(bare: Bare, name: str) -> tuple[int, ...]:
    """An attribute of an entry for each axis, of those of space alone."""
    sizes = [int(n) for n in bare.attr(name)]
    places = range(2, len(sizes)) if _first(bare) else range(1, len(sizes) - 1)
    if any(n != 1 for axis, n in enumerate(sizes) if axis not in places):
        raise CannotOpen(f"its call() uses TensorFlow's {bare.op.type} with {name} along the batch or the channels")
    return tuple(sizes[axis] for axis in places)


def _first(bare: Bare) -> bool:
    known = {attribute.name for attribute in bare.op.op_def.attr}
    return "data_format" in known and bare.attr("data_format").startswith(b"NC")


def _form(bare: Bare) -> str:
    return "channels_first" if _first(bare) else "channels_last"


def _padded(bare: Bare, x: Any, value: float = 0.0) -> tuple[Any, str]:
    """(x with explicit paddings put around it, the padding that is left)."""
    padding = bare.attr("padding").decode().lower()
    if padding != "explicit":
        return x, padding
    pads = [int(n) for n in bare.attr("explicit_paddings")]
    return _keras("pad")(x, list(zip(pads[::2], pads[1::2])), constant_values=value), "valid"


@operation("Conv2D", "Conv3D")
def _conv(bare: Bare) -> Result:
    x, padding = _padded(bare, bare.x())
    return _keras("conv")(
        x,
        bare.x(1),
        strides=_inner(bare, "strides"),
        padding=padding,
        data_format=_form(bare),
        dilation_rate=_inner(bare, "dilations"),
    )


@operation("DepthwiseConv2dNative")
def _depthwise(bare: Bare) -> Result:
    x, padding = _padded(bare, bare.x())
    strides, dilation = _inner(bare, "strides"), _inner(bare, "dilations")
    return _keras("depthwise_conv")(
        x, bare.x(1), strides=strides, padding=padding, data_format=_form(bare), dilation_rate=dilation
    )


@operation("MaxPool", "MaxPool3D", "AvgPool", "AvgPool3D")
def _pool(bare: Bare) -> Result:
    largest = bare.op.type.startswith("Max")
    x, padding = _padded(bare, bare.x(), float("-inf"))
    return _keras("max_pool" if largest else "average_pool")(
        x,
        pool_size=_inner(bare, "ksize"),
        strides=_inner(bare, "strides"),
        padding=padding,
        data_format=_form(bare),
    )


@operation("ExtractImagePatches")
def _patches(bare: Bare) -> Result:
    return _keras("extract_patches")(
        bare.x(),
        _inner(bare, "ksizes"),
        strides=_inner(bare, "strides"),
        dilation_rate=_inner(bare, "rates"),
        padding=bare.attr("padding").decode().lower(),
        data_format="channels_last",
    )


@operation("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(bare: Bare) -> Result:
    """(x − mean) · scale / √(variance + epsilon) + offset; while training, of the batch's own statistics."""
    x, rank = bare.x(), len(bare.given[0].shape)
    axis = 1 if _first(bare) else rank - 1
    shape = [-1 if k == axis else 1 for k in range(rank)]
    scale, offset, mean, variance = (_keras("reshape")(bare.x(k), shape) for k in range(1, 5))
    if bare.attr("is_training"):
        mean, variance = _keras("moments")(x, axes=[k for k in range(rank) if k != axis], keepdims=True)
    factor = _keras("multiply")(scale, _keras("rsqrt")(_keras("add")(variance, float(bare.attr("epsilon")))))
    y = _keras("add")(_keras("multiply")(_keras("subtract")(x, mean), factor), offset)
    return [y, _keras("reshape")(mean, (-1,)), _keras("reshape")(variance, (-1,))]


@operation("SpaceToDepth")
def _space_to_depth(bare: Bare) -> Result:
    return _keras("space_to_depth")(bare.x(), int(bare.attr("block_size")), data_format=_form(bare))


@operation("DepthToSpace")
def _depth_to_space(bare: Bare) -> Result:
    return _keras("depth_to_space")(bare.x(), int(bare.attr("block_size")), data_format=_form(bare))


def _grid(x: Any, start: int) -> list[Any]:
    """The sizes of a tensor from an axis on, which must be fixed."""
    sizes = [Size.of(x, axis) for axis in range(start, len(x.shape))]
    if any(isinstance(n, Size) for n in sizes):
        raise CannotOpen("its call() regroups space into blocks, and the size of space is free")
    return sizes


@operation("SpaceToBatchND")
def _space_to_batch(bare: Bare) -> Result:
    """Blocks of space as samples (tf.raw_ops.SpaceToBatchND); so TensorFlow 1 dilated convolutions."""
    blocks, pads = bare.ints(1, "blocks"), bare.numbers(2, "paddings").tolist()
    x, n = bare.x(), len(blocks)
    rest = len(x.shape) - 1 - n
    x = _keras("pad")(x, [(0, 0), *map(tuple, pads), *[(0, 0)] * rest])
    sizes, more = _grid(x, 1)[:n], _grid(x, 1 + n)
    split = [part for size, block in zip(sizes, blocks) for part in (size // block, block)]
    x = _keras("reshape")(x, (-1, *split, *more))
    inner, outer = [1 + 2 * k for k in range(n)], [2 + 2 * k for k in range(n)]
    x = _keras("transpose")(x, (*outer, 0, *inner, *range(1 + 2 * n, 1 + 2 * n + rest)))
    return _keras("reshape")(x, (-1, *(size // block for size, block in zip(sizes, blocks)), *more))


@operation("BatchToSpaceND")
def _batch_to_space(bare: Bare) -> Result:
    """What SpaceToBatchND does, backwards."""
    blocks, crops = bare.ints(1, "blocks"), bare.numbers(2, "crops").tolist()
    x, n = bare.x(), len(blocks)
    sizes, more = _grid(x, 1)[:n], _grid(x, 1 + n)
    x = _keras("reshape")(x, (*blocks, -1, *sizes, *more))
    pairs = [axis for k in range(n) for axis in (n + 1 + k, k)]
    x = _keras("transpose")(x, (n, *pairs, *range(1 + 2 * n, 1 + 2 * n + len(more))))
    full = [size * block for size, block in zip(sizes, blocks)]
    x = _keras("reshape")(x, (-1, *full, *more))
    return x[(slice(None), *(slice(a, size - b) for (a, b), size in zip(crops, full)))]


@operation("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def _resize(bare: Bare) -> Result:
    """A resize to a fixed size: along each axis a matrix of numbers, which TensorFlow itself says."""
    import tensorflow as tf

    x, sizes = bare.x(), bare.ints(1, "a size")
    names = ("align_corners", "half_pixel_centers")
    known = {attribute.name for attribute in bare.op.op_def.attr}
    options = {name: bool(bare.attr(name)) for name in names if name in known}
    kind = bare.op.type
    modern = options.get("half_pixel_centers") and not options["align_corners"]
    if modern and kind in ("ResizeBilinear", "ResizeNearestNeighbor"):
        how = "bilinear" if kind == "ResizeBilinear" else "nearest"
        y = _keras("resize")(x, tuple(sizes), interpolation=how, data_format="channels_last")
        return y if str(y.dtype) == bare.dtype else _keras("cast")(y, bare.dtype)
    if kind != "ResizeNearestNeighbor":
        x = _keras("cast")(x, "float32")
    for axis, count in zip((1, 2), sizes):
        size = _grid(x, axis)[0]
        with tf.init_scope():
            target = (count, 1) if axis == 1 else (1, count)
            matrix = getattr(tf.raw_ops, kind)(images=_units(size, axis), size=target, **options)
        x = _along(x, axis, matrix.numpy().reshape(size, count), kind == "ResizeNearestNeighbor")
    return x


def _units(size: int, axis: int) -> Any:
    """Images of one entry each that is 1: all that a linear function along an axis can be told by."""
    import tensorflow as tf

    if size > MOST:
        raise CannotOpen(f"its call() resizes an axis of {size:,}, and k2t writes such a resize up to {MOST:,}")
    return tf.eye(size)[:, :, None, None] if axis == 1 else tf.eye(size)[:, None, :, None]


def _along(x: Any, axis: int, matrix: np.ndarray, choice: bool = False) -> Any:
    """An image times a matrix along an axis; choice: which only chooses entries."""
    if choice:
        return _keras("take")(x, np.argmax(matrix, 0).astype("int32"), axis=axis)
    return _keras("einsum")("nhwc,hk->nkwc" if axis == 1 else "nhwc,wk->nhkc", x, matrix)


@operation("ScaleAndTranslate")
def _scale(bare: Bare) -> Result:
    """A resize by one of several kernels, as tf.image.resize does it with antialias, and by lanczos and others."""
    import tensorflow as tf

    x, sizes = _keras("cast")(bare.x(), "float32"), bare.ints(1, "a size")
    scales, shifts = bare.numbers(2, "a scale"), bare.numbers(3, "a shift")
    options = {"kernel_type": bare.attr("kernel_type").decode(), "antialias": bool(bare.attr("antialias"))}
    for axis, count in zip((1, 2), sizes):
        size = _grid(x, axis)[0]
        with tf.init_scope():
            target = [count, 1] if axis == 1 else [1, count]
            scale, shift = ([float(v[0]), 0.0] if axis == 1 else [0.0, float(v[1])] for v in (scales, shifts))
            scale[2 - axis] = 1.0
            matrix = tf.raw_ops.ScaleAndTranslate(
                images=_units(size, axis), size=target, scale=scale, translation=shift, **options
            )
        x = _along(x, axis, matrix.numpy().reshape(size, count))
    return x
