"""Layers of Keras 3 that run what Keras 2 would: a function of TensorFlow, or a layer that Keras 3 has not.

No rule knows them, so they are opened (`keras_side.recording`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from k2t_core.keras_side import internals


@cache  # of the process: a class is one and the same to every model
def _classes() -> tuple[type, type]:
    import keras
    import tensorflow as tf

    class OfTensorFlow(keras.Layer):
        """``function``, by its name ``symbol``, of a nest of arguments in which `Place` stands for the tensors."""

        def __init__(self, symbol: str, function: Callable[..., Any], arguments: Any, name: str):
            super().__init__(name=name)
            self.symbol, self.function, self.arguments = symbol, function, arguments

        @property
        def k2t_kind(self) -> str:
            return f"tf.{self.symbol}"

        def call(self, tensors: Any) -> Any:
            def filled(value: Any) -> Any:
                if isinstance(value, dict):
                    return {key: filled(one) for key, one in value.items()}
                if isinstance(value, (list, tuple)):
                    return type(value)(map(filled, value))
                if isinstance(value, Deferred):
                    args, kwargs = filled((value.args, value.kwargs))
                    return value.run(*args, **kwargs)
                return tensors[value.index] if isinstance(value, Place) else value

            args, kwargs = filled((self.arguments.args, self.arguments.kwargs))
            return self.function(*args, **kwargs)

        def get_config(self) -> dict[str, Any]:
            return {"symbol": self.symbol, "function": self.function, "arguments": self.arguments, "name": self.name}

    class OfKeras2(keras.Layer):
        """A layer of Keras 2 whose variables are this layer's as well."""

        def __init__(self, theirs: Any, name: str):
            super().__init__(name=name, dtype=theirs.dtype_policy.name)
            self.theirs = Held(theirs)
            for variable in theirs.weights:
                short = variable.name.rpartition("/")[2].partition(":")[0]
                own = keras.Variable(variable.numpy(), trainable=variable.trainable, name=short)
                internals.hold(own, variable)
                setattr(self, short, own)
            self.built = True

        @property
        def k2t_kind(self) -> str:
            return f"tf_keras.{type(self.theirs.layer).__name__}"

        def call(self, inputs: Any) -> Any:
            return self.theirs.layer.call(tf.convert_to_tensor(inputs))

        def get_config(self) -> dict[str, Any]:
            return {"theirs": self.theirs.layer, "name": self.name}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            theirs = config["theirs"]
            copy = type(theirs).from_config(theirs.get_config())
            copy.build(internals.shape_of_keras2(theirs))
            copy.set_weights(theirs.get_weights())
            return cls(copy, config["name"])

    return OfTensorFlow, OfKeras2


class Place:
    """Where the tensor of this index belongs among the arguments of a function."""

    def __init__(self, index: int):
        self.index = index


class Arguments:
    """Arguments of a call. An object of its own, so that Keras does not look into them."""

    def __init__(self, args: tuple, kwargs: dict):
        self.args, self.kwargs = args, kwargs


class Deferred:
    """A function of the sizes of tensors, which is run where its result is used: there a size stays a size."""

    def __init__(self, run: Callable[..., Any], args: tuple, kwargs: dict):
        self.run, self.args, self.kwargs = run, args, kwargs


class Held:
    """A layer of Keras 2. An object of its own, so that Keras 3 does not look into it."""

    def __init__(self, layer: Any):
        self.layer = layer


def function(symbol: str, run: Callable[..., Any], args: tuple, kwargs: dict, name: str) -> Any:
    """What a function of TensorFlow gives of arguments that hold symbolic tensors of Keras 3."""
    from keras import KerasTensor

    tensors: list[Any] = []

    def place(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: place(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(place, value))
        if isinstance(value, Deferred):
            return Deferred(value.run, *place((value.args, value.kwargs)))
        if not isinstance(value, KerasTensor):
            return value
        tensors.append(value)
        return Place(len(tensors) - 1)

    args, kwargs = place((args, kwargs))
    return _classes()[0](symbol, run, Arguments(args, kwargs), name)(tensors)


# Functions that read the sizes of a tensor and nothing else of it.
OF_SIZES = ("shape", "compat.v1.shape", "size", "compat.v1.size", "rank", "compat.v1.rank")


def is_of_sizes(symbol: str, arguments: Any) -> bool:
    """Whether a call computes with sizes alone: with what others have read, or by reading them."""
    from keras import KerasTensor, tree

    leaves = tree.flatten(arguments)
    deferred = any(isinstance(leaf, Deferred) for leaf in leaves)
    return symbol in OF_SIZES or deferred and not any(isinstance(leaf, KerasTensor) for leaf in leaves)


def layer(theirs: Any) -> Any:
    """A layer of Keras 3 that runs a built layer of Keras 2."""
    return _classes()[1](theirs, theirs.name.replace("/", "_"))
