"""The cases of every class of keras.layers and every name of keras.activations, as tables of options.

A refusal that is expected stands beside the table with a word of its message; everything else must be right.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from k2t_core.rules.pooling import windows_agree
from tests.conformance.suite import Case, Table, activations, each, product
from tests.harness import sample

SPACE = {1: (9,), 2: (9, 8), 3: (6, 5, 7)}
FORMATS = ["channels_last", "channels_first"]
BOTH = [False, True]
TABLES: list[Table] = []


def define(layer: str, shape, base=None, *options, **more) -> None:
    """A table; ``options`` are lists of dicts (`product`, `each`)."""
    TABLES.append(Table(layer, shape, base or {}, [o for group in options for o in group], **more))


def refuse(*, when=None, word: str):
    """Refused, and the message holds ``word``, where ``when(options)``."""
    return lambda options: word if when is None or when(options) else None


def is_mixed(options) -> bool:
    return str(options.get("dtype", "")).startswith("mixed")


def numbers(scale: float = 1.0, shift: float = 0.0):
    """Random inputs of another scale."""

    def arrays(model, batch):
        return [(a * scale + shift).astype(a.dtype) if a.dtype.kind == "f" else a for a in sample(model, batch)]

    return arrays


def rows_of_zeros(model, batch):
    """Sequences with gaps at the start, in the middle and at the end, for Masking."""
    arrays = sample(model, batch)
    keep = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
    for a in arrays:
        a[~np.resize(keep, a.shape[:2])] = 0
    return arrays


# --- core --------------------------------------------------------------------------------------------------------

ACTIVATIONS = [None, "relu", "softmax", "gelu", "leaky_relu", "hard_sigmoid", "swish", "log_softmax"]


def lost(options):
    """Convolutions that are refused: LoRA, and Keras's bias along the width of one that is no plain convolution."""
    if (
        options.get("data_format") == "channels_first"
        and options.get("filters") == options["shape"][-1]
        and options.get("strides", 1) == 1
    ):
        return "bias along the width"
    return "LoRA" if options.get("lora_rank") else None


lora = refuse(when=lambda o: o.get("lora_rank"), word="LoRA")
define(
    "Dense",
    (4,),
    {"units": 3},
    each(units=[1, 4], use_bias=[False], activation=ACTIVATIONS, lora_rank=[2]),
    product(use_bias=BOTH, activation=["relu", "softmax"], shape=[(5, 4), (2, 3, 4), (1, 1), (None, 4)]),
    refused=lora,
)
EQUATIONS = [
    ("ab,bc->ac", 3, "c", (4,)),
    ("abc,cd->abd", (None, 3), "d", (5, 4)),
    ("...x,xy->...y", 3, "y", (5, 4)),
    ("abc,cde->abde", (None, 2, 3), "de", (5, 4)),
    ("abcd,cde->abe", (None, 3), "e", (5, 2, 4)),
    ("abc,bd->adc", (3, None), "d", (5, 4)),
    ("abc,cd->adb", (3, None), "d", (5, 4)),
    ("abc,abc->ab", (5,), None, (5, 4)),
    ("abc,bcd->abd", (5, 3), "bd", (5, 4)),
]
for equation, output, bias, shape in EQUATIONS:
    define(
        "EinsumDense",
        shape,
        {"equation": equation, "output_shape": output},
        each(bias_axes=[bias, bias and bias[-1]], activation=["relu", "softmax"], lora_rank=[2]),
        refused=lora,
    )
tokens = {"input_dtype": "int32"}
define(
    "Embedding",
    (5,),
    {"input_dim": 7, "output_dim": 3},
    product(mask_zero=BOTH, shape=[(5,), (1,), (), (2, 3), (None,)]),
    each(lora_rank=[2], output_dim=[1], input_dtype=["int64", "uint8", "float32", "int8"]),
    **tokens,
    refused=lora,
    arrays=lambda m, b: [abs(a) for a in sample(m, b)],
)
define(
    "ReversibleEmbedding",
    (5,),
    {"input_dim": 7, "output_dim": 3},
    product(tie_weights=BOTH, mask_zero=BOTH, logit_soft_cap=[None, 2.0], there_and_back=BOTH),
    each(reverse_dtype=["float32", "float16"]),
    join=lambda layer, x, there_and_back=False: layer(ops.tanh(layer(x)), reverse=True) if there_and_back else layer(x),
    call=["there_and_back"],
    **tokens,
)
define("Identity", (5, 4), {}, each(shape=[(1,), (2, 3, 4, 5), ()], input_dtype=["int32", "bool"]))
define("Masking", (5, 4), {}, each(mask_value=[0.0, 1.0, -1]), arrays=rows_of_zeros)
define(
    "InputLayer",
    (5, 4),
    {},
    each(input_dtype=["float32", "float64", "float16", "int32", "int64", "uint8", "bool"], batch_size=[3]),
    make=lambda **o: layers.Identity(**o),
)


@keras.saving.register_keras_serializable("k2t_conformance")
class Scaled(layers.Layer):
    """A layer of one's own, made of keras.ops."""

    def __init__(self, size=4, activation="tanh", **kwargs):
        super().__init__(**kwargs)
        self.size, self.activation = size, activation

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.size), name="w")
        self.inner = layers.LayerNormalization(axis=-1, name="inner", dtype=self.dtype_policy)
        self.inner.build((*shape[:-1], self.size))

    def call(self, x):
        return self.inner(keras.activations.get(self.activation)(ops.matmul(x, self.w)) * 2.0)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "activation": self.activation}


@keras.saving.register_keras_serializable("k2t_conformance")
class Residual(layers.Wrapper):
    """A wrapper of one's own: x + layer(x)."""

    def call(self, x):
        return x + self.layer(x)


def _of_tensorflow(x):
    import tensorflow as tf

    return tf.math.special.dawsn(x)


NO_RULE = refuse(word="k2t has no rule for this layer class")  # the user overrides it with a PyTorch snippet
define("Layer", (5, 4), {}, each(size=[1, 3], activation=["relu", "softmax"], shape=[(4,), (None, 4)]), make=Scaled)
define(
    "Wrapper",
    (5, 4),
    {},
    each(inner=["Conv1D", "LayerNormalization", "LSTM"]),
    make=lambda inner="Dense", **o: Residual(
        {
            "Dense": layers.Dense,
            "LSTM": lambda n, **o: layers.LSTM(n, return_sequences=True, **o),
            "LayerNormalization": lambda n, **o: layers.LayerNormalization(**o),
            "Conv1D": lambda n, **o: layers.Conv1D(n, 3, padding="same", **o),
        }[inner](4, **o),
        **o,
    ),
)
define(
    "Lambda",
    (4,),
    {"function": ops.relu},
    each(function=[_of_tensorflow]),
    refused=refuse(when=lambda o: o["function"] is _of_tensorflow, word="could not be opened"),
)

# --- activations -------------------------------------------------------------------------------------------------

for name in activations():
    for wide in BOTH:
        define(
            "Activation",
            (5, 4),
            {"activation": name, **({"wide": True} if wide else {})},
            each(shape=[(4,), (2, 3, 4), (None, 4)]),
            make=lambda activation, wide=False, **o: layers.Activation(activation, **o),
            policies=not wide,
            arrays=numbers(8.0) if wide else sample,
            dynamic=False,
        )
    define(
        "Activation",
        (5, 4),
        {"function": name},
        make=lambda function, **o: _Function(function),
        policies=False,
        dynamic=False,
    )


class _Function:
    """keras.activations.NAME called on a tensor of the model."""

    def __init__(self, name):
        self.name = name

    def __call__(self, x):
        more = (0.3, 0.1) if self.name == "threshold" else ()
        return getattr(keras.activations, self.name)(x, *more)


define("ELU", (5, 4), {}, each(alpha=[0.5, 1.7, 0.0]))
define("LeakyReLU", (5, 4), {}, each(negative_slope=[0.1, 0.0, 1.5]))
define(
    "ReLU",
    (5, 4),
    {},
    product(max_value=[None, 6.0, 0.7], negative_slope=[0.0, 0.2], threshold=[0.0, 0.5]),
    arrays=numbers(3.0),
)
define(
    "PReLU",
    (5, 4, 3),
    {},
    each(shared_axes=[None, [1], [2], [1, 2], [3], [1, 2, 3], [-1]], shape=[(4,), (1,), (5, 4)]),
    product(shared_axes=[[1, 2]], shape=[(None, None, 3)]),
)
define(
    "Softmax",
    (5, 4, 3),
    {},
    each(axis=[-1, 1, 2, 3, -2, -3, [1, 2], [-1, -3], [1, 2, 3], (2, 3)], shape=[(4,), (1, 4), (5, 4)]),
)
define(
    "Softmax",
    [(5, 4), (5, 4)],
    {},
    each(axis=[-1, 1, -2, [1, 2]]),
    input_dtype=["float32", "bool"],
    join=lambda layer, x, m: layer(x, mask=m),
)

# --- convolution -------------------------------------------------------------------------------------------------

for rank, space in SPACE.items():
    shape = (*space, 4)
    one, free = (1,) * rank, (None,) * rank
    paddings = ["valid", "same", *(["causal"] if rank == 1 else [])]
    other_shapes = [(*one, 4), (*space[:-1], 1, 4), (*(n + 1 for n in space), 4), (*space, 1), (*free, 4)]
    tuples = {1: [(2,), (4,)], 2: [(3, 2), (1, 4)], 3: [(3, 2, 1), (1, 2, 3)]}[rank]
    common = each(use_bias=[False], activation=["relu", "softmax", "gelu"], kernel_size=[1, 5, *tuples])
    places = product(padding=["same", "valid"], strides=[1, 2], shape=other_shapes)
    steps = product(padding=["same"], strides=tuples, kernel_size=[3, *tuples]) + product(
        padding=["same", "valid"], dilation_rate=tuples + [3]
    )
    grid = product(kernel_size=[2, 3], padding=paddings, strides=[1, 2, 3], dilation_rate=[1, 2], data_format=FORMATS)
    grid = [o for o in grid if o["strides"] == 1 or o["dilation_rate"] == 1]
    # Where the width is the number of channels, Keras on TensorFlow adds the bias of channels_first along the width.
    apart = [{**o, "filters": 12, "shape": (4, *space)} if o["data_format"] == "channels_first" else o for o in grid]
    twisted = product(data_format=["channels_first"], padding=["same"], filters=[space[-1]], shape=[(4, *space)])
    conv = {"filters": 4, "kernel_size": 3}
    groups = product(groups=[2, 4], padding=["same", "valid"], strides=[1, 2], use_bias=BOTH)
    define(
        f"Conv{rank}D",
        shape,
        conv,
        apart,
        twisted,
        common,
        places,
        steps,
        groups,
        each(filters=[1], lora_rank=[2]),
        refused=lora,
    )
    transposed = product(
        kernel_size=[2, 3],
        padding=["valid", "same"],
        strides=[1, 2, 3],
        output_padding=[None, 0, 1],
        data_format=FORMATS,
    ) + product(kernel_size=[2, 3], padding=["valid", "same"], strides=[1, 2], dilation_rate=[2])
    transposed = [
        {**o, "filters": 12, "shape": (4, *space)} if o.get("data_format") == "channels_first" else o
        for o in transposed
    ]
    far = product(kernel_size=[1, 5], padding=["valid", "same"], strides=[1, 2, 4])
    define(
        f"Conv{rank}DTranspose",
        shape,
        conv,
        transposed,
        common,
        places,
        far,
        product(padding=["same", "valid"], strides=tuples, output_padding=[None, 0]),
        twisted,
        refused=lost,
    )
    if rank < 3:
        depth = product(depth_multiplier=[1, 3], use_bias=BOTH, padding=["same", "valid"]) + product(
            depth_multiplier=[2], strides=[2], padding=["same"], data_format=FORMATS
        )
        define(f"DepthwiseConv{rank}D", shape, {"kernel_size": 3}, grid, common, places, steps, depth)
        define(f"SeparableConv{rank}D", shape, conv, apart, twisted, common, places, steps, depth, refused=lost)

# --- pooling -----------------------------------------------------------------------------------------------------


def adaptive_refused(average):
    """Windows that Keras makes from two pools and torch does not; the largest of all kills TensorFlow (SIGFPE)."""

    def word(o):
        if o["dynamic"]:
            return "size is not known"
        sizes = o["shape"][1:] if o.get("data_format") == "channels_first" else o["shape"][:-1]
        outputs = o["output_size"] if isinstance(o["output_size"], tuple) else (o["output_size"],) * len(sizes)
        for n, o in zip(sizes, outputs):
            if not average and -(-n // o) + 1 > n:
                return "division by zero"
            if not windows_agree(n, o):
                return "not the adaptive ones of torch"

    return word


for rank, space in SPACE.items():
    shape, sizes = (*space, 3), {1: [2, 3, 4], 2: [2, 3, (3, 2)], 3: [2, (1, 3, 2)]}[rank]
    odd = [(*(1,) * rank, 3), (*space[:-1], 1, 3), (*(None,) * rank, 3), (*(4,) * rank, 1)]
    for kind in ("Max", "Average"):
        define(
            f"{kind}Pooling{rank}D",
            shape,
            {"pool_size": 2},
            product(pool_size=sizes, strides=[None, 1, 2, 3], padding=["valid", "same"], data_format=FORMATS),
            product(pool_size=[2, 3], padding=["same", "valid"], shape=odd),
        )
        define(
            f"Global{kind}Pooling{rank}D",
            shape,
            {},
            product(data_format=FORMATS, keepdims=BOTH),
            product(keepdims=BOTH, shape=odd),
        )
        fits = {1: [1, 3, 9, (2,)], 2: [1, (3, 4), (9, 8), 2], 3: [1, (3, 5, 7), (2, 1, 1), 2]}[rank]
        define(
            f"Adaptive{kind}Pooling{rank}D",
            shape,
            {"output_size": 1},
            product(output_size=fits, data_format=FORMATS),
            each(shape=[(*(1,) * rank, 3), (*(6,) * rank, 2), (*(4,) * rank, 1)]),
            product(output_size=[2, 3], shape=[(*(6,) * rank, 2)]),
            refused=adaptive_refused(kind == "Average"),
        )

# --- normalization -----------------------------------------------------------------------------------------------

IMAGE = (5, 4, 6)
AXES = [-1, 1, 2, 3, -2, -3]
define(
    "BatchNormalization",
    IMAGE,
    {},
    product(axis=AXES, center=BOTH, scale=BOTH),
    each(
        epsilon=[1e-5, 0.1],
        momentum=[0.9],
        renorm=[True],
        synchronized=[True],
        trainable=[False],
        shape=[(4,), (1,), (5, 4), (2, 3, 4, 5), (1, 1, 3)],
    ),
    product(shape=[(None, 4), (None, None, 3)]),
    refused=refuse(when=lambda o: o.get("renorm"), word="renorm"),
)
define(
    "LayerNormalization",
    IMAGE,
    {},
    product(axis=[*AXES, [1, 2], [2, 3], [-1, -2], [1, 2, 3], [1, 3], (-1,)], center=BOTH, scale=BOTH),
    each(epsilon=[1e-5, 0.1], shape=[(4,), (5, 4), (2, 3, 4, 5), (1, 1, 3)]),
    tolerance=2e-5,
)
define(
    "GroupNormalization",
    IMAGE,
    {"groups": 2},
    product(groups=[1, 2, 3, 6, -1], axis=[-1, 3], center=BOTH, scale=BOTH),
    product(groups=[1, -1, 2], axis=[2, -2]),
    product(groups=[1, 5, -1], axis=[1, -3]),
    each(epsilon=[1e-5, 0.1], shape=[(4,), (5, 4), (2, 3, 4, 6), (1, 1, 4)]),
    product(groups=[-1, 4], shape=[(4,)]),
    tolerance=2e-5,
    refused=refuse(when=lambda o: o["shape"] == (4,) and o["groups"] in (-1, 4), word="single element"),
)
define(
    "RMSNormalization",
    IMAGE,
    {},
    each(
        axis=[*AXES, [1, 2], [2, 3], [-1, -3], [1, 2, 3]], epsilon=[1e-3, 0.1], shape=[(4,), (1,), (5, 4), (2, 3, 4, 5)]
    ),
)
define(
    "UnitNormalization",
    IMAGE,
    {},
    each(axis=[*AXES, [1, 2], [2, 3], [-1, -3], [1, 2, 3]], shape=[(4,), (5, 4), (2, 3, 4, 5)]),
)
WRAPPED = {
    "Dense": lambda: layers.Dense(3, activation="relu"),
    "Conv1D": lambda: layers.Conv1D(3, 2, padding="same"),
    "Conv2D": lambda: layers.Conv2D(3, 2, strides=2, padding="same"),
    "Embedding": lambda: layers.Embedding(7, 3),
}
for inner, shape, kind in (
    ("Dense", (4,), "float32"),
    ("Dense", (5, 4), "float32"),
    ("Conv1D", (5, 4), "float32"),
    ("Conv2D", (5, 4, 3), "float32"),
    ("Embedding", (5,), "int32"),
):
    define(
        "SpectralNormalization",
        shape,
        {"inner": inner},
        each(power_iterations=[1, 3]),
        make=lambda inner, **o: layers.SpectralNormalization(WRAPPED[inner](), **o),
        input_dtype=kind,
        policies=False,
        refused=refuse(when=lambda o: o["inner"] == "Embedding", word="no float"),
    )

# --- regularization: identities in inference ---------------------------------------------------------------------

for layer, bases in {
    "Dropout": [
        {"rate": 0.4},
        {"rate": 0.0},
        {"rate": 0.4, "noise_shape": (None, 1, 4)},
        {"rate": 0.4, "noise_shape": (3, 5, 1)},
    ],
    "AlphaDropout": [{"rate": 0.4}, {"rate": 0.4, "noise_shape": (None, 1, 4)}],
    "GaussianDropout": [{"rate": 0.4}],
    "GaussianNoise": [{"stddev": 0.4}, {"stddev": 0.0}],
    "ActivityRegularization": [{"l1": 0.1, "l2": 0.2}, {}],
    "SpatialDropout1D": [{"rate": 0.4}],
}.items():
    for base in bases:
        define(layer, (5, 4), base, each(seed=[3]) if layer not in ("ActivityRegularization",) else [])
define("SpatialDropout2D", (5, 4, 3), {"rate": 0.4}, each(data_format=FORMATS))
define("SpatialDropout3D", (5, 4, 3, 2), {"rate": 0.4}, each(data_format=FORMATS))

# --- reshaping ---------------------------------------------------------------------------------------------------

define(
    "Flatten",
    (5, 4, 3),
    {},
    product(data_format=[None, *FORMATS], shape=[(4,), (), (5, 4), (5, 4, 3), (2, 3, 4, 5), (1, 1, 1)]),
    each(shape=[(None, 4)]),
)
define(
    "Reshape",
    (6, 4),
    {"target_shape": (24,)},
    each(target_shape=[(4, 6), (-1,), (2, 3, 4), (-1, 8), (3, -1, 2), (24, 1), (1, 24), (4, 3, 2, 1)]),
    product(target_shape=[(-1, 2)], shape=[(None, 4), (None, None, 4), (8,)]),
)
define(
    "Permute",
    (5, 4, 3),
    {"dims": (1, 2, 3)},
    each(dims=[(1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)]),
    product(dims=[(2, 1)], shape=[(5, 4), (None, 3), (1, 3)]),
    product(dims=[(4, 2, 1, 3)], shape=[(2, 3, 4, 5)]),
)
define("RepeatVector", (4,), {"n": 3}, each(n=[1, 5], shape=[(1,)]))
define(
    "Cropping1D", (9, 3), {"cropping": 1}, product(cropping=[0, 2, (1, 3), (0, 2), (3, 0)], shape=[(9, 3), (None, 3)])
)
PAIRS = [0, 1, (1, 2), ((1, 2), (0, 3)), ((0, 0), (2, 1))]
TRIPLES = [0, 1, (1, 2, 1), ((1, 2), (0, 1), (1, 0)), ((0, 0), (2, 1), (0, 3))]
define(
    "Cropping2D",
    (9, 8, 3),
    {"cropping": 1},
    product(cropping=PAIRS, data_format=["channels_last"], shape=[(9, 8, 3), (None, None, 3)]),
    product(cropping=PAIRS, data_format=["channels_first"], shape=[(3, 9, 8)]),
)
define(
    "Cropping3D",
    (6, 5, 7, 3),
    {"cropping": 1},
    product(cropping=TRIPLES, data_format=["channels_last"]),
    product(cropping=TRIPLES, data_format=["channels_first"], shape=[(3, 6, 5, 7)]),
)
define(
    "ZeroPadding1D",
    (5, 3),
    {},
    product(padding=[0, 2, (1, 3), (0, 2)], data_format=FORMATS),
    each(shape=[(None, 3), (1, 1)]),
)
define(
    "ZeroPadding2D",
    (5, 4, 3),
    {},
    product(padding=PAIRS, data_format=FORMATS),
    each(shape=[(None, None, 3), (1, 1, 1)], input_dtype=["int32"]),
)
define("ZeroPadding3D", (2, 3, 4, 2), {}, product(padding=TRIPLES, data_format=FORMATS), each(shape=[(1, 1, 1, 1)]))
define("UpSampling1D", (5, 3), {}, product(size=[1, 2, 3], shape=[(5, 3), (1, 1), (None, 3)]))
define(
    "UpSampling2D",
    (5, 4, 3),
    {},
    product(size=[1, 2, 3, (2, 1), (1, 3)], interpolation=["nearest", "bilinear"], data_format=FORMATS),
    product(
        size=[2, (3, 2)],
        interpolation=["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"],
        shape=[(5, 4, 3), (1, 1, 2), (1, 6, 1), (None, None, 3)],
    ),
)
define(
    "UpSampling3D", (2, 3, 4, 2), {}, product(size=[1, 2, (1, 2, 3)], data_format=FORMATS), each(shape=[(1, 1, 1, 1)])
)
define(
    "CenterCrop",
    (9, 8, 3),
    {"height": 5, "width": 4},
    product(height=[4, 5, 9], width=[3, 8], data_format=FORMATS),
    each(height=[12], width=[11], shape=[(9, 8, 1), (None, None, 3)], input_dtype=["uint8"]),
    product(height=[12], width=[10, 5]),
    refused=lambda o: "free size" if None in o["shape"] else "float dtype" if o["input_dtype"] == "uint8" else None,
)
define(
    "Resizing",
    (9, 8, 3),
    {"height": 6, "width": 5},
    product(
        interpolation=["nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5"],
        antialias=BOTH,
        height=[6, 13],
        width=[5, 11],
    ),
    product(
        interpolation=["nearest", "bilinear", "bicubic"],
        crop_to_aspect_ratio=[True],
        height=[6, 13, 4],
        width=[5, 11, 9],
    ),
    product(
        interpolation=["nearest", "bilinear", "bicubic"],
        pad_to_aspect_ratio=[True],
        height=[6, 13, 4],
        width=[5, 11, 9],
        fill_value=[0.0, 0.7],
    ),
    product(
        interpolation=["nearest", "bilinear"],
        data_format=["channels_first"],
        shape=[(3, 9, 8)],
        crop_to_aspect_ratio=BOTH,
    ),
    each(
        shape=[(1, 1, 3), (1, 7, 1), (6, 5, 3), (None, None, 3)], height=[1], width=[1], input_dtype=["uint8", "int32"]
    ),
    refused=refuse(when=lambda o: "int" in o["input_dtype"], word="rounded integers"),
)

# --- merging -----------------------------------------------------------------------------------------------------

PAIRS_OF_SHAPES = [
    [(4,), (4,)],
    [(5, 4), (5, 4), (5, 4)],
    [(5, 4), (5, 1)],
    [(5, 4), (4,)],
    [(3, 5, 4), (4,)],
    [(1, 4), (5, 1)],
    [(None, 4), (None, 4)],
    [(3, 5, 4), (5, 1, 4)],
]
for layer in ("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract"):
    define(layer, [(5, 4), (5, 4)], {}, each(shape=PAIRS_OF_SHAPES), each(input_dtype=["int32", ["float32", "int32"]]))
define(
    "Concatenate",
    [(5, 4, 3), (5, 4, 3)],
    {},
    each(
        axis=[-1, 1, 2, 3, -2, -3],
        shape=[[(4,), (3,)], [(5, 4), (5, 1)], [(None, 4), (None, 2)], [(5, 4, 3), (5, 4, 1), (5, 4, 2)]],
    ),
    product(axis=[1], shape=[[(5, 4), (2, 4)], [(None, 4), (None, 4)]]),
    product(axis=[2], shape=[[(5, 4, 3), (5, 1, 3)]]),
)
define(
    "Dot",
    [(4,), (4,)],
    {"axes": 1},
    product(normalize=BOTH, axes=[1, -1, (1, 1)]),
    product(normalize=BOTH, axes=[2, -1, (2, 2)], shape=[[(5, 4), (3, 4)], [(5, 4), (5, 4)]]),
    product(
        normalize=BOTH, axes=[1, (1, 1), (1, 2), (2, 1)], shape=[[(5, 4), (5, 3)], [(5, 4), (3, 5)], [(4, 5), (5, 3)]]
    ),
    product(
        normalize=BOTH,
        axes=[(2, 1), (1, 1), (3, 1), 3, (2, 2)],
        shape=[[(5, 4), (4,)], [(4, 5), (4,)], [(2, 5, 4), (4,)], [(2, 5, 4), (2, 3, 4)], [(4,), (4, 5)]],
    ),
)

# --- preprocessing -----------------------------------------------------------------------------------------------

ADAPTING = np.random.default_rng(0).normal(3, 2, (20, 5, 4, 3)).astype("float32")


def normalization(adapt=None, **options):
    layer = layers.Normalization(**options)
    if adapt is not None:
        layer.adapt(adapt)
    return layer


define(
    "Rescaling",
    (5, 4, 3),
    {"scale": 1 / 255},
    product(scale=[1 / 127.5, 2.0, -0.5, [0.5, 2.0, 3.0], 1], offset=[0.0, -1, [0.1, -0.2, 0.3]]),
    each(shape=[(4, 3), (3,), (None, 3)], input_dtype=["uint8", "int32"]),
)
define(
    "Normalization",
    (5, 4, 3),
    {"adapt": ADAPTING},
    product(axis=[-1, 1, 3, None, (1, 2, 3), [-1, 1], -2], invert=BOTH),
    make=normalization,
)
define(
    "Normalization",
    (5, 4, 3),
    {"mean": 0.5, "variance": 4.0},
    product(mean=[[0.1, 0.2, 0.3]], variance=[[1.0, 2.0, 3.0], [0.0, 1.0, 4.0]], invert=BOTH),
    product(mean=[0.3], variance=[2.0], axis=[None], invert=BOTH),
    each(input_dtype=["uint8", "int32"]),
)


def encoding_refused(o):
    """Sparse tensors; axes that Keras reduces by mistake; and a dtype that it declares and does not give."""
    mode = o.get("output_mode", "int" if "bin_boundaries" in o else "multi_hot")
    if o.get("sparse"):
        return "sparse"
    if mode == "int":
        return None
    if is_mixed(o):
        return "policy is mixed"
    return "another axis" if mode != "one_hot" and len(o["shape"]) != 1 else None


BINS = [-1.0, 0.1, 0.5, 2.0]
MODES = ["int", "one_hot", "multi_hot", "count"]
define(
    "Discretization",
    (5,),
    {"bin_boundaries": BINS},
    product(output_mode=MODES, shape=[(5,), (1,), (None,), (4, 3)]),
    product(output_mode=MODES, input_dtype=["int32", "int64", "uint8", "float16", "float64"]),
    each(sparse=[True], dtype=["int32", "int64", "uint8"]),
    product(output_mode=MODES[1:], dtype=["int32", "float64", "float16"]),
    refused=encoding_refused,
)

FEW = lambda m, b: [np.abs(a) for a in sample(m, b)]  # noqa: E731
define(
    "CategoryEncoding",
    (4,),
    {"num_tokens": 6},
    product(output_mode=MODES[1:], shape=[(4,), (1,), (None,), (3, 4), (3, 1), ()]),
    product(output_mode=MODES[1:], input_dtype=["int64", "uint8", "float32"]),
    each(sparse=[True]),
    input_dtype="int32",
    arrays=FEW,
    refused=encoding_refused,
)
define(
    "CategoryEncoding",
    [(4,), (4,)],
    {"num_tokens": 6, "output_mode": "count"},
    input_dtype=["int32", "float32"],
    join=lambda layer, x, w: layer(x, count_weights=w),
    arrays=FEW,
)
define(
    "IntegerLookup",
    (4,),
    {"vocabulary": [1, 2, 4]},
    product(num_oov_indices=[0, 1, 2, 3], mask_token=[None, 0], invert=[False]),
    product(invert=[True], mask_token=[None, 0], oov_token=[-1, 7]),
    product(output_mode=["one_hot", "multi_hot", "count", "tf_idf"]),
    each(shape=[(1,), (3, 4), (None,)], input_dtype=["int32", "int64"], oov_method=["farmhash"], max_tokens=[8]),
    input_dtype="int64",
    policies=False,
    arrays=FEW,
    refused=refuse(when=lambda o: o.get("output_mode", "int") != "int", word="announces floats"),
)


def words(model, batch):
    """Strings from a small vocabulary, for string inputs; for the others what `sample` gives."""
    rng = np.random.default_rng(0)
    return [
        rng.choice(["a", "b", "c d"], (batch, *(5 if n is None else n for n in x.shape[1:])))
        if x.dtype == "string"
        else rng.integers(0, 9, (batch, *x.shape[1:])).astype(x.dtype)
        for x in model.inputs
    ]


host = refuse(word="data pipeline")
text = {"policies": False, "dynamic": False, "arrays": words, "refused": host, "input_dtype": "string"}
define(
    "StringLookup",
    (4,),
    {"vocabulary": ["a", "b"]},
    each(output_mode=["multi_hot", "count"], num_oov_indices=[2]),
    **text,
)
define(
    "TextVectorization",
    (1,),
    {"vocabulary": ["a", "b"]},
    each(output_mode=["multi_hot", "count"], output_sequence_length=[6], ragged=[True]),
    **text,
)
define(
    "Hashing",
    (4,),
    {"num_bins": 5},
    each(output_mode=["one_hot", "multi_hot", "count"], mask_value=["a"], salt=[7]),
    **text,
)
whole = {
    "policies": False,
    "arrays": lambda model, batch: [
        np.random.default_rng(0)
        .integers(-(10**6), 10**6, (batch, *(7 if n is None else n for n in x.shape[1:])))
        .astype(x.dtype)
        for x in model.inputs
    ],
}
define(
    "Hashing",
    (4,),
    {"num_bins": 50, "input_dtype": "int64"},
    product(salt=[None, 7, [133, 137]], output_mode=["int", "one_hot", "multi_hot", "count"]),
    product(mask_value=[None, 0, 3], num_bins=[1, 2, 1000]),
    each(input_dtype=["int32", "float32"], shape=[(1,), (3, 4)], dtype=["int32"]),
    [{"output_mode": "one_hot", "shape": (1,)}],
    refused=refuse(
        when=lambda o: o.get("output_mode") == "one_hot" and o["shape"] != (1,), word="declares another shape"
    ),
    **whole,
)
define(
    "HashedCrossing",
    [(1,), (1,)],
    {"num_bins": 5},
    each(output_mode=["one_hot"]),
    product(input_dtype=[["int32", "int64"]]),
    **text,
)
define(
    "STFTSpectrogram",
    (65, 1),
    {"frame_length": 16, "frame_step": 5},
    product(mode=["log", "magnitude", "psd", "real", "imag", "angle", "stft"], padding=["valid", "same"]),
    product(window=["hann", "hamming", None], periodic=BOTH, scaling=["density", "spectrum", None]),
    product(expand_dims=[True], mode=["magnitude", "stft"], data_format=FORMATS),
    product(fft_length=[16, 32], frame_length=[12, 13], frame_step=[None, 3]),
    product(shape=[(65, 3), (None, 2)], mode=["magnitude", "stft"], expand_dims=BOTH),
    product(
        shape=[(2, 65)],
        data_format=["channels_first"],
        padding=["valid", "same"],
        mode=["log", "stft"],
        expand_dims=BOTH,
    ),
    tolerance=1e-4,
    arrays=lambda model, batch: [
        np.random.default_rng(0).standard_normal((batch, *(n or 65 for n in x.shape[1:]))).astype(x.dtype)
        for x in model.inputs
    ],
)
define(
    "MelSpectrogram",
    (200,),
    {"fft_length": 32, "sequence_stride": 16, "num_mel_bins": 8, "sampling_rate": 1000, "max_freq": 400.0},
    product(power_to_db=BOTH, window=["hann", "hamming"], mag_exp=[1.0, 2.0]),
    each(
        sequence_length=[20, 32],
        top_db=[10.0, 80.0],
        min_freq=[0.0, 50.0],
        min_power=[1e-5],
        ref_power=[2.0],
        max_freq=[None],
        num_mel_bins=[1],
        shape=[(3, 200), (33,)],
    ),
    tolerance=1e-4,
    refused=refuse(when=lambda o: len(o["shape"]) > 1, word="at odds about the shape"),
)

# --- augmentation: identities in inference -----------------------------------------------------------------------

AUGMENTATION = {
    "AugMix": {},
    "AutoContrast": {},
    "ContrastLimitedAdaptiveHistogramEqualization": {},
    "CutMix": {},
    "Equalization": {},
    "MixUp": {},
    "RandAugment": {},
    "RandomBrightness": {"factor": 0.3},
    "RandomColorDegeneration": {"factor": 0.3},
    "RandomColorJitter": {"brightness_factor": 0.3, "hue_factor": 0.2},
    "RandomContrast": {"factor": 0.3},
    "RandomCrop": {"height": 5, "width": 4},
    "RandomElasticTransform": {},
    "RandomErasing": {},
    "RandomFlip": {},
    "RandomGaussianBlur": {},
    "RandomGrayscale": {},
    "RandomHue": {"factor": 0.3},
    "RandomInvert": {},
    "RandomPerspective": {},
    "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.3},
    "RandomSaturation": {"factor": 0.3},
    "RandomSharpness": {"factor": 0.3},
    "RandomShear": {"x_factor": 0.3, "y_factor": 0.3},
    "RandomTranslation": {"height_factor": 0.3, "width_factor": 0.3},
    "RandomZoom": {"height_factor": 0.3},
    "Solarization": {},
}
pixels = numbers(60.0, 128.0)
KEEPS_DTYPE = {
    "AutoContrast",
    "MixUp",
    *(
        f"Random{name}"
        for name in "Brightness ColorDegeneration ColorJitter Contrast Hue Invert Posterization Saturation".split()
    ),
}


def augmentation_refused(layer):
    """RandomCrop declares a shape that it does not give; of free sizes CLAHE divides integers by numbers."""
    if layer == "ContrastLimitedAdaptiveHistogramEqualization":
        return refuse(when=lambda o: o["dynamic"], word="does not run in a TensorFlow graph")
    if layer == "RandomCrop":
        return refuse(when=lambda o: o["dynamic"] or _cropped(o) != o["shape"], word="declares the shape")
    if layer in KEEPS_DTYPE:
        return refuse(when=lambda o: "int" in o["input_dtype"], word="give the model's Input dtype float32")
    return refuse(when=lambda o: False, word="")


def _cropped(o):
    size, depth = (o["height"], o["width"]), o["shape"]
    return (depth[0], *size) if o.get("data_format") == "channels_first" else (*size, depth[-1])


for layer, base in AUGMENTATION.items():
    more = {
        "RandomCrop": product(height=[5, 9, 12], width=[4, 8, 11], data_format=FORMATS),
        "RandomFlip": each(mode=["horizontal", "vertical"]),
        "Solarization": each(threshold_factor=[0.5], addition_factor=[0.2], value_range=[(0, 1)]),
    }.get(layer, [])
    define(
        layer,
        (9, 8, 3),
        base,
        more,
        each(input_dtype=["uint8", "int32"], shape=[(9, 8, 1), (8, 9, 3)]),
        arrays=pixels,
        refused=augmentation_refused(layer),
    )
define("MaxNumBoundingBoxes", (9, 8, 3), {"max_number": 3}, arrays=pixels)
define(
    "Pipeline",
    (9, 8, 3),
    {},
    each(second=["Resizing", "Dense"]),
    make=lambda second="RandomFlip", **o: layers.Pipeline(
        [
            layers.Rescaling(0.5),
            {
                "RandomFlip": layers.RandomFlip,
                "Resizing": lambda: layers.Resizing(4, 5),
                "Dense": lambda: layers.Dense(2),
            }[second](),
        ],
        **o,
    ),
    policies=False,
)

# --- recurrent ---------------------------------------------------------------------------------------------------

MASK = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)


def with_mask(layer, x, *states, mask=None):
    """mask: "given" as an argument, or made by "Masking"."""
    more = {"initial_state": list(states)} if states else {}
    if mask == "Masking":
        return layer(layers.Masking()(x), **more)
    if mask == "given":
        more["mask"] = ops.any(x > 0.5, axis=list(range(2, len(x.shape))))
    return layer(x, **more)


def recurrent_refused(o):
    """State kept between calls; Keras's wrong mask; and a stack made from a list of cells, which takes no dtype."""
    if o.get("stateful"):
        return "it is stateful"
    if (
        o.get("zero_output_for_mask")
        and o.get("go_backwards")
        and o.get("unroll")
        and o.get("mask")
        and o.get("return_sequences")
    ):
        return "wrong way round"
    if "dtype" in o and (o.get("kind") == "RNN" or len(o.get("cells", "")) > 1 and not o.get("stacked")):
        return "dtype policy"
    return None


recurrent = {"join": with_mask, "call": ["mask"], "arrays": rows_of_zeros, "refused": recurrent_refused}
MASKS = [None, "given", "Masking"]
OUTPUTS = product(return_sequences=BOTH, return_state=BOTH)
for layer in ("LSTM", "GRU", "SimpleRNN"):
    own = each(recurrent_activation=["hard_sigmoid", "tanh"]) if layer != "SimpleRNN" else []
    own += (
        product(reset_after=[False], return_sequences=BOTH, go_backwards=BOTH, mask=[None, "given"], use_bias=BOTH)
        if layer == "GRU"
        else []
    )
    own += each(unit_forget_bias=[False]) if layer == "LSTM" else []
    define(
        layer,
        (5, 4),
        {"units": 3},
        product(return_sequences=BOTH, return_state=BOTH, go_backwards=BOTH, mask=MASKS),
        product(unroll=[True], return_sequences=BOTH, go_backwards=BOTH, mask=[None, "given"]),
        product(use_bias=[False], return_sequences=BOTH, mask=[None, "given"]),
        product(activation=["relu", "linear", "sigmoid"], return_sequences=BOTH, mask=[None, "given"]),
        product(stateful=[True], batch_size=[3], return_sequences=BOTH, mask=[None, "given"]),
        each(units=[1, 4], dropout=[0.3], recurrent_dropout=[0.3], seed=[1]),
        product(shape=[(1, 4), (5, 1), (1, 1), (None, 4)], return_sequences=BOTH),
        own,
        **recurrent,
    )
    states = [(3,)] * (2 if layer == "LSTM" else 1)
    define(
        layer,
        [(5, 4), *states],
        {"units": 3},
        product(return_sequences=BOTH, return_state=BOTH, go_backwards=BOTH, mask=[None, "given"]),
        dynamic=False,
        policies=False,
        **recurrent,
    )

CELLS = {"LSTM": layers.LSTMCell, "GRU": layers.GRUCell, "SimpleRNN": layers.SimpleRNNCell}


def rnn(
    cells,
    return_sequences=False,
    return_state=False,
    go_backwards=False,
    stateful=False,
    unroll=False,
    zero_output_for_mask=False,
    dtype=None,
    stacked=False,
    **of_cells,
):
    made = [CELLS[c](3 + k, dtype=dtype, **of_cells) for k, c in enumerate(cells)]
    cell = layers.StackedRNNCells(made, dtype=dtype) if stacked else made[0] if len(made) == 1 else made
    return layers.RNN(
        cell, return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask, dtype=dtype
    )


LOOP = (
    product(return_sequences=BOTH, go_backwards=BOTH, mask=[None, "given"])
    + product(return_state=[True], mask=MASKS)
    + product(unroll=[True], return_sequences=BOTH, mask=[None, "given"])
)
ZEROED = product(
    zero_output_for_mask=[True], return_sequences=BOTH, go_backwards=BOTH, mask=[None, "given"], unroll=BOTH
)
for layer, cell in (("LSTMCell", "LSTM"), ("GRUCell", "GRU"), ("SimpleRNNCell", "SimpleRNN")):
    own = each(recurrent_activation=["hard_sigmoid"]) if cell != "SimpleRNN" else []
    own += product(reset_after=[False], mask=[None, "given"], use_bias=BOTH) if cell == "GRU" else []
    own += each(
        activation=["relu"], use_bias=[False], dropout=[0.3], recurrent_dropout=[0.3], shape=[(1, 4), (None, 4)]
    )
    define(layer, (5, 4), {"cells": [cell]}, LOOP, own, make=rnn, **recurrent)
for cells in (["LSTM"], ["GRU", "GRU"], ["LSTM", "SimpleRNN"]):
    define(
        "RNN",
        (5, 4),
        {"cells": cells},
        LOOP,
        ZEROED,
        product(stateful=[True], batch_size=[3], return_sequences=BOTH),
        make=rnn,
        **recurrent,
    )
for cells in (["LSTM", "LSTM"], ["GRU"], ["SimpleRNN", "GRU", "LSTM"]):
    define("StackedRNNCells", (5, 4), {"cells": cells, "stacked": True}, LOOP, make=rnn, **recurrent)


def bidirectional(kind, merge_mode="concat", backward=None, dtype=None, **options):
    kinds = {"LSTM": layers.LSTM, "GRU": layers.GRU, "SimpleRNN": layers.SimpleRNN}

    def one(name, **more):
        if name == "RNN":
            return layers.RNN(
                [layers.LSTMCell(4, dtype=dtype), layers.GRUCell(3, dtype=dtype)], dtype=dtype, **options, **more
            )
        return kinds[name](3, dtype=dtype, **options, **more)

    other = one(backward, go_backwards=True) if backward else None
    return layers.Bidirectional(one(kind), merge_mode, backward_layer=other, dtype=dtype)


for kind in ("LSTM", "GRU", "SimpleRNN", "RNN"):
    define(
        "Bidirectional",
        (5, 4),
        {"kind": kind},
        product(
            merge_mode=["concat", "sum", "mul", "ave", None],
            return_sequences=BOTH,
            return_state=BOTH,
            mask=[None, "given"],
        ),
        product(merge_mode=["concat", "sum"], return_sequences=BOTH, mask=["Masking"]),
        each(shape=[(1, 4), (None, 4), (1, 1)]),
        []
        if kind == "RNN"
        else each(use_bias=[False], activation=["relu"], unroll=[True])
        + product(backward=["GRU", "SimpleRNN", "LSTM"], return_sequences=BOTH, mask=[None, "given"]),
        make=bidirectional,
        **recurrent,
    )

TIMES = {
    "Dense": (lambda d: layers.Dense(3, activation="softmax", dtype=d), (4,)),
    "Conv2D": (lambda d: layers.Conv2D(3, 2, strides=2, padding="same", dtype=d), (5, 4, 2)),
    "Conv1D": (lambda d: layers.Conv1D(3, 2, padding="causal", dtype=d), (5, 2)),
    "MaxPooling2D": (lambda d: layers.MaxPooling2D(2, dtype=d), (5, 4, 2)),
    "AveragePooling1D": (lambda d: layers.AveragePooling1D(2, padding="same", dtype=d), (5, 2)),
    "GlobalAveragePooling2D": (lambda d: layers.GlobalAveragePooling2D(dtype=d), (5, 4, 2)),
    "Flatten": (lambda d: layers.Flatten(dtype=d), (2, 3, 2)),
    "BatchNormalization": (lambda d: layers.BatchNormalization(dtype=d), (5, 4, 2)),
    "LayerNormalization": (lambda d: layers.LayerNormalization(dtype=d), (5, 4)),
    "LSTM": (lambda d: layers.LSTM(3, dtype=d), (5, 2)),
    "Dropout": (lambda d: layers.Dropout(0.3, dtype=d), (4,)),
}
for inner, (_, shape) in TIMES.items():
    define(
        "TimeDistributed",
        (5, *shape),
        {"inner": inner},
        each(shape=[(1, *shape), (None, *shape)]),
        [{"mask": "Masking"}] if len(shape) == 1 else [],
        make=lambda inner, dtype=None: layers.TimeDistributed(TIMES[inner][0](dtype), dtype=dtype),
        dynamic=False,
        **recurrent,
    )

for rank, space in {1: (6,), 2: (6, 5), 3: (4, 3, 5)}.items():
    conv = {"filters": 2, "kernel_size": 2}
    define(
        f"ConvLSTM{rank}D",
        (5, *space, 2),
        conv,
        product(padding=["valid", "same"], strides=[1, 2], dilation_rate=[1, 2], kernel_size=[2, 3])
        if rank < 3
        else product(padding=["valid", "same"], strides=[1, 2]),
        product(
            return_sequences=BOTH, return_state=BOTH, go_backwards=BOTH, mask=[None, "given"] if rank < 3 else [None]
        ),
        each(
            use_bias=[False],
            activation=["relu"],
            recurrent_activation=["hard_sigmoid"],
            dropout=[0.3],
            unit_forget_bias=[False],
        ),
        product(data_format=["channels_first"], padding=["same", "valid"], shape=[(5, 2, *space)]),
        product(stateful=[True], batch_size=[3]),
        each(shape=[(1, *space, 1), (None, *space, 2)]),
        dynamic=False,
        **recurrent,
    )

# --- attention ---------------------------------------------------------------------------------------------------

SELF, CROSS, KEYED = (5, 6), [(5, 6), (4, 6)], [(5, 6), (4, 7), (4, 3)]


def attend(layer, *inputs, padding=None, attention_mask=None, **call):
    """Query, value and perhaps key; a mask from the embedding of the query and value, or given for the scores."""
    query, value, *key = inputs if len(inputs) > 1 else inputs * 2
    if padding:
        query, value = layers.Masking()(query), value if value is query else layers.Masking()(value)
        query, value = (query, query) if len(inputs) == 1 else (query, value)
    if attention_mask:
        scores = ops.einsum("btd,bsd->bts", query[..., :3], value[..., :3]) > -0.5
        call["attention_mask"] = (
            scores
            if attention_mask == "bts"
            else ops.expand_dims(scores, 1)
            if attention_mask == "b1ts"
            else scores[:, :1]
        )
    return layer(query, value, *key, **call)


ATTENTION = product(
    use_causal_mask=BOTH, return_attention_scores=BOTH, padding=BOTH, attention_mask=[None, "bts", "b1ts", "b1s"]
)
flash = refuse(when=lambda o: o.get("flash_attention"), word="no flash attention")
attending = {
    "refused": flash,
    "join": attend,
    "call": ["use_causal_mask", "return_attention_scores", "padding", "attention_mask"],
    "arrays": rows_of_zeros,
    "tolerance": 2e-5,
}
for shape in (SELF, CROSS):
    define(
        "MultiHeadAttention",
        shape,
        {"num_heads": 2, "key_dim": 3},
        ATTENTION,
        product(dropout=[0.2], use_causal_mask=BOTH, padding=BOTH, attention_mask=[None, "bts"]),
        product(sliding_window=[1, 2], use_causal_mask=BOTH, padding=BOTH),
        product(use_gate=[True], use_causal_mask=BOTH, return_attention_scores=BOTH),
        product(value_dim=[None, 4], output_shape=[None, 5, (2, 3)], use_bias=BOTH),
        each(num_heads=[1], key_dim=[1], flash_attention=[True]),
        **attending,
    )
    define(
        "GroupQueryAttention",
        shape,
        {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
        ATTENTION,
        product(num_key_value_heads=[1, 4], use_bias=BOTH, padding=BOTH),
        product(sliding_window=[1, 2], use_causal_mask=BOTH),
        product(use_gate=[True], return_attention_scores=BOTH),
        each(dropout=[0.2], flash_attention=[True]),
        **attending,
    )
define(
    "MultiHeadAttention",
    KEYED,
    {"num_heads": 2, "key_dim": 3},
    product(use_causal_mask=BOTH, return_attention_scores=BOTH),
    **attending,
)
define(
    "MultiHeadAttention",
    (4, 5, 6),
    {"num_heads": 2, "key_dim": 3},
    each(attention_axes=[1, 2, (1, 2), -2, (2, 1)]),
    **attending,
)


def dot_attend(layer, *inputs, mask=None, **call):
    query, value, *key = inputs if len(inputs) > 1 else inputs * 2
    if mask == "Masking":
        query, value = layers.Masking()(query), layers.Masking()(value)
    if mask == "given":
        call["mask"] = [ops.any(query > 0.5, axis=-1), ops.any(value > 0.5, axis=-1)]
    if mask == "value":
        call["mask"] = [None, ops.any(value > 0.5, axis=-1)]
    return layer([query, value, *key], **call)


DOT = product(use_causal_mask=BOTH, return_attention_scores=BOTH, mask=[None, "given", "value", "Masking"])
dot = {"join": dot_attend, "call": ["use_causal_mask", "return_attention_scores", "mask"], "arrays": rows_of_zeros}
for shape in (SELF, CROSS, [(5, 6), (4, 6), (4, 6)]):
    define(
        "Attention",
        shape,
        {},
        DOT,
        product(
            use_scale=BOTH, score_mode=["dot", "concat"], dropout=[0.0, 0.2], use_causal_mask=BOTH, mask=[None, "given"]
        ),
        **dot,
    )
    define(
        "AdditiveAttention",
        shape,
        {},
        DOT,
        product(use_scale=BOTH, dropout=[0.0, 0.2], use_causal_mask=BOTH, mask=[None, "given"]),
        **dot,
    )

# --- other frameworks --------------------------------------------------------------------------------------------

foreign = {"policies": False, "dynamic": False, "refused": refuse(word="override it with a PyTorch snippet")}
define("JaxLayer", (4,), {}, make=lambda: layers.JaxLayer(lambda params, x: x * 2, params={}), **foreign)
define("FlaxLayer", (4,), {}, make=lambda: layers.FlaxLayer(__import__("flax").linen.Dense(3)), **foreign)
define(
    "TorchModuleWrapper",
    (4,),
    {},
    make=lambda: layers.TorchModuleWrapper(__import__("torch").nn.Linear(4, 3)),
    **foreign,
)


def saved_model():
    """A TensorFlow SavedModel as a layer."""
    import tempfile

    import tensorflow as tf

    folder = tempfile.mkdtemp()
    module = tf.Module()
    module.serve = tf.function(lambda x: x * 2.0, input_signature=[tf.TensorSpec((None, 4), "float32")])
    tf.saved_model.save(module, folder, signatures={"serve": module.serve})
    return layers.TFSMLayer(folder, call_endpoint="serve")


define("TFSMLayer", (4,), {}, make=saved_model, policies=False)


# --- masks that pass through, are used or are dropped ------------------------------------------------------------

SEQUENCE = {
    "Activation": lambda: layers.Activation("tanh"),
    "ActivityRegularization": lambda: layers.ActivityRegularization(l2=0.1),
    "AlphaDropout": lambda: layers.AlphaDropout(0.3),
    "AveragePooling1D": lambda: layers.AveragePooling1D(2),
    "BatchNormalization": lambda: layers.BatchNormalization(),
    "Conv1D": lambda: layers.Conv1D(3, 3, padding="same"),
    "Dense": lambda: layers.Dense(3),
    "DepthwiseConv1D": lambda: layers.DepthwiseConv1D(3, padding="same"),
    "Dropout": lambda: layers.Dropout(0.3),
    "ELU": lambda: layers.ELU(),
    "EinsumDense": lambda: layers.EinsumDense("abc,cd->abd", (None, 3)),
    "GaussianDropout": lambda: layers.GaussianDropout(0.3),
    "GaussianNoise": lambda: layers.GaussianNoise(0.3),
    "GroupNormalization": lambda: layers.GroupNormalization(2),
    "Identity": lambda: layers.Identity(),
    "LayerNormalization": lambda: layers.LayerNormalization(),
    "LeakyReLU": lambda: layers.LeakyReLU(),
    "MaxPooling1D": lambda: layers.MaxPooling1D(2),
    "PReLU": lambda: layers.PReLU(),
    "RMSNormalization": lambda: layers.RMSNormalization(),
    "ReLU": lambda: layers.ReLU(),
    "Rescaling": lambda: layers.Rescaling(0.5, 1.0),
    "SeparableConv1D": lambda: layers.SeparableConv1D(3, 3, padding="same"),
    "Softmax": lambda: layers.Softmax(),
    "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.3),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(3)),
    "UnitNormalization": lambda: layers.UnitNormalization(),
    "ZeroPadding1D": lambda: layers.ZeroPadding1D(0),
}


def through(after):
    """Masking → layer → a layer that uses what is left of the mask."""
    ends = {"mean": layers.GlobalAveragePooling1D, "LSTM": lambda: layers.LSTM(2)}
    return lambda layer, x: ends[after]()(layer(layers.Masking()(x)))


for layer, make in SEQUENCE.items():
    for after in ("mean", "LSTM"):
        define(
            layer,
            (5, 4),
            {"mask through to": after},
            make=lambda make=make, **o: make(),
            join=through(after),
            arrays=rows_of_zeros,
            policies=False,
            dynamic=False,
        )
for after in ("mean", "LSTM"):
    for layer in ("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate"):
        for both in BOTH:
            define(
                layer,
                [(5, 4), (5, 4)],
                {"mask through to": after, "second masked": both},
                make=lambda layer=layer, **o: getattr(layers, layer)(),
                join=lambda merge, x, y, after=after, both=both: {
                    "mean": layers.GlobalAveragePooling1D,
                    "LSTM": lambda: layers.LSTM(2),
                }[after]()(merge([layers.Masking()(x), layers.Masking()(y) if both else y])),
                arrays=rows_of_zeros,
                policies=False,
                dynamic=False,
            )


# --- inputs that torch has no counterpart for --------------------------------------------------------------------


def of_input(layer, **options):
    def build():
        x = keras.Input((4,), name="x", **options)
        return keras.Model(x, layer()(x))

    return build


INPUTS = [
    Case("InputLayer", f"{form}=True, {make.__name__}", of_input(make, **{form: True}), f"it is {form}")
    for form, make in (("sparse", layers.ReLU), ("sparse", layers.Flatten), ("ragged", layers.ReLU))
]
INPUTS.append(
    Case("InputLayer", "input 'string'", of_input(layers.Identity, dtype="string"), "it holds strings", arrays=words)
)


def cases() -> list[Case]:
    """Every case, in the order of the tables; one of each name."""
    found: dict[str, Case] = {}
    for case in [*(case for table in TABLES for case in table.cases()), *INPUTS]:
        found.setdefault(str(case), case)
    return list(found.values())
