"""keras.ops and Python operators in functional models against Keras on TensorFlow.

Most cases run twice: on a plain tensor, and between two convolutions on a cube whose sizes are all equal, where a wrong
axis gives wrong numbers and never a wrong shape. Shapes with a batch of 3 avoid sizes of 3 (see test_merging.py).
"""

from __future__ import annotations

import operator

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

from k2t_core.emit.source import write_source
from tests.harness import check, sample
from tests.rules.operations import CUBE, between, model_of, moves, refused

UNARY = (
    "sqrt exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arctan arcsinh floor ceil rsqrt "
    "reciprocal erf erfc sigmoid silu softplus softsign log_sigmoid hard_sigmoid hard_silu hard_tanh tanh_shrink "
    "selu sparse_sigmoid sparse_plus negative sign relu relu6 absolute square copy stop_gradient isnan isinf "
    "isfinite round leaky_relu elu celu gelu soft_shrink hard_shrink squareplus nan_to_num"
)


@pytest.mark.parametrize("name", UNARY.split())
def test_unary(name):
    function = getattr(ops, name)
    positive = name in ("sqrt", "log", "log2", "log10", "log1p", "rsqrt", "reciprocal")
    batch = np.random.default_rng(0).uniform(0.1 if positive else -2, 2, (3, 4, 5)).astype("float32")
    model = model_of(function, (4, 5))
    if name in ("isnan", "isinf", "isfinite"):
        batch[0, :3, 0] = np.nan, np.inf, -np.inf
    check(model, [batch])
    conversion, _ = check(between(function, positive=positive), tolerance=1e-4)  # exp2, tan: steep
    assert not moves(conversion)


@pytest.mark.parametrize("function", [ops.deg2rad, ops.rad2deg])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_degrees(function, dtype):
    check(model_of(lambda x: function(x * 90), (4, 5), dtype=dtype))


@pytest.mark.parametrize("name", ["arcsin", "arccos", "arctanh", "erfinv", "arccosh"])
def test_unary_on_an_interval(name):
    batch = np.random.default_rng(0).uniform(0.05, 0.9, (3, 4, 5)).astype("float32") + (name == "arccosh")
    check(model_of(getattr(ops, name), (4, 5)), [batch])


@pytest.mark.parametrize(
    "name",
    (
        "sqrt exp log1p sin cos tanh floor ceil square absolute negative sign relu relu6 isnan round cast_float "
        "copy arctan expm1"
    ).split(),
)
@pytest.mark.parametrize("dtype", ["int32", "int64", "int8", "uint8"])
def test_unary_on_integers(name, dtype):
    if dtype == "uint8" and name == "negative":
        pytest.skip("TensorFlow has no negative of uint8")
    function = (lambda x: ops.cast(x, "float32")) if name == "cast_float" else getattr(ops, name)
    check(model_of(function, (4, 5), dtype=dtype))


def test_square_of_bool_and_not():
    check(model_of(ops.square, (4, 5), dtype="bool"))
    check(model_of(ops.logical_not, (4, 5), dtype="bool"))
    check(model_of(lambda x: ops.logical_not(x), (4, 5), dtype="int32"))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.leaky_relu(x, 0.3),
        lambda x: ops.elu(x, 1.5),
        lambda x: ops.celu(x, 0.7),
        lambda x: ops.gelu(x, approximate=False),
        lambda x: ops.soft_shrink(x, 0.3),
        lambda x: ops.hard_shrink(x, 0.3),
        lambda x: ops.threshold(x, 0.2, -1.0),
        lambda x: ops.squareplus(x, 3),
        lambda x: ops.round(x, 1),
        lambda x: ops.round(x, 2),
        lambda x: ops.clip(x, -0.5, 0.5),
        lambda x: ops.clip(x, 0, 6),
        lambda x: ops.glu(ops.concatenate([x, x * 2], -1)),
        lambda x: ops.zeros_like(x) + x,
        lambda x: ops.ones_like(x) - x,
        lambda x: ops.full_like(x, 2.5) * x,
        lambda x: ops.convert_to_tensor(x) + 1,
        lambda x: ops.cast(x * 10, "int32"),
        lambda x: ops.cast(x > 0, "float32"),
        lambda x: ops.cast(x, "float64"),
        lambda x: ops.cast(x, "float16"),
        lambda x: ops.cast(x * 3, "bool"),
        lambda x: ops.softmax(x),
        lambda x: ops.softmax(x, 1),
        lambda x: ops.softmax(x, -2),
        lambda x: ops.log_softmax(x, 2),
        lambda x: ops.softmax(x, None) * 9,
        lambda x: ops.normalize(x),
        lambda x: ops.normalize(x, 1),
        lambda x: ops.normalize(x, 2, order=3),
        lambda x: ops.cumsum(x, 1),
        lambda x: ops.cumsum(x, -1),
        lambda x: ops.cumprod(x, 2),
        lambda x: ops.diff(x, axis=1),
        lambda x: ops.diff(x, n=2),
        lambda x: ops.sort(x, 1),
        lambda x: ops.sort(x),
        lambda x: ops.argsort(x, 1),
        lambda x: ops.nan_to_num(x, 1.0, 2.0, 3.0),
        lambda x: ops.top_k(x, 2)[0],
        lambda x: ops.top_k(x, 2)[1],
    ],
)
def test_options(function):
    check(model_of(function, (4, 5)))
    # Two convolutions around differences, cumulated products: rounding.
    check(between(function), tolerance=1e-4 if model_of(function, CUBE).outputs[0].dtype != "float16" else 1e-3)


@pytest.mark.parametrize(
    "symbol",
    [
        operator.add,
        operator.sub,
        operator.mul,
        operator.truediv,
        operator.pow,
        operator.mod,
        operator.floordiv,
        ops.maximum,
        ops.minimum,
        ops.divide,
    ],
)
@pytest.mark.parametrize("other", [2, 0.7, -1.5, 1])
def test_operator_with_a_number(symbol, other):
    def forward(x):
        return symbol(ops.absolute(x) + 0.2 if symbol is operator.pow else x, other)

    def backward(x):
        return symbol(other, ops.absolute(x) + 0.2)

    check(model_of(lambda x: forward(3 * x), (4, 5)))
    conversion, _ = check(between(forward), tolerance=1e-4)  # powers
    assert not moves(conversion)
    if not (symbol is operator.pow and (other < 0 or other == 1) or symbol is ops.minimum and other < 0):
        check(model_of(backward, (4, 5)))
    check(model_of(lambda x: symbol(x, abs(int(other) or 2)), (4, 5), dtype="int32"))


@pytest.mark.parametrize("dtype", ["int32", "int64", "int8", "uint8"])
@pytest.mark.parametrize("other", [2, 0.5])
def test_integers_with_a_number(dtype, other):
    for symbol in (operator.add, operator.mul, operator.truediv, ops.maximum, operator.gt, operator.ne):
        check(model_of(lambda x, s=symbol: s(x, other), (4, 5), dtype=dtype))


def test_bool_with_a_number():
    for symbol, other in (
        (operator.add, 1),
        (operator.mul, 2),
        (operator.mul, 0.5),
        (operator.truediv, 2),
        (ops.maximum, 1),
    ):
        check(model_of(lambda x, s=symbol, o=other: s(x, o), (4, 5), dtype="bool"))


@pytest.mark.parametrize(
    "dtypes",
    [
        ("int32", "float32"),
        ("int32", "int64"),
        ("bool", "int32"),
        ("bool", "float32"),
        ("uint8", "int8"),
        ("float16", "float32"),
        ("int64", "float16"),
        ("bfloat16", "float16"),
        ("int32", "int32"),
    ],
)
def test_promotion_of_two_tensors(dtypes):
    for symbol in (
        operator.add,
        operator.mul,
        lambda x, y: x / (y + 1),
        ops.maximum,
        operator.gt,
        ops.equal,
        ops.minimum,
    ):
        check(model_of(symbol, (4, 5), (4, 5), dtype=dtypes), tolerance=2e-3 if "float16" in dtypes else 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "float32"])
def test_comparison_with_a_number_between_two_floats(dtype):
    """Keras compares with the float32 nearest to 0.1, whatever the tensor's dtype."""
    model = model_of(lambda x: [x > 0.1, ops.equal(x, 0.1), x <= 0.1], (3,), dtype=dtype)
    check(model, [np.array([[0.1, np.float32(0.1), np.float16(0.1)]]).astype(keras.ops.zeros(1, dtype).numpy().dtype)])


def test_promotion_of_a_tensor_without_axes():
    """torch ranks tensors without axes below the others; Keras does not."""
    check(model_of(lambda x, y: x + ops.cast(ops.mean(y), "float64"), (4, 5), (4, 5)))
    check(model_of(lambda x, y: x * ops.sum(y), (4, 5), (4, 5), dtype=("int32", "float32")))
    check(model_of(lambda x, y: ops.where(x > 0, ops.max(y), 0.0), (4, 5), (4, 5)))


@pytest.mark.parametrize(
    "symbol",
    [
        operator.add,
        operator.sub,
        operator.mul,
        operator.truediv,
        ops.maximum,
        ops.minimum,
        ops.arctan2,
        ops.logaddexp,
        ops.divide_no_nan,
        operator.gt,
        operator.le,
        ops.equal,
        operator.ne,
        operator.ge,
        operator.lt,
    ],
)
@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), (CUBE, CUBE), ((5, 1, 5), (5, 5, 1)), ((4, 5), (1, 5))])
def test_two_tensors(symbol, shapes):
    check(model_of(symbol, *shapes))


RIGHT = {
    "vector": lambda y: np.arange(1, 6, dtype="float32"),
    "row": lambda y: np.linspace(-1, 1, 25, dtype="float32").reshape(5, 5),
    "column": lambda y: np.linspace(1, 2, 5, dtype="float32").reshape(5, 1, 1),
    "cube": lambda y: np.linspace(1, 2, 125, dtype="float32").reshape(5, 5, 5),
    "batched": lambda y: np.linspace(1, 2, 25, dtype="float32").reshape(1, 5, 1, 5),
    "number": lambda y: np.float32(1.5),
    "mean over space": lambda y: ops.mean(y, axis=(1, 2), keepdims=True),
    "mean over rows": lambda y: ops.mean(y, axis=1, keepdims=True),
    "mean over channels": lambda y: ops.mean(y, axis=-1, keepdims=True),
    "mean, lower rank": lambda y: ops.mean(y, axis=(0, 1)),
    "channels, lower rank": lambda y: ops.mean(y, axis=(0, 1, 2)),
    "rank 3": lambda y: ops.mean(y, axis=0),
    "scalar": lambda y: ops.max(y),
    "dense branch": lambda y: layers.Dense(5)(y),
}


@pytest.mark.parametrize("right", list(RIGHT))
@pytest.mark.parametrize("symbol", [operator.sub, operator.mul, ops.maximum, operator.gt])
def test_broadcasting_on_a_convolution(right, symbol):
    def function(y):
        return symbol(y, RIGHT[right](y))

    def mirrored(y):
        return symbol(RIGHT[right](y), y)

    for case in (function, mirrored):
        if (
            case is mirrored
            and right in ("vector", "row", "column", "cube", "batched", "number")
            and symbol is not ops.maximum
        ):
            continue  # NumPy's own operator would take the KerasTensor apart
        conversion, _ = check(between(case), tolerance=5e-5)
        if right in (
            "vector",
            "number",
            "mean over space",
            "mean over rows",
            "mean over channels",
            "channels, lower rank",
            "scalar",
        ):
            assert not moves(conversion)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 5)])
def test_constants_keep_their_dtype(shape):
    for dtype in ("float32", "float64", "int32", "int64", "float16"):
        values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        check(model_of(lambda x, v=values: x * v, (5, 5)))
        check(model_of(lambda x, v=values: ops.subtract(v, x), (5, 5), dtype="int32"))


def test_large_constant_is_a_buffer_in_the_weights():
    values = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")
    conversion, module = check(model_of(lambda x: x * values + 1, (4, 5)))
    assert [b.shape for b in module.buffers()] == [(4, 5)]
    assert "ConstantTensor" in conversion.code.text
    x = keras.Input((4, 5, 1))
    y = layers.Flatten()(layers.Conv2D(5, 1)(x))
    conversion, _ = check(keras.Model(x, layers.Dense(3)(y * np.arange(100, dtype="float32"))))
    assert not moves(conversion)  # the constant follows the order in which torch flattens
    check(keras.Model(x, layers.Dense(3)((y + 1) * np.float32(2) + np.array([[3]], "float32"))))


def test_two_large_constants_are_refused():
    values = np.ones((5, 5), "float32")
    refused(lambda x: ops.where(x > 0, values, values * 2), (5, 5), match="two large constants")


def test_bias_add_of_keras():
    """keras.ops.add on TensorFlow takes (5, 1, 1) for a bias over channels: NumPy would add it along axis 1."""
    check(model_of(lambda x: x + np.arange(5, dtype="float32").reshape(5, 1, 1), (5, 4, 5)))
    check(between(lambda y: y + np.arange(5, dtype="float32").reshape(5, 1, 1)))
    check(model_of(lambda x: x + np.arange(5, dtype="float32").reshape(5, 1, 1), (5, 4, 7)))
    check(model_of(lambda x: x - np.arange(5, dtype="float32").reshape(5, 1, 1), (5, 4, 5)))


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic(name):
    function = getattr(ops, name)
    check(model_of(function, (4, 5), (4, 5), dtype="bool"))
    check(model_of(function, (4, 5), (4, 5), dtype=("int32", "float32")))
    check(model_of(lambda x: function(x, True), (4, 5), dtype="bool"))
    check(between(lambda y: function(y > 0, ops.mean(y, axis=1, keepdims=True) > 0)))
    check(model_of(lambda x: ~((x > 0) & (x < 1) | (x < -1)), (4, 5)))


@pytest.mark.parametrize(
    "function",
    [
        lambda y: ops.where(y > 0, y, 0.0),
        lambda y: ops.where(y > 0, 1.0, y),
        lambda y: ops.where(y > 0, 1.0, 0.0),
        lambda y: ops.where(y > 0, 1, 0),
        lambda y: ops.where(y > 0, 1, 0.5),
        lambda y: ops.where(y > 0, y, -y),
        lambda y: ops.where(ops.mean(y, 1, keepdims=True) > 0, y, y * 2),
        lambda y: ops.where(y, y, 1.0),
        lambda y: ops.where(y > 0, ops.cast(y, "int32"), 2),
        lambda y: ops.where(y > 0, np.arange(5, dtype="float32"), y),
        lambda y: ops.where(y > 0, np.arange(5, dtype="int32"), 7),
        lambda y: ops.where(y > 0, ops.mean(y, (0, 1)), y),
    ],
)
def test_where(function):
    check(
        model_of(function, (4, 5)) if function.__code__.co_consts.count((0, 1)) == 0 else model_of(function, (4, 5, 5))
    )
    conversion, _ = check(between(function), tolerance=5e-5)


def test_where_without_values_is_refused():
    refused(lambda x: ops.where(x > 0), (4, 5), match="where.*depends on the data")


def test_names_of_helpers_do_not_collide_with_variables():
    """Keras names the operations after their class, and so are variables where x, y and z are taken."""
    x = keras.Input((5,), dtype="int32")
    branches = [ops.one_hot(x, 4 + k) for k in range(6)]
    check(keras.Model(x, branches))
    x = keras.Input((4, 5))
    check(keras.Model(x, [t for k in range(5) for t in ops.top_k(x, k + 1)]))


def test_unsupported_things_are_named():
    refused(lambda x: ops.sum(x, axis=1), (5,), dtype="uint8", match="sum.*uint32")
    refused(lambda x: ops.argmax(x, axis=1), (5,), dtype="bool", match="arg_?max.*bool")
    refused(lambda x: ops.sort(x, axis=None), (5,), match="sort")


def test_what_a_rule_refuses_is_opened():
    """TensorFlow computes it of operations whose rules take it."""
    check(model_of(lambda x: ops.max(x, axis=()) * 2, (4, 5)))
    check(model_of(lambda x: ops.norm(x, ord=1, axis=(1, 2)), (5, 5)))
    check(model_of(lambda x: ops.average(x, axis=1, weights=ops.abs(x)), (5,)))
    check(model_of(lambda x: ops.median(x, axis=1), (5,)))
    check(model_of(lambda x: ops.leaky_relu(ops.cast(x, "int32")), (5,)))
    check(model_of(lambda x: x % 2.0, (5,), dtype="float16"), tolerance=1e-3)


def test_generated_code_can_be_exported_and_traced():
    def function(x, i):
        y = layers.Conv2D(5, 3, padding="same")(x)
        y = y * np.linspace(0, 1, 125, dtype="float32").reshape(5, 5, 5) - ops.mean(y, (1, 2), keepdims=True)
        y = ops.where(y > 0, y[:, ::-1], ops.clip(y, -1, 0.5))
        values, indices = ops.top_k(ops.reshape(y, (-1, 25, 5)), 2)
        return [values, indices, ops.one_hot(i, 4), *ops.split(y, 5, -1)]

    model = model_of(function, CUBE, (2,), dtype=("float32", "int32"))
    _, module = check(model)
    arguments = tuple(torch.from_numpy(a) for a in sample(model, batch=4))
    arguments = (arguments[0].permute(0, 3, 1, 2), arguments[1])
    with torch.no_grad():
        expected = module(*arguments)
        batch = torch.export.Dim("batch", min=2)
        exported = torch.export.export(module, arguments, dynamic_shapes=({0: batch}, {0: batch})).module()
        traced = torch.jit.trace(module, tuple(a[:2] for a in arguments))
        for other in (exported, traced):
            assert all(torch.equal(a, b) for a, b in zip(expected, other(*arguments)))


def test_saved_and_loaded_again(tmp_path):
    """The operations of a .keras file carry the same options as those in memory."""
    import k2t_core as k2t

    x = keras.Input(CUBE)
    y = layers.Conv2D(5, 3, padding="same")(x)
    y = ops.where(y > 0.1, y[:, ::-1] * 2, ops.mean(y, (1, 2), keepdims=True))
    y = ops.concatenate([y, ops.transpose(y, (0, 2, 1, 3))], -1) + np.arange(10, dtype="float32")
    a, b = ops.split(y, 2, -1)
    model = keras.Model(x, [a[:, None, ..., 1:3], ops.reshape(b, (-1, 25, 5)), ops.clip(a, -1, 1)])
    model.save(tmp_path / "m.keras")
    assert (
        write_source(k2t.plan(tmp_path / "m.keras")).text.split("class ")[1]
        == write_source(k2t.plan(model)).text.split("class ")[1]
    )
    check(keras.models.load_model(tmp_path / "m.keras"), sample(model))
