"""What TensorFlow's operations are on symbolic tensors of Keras: an entry each, by the operation's type.

An entry is a function of a `Bare`, one operation of a recorded graph with what it is given: symbolic tensors, numbers
(NumPy arrays), or sizes (NumPy arrays of objects, `sized_operations.Size` among them). What it gives is a symbolic
tensor, numbers or sizes, or a list of them. Definitions: tensorflow/core/api_def/base_api, and the docstrings of
``tf.raw_ops``.

Long because it is a row of short entries, one an operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from k2t_core.keras_side.opened import CannotOpen
from k2t_core.keras_side.sized_operations import Size, larger, sized, smaller
from k2t_core.rules.merging import static_bias

RANDOM = "which draws random numbers"
REFUSED = {
    **dict.fromkeys(("If", "StatelessIf", "Case", "StatelessCase"),
                    "which decides by a number that only a run knows; use keras.ops.where"),
    **dict.fromkeys(("While", "StatelessWhile"), "a loop whose length only a run knows; unroll it in call()"),
    **dict.fromkeys(("PyFunc", "EagerPyFunc", "PyFuncStateless", "NumpyFunction"), "which runs Python on numbers"),
    **dict.fromkeys(("ReadFile", "WriteFile", "MatchingFiles", "RestoreV2", "SaveV2"), "which reads or writes files"),
    **dict.fromkeys(
        ("RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomUniformInt", "StatelessRandomUniformV2",
         "StatelessRandomNormalV2", "StatelessTruncatedNormalV2", "StatelessRandomUniformIntV2", "Multinomial",
         "StatelessRandomGetKeyCounter", "StatelessRandomGetAlg", "RandomShuffle"), RANDOM),
    **dict.fromkeys(("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"),
                    "which changes a variable while the model runs"),
}  # fmt: skip
Result = Any


@dataclass(eq=False)
class Bare:
    """An operation of the graph. given: what its inputs are. tensor: numbers or sizes as a symbolic tensor, of a dtype.
    value: what another tensor of the graph is.
    """

    op: Any
    given: list[Any]
    tensor: Callable[[Any, str], Any]
    value: Callable[[Any], Any]

    def x(self, index: int = 0) -> Any:
        """An input as a symbolic tensor."""
        return self.tensor(self.given[index], self.op.inputs[index].dtype.name)

    def either(self, index: int) -> Any:
        """An input as a symbolic tensor, or as numbers where it is numbers."""
        value = self.given[index]
        return self.x(index) if isinstance(value, np.ndarray) and value.dtype == object else value

    def before_cast(self, index: int) -> Any:
        """An input, or the integers that it was before it was cast to floating point."""
        maker = self.op.inputs[index].op
        return self.value(maker.inputs[0]) if maker.type == "Cast" else self.given[index]

    def numbers(self, index: int, what: str) -> np.ndarray:
        """An input that must be numbers, and no tensor."""
        value = self.given[index]
        if not isinstance(value, np.ndarray) or value.dtype == object:
            raise CannotOpen(f"its call() uses TensorFlow's {self.op.type} with {what} that only a run knows")
        return value

    def ints(self, index: int, what: str) -> list[int]:
        return [int(n) for n in self.numbers(index, what).ravel()]

    def sizes(self, index: int, what: str) -> list[Any]:
        """An input that must be sizes: integers, or formulas of the shapes of tensors."""
        value = self.given[index]
        if not isinstance(value, np.ndarray):
            raise CannotOpen(f"its call() uses TensorFlow's {self.op.type} with {what} that are computed from numbers")
        return [n if isinstance(n, Size) else int(n) for n in value.ravel()]

    def attr(self, name: str) -> Any:
        return self.op.get_attr(name)

    @property
    def shape(self) -> tuple:
        """Of the first output, as the graph knows it."""
        return tuple(self.op.outputs[0].shape.as_list())

    @property
    def dtype(self) -> str:
        return self.op.outputs[0].dtype.name

    @property
    def of_sizes(self) -> bool:
        """Whether all that it is given are numbers or sizes, with a size among them."""
        arrays = all(isinstance(value, np.ndarray) for value in self.given)
        return arrays and any(value.dtype == object for value in self.given)

    def computed(self) -> Result:
        """The outputs of an operation on numbers alone, as TensorFlow computes them."""
        import tensorflow as tf

        with tf.init_scope():
            # As tensors: of plain arrays some operations choose the dtype themselves.
            inputs, given = {}, iter([tf.constant(value, x.dtype) for value, x in zip(self.given, self.op.inputs)])
            for argument in self.op.op_def.input_arg:
                several = argument.number_attr or argument.type_list_attr
                if several:
                    count = self.attr(argument.number_attr) if argument.number_attr else len(self.attr(several))
                    inputs[argument.name] = [next(given) for _ in range(count)]
                else:
                    inputs[argument.name] = next(given)
            counts = {a.number_attr for a in self.op.op_def.input_arg} | {
                a.type_list_attr for a in self.op.op_def.input_arg
            }
            types = {a.type_attr for a in self.op.op_def.input_arg}
            attrs = {
                a.name: self.attr(a.name)
                for a in self.op.op_def.attr
                if a.name not in counts | types and not a.name.startswith("_")
            }
            function = getattr(tf.raw_ops, self.op.type, None)
            if function is None and self.op.type == "XlaDynamicUpdateSlice":
                return np.asarray(_keras("slice_update")(inputs["input"], inputs["indices"], inputs["update"]))
            if function is None:
                raise CannotOpen(f"its call() uses TensorFlow's operation {self.op.type}, which nobody else may call")
            # A few go by another name there: ExpandDims's `dim` and Squeeze's `squeeze_dims` are its `axis`.
            free = iter([name for name in signature(function).parameters if name not in {**inputs, **attrs}])
            known = signature(function).parameters
            made = function(
                **{name if name in known else next(free): value for name, value in {**inputs, **attrs}.items()}
            )
        if isinstance(made, (list, tuple)):
            return [np.asarray(y) for y in made]
        return np.asarray(made)

    @staticmethod
    def as_tensor(value: np.ndarray, dtype: str) -> Any:
        """Sizes as a symbolic tensor, to compute with."""
        from keras import ops

        def one(size: Any) -> Any:
            return sized("Number", (size,), (), dtype, kind=dtype)

        if not any(isinstance(size, Size) for size in value.ravel()):
            return value.astype(dtype)
        if value.ndim == 0:
            return one(value.item())
        return ops.reshape(ops.stack([one(size) for size in value.ravel()]), value.shape)


OPERATIONS: dict[str, Callable[[Bare], Result]] = {}


def operation(*types: str) -> Callable[[Callable[[Bare], Result]], Callable[[Bare], Result]]:
    def register(function: Callable[[Bare], Result]) -> Callable[[Bare], Result]:
        OPERATIONS.update(dict.fromkeys(types, function))
        return function

    return register


def _keras(name: str) -> Callable[..., Any]:
    from keras import ops

    return getattr(ops, name)


# --- element by element ----------------------------------------------------------------------------------------------

UNARY = {
    "Abs": "abs", "Acos": "arccos", "Acosh": "arccosh", "Asin": "arcsin", "Asinh": "arcsinh", "Atan": "arctan",
    "Atanh": "arctanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Elu": "elu", "Erf": "erf", "Exp": "exp",
    "Expm1": "expm1", "Floor": "floor", "IsFinite": "isfinite", "IsInf": "isinf",
    "IsNan": "isnan", "Log": "log", "Log1p": "log1p", "LogSoftmax": "log_softmax", "LogicalNot": "logical_not",
    "Relu": "relu", "Relu6": "relu6", "Rint": "round", "Round": "round",
    "Rsqrt": "rsqrt", "Selu": "selu", "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh",
    "Softmax": "softmax", "Softplus": "softplus", "Softsign": "softsign", "Sqrt": "sqrt", "Square": "square",
    "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip
BINARY = {
    "Atan2": "arctan2", "Equal": "equal", "Greater": "greater", "GreaterEqual": "greater_equal", "Less": "less",
    "LessEqual": "less_equal", "LogicalAnd": "logical_and", "LogicalOr": "logical_or", "NotEqual": "not_equal",
    "Pow": "power", "RealDiv": "true_divide",
}  # fmt: skip
# The same of sizes: by NumPy's function on arrays of them.
ARITHMETIC: dict[str, tuple[str, Callable[..., Any]]] = {
    "Add": ("add", np.add),
    "AddV2": ("add", np.add),
    "Sub": ("subtract", np.subtract),
    "Mul": ("multiply", np.multiply),
    "FloorDiv": ("floor_divide", np.floor_divide),
    "FloorMod": ("mod", np.mod),
    "Maximum": ("maximum", larger),
    "Minimum": ("minimum", smaller),
}


def _unary(name: str) -> Callable[[Bare], Result]:
    return lambda bare: _keras(name)(bare.x())


def _binary(name: str) -> Callable[[Bare], Result]:
    return lambda bare: _keras(name)(bare.either(0), bare.either(1))


def _arithmetic(name: str, function: Callable[..., Any]) -> Callable[[Bare], Result]:
    def apply(bare: Bare) -> Result:
        if bare.of_sizes:
            return np.asarray(function(*bare.given), dtype=object)
        pair = [bare.either(0), bare.either(1)]
        if name == "add" and static_bias(*(tuple(value.shape) for value in pair)):
            pair.reverse()  # TensorFlow's takes nothing for a bias
        return _keras(name)(*pair)

    return apply


for _type, _name in UNARY.items():
    OPERATIONS[_type] = _unary(_name)
for _type, _name in BINARY.items():
    OPERATIONS[_type] = _binary(_name)
for _type, _both in ARITHMETIC.items():
    OPERATIONS[_type] = _arithmetic(*_both)


@operation("Identity", "StopGradient", "PreventGradient", "Snapshot", "EnsureShape", "CheckNumerics")
def _identity(bare: Bare) -> Result:
    return bare.given[0]


@operation("IdentityN")
def _identities(bare: Bare) -> Result:
    return list(bare.given)


@operation("Neg")
def _neg(bare: Bare) -> Result:
    return np.asarray(np.negative(bare.given[0]), object) if bare.of_sizes else _keras("negative")(bare.x())


@operation("Cast")
def _cast(bare: Bare) -> Result:
    value = bare.given[0]
    if isinstance(value, np.ndarray) and value.dtype == object and bare.dtype in ("int32", "int64"):
        return value
    return _keras("cast")(bare.x(), bare.dtype)


@operation("Bitcast")
def _bitcast(bare: Bare) -> Result:
    return _keras("view")(bare.x(), bare.dtype)


@operation("LeakyRelu")
def _leaky_relu(bare: Bare) -> Result:
    return _keras("leaky_relu")(bare.x(), negative_slope=float(bare.attr("alpha")))


@operation("Reciprocal", "Inv")
def _reciprocal(bare: Bare) -> Result:
    if "int" in bare.dtype:
        raise CannotOpen("its call() takes the reciprocal of integers; cast them to a float dtype first")
    return _keras("true_divide")(np.ones((), bare.dtype), bare.x())


@operation("SquaredDifference")
def _squared_difference(bare: Bare) -> Result:
    return _keras("square")(_keras("subtract")(bare.either(0), bare.either(1)))


@operation("AddN")
def _add_n(bare: Bare) -> Result:
    total = bare.x()
    for index in range(1, len(bare.given)):
        total = _keras("add")(total, bare.either(index))
    return total


@operation("BiasAdd")
def _bias_add(bare: Bare) -> Result:
    x, bias = bare.x(), bare.x(1)
    if bare.attr("data_format") == b"NCHW":
        bias = _keras("reshape")(bias, (-1, *[1] * (len(x.shape) - 2)))
    return _keras("add")(x, bias)


@operation("SelectV2")
def _where(bare: Bare) -> Result:
    return _keras("where")(bare.x(), bare.either(1), bare.either(2))


@operation("Select")
def _select(bare: Bare) -> Result:
    """The first kind: a condition of one axis chooses whole rows (tf.raw_ops.Select)."""
    condition, x = bare.x(), bare.x(1)
    if len(condition.shape) == 1 and len(x.shape) > 1:
        condition = _keras("reshape")(condition, (-1, *[1] * (len(x.shape) - 1)))
    return _keras("where")(condition, x, bare.either(2))


@operation("ClipByValue")
def _clip(bare: Bare) -> Result:
    return _keras("minimum")(_keras("maximum")(bare.x(), bare.either(1)), bare.either(2))


@operation("Erfc")
def _erfc(bare: Bare) -> Result:
    return _keras("subtract")(np.ones((), bare.dtype), _keras("erf")(bare.x()))


@operation("ZerosLike")
def _zeros_like(bare: Bare) -> Result:
    return _keras("zeros_like")(bare.x())


@operation("OnesLike")
def _ones_like(bare: Bare) -> Result:
    return _keras("ones_like")(bare.x())


# --- along axes ------------------------------------------------------------------------------------------------------

REDUCTIONS = {"Sum": "sum", "Mean": "mean", "Max": "max", "Min": "min", "Prod": "prod", "All": "all", "Any": "any"}


def _reduction(name: str) -> Callable[[Bare], Result]:
    def apply(bare: Bare) -> Result:
        if bare.of_sizes and name in ("sum", "prod"):
            axis = tuple(bare.ints(1, "axes")) if bare.given[0].ndim > 1 else None
            function = np.sum if name == "sum" else np.prod
            return np.asarray(function(bare.given[0], axis=axis, keepdims=bool(bare.attr("keep_dims"))), dtype=object)
        axes = tuple(bare.ints(1, "axes"))
        x = bare.x()
        if not axes and bare.given[1].ndim == 1:
            return x
        return _keras(name)(x, axis=axes, keepdims=bool(bare.attr("keep_dims")))

    return apply


for _type, _name in REDUCTIONS.items():
    OPERATIONS[_type] = _reduction(_name)


@operation("ArgMax", "ArgMin")
def _arg(bare: Bare) -> Result:
    (axis,) = bare.ints(1, "an axis")
    found = _keras("argmax" if bare.op.type == "ArgMax" else "argmin")(bare.x(), axis=axis)
    return found if str(found.dtype) == bare.dtype else _keras("cast")(found, bare.dtype)


@operation("Cumsum", "Cumprod")
def _cumulative(bare: Bare) -> Result:
    (axis,) = bare.ints(1, "an axis")
    x, backwards, sums = bare.x(), bool(bare.attr("reverse")), bare.op.type == "Cumsum"
    x = _keras("flip")(x, axis=axis) if backwards else x
    if bare.attr("exclusive"):  # of those before each entry
        axis %= len(x.shape)
        pads = [(1, 0) if k == axis else (0, 0) for k in range(len(x.shape))]
        x = _keras("pad")(x, pads, constant_values=0 if sums else 1)[(*[slice(None)] * axis, slice(None, -1))]
    found = _keras("cumsum" if sums else "cumprod")(x, axis=axis)
    return _keras("flip")(found, axis=axis) if backwards else found


@operation("L2Loss")
def _half_of_squares(bare: Bare) -> Result:
    return _keras("sum")(_keras("square")(bare.x())) / 2


@operation("SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits")
def _cross_entropy(bare: Bare) -> Result:
    """The loss of each row, and its gradient by the logits."""
    logits, labels = bare.x(), bare.x(1)
    if bare.op.type.startswith("Sparse"):
        labels = _keras("one_hot")(labels, logits.shape[-1], dtype=str(logits.dtype))
    loss = _keras("negative")(_keras("sum")(labels * _keras("log_softmax")(logits), axis=-1))
    return [loss, _keras("softmax")(logits) - labels]


@operation("TopKV2")
def _top_k(bare: Bare) -> Result:
    (k,) = bare.ints(1, "a count")
    return list(_keras("top_k")(bare.x(), k, sorted=bool(bare.attr("sorted"))))


@operation("ReverseV2")
def _reverse(bare: Bare) -> Result:
    axes = bare.ints(1, "axes")
    return _keras("flip")(bare.x(), axis=tuple(axes)) if axes else bare.x()


@operation("OneHot")
def _one_hot(bare: Bare) -> Result:
    (depth,) = bare.ints(1, "a depth")
    on, off = bare.numbers(2, "a value").item(), bare.numbers(3, "a value").item()
    if (on, off) not in ((1, 0), (1.0, 0.0), (True, False)):
        raise CannotOpen("its call() uses tf.one_hot with other values than 1 and 0")
    return _keras("one_hot")(bare.x(), depth, axis=bare.attr("axis"), dtype=bare.dtype)


# --- shapes ----------------------------------------------------------------------------------------------------------


@operation("Shape")
def _shape(bare: Bare) -> Result:
    x = bare.given[0]
    return _sizes([Size.of(x, axis) for axis in range(len(x.shape))])


@operation("ShapeN")
def _shapes(bare: Bare) -> Result:
    return [_sizes([Size.of(x, axis) for axis in range(len(x.shape))]) for x in bare.given]


@operation("Rank")
def _rank(bare: Bare) -> Result:
    return np.asarray(len(bare.given[0].shape), "int32")


@operation("Size")
def _count(bare: Bare) -> Result:
    x = bare.given[0]
    return _sizes(np.prod(np.array([Size.of(x, axis) for axis in range(len(x.shape))], dtype=object)))


def _sizes(values: Any) -> np.ndarray:
    """Sizes as an array; of integers where none is free."""
    found = np.array(values, dtype=object)
    return found if any(isinstance(n, Size) for n in found.ravel()) else found.astype("int32")


def _free(sizes: Sequence[Any]) -> bool:
    return any(isinstance(n, Size) for n in sizes)


@operation("Reshape")
def _reshape(bare: Bare) -> Result:
    if isinstance(bare.given[0], np.ndarray) and bare.given[0].dtype == object:
        return bare.given[0].reshape(bare.ints(1, "a shape"))
    sizes = bare.sizes(1, "sizes")
    x = bare.x()
    if not _free(sizes):
        return _keras("reshape")(x, tuple(sizes))
    free = [n for n in sizes if isinstance(n, Size)]
    if len(free) == 1 and -1 not in [n for n in sizes if not isinstance(n, Size)]:
        return _keras("reshape")(x, tuple(-1 if isinstance(n, Size) else n for n in sizes))
    return sized("Reshape", sizes, bare.shape, bare.dtype, x)


@operation("BroadcastArgs")
def _broadcast_args(bare: Bare) -> Result:
    """The shape that two shapes broadcast to."""
    a, b = (bare.sizes(index, "a shape") for index in (0, 1))
    longer = max(len(a), len(b))
    a, b = ([1] * (longer - len(sizes)) + sizes for sizes in (a, b))
    return _sizes([n if not isinstance(m, Size) and m == 1 else m for n, m in zip(a, b)])


@operation("BroadcastTo")
def _broadcast_to(bare: Bare) -> Result:
    sizes, x = bare.sizes(1, "sizes"), bare.x()
    return sized("Broadcast", sizes, bare.shape, bare.dtype, x) if _free(sizes) else _keras("broadcast_to")(x, sizes)


@operation("Tile")
def _tile(bare: Bare) -> Result:
    sizes, x = bare.sizes(1, "repeats"), bare.x()
    return sized("Tile", sizes, bare.shape, bare.dtype, x) if _free(sizes) else _keras("tile")(x, tuple(sizes))


@operation("Fill")
def _fill(bare: Bare) -> Result:
    sizes = bare.sizes(0, "sizes")
    value = bare.given[1]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return sized("Full", sizes, bare.shape, bare.dtype, kind=bare.dtype, value=value.item())
    if _free(sizes):
        return sized("Broadcast", sizes, bare.shape, bare.dtype, bare.x(1))
    return _keras("broadcast_to")(bare.x(1), tuple(sizes))


@operation("Range")
def _range(bare: Bare) -> Result:
    """Of floating-point numbers too, where they are sizes that were cast, or whole numbers."""
    given = [bare.before_cast(index) for index in range(3)]
    if not all(isinstance(value, np.ndarray) for value in given):
        raise CannotOpen("its call() uses tf.range with bounds that only a run knows")
    bounds = [value.item() for value in given]
    if any(not isinstance(n, Size) and n != int(n) for n in bounds):
        raise CannotOpen("its call() uses tf.range with a size that is free and in steps that are no integers")
    kind = bare.dtype if bare.dtype.startswith("int") else "int32"
    found = sized("Arange", [n if isinstance(n, Size) else int(n) for n in bounds], bare.shape, kind, kind=kind)
    return found if kind == bare.dtype else _keras("cast")(found, bare.dtype)


@operation("ExpandDims")
def _expand_dims(bare: Bare) -> Result:
    (axis,) = bare.ints(1, "an axis")
    if bare.of_sizes:
        return np.expand_dims(bare.given[0], axis)
    return _keras("expand_dims")(bare.x(), axis)


@operation("Squeeze")
def _squeeze(bare: Bare) -> Result:
    x, axes = bare.given[0], list(bare.attr("squeeze_dims"))
    if bare.of_sizes:
        return np.squeeze(x, tuple(axes) or None)
    rank = len(x.shape)
    if not axes:
        if any(n is None for n in x.shape):
            raise CannotOpen("its call() squeezes axes without saying which, of a tensor whose sizes are free")
        axes = [axis for axis, n in enumerate(x.shape) if n == 1]
    return _keras("squeeze")(x, axis=tuple(axis % rank for axis in axes)) if axes else x


@operation("Roll")
def _roll(bare: Bare) -> Result:
    """Several shifts of one axis add up (tf.roll)."""
    x, shifts = bare.x(), bare.ints(1, "a shift")
    for shift, axis in zip(shifts, bare.ints(2, "an axis")):
        x = _keras("roll")(x, shift, axis=axis)
    return x


@operation("Transpose")
def _transpose(bare: Bare) -> Result:
    return _keras("transpose")(bare.x(), axes=tuple(bare.ints(1, "an order of axes")))


@operation("Pack")
def _pack(bare: Bare) -> Result:
    axis = int(bare.attr("axis"))
    if all(isinstance(value, np.ndarray) for value in bare.given):
        return _sizes(np.stack([value.astype(object) for value in bare.given], axis))
    return _keras("stack")([bare.x(index) for index in range(len(bare.given))], axis=axis)


@operation("Unpack")
def _unpack(bare: Bare) -> Result:
    axis = int(bare.attr("axis"))
    value = bare.given[0]
    if bare.of_sizes:
        return [_sizes(part) for part in np.moveaxis(value, axis, 0)]
    count = len(bare.op.outputs)
    at = axis % len(value.shape)
    return [value[(*[slice(None)] * at, index)] for index in range(count)]


@operation("ConcatV2")
def _concat(bare: Bare) -> Result:
    (axis,) = bare.ints(len(bare.given) - 1, "an axis")
    parts = bare.given[:-1]
    if all(isinstance(value, np.ndarray) for value in parts):
        return _sizes(np.concatenate([value.astype(object) for value in parts], axis))
    return _keras("concatenate")([bare.x(index) for index in range(len(parts))], axis=axis)


@operation("Split")
def _split(bare: Bare) -> Result:
    (axis,) = bare.ints(0, "an axis")
    if isinstance(bare.given[1], np.ndarray) and bare.given[1].dtype == object:
        return [_sizes(part) for part in np.split(bare.given[1], int(bare.attr("num_split")), axis)]
    return list(_keras("split")(bare.x(1), int(bare.attr("num_split")), axis=axis))


@operation("SplitV")
def _split_sizes(bare: Bare) -> Result:
    (axis,), counts = bare.ints(2, "an axis"), bare.ints(1, "sizes")
    if isinstance(bare.given[0], np.ndarray) and bare.given[0].dtype == object:
        return [_sizes(part) for part in np.split(bare.given[0], np.cumsum(counts)[:-1], axis)]
    if -1 in counts:
        whole = bare.given[0].shape[axis]
        if whole is None:
            raise CannotOpen("its call() uses tf.split with a size of -1 along an axis whose size is free; say it")
        counts[counts.index(-1)] = whole - sum(counts) - 1
    return list(_keras("split")(bare.x(), [int(n) for n in np.cumsum(counts)[:-1]], axis=axis))


@operation("GatherV2")
def _gather(bare: Bare) -> Result:
    (axis,) = bare.ints(2, "an axis")
    if batch := int(bare.attr("batch_dims")):
        x, places = bare.x(), bare.x(1)
        rank = len(x.shape)
        if axis % rank == batch == rank - 1 and len(places.shape) == rank:
            return _keras("take_along_axis")(x, places, axis=batch)
        raise CannotOpen("its call() uses tf.gather with batch_dims; use keras.ops.take_along_axis")
    if isinstance(bare.given[0], np.ndarray) and bare.given[0].dtype == object:
        return _sizes(np.take(bare.given[0], bare.numbers(1, "places"), axis))
    return _keras("take")(bare.x(), bare.either(1), axis=axis)


@operation("ResourceGather")
def _rows(bare: Bare) -> Result:
    return _keras("take")(bare.x(), bare.either(1), axis=0)


@operation("Slice")
def _slice(bare: Bare) -> Result:
    begins, counts, value = bare.sizes(1, "a start"), bare.sizes(2, "sizes"), bare.given[0]
    bounds = [(begin, None if _is(count, -1) else begin + count, 1) for begin, count in zip(begins, counts)]
    return _cut(bare, value, bounds)


def _is(value: Any, number: int) -> bool:
    return not isinstance(value, Size) and value == number


def _cut(bare: Bare, value: Any, bounds: Sequence[tuple]) -> Result:
    """The part of a tensor, or of sizes, between bounds."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _sizes(value[tuple(slice(*b) for b in bounds)])
    x = bare.tensor(value, bare.dtype)
    if any(isinstance(n, Size) for b in bounds for n in b):
        shape = tuple(
            None if isinstance(start, Size) or isinstance(stop, Size) or n is None
            else len(range(*slice(start, stop, step).indices(n)))
            for (start, stop, step), n in zip(bounds, x.shape)
        )  # fmt: skip
        return sized("Slice", bounds, shape, str(x.dtype), x)
    return x[tuple(slice(*b) for b in bounds)]


@operation("StridedSlice")
def _strided_slice(bare: Bare) -> Result:
    """x[key], the key spelt out in masks (tf.raw_ops.StridedSlice)."""
    value = bare.given[0]
    begins, ends, strides = (bare.sizes(index, "bounds") for index in (1, 2, 3))
    masks = {name: int(bare.attr(f"{name}_mask")) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}

    def has(name: str, index: int) -> bool:
        return bool(masks[name] >> index & 1)

    key: list[Any] = []
    for index, (begin, end, stride) in enumerate(zip(begins, ends, strides)):
        if has("ellipsis", index):
            key.append(Ellipsis)
        elif has("new_axis", index):
            key.append(None)
        elif has("shrink_axis", index):
            if isinstance(begin, Size):
                raise CannotOpen("its call() takes one element at a place that is computed from a free size")
            key.append(begin)
        else:
            bounds = (None if has("begin", index) else begin, None if has("end", index) else end, stride)
            key.append(slice(*bounds))
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _sizes(value[tuple(key)])
    x = bare.tensor(value, bare.dtype)
    if not any(isinstance(n, Size) for k in key if isinstance(k, slice) for n in (k.start, k.stop)):
        return x[tuple(key)]
    rank = len(x.shape)
    used = sum(k is not None and k is not Ellipsis for k in key)
    at = next((i for i, k in enumerate(key) if k is Ellipsis), len(key))
    whole = [*key[:at], *[slice(None)] * (rank - used), *key[at + 1 :]]
    axes = [k for k in whole if k is not None]
    cut = _cut(
        bare,
        x,
        [(k.start, k.stop, 1 if k.step is None else k.step) if isinstance(k, slice) else (None, None, 1) for k in axes],
    )
    rest = [k if k is None or not isinstance(k, slice) else slice(None) for k in whole]
    return cut if all(isinstance(k, slice) for k in rest) else cut[tuple(rest)]


@operation("Pad", "PadV2")
def _pad(bare: Bare) -> Result:
    value = float(bare.numbers(2, "a value")) if bare.op.type == "PadV2" else 0.0
    value = value if bare.dtype.startswith(("float", "bfloat")) else int(value)
    if isinstance(bare.given[1], np.ndarray) and bare.given[1].dtype == object:
        flat = bare.sizes(1, "a padding")
        pairs = tuple(zip(flat[::2], flat[1::2]))
        return sized("Pad", pairs, bare.shape, bare.dtype, bare.x(), value=value)
    return _keras("pad")(bare.x(), _pairs(bare), mode="constant", constant_values=value)


@operation("MirrorPad")
def _mirror_pad(bare: Bare) -> Result:
    mode = "reflect" if bare.attr("mode") == b"REFLECT" else "symmetric"
    return _keras("pad")(bare.x(), _pairs(bare), mode=mode)


def _pairs(bare: Bare) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in bare.numbers(1, "a padding")]


@operation("MatrixBandPart")
def _band(bare: Bare) -> Result:
    """Rows and columns around the diagonal; a width that is negative keeps all (tf.linalg.band_part)."""
    x = bare.x()
    (lower,), (upper,) = bare.sizes(1, "a width"), bare.sizes(2, "a width")
    if isinstance(upper, Size):
        x = sized("Tril", (upper,), tuple(x.shape), bare.dtype, x)
    elif upper >= 0:
        x = _keras("tril")(x, k=upper)
    if isinstance(lower, Size):
        return sized("Triu", (lower,), tuple(x.shape), bare.dtype, x)
    return _keras("triu")(x, k=-lower) if lower >= 0 else x


@operation("XlaDynamicUpdateSlice")
def _slice_update(bare: Bare) -> Result:
    return _keras("slice_update")(bare.x(), bare.ints(2, "a place"), bare.x(1))


# --- products --------------------------------------------------------------------------------------------------------


def _turned(x: Any, turn: bool) -> Any:
    return _keras("swapaxes")(x, -1, -2) if turn else x


@operation("MatMul")
def _matmul(bare: Bare) -> Result:
    return _keras("matmul")(_turned(bare.x(), bare.attr("transpose_a")), _turned(bare.x(1), bare.attr("transpose_b")))


@operation("BatchMatMulV2", "BatchMatMul", "BatchMatMulV3")
def _batch_matmul(bare: Bare) -> Result:
    return _keras("matmul")(_turned(bare.x(), bare.attr("adj_x")), _turned(bare.x(1), bare.attr("adj_y")))


@operation("Einsum")
def _einsum(bare: Bare) -> Result:
    equation = bare.attr("equation").decode()
    labels = dict.fromkeys(c for c in equation if c.isalpha())  # Keras's own function takes small letters alone
    equation = "".join(chr(ord("a") + list(labels).index(c)) if c in labels else c for c in equation)
    return _keras("einsum")(equation, *(bare.x(index) for index in range(len(bare.given))))


# --- lists of tensors, in which loops keep what they make ------------------------------------------------------------


class Listed(tuple):
    """A list of tensors of TensorFlow's: what it holds at each place, None where nothing yet."""


def _entries(bare: Bare, index: int) -> int:
    (count,) = bare.sizes(index, "a count")
    if isinstance(count, Size):
        raise CannotOpen("its call() keeps a tensor for each entry of an axis whose size is free")
    return max(int(count), 0)


def _place(bare: Bare, index: int) -> int:
    (place,) = bare.ints(index, "a place")
    return place


@operation("TensorListReserve")
def _reserve(bare: Bare) -> Result:
    return Listed([None] * _entries(bare, 1))


@operation("EmptyTensorList")
def _empty_list(bare: Bare) -> Result:
    return Listed()


@operation("TensorListFromTensor")
def _list_of(bare: Bare) -> Result:
    value = bare.given[0]
    if value.shape[0] is None:
        raise CannotOpen("its call() keeps a tensor for each entry of an axis whose size is free")
    return Listed(value[index] for index in range(value.shape[0]))


@operation("TensorListSetItem")
def _set_item(bare: Bare) -> Result:
    items, place = list(bare.given[0]), _place(bare, 1)
    items[place] = bare.given[2]
    return Listed(items)


@operation("TensorListPushBack")
def _push_back(bare: Bare) -> Result:
    return Listed([*bare.given[0], bare.given[1]])


@operation("TensorListGetItem")
def _get_item(bare: Bare) -> Result:
    found = bare.given[0][_place(bare, 1)]
    if found is None:
        raise CannotOpen("its call() reads of a list what was not put there")
    return found


@operation("TensorListLength")
def _length(bare: Bare) -> Result:
    return np.asarray(len(bare.given[0]), "int32")


@operation("TensorListStack")
def _stack_list(bare: Bare) -> Result:
    if not bare.given[0] or any(item is None for item in bare.given[0]):
        raise CannotOpen("its call() stacks a list with nothing at some place")
    if all(isinstance(item, np.ndarray) for item in bare.given[0]):
        return np.stack(bare.given[0])
    return _keras("stack")([bare.tensor(item, bare.dtype) for item in bare.given[0]], axis=0)
