"""TensorFlow's operations on images, sequences and volumes, in their forms, against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.keras_side.recorded import agrees

raw = tf.raw_ops
IMAGE, VOLUME = (8, 9, 3), (4, 5, 6, 3)
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("float32")
SPREAD = [[0, 0], [1, 2], [0, 1], [0, 0]]
ONES = [1, 1, 1, 1]


def resized(kind, size, **options):
    return lambda x: tf.cast(getattr(raw, kind)(images=x, size=size, **options), "float32")


def normalised(kind, **options):
    numbers = [np.arange(3, dtype="float32") + k for k in range(1, 5)]
    return lambda x: getattr(raw, kind)(
        x=x, scale=numbers[0], offset=numbers[1], mean=numbers[2], variance=numbers[3], **options
    )[0]


CASES = {
    "Conv2D": [
        lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME"),
        lambda x: tf.nn.conv2d(x, KERNEL, 2, "VALID"),
        lambda x: tf.nn.conv2d(x, KERNEL, 2, "SAME"),
        lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME", dilations=2),
        lambda x: tf.nn.conv2d(x, KERNEL, 1, SPREAD),
        lambda x: tf.nn.conv2d(x, KERNEL, (1, 2), "SAME"),
    ],
    "Conv3D": [lambda x: tf.nn.conv3d(x, KERNEL[None], ONES + [1], "SAME")],
    "DepthwiseConv2dNative": [
        lambda x: tf.nn.depthwise_conv2d(x, KERNEL[..., :1], ONES, "SAME"),
        lambda x: tf.nn.depthwise_conv2d(x, KERNEL[..., :2], [1, 2, 2, 1], "VALID"),
        lambda x: tf.nn.depthwise_conv2d(x, KERNEL[..., :2], ONES, SPREAD),
    ],
    "MaxPool": [
        lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"),
        lambda x: tf.nn.max_pool2d(x, (3, 2), (1, 2), "VALID"),
        lambda x: tf.nn.max_pool2d(x, 2, 2, [[0, 0], [1, 0], [0, 1], [0, 0]]),
    ],
    "AvgPool": [lambda x: tf.nn.avg_pool2d(x, 2, 2, "SAME"), lambda x: tf.nn.avg_pool2d(x, (3, 2), (1, 2), "VALID")],
    "MaxPool3D": [lambda x: tf.nn.max_pool3d(x, 2, 2, "SAME")],
    "AvgPool3D": [lambda x: tf.nn.avg_pool3d(x, 2, 2, "VALID")],
    "ExtractImagePatches": [
        lambda x: tf.image.extract_patches(x, [1, 2, 3, 1], [1, 2, 1, 1], ONES, "VALID"),
        lambda x: tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 2, 1, 1], "SAME"),
    ],
    "FusedBatchNorm": [normalised("FusedBatchNorm", is_training=False, epsilon=0.01)],
    "FusedBatchNormV2": [normalised("FusedBatchNormV2", is_training=False)],
    "FusedBatchNormV3": [
        normalised("FusedBatchNormV3", is_training=False, epsilon=0.1),
        lambda x: tf.compat.v1.nn.fused_batch_norm(x, np.ones(3, "f"), np.arange(3, dtype="f"), is_training=True)[0],
    ],
    "SpaceToDepth": [lambda x: tf.nn.space_to_depth(x[:, :, :8], 2)],
    "DepthToSpace": [lambda x: tf.nn.depth_to_space(tf.concat([x] * 4, -1), 2)],
    "SpaceToBatchND": [
        lambda x: tf.space_to_batch(x, [2, 3], [[0, 2], [1, 2]]),
        lambda x: tf.nn.atrous_conv2d(x, KERNEL, 2, "SAME"),
    ],
    "BatchToSpaceND": [
        lambda x: tf.batch_to_space(tf.space_to_batch(x, [2, 3], [[0, 2], [1, 2]]) * 2, [2, 3], [[0, 2], [1, 2]])
    ],
    "ResizeBilinear": [
        resized("ResizeBilinear", (5, 11), half_pixel_centers=True),
        resized("ResizeBilinear", (5, 11), align_corners=True),
        resized("ResizeBilinear", (12, 4)),
    ],
    "ResizeNearestNeighbor": [
        resized("ResizeNearestNeighbor", (5, 11), half_pixel_centers=True),
        resized("ResizeNearestNeighbor", (5, 11), align_corners=True),
        resized("ResizeNearestNeighbor", (12, 4)),
    ],
    "ResizeBicubic": [
        resized("ResizeBicubic", (5, 11), half_pixel_centers=True),
        resized("ResizeBicubic", (5, 11), align_corners=True),
    ],
    "ResizeArea": [resized("ResizeArea", (5, 11)), resized("ResizeArea", (4, 3), align_corners=True)],
    "ScaleAndTranslate": [
        lambda x: tf.image.resize(x, (5, 11), "lanczos3"),
        lambda x: tf.image.resize(x, (4, 4), antialias=True),
        lambda x: tf.image.resize(x, (12, 5), "gaussian"),
    ],
}
EACH = [(kind, function) for kind, functions in CASES.items() for function in functions]


@pytest.mark.parametrize("kind, function", EACH, ids=[f"{kind}-{k}" for k, (kind, _) in enumerate(EACH)])
def test_it_is_what_tensorflow_computes(kind, function):
    agrees(kind, function, [VOLUME if "3D" in kind else IMAGE])
