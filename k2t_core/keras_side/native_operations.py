"""Operations of TensorFlow that keras.ops has not, as operations of Keras, for those that `rules.native` writes.

On values they are TensorFlow's own (``tf.raw_ops``); their shapes and dtypes are those of the recorded graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from k2t_core.keras_side.opened import CannotOpen
from k2t_core.keras_side.tensorflow_operations import OPERATIONS, Bare, Result
from k2t_core.rules.native import ATTRIBUTES, FIRST, NATIVE, NUMBERS


@cache  # of the process: a class is one and the same to every model
def _operation() -> type:
    import keras
    import tensorflow as tf

    class NativeOperation(keras.Operation):
        """``type``, by the name of its rule, of a list of tensors. numbers: inputs that are numbers, by their place.

        attributes: of the operation. specs: the shape and dtype of each output.
        """

        def __init__(self, type: str, attributes: dict[str, Any], numbers: dict[int, Any], specs: Sequence[tuple]):
            super().__init__()
            self.numbers = {index: value.tolist() for index, value in numbers.items()}
            for name in ATTRIBUTES.get(type, ()):
                setattr(self, name, attributes[name])
            self._type, self._attributes, self._numbers, self._specs = type, attributes, numbers, specs

        @property
        def k2t_kind(self) -> str:
            return f"k2t.{self._type}"

        def call(self, tensors: Sequence[Any]) -> Any:
            given, free = [], iter(tensors)
            for index in range(len(tensors) + len(self._numbers)):
                given.append(tf.constant(self._numbers[index]) if index in self._numbers else next(free))
            names = [argument.name for argument in _definition(self._type).input_arg]
            if self._type == "Conv2DBackpropInput":
                given[0] = tf.concat([tf.shape(given[2])[:1], given[0][1:]], 0)
            made = getattr(tf.raw_ops, self._type)(**dict(zip(names, given)), **self._attributes)
            made = list(made) if isinstance(made, (list, tuple)) else [made]
            return made if len(self._specs) > 1 else made[0]

        def compute_output_spec(self, tensors: Sequence[Any]) -> Any:
            made = [keras.KerasTensor(shape, dtype=dtype) for shape, dtype in self._specs]
            return made if len(made) > 1 else made[0]

    return NativeOperation


def _definition(type: str) -> Any:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(type)


def native(bare: Bare) -> Result:
    """The operation as one of Keras. Raises CannotOpen where its attributes or numbers are others than are known."""
    type, wanted = bare.op.type, NUMBERS.get(bare.op.type, ())
    attributes = {
        a.name: bare.attr(a.name)
        for a in bare.op.op_def.attr
        if a.type != "type" and not a.name.startswith("_") and a.name not in ("T", "N")
    }
    plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    for name, values in NATIVE[type].items():
        if plain[name] not in values:
            raise CannotOpen(f"its call() uses TensorFlow's {type} with {name}={plain[name]!r}")
    if type == "Conv2DBackpropInput":  # of the sizes the batch's does not matter, and may be free
        bare.given[0] = np.array([0, *bare.sizes(0, "a size")[1:]])
        if bare.given[0].dtype == object:
            raise CannotOpen("its call() uses tf.nn.conv2d_transpose to a size that is free; use Conv2DTranspose")
    numbers = {index: np.asarray(bare.numbers(index, "a number")) for index in wanted}
    specs = [(tuple(y.shape.as_list()), y.dtype.name) for y in bare.op.outputs[: 1 if type in FIRST else None]]
    tensors = [bare.x(index) for index in range(len(bare.given)) if index not in numbers]
    made = _operation()(type, plain, numbers, specs)(tensors)
    return list(made) if isinstance(made, (list, tuple)) else made


OPERATIONS.update(dict.fromkeys(NATIVE, native))
