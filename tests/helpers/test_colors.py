"""Images as TensorFlow adjusts them, against TensorFlow, at the edges of colors too."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from k2t_core.helpers import colors

GREY = np.full((2, 3, 3, 3), 0.4, "float32")
EDGES = np.array(np.meshgrid([0, 0.5, 1], [0, 0.5, 1], [0, 0.5, 1]), "float32").T.reshape(1, 9, 3, 3)
DRAWN = np.random.default_rng(0).random((2, 5, 4, 3)).astype("float32")
FUNCTIONS = {
    "rgb_to_hsv": (tf.image.rgb_to_hsv, ()),
    "hsv_to_rgb": (tf.image.hsv_to_rgb, ()),
    "adjust_hue": (tf.image.adjust_hue, (0.3,)),
    "adjust_saturation": (tf.image.adjust_saturation, (1.7,)),
    "adjust_contrast": (tf.image.adjust_contrast, (0.6,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("image", [GREY, EDGES, DRAWN], ids=["grey", "edges", "drawn"])
def test_colors(name, image):
    function, options = FUNCTIONS[name]
    want = function(image, *options).numpy()
    got = getattr(colors, name)(torch.from_numpy(image), *options).numpy()
    assert np.abs(want - got).max() < 2e-5
