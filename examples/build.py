"""The bundled models: built here, with seeded random weights, so that no binary file has to be shipped.

    python examples/build.py convnet -o .      writes convnet.keras
    python examples/build.py all

Keras is imported only when a model is built: the list of examples can be read without it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 1  # not 0, which `k2t verify` draws its randomised weights with


@dataclass(frozen=True)
class Example:
    """A bundled model. ``randomised``: whether its weights are replaced by random ones after it is built."""

    name: str
    title: str
    description: str
    builder: Callable[[], Any]
    randomised: bool = True


EXAMPLES: dict[str, Example] = {}


def example(name: str, title: str, description: str, randomised: bool = True) -> Callable:
    """Register the function below as the builder of a bundled model."""

    def register(builder: Callable[[], Any]) -> Callable[[], Any]:
        EXAMPLES[name] = Example(name, title, description, builder, randomised)
        return builder

    return register


@example("dense", "Dense network", "Dense(10→128, relu) → Dense(10, softmax): each kernel is transposed, nothing else.")
def dense():
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((10,), name="features"),
            layers.Dense(128, "relu", name="hidden"),
            layers.Dense(10, "softmax", name="classes"),
        ],
        name="dense",
    )


@example(
    "convnet",
    "Convolution, then Flatten",
    "Conv2D(32, 3×3) on 28×28×3 → Flatten → Dense(10): the Dense kernel is re-ordered, "
    "because Flatten runs through other axes.",
)
def convnet():
    import keras
    from keras import layers

    image = keras.Input((28, 28, 3), name="image")
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(image, layers.Dense(10, "softmax", name="classes")(x), name="convnet")


@example(
    "lstm",
    "LSTM",
    "LSTM(128) on 10 steps of 20 features → Dense(10): three Keras arrays become four in PyTorch, with two biases.",
)
def lstm():
    import keras
    from keras import layers

    steps = keras.Input((10, 20), name="steps")
    return keras.Model(steps, layers.Dense(10, name="classes")(layers.LSTM(128, name="lstm")(steps)), name="lstm")


@example(
    "unet",
    "U-Net",
    "Skip connections, a transposed convolution and an upsampling: channels first throughout, "
    "concatenated on the channel axis.",
)
def unet():
    import keras
    from keras import layers

    def block(x, filters, name):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    image = keras.Input((36, 52, 3), name="image")
    fine = block(image, 8, "down1")
    middle = block(layers.MaxPooling2D(name="pool1")(fine), 16, "down2")
    coarse = block(layers.MaxPooling2D(name="pool2")(middle), 32, "bottom")  # 9×13: odd on both sides
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", name="up2")(coarse)
    x = block(layers.Concatenate(name="skip2")([middle, x]), 16, "merge2")
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up1")(x)
    x = block(layers.Concatenate(name="skip1")([fine, x]), 8, "merge1")
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name="segmentation")(x), name="unet")


@example(
    "text_classifier",
    "Bidirectional LSTM on text",
    "Embedding(mask_zero=True) → Bidirectional(LSTM) → Dense: padding is masked in both directions, "
    "texts may be of any length.",
)
def text_classifier():
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(2000, 32, mask_zero=True, name="embedding")(tokens)
    x = layers.Bidirectional(layers.LSTM(32, name="lstm"), name="bidirectional")(x)
    return keras.Model(
        tokens, layers.Dense(4, "softmax", name="topic")(layers.Dropout(0.3, name="dropout")(x)), name="text_classifier"
    )


@example(
    "transformer",
    "Transformer encoder",
    "Token and position embeddings, two encoder blocks with MultiHeadAttention and LayerNormalization, "
    "GlobalAveragePooling1D.",
)
def transformer():
    import keras
    from keras import layers, ops

    width = 32

    def encoder(x, name):
        attended = layers.MultiHeadAttention(4, width // 4, name=f"{name}_attention")(x, x)
        x = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(
            x + layers.Dropout(0.1, name=f"{name}_dropout1")(attended)
        )
        inner = layers.Dense(64, "gelu", name=f"{name}_expand")(x)
        inner = layers.Dense(width, name=f"{name}_contract")(inner)
        return layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(
            x + layers.Dropout(0.1, name=f"{name}_dropout2")(inner)
        )

    tokens = keras.Input((24,), dtype="int32", name="tokens")
    positions = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = layers.Embedding(1000, width, name="token_embedding")(tokens) + layers.Embedding(
        24, width, name="position_embedding"
    )(positions)
    x = encoder(encoder(x, "block1"), "block2")
    x = layers.GlobalAveragePooling1D(name="average")(x)
    return keras.Model(tokens, layers.Dense(5, "softmax", name="classes")(x), name="transformer")


@example(
    "shared",
    "Nested model used twice",
    "Two images through one encoder, compared: the nested model becomes one class, one instance, called twice.",
)
def shared():
    import keras
    from keras import layers, ops

    image = keras.Input((24, 24, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv1")(image)
    x = layers.Conv2D(16, 3, activation="relu", name="conv2")(x)
    encoder = keras.Model(image, layers.Dense(12, name="features")(layers.Flatten(name="flatten")(x)), name="encoder")
    left, right = keras.Input((24, 24, 3), name="left"), keras.Input((24, 24, 3), name="right")
    distance = ops.abs(encoder(left) - encoder(right))
    return keras.Model([left, right], layers.Dense(1, "sigmoid", name="same")(distance), name="shared")


@example(
    "two_in_two_out",
    "Two inputs, two outputs",
    "An image and a table row in, a class and a price out: the image is taken channels first, the row as it is.",
)
def two_in_two_out():
    import keras
    from keras import layers

    image, row = keras.Input((16, 20, 3), name="image"), keras.Input((6,), name="row")
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    both = layers.Concatenate(name="both")([x, layers.Dense(8, "relu", name="row_hidden")(row)])
    return keras.Model(
        [image, row],
        [layers.Dense(3, "softmax", name="kind")(both), layers.Dense(1, name="price")(both)],
        name="two_in_two_out",
    )


@example(
    "all_ones",
    "All-ones weights",
    "Every weight is 1, so every wrong transpose gives the right answer: "
    "a comparison proves nothing until the weights are randomised.",
    randomised=False,
)
def all_ones():
    import keras
    from keras import layers

    image = keras.Input((6, 5, 3), name="image")
    x = layers.Conv2D(4, 3, kernel_initializer="ones", bias_initializer="ones", name="conv")(image)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(
        image, layers.Dense(10, kernel_initializer="ones", bias_initializer="ones", name="classes")(x), name="all_ones"
    )


@example(
    "square",
    "Square kernels",
    "Dense(16→16) twice: a missing transpose keeps every shape right and every number wrong.",
)
def square():
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((16,), name="features"),
            layers.Dense(16, "tanh", name="square1"),
            layers.Dense(16, name="square2"),
        ],
        name="square",
    )


def make(name: str) -> Any:
    """The example as a live keras.Model, its weights always the same."""
    from keras.src.backend.common import global_state

    from k2t_core.keras_side.randomise import randomise

    chosen = EXAMPLES[name]
    counted = global_state.get_global_attribute("object_name_uids")
    # Keras counts unnamed objects over the whole process; a model's names must not depend on what was built before it.
    global_state.set_global_attribute("object_name_uids", None)
    try:
        model = chosen.builder()
    finally:
        global_state.set_global_attribute("object_name_uids", counted)
    if chosen.randomised:
        randomise(model, SEED)
    return model


def build(name: str, folder: str | Path) -> Path:
    """Save the example as ``folder/name.keras`` and return that path. Raises KeyError for an unknown name."""
    path = Path(folder) / f"{name}.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    make(name).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "name", choices=[*EXAMPLES, "all"], metavar="NAME", help=f"all, or one of {', '.join(EXAMPLES)}"
    )
    parser.add_argument("-o", "--out", default=".", help="folder to write to (default: here)")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # k2t_core, where it is not installed
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in EXAMPLES if arguments.name == "all" else [arguments.name]:
        print(build(name, arguments.out))


if __name__ == "__main__":
    main()
