"""Every function of keras.ops, keras.activations and keras.random, in the forms in which it is called.

A form is an expression over inputs that are known by name (`INPUTS`): the model is of the inputs that it names. Each
becomes two cases: the function is called on the tensors of a functional model, and in the call() of a layer.

Long because it is a table.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tests.conformance.suite import Case
from tests.keras_side.recorded import Own

# name → (shape, dtype, what becomes of it before the function has it)
INPUTS: dict[str, tuple[tuple, str, Callable[[Any], Any] | None]] = {
    "x": ((5, 4), "float32", None),
    "y": ((5, 4), "float32", None),
    "v": ((4,), "float32", None),
    "s": ((4, 4), "float32", None),  # square
    "p": ((5, 4), "float32", lambda t: ops.softplus(t) + 0.1),  # positive
    "q": ((5, 4), "float32", lambda t: 0.9 * ops.tanh(t)),  # between -1 and 1
    "u": ((5, 4), "float32", lambda t: ops.sigmoid(t)),  # between 0 and 1
    "i": ((5, 4), "int32", None),
    "j": ((5, 4), "int32", lambda t: t + 1),  # above 0
    "k": ((5,), "int32", None),
    "b": ((5, 4), "bool", None),
    "c": ((5, 4), "bool", None),
    "h": ((5, 4), "float16", None),
    "n": ((5, 4), "float32", lambda t: ops.where(t > 0.5, np.float32("nan"), t)),  # with NaN
    "f": ((None, 4), "float32", None),  # of a free size
    "z": ((6, 5, 3), "float32", lambda t: layers.Conv2D(4, 1)(t)),  # in torch, channels first
    "t": ((8, 3), "float32", None),  # a sequence
}
NAMESPACES = (keras.ops, keras.activations, keras.random)
# Functions that compute nothing, and what takes functions.
NOT_COMPUTED = {
    "ops": {"dtype", "is_tensor", "convert_to_numpy", "ndim", "custom_gradient", "jvp"},
    "activations": {"get", "serialize", "deserialize"},
    "random": set(),
}
FORMS: dict[str, list[tuple[str, str | None]]] = {}


def forms(function: str, *expressions: str, refused: str | None = None) -> None:
    """Expressions in which `function` is called; ``refused``: a word of why k2t refuses all of them."""
    FORMS.setdefault(function, []).extend((expression, refused) for expression in expressions)


UNARY = (
    "abs absolute arcsinh arctan ceil cos cosh cbrt deg2rad exp exp2 expm1 fabs floor negative positive_ rad2deg "
    "round sign sin sinc sinh square tan tanh trunc i0 erf erfc sigmoid silu swish softplus softsign log_sigmoid "
    "hard_sigmoid hard_silu hard_swish hard_tanh hard_shrink soft_shrink tanh_shrink relu relu6 selu elu celu gelu "
    "leaky_relu squareplus sparse_plus sparse_sigmoid threshold_ signbit isfinite isinf isnan isneginf isposinf "
    "isreal real conj conjugate nan_to_num copy stop_gradient "
    "logical_not ravel flip fliplr flipud transpose"
).split()
for _name in UNARY:
    if _name.endswith("_"):
        continue
    forms(
        _name,
        f"ops.{_name}(x)",
        f"ops.{_name}(z)",
        f"ops.{_name}(h)",
        f"ops.{_name}(i)",
        f"ops.{_name}(b)",
        f"ops.{_name}({next(iter(inspect.signature(getattr(ops, _name)).parameters))}=x)",
        f"ops.{_name}(f)",
    )
for _name in ("arccos", "arcsin", "arctanh", "erfinv"):
    forms(_name, f"ops.{_name}(q)", f"ops.{_name}(x=q)", f"ops.{_name}(0.3 * h / 5)")
forms("angle", "ops.angle(x)", "ops.angle(z)", "ops.angle(-i)", "ops.angle(h)", "ops.angle(ops.polar(p, x))")
forms("imag", "x + ops.imag(y)", "ops.imag(ops.polar(p, x))")
for _name in ("sqrt", "log", "log10", "log1p", "log2", "rsqrt", "reciprocal"):
    forms(
        _name,
        f"ops.{_name}(p)",
        f"ops.{_name}(x=p)",
        f"ops.{_name}(j)",
        f"ops.{_name}(ops.cast(p, 'float16'))",
        f"ops.{_name}(ops.softplus(z))",
    )
forms("arccosh", "ops.arccosh(1 + p)", "ops.arccosh(j)")
forms("isfinite", "ops.isfinite(n)")
forms("isnan", "ops.isnan(n)")
forms("nan_to_num", "ops.nan_to_num(n)", "ops.nan_to_num(n, nan=2.0)", "ops.nan_to_num(1 / ops.relu(x), posinf=7.0)")
forms("leaky_relu", "ops.leaky_relu(x, negative_slope=0.3)")
forms("elu", "ops.elu(x, alpha=0.5)")
forms("celu", "ops.celu(x, alpha=0.5)")
forms("gelu", "ops.gelu(x, approximate=False)", "ops.gelu(x, True)")
forms("hard_shrink", "ops.hard_shrink(x, threshold=0.2)")
forms("soft_shrink", "ops.soft_shrink(x, threshold=0.2)")
forms("threshold", "ops.threshold(x, 0.2, 3.0)", "ops.threshold(x, threshold=0.1, default_value=-1.0)")
forms("squareplus", "ops.squareplus(x, b=2)")
forms("glu", "ops.glu(x)", "ops.glu(x, axis=-1)", "ops.glu(z, axis=-1)")
forms("round", "ops.round(10 * x, 1)", "ops.round(100 * x, decimals=-1)")
forms(
    "softmax",
    "ops.softmax(x)",
    "ops.softmax(x, axis=1)",
    "ops.softmax(z, axis=-1)",
    "ops.softmax(z, axis=(1, 2))",
    "ops.softmax(h)",
    "ops.softmax(x, axis=None)",
)
forms("log_softmax", "ops.log_softmax(x)", "ops.log_softmax(z, axis=1)", "ops.log_softmax(x, axis=None)")
forms("sparsemax", "ops.sparsemax(x)", "ops.sparsemax(x, axis=1)")
forms(
    "normalize",
    "ops.normalize(x)",
    "ops.normalize(x, axis=1, order=1)",
    "ops.normalize(z, axis=-1, order=3)",
    "ops.normalize(x, axis=(1, 2))",
)
forms("saturate_cast", "ops.saturate_cast(100 * x, 'uint8')", "ops.saturate_cast(x, 'int32')")
forms(
    "cast",
    "ops.cast(x, 'float16')",
    "ops.cast(3 * x, 'int32')",
    "ops.cast(b, 'float32')",
    "ops.cast(x, 'bool')",
    "ops.cast(i, dtype='int64')",
)
forms("view", "ops.view(x, 'int32')", "ops.view(ops.view(x, 'int32') + 1, dtype='float32')")
forms("convert_to_tensor", "ops.convert_to_tensor(x) * 2", "ops.convert_to_tensor([1.0, 2.0, 3.0, 4.0]) * x")
forms("array", "ops.array([1.0, 2.0, 3.0, 4.0]) * x")

BINARY = (
    "add subtract multiply maximum minimum fmax fmin hypot logaddexp logaddexp2 arctan2 heaviside nextafter".split()
)
for _name in BINARY:
    forms(
        _name,
        f"ops.{_name}(x, y)",
        f"ops.{_name}(x, 0.4)",
        f"ops.{_name}(0.5, x) + x",
        f"ops.{_name}(x, 2) + x",
        f"ops.{_name}(x, v[:, None])",
        f"ops.{_name}(v[:, None], x)",
        f"ops.{_name}(x, np.arange(4, dtype='float32'))",
        f"ops.{_name}(i, j)",
        f"ops.{_name}(i, x)",
        f"ops.{_name}(h, x)",
        f"ops.{_name}(h, i)",
        f"ops.{_name}(x1=x, x2=y)",
        f"ops.{_name}(z, z[..., :1])",
        f"ops.{_name}(z, v[:, None, None])",
        f"ops.{_name}(b, i)",
    )
for _name in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"):
    forms(
        _name,
        f"ops.{_name}(i, j)",
        f"ops.{_name}(x, y)",
        f"ops.{_name}(x, 0.1)",
        f"ops.{_name}(1, i)",
        f"ops.{_name}(i, x)",
        f"ops.{_name}(z, z[:, :1])",
        f"ops.{_name}(b, c)",
        f"ops.{_name}(h, v[:, None])",
    )
for _name in ("divide", "true_divide", "divide_no_nan"):
    forms(
        _name,
        f"ops.{_name}(x, p)",
        f"ops.{_name}(i, j)",
        f"ops.{_name}(x, 3)",
        f"ops.{_name}(2, p)",
        f"ops.{_name}(h, j)",
        f"ops.{_name}(z, 2.0)",
        f"ops.{_name}(x1=x, x2=p)",
        f"ops.{_name}(b, j)",
    )
forms("divide_no_nan", "ops.divide_no_nan(x, ops.relu(y))")
for _name in ("floor_divide", "mod", "fmod"):
    forms(
        _name,
        f"ops.{_name}(x, p)",
        f"ops.{_name}(x, -p)",
        f"ops.{_name}(i, j)",
        f"ops.{_name}(-i, 3)",
        f"ops.{_name}(7, j)",
        f"ops.{_name}(x, 0.7)",
        f"ops.{_name}(z, 0.7)",
        f"ops.{_name}(i, p)",
    )
forms(
    "power",
    "ops.power(p, y)",
    "ops.power(x, 2)",
    "ops.power(x, 3.0)",
    "ops.power(2.0, x)",
    "ops.power(i, 2)",
    "ops.power(i, j)",
    "ops.power(p, i)",
    "ops.power(h, 2)",
    "ops.power(x1=p, x2=0.5)",
    "ops.power(z, 2)",
)
for _name in ("logical_and", "logical_or", "logical_xor"):
    forms(
        _name,
        f"ops.{_name}(b, c)",
        f"ops.{_name}(b, x)",
        f"ops.{_name}(b, True)",
        f"ops.{_name}(i, j)",
        f"ops.{_name}(z > 0, z[..., :1] > 0)",
    )
for _name in (
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "bitwise_left_shift",
    "bitwise_right_shift",
    "left_shift",
    "right_shift",
    "gcd",
    "lcm",
):
    forms(
        _name,
        f"ops.{_name}(i, j)",
        f"ops.{_name}(i, 2)",
        f"ops.{_name}(j, k[:, :, None])",
        f"ops.{_name}(x=i, y=j)" if "wise" in _name or "shift" in _name else f"ops.{_name}(x1=i, x2=j)",
    )
for _name in ("bitwise_not", "bitwise_invert"):
    forms(_name, f"ops.{_name}(i)", f"ops.{_name}(ops.cast(i, 'uint8'))")
forms("ldexp", "ops.ldexp(x, i)", "ops.ldexp(x, 2)")
forms("isclose", "ops.isclose(x, y)", "ops.isclose(x, y, rtol=0.5, atol=0.5)", "ops.isclose(n, n, equal_nan=True)")
forms("allclose", "ops.allclose(x, y)", "ops.allclose(x, x + 1e-9)")
forms("polar", "ops.real(ops.polar(p, x))", "ops.imag(ops.polar(p, x))")
forms("view_as_complex", "ops.real(ops.view_as_complex(ops.stack([x, y], axis=-1)))")
forms("view_as_real", "ops.view_as_real(ops.view_as_complex(ops.stack([x, y], axis=-1)))")

for _name in (
    "sum",
    "mean",
    "prod",
    "max",
    "min",
    "amax",
    "amin",
    "std",
    "var",
    "all",
    "any",
    "logsumexp",
    "ptp",
    "count_nonzero",
    "nansum",
    "nanmean",
    "nanmax",
    "nanmin",
    "nanprod",
    "nanstd",
    "nanvar",
    "median",
    "nanmedian",
):
    _plain = f"ops.{_name}({'n' if 'nan' in _name else 'x'}"
    _keeps = "keepdims" in inspect.signature(getattr(ops, _name)).parameters
    forms(
        _name,
        f"{_plain})",
        f"{_plain}, axis=1)",
        f"{_plain}, axis=-1)",
        f"{_plain}, axis=(1, 2))",
        f"ops.{_name}(z, axis=(1, 2))",
        f"ops.{_name}(z, axis=-1)",
        f"ops.{_name}(f, axis=1)",
        f"ops.{_name}(x=x, axis=2)",
        *([f"{_plain}, axis=1, keepdims=True)"] if _keeps else []),
    )
    if _name not in ("logsumexp",):
        forms(_name, f"ops.{_name}(i, axis=1)", f"ops.{_name}(h, axis=1)", f"ops.{_name}(b, axis=1)")
forms("std", "ops.std(x, 1)")
forms("var", "ops.var(x, 1, True)")
for _name in ("argmax", "argmin", "nanargmax", "nanargmin"):
    _on = "n" if "nan" in _name else "x"
    forms(
        _name,
        f"ops.{_name}({_on}, axis=1)",
        f"ops.{_name}({_on}, axis=-1)",
        f"ops.{_name}({_on})",
        f"ops.{_name}(z, axis=-1)",
        f"ops.{_name}({_on}, axis=1, keepdims=True)",
        f"ops.{_name}(i, axis=1)",
    )
for _name in ("cumsum", "cumprod", "nancumsum", "nancumprod"):
    _on = "n" if "nan" in _name else "x"
    forms(
        _name,
        f"ops.{_name}({_on}, axis=1)",
        f"ops.{_name}({_on}, axis=-1)",
        f"ops.{_name}({_on})",
        f"ops.{_name}(i, axis=1)",
        f"ops.{_name}(z, axis=3)",
        f"ops.{_name}({_on}, axis=1, dtype='float16')",
    )
forms(
    "average",
    "ops.average(x)",
    "ops.average(x, axis=1)",
    "ops.average(x, axis=-1, weights=np.array([1.0, 2, 3, 4]))",
    "ops.average(x, axis=2, weights=p)",
    "ops.average(z, axis=(1, 2))",
)
forms(
    "moments",
    "ops.moments(x, axes=[1])",
    "ops.moments(x, axes=[1, 2], keepdims=True)",
    "ops.moments(z, axes=[3])",
    "ops.moments(h, axes=[1])",
)
for _name in ("quantile", "nanquantile"):
    _on = "n" if "nan" in _name else "x"
    forms(
        _name,
        f"ops.{_name}({_on}, 0.3, axis=1)",
        f"ops.{_name}({_on}, [0.2, 0.5], axis=1)",
        f"ops.{_name}({_on}, 0.3)",
        f"ops.{_name}({_on}, 0.3, axis=-1, keepdims=True)",
        *[f"ops.{_name}({_on}, 0.3, axis=1, method='{m}')" for m in ("lower", "higher", "midpoint", "nearest")],
    )
for _name in ("percentile", "nanpercentile"):
    _on = "n" if "nan" in _name else "x"
    forms(_name, f"ops.{_name}({_on}, 30, axis=1)", f"ops.{_name}({_on}, [20, 50], axis=1)", f"ops.{_name}({_on}, 30)")
forms(
    "norm",
    "ops.norm(x)",
    "ops.norm(x, axis=1)",
    "ops.norm(x, ord=1, axis=-1)",
    "ops.norm(x, ord=np.inf, axis=1)",
    "ops.norm(x, ord=-np.inf, axis=1, keepdims=True)",
    "ops.norm(x, ord='fro', axis=(1, 2))",
    "ops.norm(x, ord='nuc', axis=(1, 2))",
    "ops.norm(x, ord=2, axis=(1, 2))",
    "ops.norm(ops.relu(x), ord=0, axis=1)",
    "ops.norm(z, axis=-1)",
    "ops.norm(x, ord=3, axis=1)",
    "ops.norm(x, ord=1, axis=(1, 2))",
    "ops.norm(x, ord=np.inf, axis=(-2, -1))",
    "ops.norm(x, ord=-2, axis=(1, 2))",
)

forms("sort", "ops.sort(x)", "ops.sort(x, axis=1)", "ops.sort(i)", "ops.sort(z, axis=-1)", "ops.sort(x, None)")
forms(
    "argsort",
    "ops.argsort(x)",
    "ops.argsort(x, axis=1)",
    "ops.argsort(z, axis=-1)",
    "ops.argsort(i, axis=1)",
    "ops.argsort(x, axis=None)",
)
forms("argpartition", "ops.sort(ops.argpartition(x, 2)[..., :2])", "ops.sort(ops.argpartition(x, 1, axis=1)[:, :1])")
forms(
    "top_k", "ops.top_k(x, 2)", "ops.sort(ops.top_k(x, k=3, sorted=False)[0])", "ops.top_k(z, 2)", "ops.top_k(x, 2)[1]"
)
forms("in_top_k", "ops.in_top_k(i[:, 0, 0] % 4, x[:, 0], 2)")
forms(
    "searchsorted",
    "ops.searchsorted(np.array([-1.0, 0.0, 0.5], 'float32'), ops.reshape(x, (-1,)))",
    "ops.searchsorted(np.array([-1.0, 0.0, 0.5], 'float32'), ops.reshape(x, (-1,)), side='right')",
)
forms("digitize", "ops.digitize(x, np.array([-1.0, 0.0, 0.5], 'float32'))", "ops.digitize(i, bins=np.array([1, 3]))")
forms("histogram", "ops.histogram(x, bins=4, range=(-2.0, 2.0))[0]", "ops.histogram(x)[0]")
forms(
    "bincount",
    "ops.bincount(k, minlength=6)",
    "ops.bincount(k, weights=ops.cast(k, 'float32') / 3, minlength=6)",
    "ops.bincount(k)",
)
forms("unique", "ops.unique(k)")
forms("nonzero", "ops.nonzero(x)")
forms("isin", "ops.isin(i, [1, 3])", "ops.isin(i, np.array([2, 4]), invert=True)", "ops.isin(i, k[0])")
forms(
    "where",
    "ops.where(b, x, y)",
    "ops.where(x > 0, x, 0.0)",
    "ops.where(b, 1.5, x)",
    "ops.where(b, i, x)",
    "ops.where(b, v[:, None], x)",
    "ops.where(z > 0, z, -1)",
    "ops.where(b, 1, 0)",
    "ops.where(x > 0, h, x)",
    "ops.where(condition=b, x1=x, x2=y)",
    "ops.where(b)",
)
forms("select", "ops.select([x > 1, x > 0], [x, 2 * x], default=-1.0)", "ops.select([b, c], [x, y])")
forms(
    "clip",
    "ops.clip(x, -0.5, 0.5)",
    "ops.clip(i, 1, 3)",
    "ops.clip(x, x_min=-1, x_max=v[:, None])",
    "ops.clip(h, 0, 1)",
    "ops.clip(z, 0.0, 6.0)",
    "ops.clip(i, 0.5, 2.5)",
)

forms(
    "reshape",
    "ops.reshape(x, (-1, 4))",
    "ops.reshape(x, (-1, 2, 10))",
    "ops.reshape(z, (-1, 6, 20))",
    "ops.reshape(f, (-1, 2, 2))",
    "ops.reshape(x, newshape=(-1, 20))",
    "ops.reshape(x, (-1,))",
)
forms(
    "expand_dims",
    "ops.expand_dims(x, 1)",
    "ops.expand_dims(x, -1)",
    "ops.expand_dims(x, axis=(1, -1))",
    "ops.expand_dims(z, 0)",
)
forms(
    "squeeze",
    "ops.squeeze(x[:, :1], 1)",
    "ops.squeeze(x[..., :1], axis=-1)",
    "ops.squeeze(x[:, :1, :1], (1, 2))",
    "ops.squeeze(x[:, :1, :1])",
)
forms("transpose", "ops.transpose(x, (0, 2, 1))", "ops.transpose(z, axes=(0, 3, 1, 2))", "ops.transpose(x, [2, 0, 1])")
forms("moveaxis", "ops.moveaxis(x, 1, 2)", "ops.moveaxis(z, -1, 1)", "ops.moveaxis(z, (1, 2), (2, 3))")
forms("swapaxes", "ops.swapaxes(x, 1, 2)", "ops.swapaxes(z, -1, 1)", "ops.swapaxes(x, axis1=-1, axis2=1)")
forms(
    "rearrange",
    "ops.rearrange(x, 'b t c -> b c t')",
    "ops.rearrange(z, 'b h w c -> b (h w) c')",
    "ops.rearrange(x, 'b t (d e) -> b d (t e)', d=2)",
)
forms("flip", "ops.flip(x, 1)", "ops.flip(z, axis=(1, 2))", "ops.flip(x, axis=-1)")
forms("roll", "ops.roll(x, 2, axis=1)", "ops.roll(x, (1, -1), (1, 2))", "ops.roll(z, 1, axis=-1)", "ops.roll(x, 3)")
forms("rot90", "ops.rot90(z, axes=(1, 2))", "ops.rot90(z, k=2, axes=(1, 2))", "ops.rot90(x, -1, (1, 2))")
forms(
    "concatenate",
    "ops.concatenate([x, y], axis=1)",
    "ops.concatenate([x, y])",
    "ops.concatenate([z, z[:, :2]], 1)",
    "ops.concatenate([x, i], -1)",
    "ops.concatenate([x, h], axis=-1)",
    "ops.concatenate([b, c], axis=-1)",
    "ops.concatenate([z, z], axis=-1)",
    "ops.concatenate(xs=[x, y], axis=2)",
)
forms("append", "ops.append(x, y, axis=1)", "ops.append(x, y)")
forms(
    "stack", "ops.stack([x, y])", "ops.stack([x, y], axis=1)", "ops.stack([x, y], axis=-1)", "ops.stack([z, z], axis=1)"
)
for _name in ("hstack", "vstack", "dstack"):
    forms(_name, f"ops.{_name}([x, y])", f"ops.{_name}([z, z])", f"ops.{_name}(xs=[x, i])")
forms("unstack", "ops.unstack(x, axis=1)", "ops.unstack(z, axis=-1)", "ops.unstack(x, 4, -1)")
forms(
    "split",
    "ops.split(x, 2, axis=2)",
    "ops.split(x, [1, 3], axis=1)",
    "ops.split(z, 2, axis=-1)",
    "ops.split(x, indices_or_sections=[2], axis=-1)",
)
forms("array_split", "ops.array_split(x, 3, axis=1)", "ops.array_split(z, 2, axis=-1)")
forms("hsplit", "ops.hsplit(x, [2])", "ops.hsplit(z, 2)")
forms("vsplit", "ops.vsplit(ops.transpose(x, (1, 0, 2)), [2])")
forms("dsplit", "ops.dsplit(x, 2)", "ops.dsplit(x, [1, 2])")
forms("tile", "ops.tile(x, (1, 2, 1))", "ops.tile(x, [1, 1, 3])", "ops.tile(z, (1, 2, 1, 2))", "ops.tile(x, (2, 1))")
forms(
    "repeat",
    "ops.repeat(x, 2, axis=1)",
    "ops.repeat(x, 3, axis=-1)",
    "ops.repeat(z, 2, axis=1)",
    "ops.repeat(x, 2)",
    "ops.repeat(x, [1, 2, 0, 1], axis=2)",
    "ops.repeat(x, np.array([1, 2, 0, 1, 1]), axis=1)",
)
forms("broadcast_to", "ops.broadcast_to(x[:, :1], (3, 5, 4))", "ops.broadcast_to(v[:, None], (3, 2, 4))")
forms(
    "pad",
    "ops.pad(x, ((0, 0), (1, 2), (0, 1)))",
    "ops.pad(x, ((0, 0), (1, 2), (2, 1)), mode='reflect')",
    "ops.pad(x, ((0, 0), (1, 1), (0, 0)), mode='symmetric')",
    "ops.pad(x, ((0, 0), (1, 1), (0, 0)), constant_values=3)",
    "ops.pad(z, ((0, 0), (1, 1), (2, 0), (0, 0)))",
    "ops.pad(i, ((0, 0), (0, 1), (0, 0)), constant_values=-1)",
    "ops.pad(x, 1)",
    "ops.pad(x, (1, 2))",
)
forms(
    "take",
    "ops.take(x, [0, 2], axis=1)",
    "ops.take(x, 1, axis=1)",
    "ops.take(x, np.array([[0, 1], [2, 3]]), axis=-1)",
    "ops.take(x, [-1, 0], axis=2)",
    "ops.take(x, [3, 9, 1])",
    "ops.take(np.arange(12.0).reshape(6, 2), i, axis=0)",
    "ops.take(z, [0, 2], axis=-1)",
    "ops.take(x, indices=k[0] % 4, axis=1)",
)
forms(
    "take_along_axis",
    "ops.take_along_axis(x, i % 4, axis=2)",
    "ops.take_along_axis(x, ops.argsort(x, axis=1), axis=1)",
    "ops.take_along_axis(x, i[:, :1] % 4, axis=1)",
    "ops.take_along_axis(x, ops.argsort(x, axis=1)[:, :2], 1)",
)
forms("get_item", "ops.get_item(x, (slice(None), 1))", "ops.get_item(z, (Ellipsis, slice(0, 2)))")
forms("slice", "ops.slice(x, (0, 1, 1), (2, 3, 2))", "ops.slice(z, start_indices=(0, 1, 0, 2), shape=(1, 4, 5, 2))")
forms("slice_update", "ops.slice_update(x, (0, 1, 1), y[:1, :2, :2])")
forms("scatter", "ops.scatter(np.array([[1], [3]]), v[:2, :1], (5, 1))", "ops.scatter([[0], [2]], v[:2], shape=(4, 4))")
forms(
    "scatter_update",
    "ops.scatter_update(x, [[0, 1, 2], [1, 0, 3]], [1.0, 2.0])",
    "ops.scatter_update(s[0], [[1, 2]], v[0, :1])",
)
forms(
    "diagonal", "ops.diagonal(x, axis1=1, axis2=2)", "ops.diagonal(x, offset=1, axis1=-2, axis2=-1)", "ops.diagonal(x)"
)
forms("diag", "ops.diag(k[0])", "ops.diag(s[0], k=1)", "ops.diag(s[0])")
forms("diagflat", "ops.diagflat(v[0])", "ops.diagflat(v[0], k=1)")
forms("trace", "ops.trace(x, axis1=1, axis2=2)", "ops.trace(s, offset=1, axis1=1, axis2=2)", "ops.trace(x)")
forms("tril", "ops.tril(x)", "ops.tril(x, k=1)", "ops.tril(x, -1)", "ops.tril(i)")
forms("triu", "ops.triu(x)", "ops.triu(x, k=1)", "ops.triu(x, -1)", "ops.triu(b)")
forms("tri", "ops.tri(5, 4, 1) * x", "ops.tri(5, M=4, k=-1, dtype='float32') * x")
forms("eye", "ops.eye(4) * s", "ops.eye(5, 4, k=1) * x")
forms("identity", "ops.identity(4) * s", "ops.identity(4, dtype='float32') * s")
forms("zeros", "ops.zeros((5, 4)) + x", "ops.concatenate([x, ops.zeros((ops.shape(x)[0], 1, 4))], axis=1)")
forms("ones", "ops.ones((5, 4)) + x", "ops.ones((4,), dtype='int32') * i")
for _name in ("zeros_like", "ones_like"):
    forms(
        _name, f"ops.{_name}(x) + x", f"ops.{_name}(x=z) + z", f"ops.{_name}(i) + i", f"ops.{_name}(f, dtype='int32')"
    )
forms("empty", "0 * ops.empty((5, 4)) + x")
forms("empty_like", "ops.zeros_like(ops.empty_like(x)) + x")
forms("full", "ops.full((5, 4), 2.5) + x", "ops.full((4,), 2, dtype='int32') * i", "x * ops.full((), 2.0)")
forms("full_like", "ops.full_like(x, 2.5) + x", "ops.full_like(i, 2) * i", "ops.full_like(x, 2, dtype='int32')")
forms(
    "arange",
    "ops.arange(4) * i",
    "ops.arange(1, 9, 2) * i",
    "ops.arange(4, dtype='float32') + x",
    "ops.arange(0.0, 1.0, 0.25) + x",
    "ops.arange(3, -1, -1) * i",
    "ops.arange(ops.shape(f)[1])[:, None] * ops.cast(f, 'int32')",
)
forms(
    "linspace",
    "ops.linspace(0.0, 1.0, 4) + x",
    "ops.linspace(v, 2 * v, 3)",
    "ops.linspace(v, 1.0, 3, axis=-1)",
    "ops.linspace(0.0, 1.0, num=4, endpoint=False) + x",
)
forms("logspace", "ops.logspace(0.0, 1.0, 4) + x", "ops.logspace(v, 2.0, 3, base=2)")
forms("geomspace", "ops.geomspace(1.0, 9.0, 4) + x", "ops.geomspace(p, 9.0 * p, 3)")
forms("meshgrid", "ops.meshgrid(v[0], ops.reshape(x, (-1,)))", "ops.meshgrid(v[0], v[1], indexing='ij')")
forms("vander", "ops.vander(v[0])", "ops.vander(v[0], 3, increasing=True)")
for _name in ("bartlett", "blackman", "hamming", "hanning"):
    forms(_name, f"ops.{_name}(4) * x", f"ops.{_name}(x=5)[:, None] * x")
forms("kaiser", "ops.kaiser(4, 2.5) * x")
forms("shape", "ops.reshape(x, (ops.shape(x)[0], 20))", "ops.reshape(f, (ops.shape(f)[0] * ops.shape(f)[1], 4))")
forms("size", "x / ops.cast(ops.size(x[0]), 'float32')", "ops.cast(ops.size(f), 'float32') * f")
forms("unravel_index", "ops.unravel_index(i, (5, 4))")
forms(
    "one_hot",
    "ops.one_hot(i, 6)",
    "ops.one_hot(i, 6, axis=1)",
    "ops.one_hot(i, num_classes=3, dtype='int32')",
    "ops.one_hot(i - 1, 4)",
    "ops.one_hot(k, 6, axis=-1)",
)
forms("multi_hot", "ops.multi_hot(k, 6)", "ops.multi_hot(k, num_classes=6, dtype='int32')", "ops.multi_hot(k - 1, 4)")
for _name in ("segment_sum", "segment_max", "segment_min", "segment_prod"):
    forms(
        _name,
        f"ops.{_name}(s[0], np.array([0, 0, 1, 2]), num_segments=3)",
        f"ops.{_name}(s[0], np.array([2, 0, 1, 0]), num_segments=3)",
        f"ops.{_name}(s[0], k[0, :4] % 3, 3)",
    )

forms(
    "matmul",
    "ops.matmul(x, s)",
    "ops.matmul(x, ops.transpose(y, (0, 2, 1)))",
    "ops.matmul(x, np.ones((4, 3), 'float32'))",
    "ops.matmul(h, ops.cast(s, 'float16'))",
    "ops.matmul(i, ops.transpose(j, (0, 2, 1)))",
    "ops.matmul(z, s[:1])",
    "ops.matmul(x, v[0])",
    "ops.matmul(i, s)",
    "x @ s",
    "np.ones((2, 5), 'float32') @ x",
)
forms("dot", "ops.dot(x, s[0])", "ops.dot(x, np.arange(4.0, dtype='float32'))", "ops.dot(x, 2.0)")
forms("vdot", "ops.vdot(v, 2 * v + 1)")
forms("inner", "ops.inner(v, v + 1)", "ops.inner(x, np.arange(4.0, dtype='float32'))")
forms("outer", "ops.outer(v[0], x[0])", "ops.outer(v, v)")
forms("cross", "ops.cross(t, t[:, ::-1] + 1)", "ops.cross(x[..., :3], y[..., :3])", "ops.cross(x[..., :2], y[..., :2])")
forms("kron", "ops.kron(s[0], x[0])", "ops.kron(x, x[:, :2, :2])")
forms(
    "tensordot",
    "ops.tensordot(x, s[0], axes=1)",
    "ops.tensordot(x, s, axes=[[2], [1]])",
    "ops.tensordot(x, y, axes=([1, 2], [1, 2]))",
)
forms(
    "einsum",
    "ops.einsum('btc,bcd->btd', x, s)",
    "ops.einsum('btc->bct', x)",
    "ops.einsum('...c,bcd->...d', v, s)",
    "ops.einsum('bhwc,bcd->bhwd', z, s)",
    "ops.einsum('bij->b', s)",
    "ops.einsum('bii->bi', s)",
    "ops.einsum('btc,bsc->bts', x, y)",
    "ops.einsum('btc,btc->bt', i, j)",
)
forms("cdist", "ops.cdist(x, y)", "ops.cdist(x, y, p=1)")
forms(
    "dot_product_attention",
    "ops.dot_product_attention(x[:, :, None], y[:, :, None], y[:, :, None])",
    "ops.dot_product_attention(z, z, 2 * z, is_causal=True)",
    "ops.dot_product_attention(z, z, z, scale=0.3)",
    "ops.dot_product_attention(z, z, z, mask=np.tril(np.ones((1, 1, 6, 6), bool)))",
    "ops.dot_product_attention(z, z, z, bias=np.ones((1, 1, 6, 6), 'float32'))",
)
_spd = "(ops.matmul(s, ops.transpose(s, (0, 2, 1))) + 3 * ops.eye(4))"
for _name in ("cholesky", "det", "inv", "logdet"):
    forms(_name, f"ops.{_name}({_spd})")
forms(
    "cholesky_inverse",
    f"ops.cholesky_inverse(ops.cholesky({_spd}))",
    f"ops.cholesky_inverse(ops.transpose(ops.cholesky({_spd}), (0, 2, 1)), upper=True)",
)
forms("slogdet", f"ops.slogdet({_spd})[1]")
forms("eigh", f"ops.eigh({_spd})[0]")
forms("eig", f"ops.real(ops.sum(ops.eig({_spd})[0], -1))")
forms("svd", f"ops.svd({_spd}, compute_uv=False)", "ops.svd(x)[1]", "ops.svd(x, full_matrices=False)[1]")
forms("qr", "ops.abs(ops.qr(x)[1])", f"ops.abs(ops.qr({_spd}, mode='complete')[0])")
forms("lu_factor", f"ops.lu_factor({_spd})[0]")
forms("solve", f"ops.solve({_spd}, s)", f"ops.solve({_spd}, v[..., None])", f"ops.solve({_spd}, v)")
forms(
    "solve_triangular",
    f"ops.solve_triangular(ops.cholesky({_spd}), s, lower=True)",
    f"ops.solve_triangular(ops.transpose(ops.cholesky({_spd}), (0, 2, 1)), s)",
)
forms("lstsq", "ops.lstsq(x[0], y[0])")
forms("pinv", "ops.pinv(x)")
forms("matrix_rank", f"ops.matrix_rank({_spd})")

forms("fft", "ops.fft((x, y))", "ops.fft((x, 0 * y))[0]")
forms("fft2", "ops.fft2((x, y))")
forms("ifft2", "ops.ifft2((x, y))")
forms("rfft", "ops.rfft(x)", "ops.rfft(x, fft_length=6)")
forms("irfft", "ops.irfft((x, y))", "ops.irfft((x, y), fft_length=5)")
forms(
    "stft",
    "ops.stft(ops.reshape(x, (-1, 20)), 8, 4, 8)",
    "ops.stft(ops.reshape(x, (-1, 20)), 6, 3, 8, window='hamming', center=False)",
)
forms("istft", "ops.istft(ops.stft(ops.reshape(x, (-1, 20)), 8, 4, 8), 8, 4, 8)")
forms("extract_sequences", "ops.extract_sequences(ops.reshape(x, (-1, 20)), 6, 4)", "ops.extract_sequences(x, 2, 1)")

forms(
    "conv",
    "ops.conv(z, np.ones((3, 3, 4, 2), 'float32'), 1, 'same')",
    "ops.conv(t, np.ones((3, 3, 2), 'float32') / 3)",
    "ops.conv(z, np.ones((3, 3, 4, 2), 'float32'), strides=2, padding='valid')",
    "ops.conv(z, np.ones((3, 3, 2, 2), 'float32'), 1, 'valid')",
    "ops.conv(z, np.ones((2, 2, 4, 2), 'float32'), dilation_rate=2)",
    "ops.conv(z, s[0, None, None], 1)",
)
forms(
    "conv_transpose",
    "ops.conv_transpose(z, np.ones((3, 3, 2, 4), 'float32'), 2, 'same')",
    "ops.conv_transpose(t, np.ones((3, 2, 3), 'float32'), strides=2)",
    "ops.conv_transpose(z, np.ones((3, 3, 2, 4), 'float32'), 2, 'valid', output_padding=1)",
)
forms(
    "depthwise_conv",
    "ops.depthwise_conv(z, np.ones((3, 3, 4, 1), 'float32'), 1, 'same')",
    "ops.depthwise_conv(z, np.ones((3, 3, 4, 2), 'float32'), 2)",
    "ops.depthwise_conv(t, np.ones((3, 3, 1), 'float32'))",
)
forms(
    "separable_conv",
    "ops.separable_conv(z, np.ones((3, 3, 4, 1), 'float32'), np.ones((1, 1, 4, 2), 'float32'), 1, 'same')",
)
forms("max_pool", "ops.max_pool(z, 2)", "ops.max_pool(z, (2, 3), 1, 'same')", "ops.max_pool(t, 2, strides=1)")
forms(
    "average_pool",
    "ops.average_pool(z, 2)",
    "ops.average_pool(z, (2, 3), 1, 'same')",
    "ops.average_pool(t, 2, padding='same')",
)
forms("adaptive_average_pool", "ops.adaptive_average_pool(z, (3, 2))", "ops.adaptive_average_pool(t, 3)")
forms("adaptive_max_pool", "ops.adaptive_max_pool(z, (3, 2))", "ops.adaptive_max_pool(t, 3)")
forms("depth_to_space", "ops.depth_to_space(z, 2)", "ops.depth_to_space(z, block_size=2)")
forms("space_to_depth", "ops.space_to_depth(z[:, :, :4], 2)")
forms(
    "fold",
    "ops.fold(ops.reshape(x, (-1, 20, 1)), (4, 5), (4, 5))",
    "ops.fold(ops.transpose(ops.reshape(x, (-1, 5, 4)), (0, 2, 1))[:, :, :4], (4, 4), (2, 2), stride=2)",
)
forms(
    "unfold",
    "ops.unfold(ops.transpose(z, (0, 3, 1, 2)), (2, 2))",
    "ops.unfold(ops.transpose(z, (0, 3, 1, 2)), 2, stride=2, padding=1)",
)
forms(
    "batch_normalization",
    "ops.batch_normalization(x, np.arange(4.0), np.arange(4.0) + 1, axis=-1)",
    "ops.batch_normalization(z, np.arange(4.0), np.ones(4), -1, np.ones(4), np.arange(4.0), 0.1)",
)
forms(
    "layer_normalization",
    "ops.layer_normalization(x)",
    "ops.layer_normalization(x, gamma=np.arange(4.0), beta=np.ones(4), epsilon=0.1)",
    "ops.layer_normalization(z, axis=-1)",
)
forms("rms_normalization", "ops.rms_normalization(x)", "ops.rms_normalization(x, scale=np.arange(4.0), epsilon=0.1)")
forms(
    "binary_crossentropy",
    "ops.binary_crossentropy(ops.cast(b, 'float32'), u)",
    "ops.binary_crossentropy(ops.cast(b, 'float32'), x, from_logits=True)",
)
forms(
    "categorical_crossentropy",
    "ops.categorical_crossentropy(ops.softmax(y), ops.softmax(x))",
    "ops.categorical_crossentropy(ops.softmax(y), x, from_logits=True)",
    "ops.categorical_crossentropy(ops.softmax(y, 1), ops.softmax(x, 1), axis=1)",
)
forms(
    "sparse_categorical_crossentropy",
    "ops.sparse_categorical_crossentropy(i[..., 0] % 4, ops.softmax(x))",
    "ops.sparse_categorical_crossentropy(i[..., 0] % 4, x, from_logits=True)",
)
forms("ctc_loss", "ops.ctc_loss(i[:, :3, 0] % 2 + 1, x, np.array([3, 3, 3]), np.array([5, 5, 5]))")
forms("ctc_decode", "ops.ctc_decode(x, np.array([5, 5, 5]))[0]", refused="")
forms("psnr", "ops.psnr(x, y, 2.0)")
forms(
    "correlate",
    "ops.correlate(v[0], v[1])",
    "ops.correlate(v[0], v[1, :2], mode='same')",
    "ops.correlate(v[0], v[1], mode='full')",
)
forms("corrcoef", "ops.corrcoef(x[0])")
forms("diff", "ops.diff(x)", "ops.diff(x, n=2, axis=1)", "ops.diff(z, axis=-1)", "ops.diff(i, axis=1)")
forms("trapezoid", "ops.trapezoid(x)", "ops.trapezoid(x, dx=0.5, axis=1)", "ops.trapezoid(x, p)")

forms("cond", "ops.cond(True, lambda: x, lambda: 2 * x)")
forms("cond", "ops.cond(ops.sum(x) > 0, lambda: x, lambda: 2 * x)", refused="")
forms("switch", "ops.switch(1, [lambda a: a, lambda a: 2 * a], x)")
forms("while_loop", "ops.while_loop(lambda n, a: n < 3, lambda n, a: (n + 1, 2 * a + 1), (0, x))[1]")
forms("fori_loop", "ops.fori_loop(0, 3, lambda n, a: 2 * a + 1, x)")
forms(
    "scan",
    "ops.scan(lambda c, a: (c + a, c * a), v[0], s[0])",
    "ops.scan(lambda c, a: (c + a, c), ops.zeros_like(x[:, 0]), ops.transpose(x, (1, 0, 2)))[1]",
)
forms("associative_scan", "ops.associative_scan(lambda a, b: a + b, x, axis=1)")
forms("map", "ops.map(lambda a: 2 * a + 1, x)")
forms("vectorized_map", "ops.vectorized_map(lambda a: ops.matmul(a, ops.ones((4, 2))), x)")
forms("vectorize", "ops.vectorize(lambda a: 2 * a + 1)(x)")

for _name in [n for n in dir(keras.activations) if n not in NOT_COMPUTED["activations"] and not n.startswith("_")]:
    forms(f"activations.{_name}", f"keras.activations.{_name}(x)", f"keras.activations.{_name}(z)")

forms("random.dropout", "keras.random.dropout(x, 0.0)")
for _name in (
    "normal",
    "uniform",
    "truncated_normal",
    "gamma",
    "beta",
    "binomial",
    "randint",
    "categorical",
    "shuffle",
):
    _call = {
        "gamma": "(ops.shape(x), 2.0)",
        "beta": "(ops.shape(x), 2.0, 3.0)",
        "randint": "(ops.shape(x), 0, 5)",
        "binomial": "(ops.shape(x), 5.0, 0.5)",
        "categorical": None,
        "shuffle": None,
    }.get(_name, "(ops.shape(x))")
    _text = (
        f"x + keras.random.{_name}{_call}"
        if _call
        else f"keras.random.{_name}(x{'[:, 0], 3' if _name[0] == 'c' else ''})"
    )
    forms(f"random.{_name}", _text, refused="random")


# What k2t refuses, by a word of why: the form, and where it is refused in a call() alone.
REFUSED: dict[str, list[str]] = {
    "for which k2t has no counterpart": [
        "ops.bincount(k, minlength=6)",
        "ops.bincount(k, minlength=6), in call()",
        "ops.bincount(k, weights=ops.cast(k, 'float32') / 3, minlength=6), in call()",
        "ops.bincount(k)",
        "ops.bincount(k), in call()",
        "ops.unique(k)",
        "ops.unique(k), in call()",
        "ops.nonzero(x)",
        "ops.nonzero(x), in call()",
        "ops.where(b), in call()",
    ],
    "does not run in a TensorFlow graph": [
        "ops.lcm(i, j)",
        "ops.lcm(i, 2)",
        "ops.lcm(j, k[:, :, None])",
        "ops.lcm(x1=i, x2=j)",
        "ops.kron(s[0], x[0])",
        "ops.gcd(i, j)",
        "ops.gcd(i, 2)",
        "ops.gcd(j, k[:, :, None])",
        "ops.gcd(x1=i, x2=j)",
        "ops.unravel_index(i, (5, 4))",
        "ops.unfold(ops.transpose(z, (0, 3, 1, 2)), (2, 2))",
        "ops.unfold(ops.transpose(z, (0, 3, 1, 2)), 2, stride=2, padding=1)",
    ],
    "complex numbers": [
        "ops.real(ops.polar(p, x))",
        "ops.imag(ops.polar(p, x))",
        "ops.real(ops.sum(ops.eig((ops.matmul(s, ops.transpose(s, (0, 2, 1))) + 3 * ops.eye(4)))[0], -1))",
        "ops.real(ops.sum(ops.eig((ops.matmul(s, ops.transpose(s, (0, 2, 1))) + 3 * ops.eye(4)))[0], -1)), in call()",
        "ops.angle(ops.polar(p, x))",
        "ops.imag(ops.polar(p, x))",
    ],
    "leaves out its method": [
        "ops.quantile(x, 0.3, axis=1, method='lower')",
        "ops.quantile(x, 0.3, axis=1, method='higher')",
        "ops.quantile(x, 0.3, axis=1, method='midpoint')",
        "ops.quantile(x, 0.3, axis=1, method='nearest')",
    ],
    "only a run knows": [
        "ops.quantile(x, 0.3, axis=1, method='lower'), in call()",
        "ops.quantile(x, 0.3, axis=1, method='higher'), in call()",
        "ops.quantile(x, 0.3, axis=1, method='midpoint'), in call()",
        "ops.quantile(x, 0.3, axis=1, method='nearest'), in call()",
        "ops.isin(i, [1, 3])",
        "ops.isin(i, np.array([2, 4]), invert=True)",
        "ops.isin(i, k[0])",
        "ops.ctc_loss(i[:, :3, 0] % 2 + 1, x, np.array([3, 3, 3]), np.array([5, 5, 5])), in call()",
        "ops.median(x, axis=(1, 2)), in call()",
        "ops.median(z, axis=(1, 2)), in call()",
        "ops.sort(x, None), in call()",
        "ops.argsort(x, axis=None), in call()",
        "ops.diagonal(x)",
        "ops.diagonal(x), in call()",
        "ops.fold(ops.reshape(x, (-1, 20, 1)), (4, 5), (4, 5))",
        "ops.fold(ops.reshape(x, (-1, 20, 1)), (4, 5), (4, 5)), in call()",
        "ops.fold(ops.transpose(ops.reshape(x, (-1, 5, 4)), (0, 2, 1))[:, :, :4], (4, 4), (2, 2), stride=2)",
        "ops.fold(ops.transpose(ops.reshape(x, (-1, 5, 4)), (0, 2, 1))[:, :, :4], (4, 4), (2, 2), stride=2), in call()",
        "ops.corrcoef(x[0])",
        "ops.switch(1, [lambda a: a, lambda a: 2 * a], x), in call()",
        "ops.vectorized_map(lambda a: ops.matmul(a, ops.ones((4, 2))), x), in call()",
    ],
    "cannot save this model": [
        "ops.repeat(x, np.array([1, 2, 0, 1, 1]), axis=1)",
        "ops.fori_loop(0, 3, lambda n, a: 2 * a + 1, x)",
        "ops.scan(lambda c, a: (c + a, c * a), v[0], s[0])",
        "ops.scan(lambda c, a: (c + a, c), ops.zeros_like(x[:, 0]), ops.transpose(x, (1, 0, 2)))[1]",
        "ops.associative_scan(lambda a, b: a + b, x, axis=1)",
        "ops.map(lambda a: 2 * a + 1, x)",
        "ops.switch(1, [lambda a: a, lambda a: 2 * a], x)",
        "ops.vectorized_map(lambda a: ops.matmul(a, ops.ones((4, 2))), x)",
    ],
    "compute_uv": [
        "ops.svd(x)[1]",
        "ops.svd(x)[1], in call()",
        "ops.svd(x, full_matrices=False)[1]",
        "ops.svd(x, full_matrices=False)[1], in call()",
        "ops.lstsq(x[0], y[0])",
        "ops.lstsq(x[0], y[0]), in call()",
        "ops.pinv(x)",
        "ops.pinv(x), in call()",
    ],
    "size is free": [
        "ops.map(lambda a: 2 * a + 1, x), in call()",
    ],
    "cast to a float": [
        "ops.reciprocal(j)",
    ],
    "reciprocal of integers": [
        "ops.reciprocal(j), in call()",
    ],
    "several axes": [
        "ops.median(x, axis=(1, 2))",
        "ops.median(z, axis=(1, 2))",
        "ops.nanmedian(n, axis=(1, 2))",
        "ops.nanmedian(z, axis=(1, 2))",
    ],
    "computed in float16": [
        "ops.median(h, axis=1)",
        "ops.nanmedian(h, axis=1)",
    ],
    "has weights": [
        "ops.average(x, axis=-1, weights=np.array([1.0, 2, 3, 4]))",
    ],
    "sorts the flattened": [
        "ops.sort(x, None)",
        "ops.argsort(x, axis=None)",
    ],
    "depends on the data": [
        "ops.where(b)",
    ],
    "instead of float32": [
        "ops.inner(x, np.arange(4.0, dtype='float32'))",
    ],
    "compute_v": [
        "ops.eigh((ops.matmul(s, ops.transpose(s, (0, 2, 1))) + 3 * ops.eye(4)))[0]",
        "ops.eigh((ops.matmul(s, ops.transpose(s, (0, 2, 1))) + 3 * ops.eye(4)))[0], in call()",
    ],
    "number of input channels": [
        "ops.conv(z, np.ones((3, 3, 2, 2), 'float32'), 1, 'valid'), in call()",
    ],
}
WHY = {name: word for word, names in REFUSED.items() for name in names}


def functions() -> set[str]:
    """The functions of the namespaces: "sum", "activations.relu", "random.normal"."""
    found = set()
    for namespace in NAMESPACES:
        short = namespace.__name__.rpartition(".")[2]
        for name, value in vars(namespace).items():
            if inspect.isfunction(value) and not name.startswith("_") and name not in NOT_COMPUTED[short]:
                found.add(name if short == "ops" else f"{short}.{name}")
    return found


def _names(expression: str) -> list[str]:
    used = {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}
    return [name for name in INPUTS if name in used]


def _function(expression: str, names: list[str]) -> Callable[..., Any]:
    known: dict[str, Any | ModuleType] = {"ops": ops, "np": np, "keras": keras}
    return eval(f"lambda {', '.join(names)}: {expression}", known)  # noqa: S307 — our own table


def _model(expression: str, in_call: bool) -> keras.Model:
    names = _names(expression)
    function = _function(expression, names)
    inputs = [
        keras.Input(
            INPUTS[name][0],
            batch_size=3 if "(3," in expression or "[:1]" in expression else None,
            dtype=INPUTS[name][1],
            name=name,
        )
        for name in names
    ]
    given = [x if INPUTS[name][2] is None else INPUTS[name][2](x) for name, x in zip(names, inputs)]
    result = Own(function, name="own")(*given) if in_call else function(*given)
    return keras.Model(inputs, result, name="model_under_test")


def cases() -> Iterator[Case]:
    for name, found in FORMS.items():
        for expression, refused in found:
            for in_call in (False, True):
                tolerance = 2e-3 if "h" in _names(expression) or "float16" in expression else 2e-5
                label = f"{expression}{', in call()' if in_call else ''}"
                why = refused if refused is not None else WHY.get(label)
                yield Case(name, label, lambda e=expression, c=in_call: _model(e, c), why, tolerance)
