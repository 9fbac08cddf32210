"""Images as TensorFlow adjusts them, against TensorFlow, at the edges of colors too."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from k2t_core.helpers.colors import adjust_contrast, adjust_hue, adjust_saturation, hsv_to_rgb, rgb_to_hsv

GREY = np.full((2, 3, 3, 3), 0.4, "float32")
EDGES = np.array(np.meshgrid([0, 0.5, 1], [0, 0.5, 1], [0, 0.5, 1]), "float32").T.reshape(1, 9, 3, 3)
DRAWN = np.random.default_rng(0).random((2, 5, 4, 3)).astype("float32")
IMAGES = pytest.mark.parametrize("image", [GREY, EDGES, DRAWN], ids=["grey", "edges", "drawn"])


def close(want, got):
    assert np.abs(want.numpy() - got.numpy()).max() < 2e-5


@IMAGES
def test_hue_saturation_and_value(image):
    close(tf.image.rgb_to_hsv(image), rgb_to_hsv(torch.from_numpy(image)))
    close(tf.image.hsv_to_rgb(image), hsv_to_rgb(torch.from_numpy(image)))


@IMAGES
def test_what_is_adjusted(image):
    close(tf.image.adjust_hue(image, 0.3), adjust_hue(torch.from_numpy(image), 0.3))
    close(tf.image.adjust_saturation(image, 1.7), adjust_saturation(torch.from_numpy(image), 1.7))
    close(tf.image.adjust_contrast(image, 0.6), adjust_contrast(torch.from_numpy(image), 0.6))
