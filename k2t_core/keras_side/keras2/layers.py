"""A layer of Keras 2 as the layer of Keras 3 that computes the same in inference mode.

Options keep their names in most layers, so one rule serves nearly all of them: what Keras 3's constructor has is passed
on, what only concerns training or speed is dropped, and whatever is left must be named below or the layer is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from k2t_core.keras_side.keras2 import running
from k2t_core.rules.activations import KERAS2_HARD_SIGMOID

# Options of Keras 2 alone, and the values of them under which a layer does what Keras 3's does. ANY: it makes no
# difference in inference.
ANY = object()
ONLY_IN_KERAS_2: dict[str, Any] = {
    "batch_input_shape": ANY,
    "trainable": ANY,  # of a constructor that does not take it: such a layer has no weights
    "implementation": ANY,
    "input_length": ANY,
    "fused": ANY,
    "groups": (1,),  # of DepthwiseConv: its own base class's option
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": ANY,
    "virtual_batch_size": (None,),
    "adjustment": (None,),
    "time_major": (False,),
    "reverse_state_order": (False,),
    "ragged": (False,),
    "dropout_rng": ANY,
    "rng_type": ANY,
    "vocabulary_size": ANY,
    "query_shape": ANY,
    "key_shape": ANY,
    "value_shape": ANY,
    "softmax_robust_masking": (False,),
}
RENAMED = {"LeakyReLU": {"alpha": "negative_slope"}, "ThresholdedReLU": {"theta": "threshold"}}
NAMES = {
    "ThresholdedReLU": "ReLU",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
}
# How a variable of training starts, and what holds it there: the values come from the file.
TRAINING = ("_initializer", "_regularizer", "_constraint")
ACTIVATIONS = ("activation", "recurrent_activation")
# Their variables are what was adapted, and their options say so in another way in the two versions.
TEXT = ("StringLookup", "TextVectorization", "IntegerLookup", "DenseFeatures", "HashedCrossing")


class Untranslatable(Exception):
    """Why a layer of Keras 2 has no counterpart in Keras 3 that k2t knows."""


def translated(layer: Any) -> Any:
    """The layer of Keras 3, not yet built; of a layer that Keras 3 has not, one that runs it (`running`).

    Raises Untranslatable.
    """
    import keras

    kind = type(layer).__name__
    make = SPECIAL.get(kind)
    if make is not None:
        return make(layer)
    target = getattr(keras.layers, NAMES.get(kind, kind), None)
    if _is_keras(layer) and target is None and kind not in TEXT and not _has_steps(layer):
        return running.layer(layer)
    if not _is_keras(layer) or target is None or kind in TEXT:
        whose = "is" if _is_keras(layer) else "is a class of one's own,"
        raise Untranslatable(
            f"{whose} {kind}, which k2t cannot carry from Keras 2 to Keras 3; rebuild the model in Keras 3, "
            "copy the weights over and save it as .keras"
        )
    return target(**options(layer, target))


def options(layer: Any, target: Any, handled: tuple[str, ...] = ()) -> dict[str, Any]:
    """The constructor's arguments of ``target`` that a layer's config gives; ``handled``: the keys to leave out."""
    kind = type(layer).__name__
    config = {
        RENAMED.get(kind, {}).get(key, key): value for key, value in layer.get_config().items() if key not in handled
    }
    known = _taken(target)
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key.endswith(TRAINING):
            continue
        if key == "stateful" and value:
            raise Untranslatable(
                "is stateful: it keeps its state from one batch to the next; build it with stateful=False"
            )
        if key == "name":
            found[key] = name_of(layer)
        elif key == "dtype":
            found[key] = policy(layer)
        elif key in ACTIVATIONS:
            found[key] = activation(getattr(layer, key, value))
        elif key in known:
            found[key] = plain(value)
        elif key not in ONLY_IN_KERAS_2:
            if value is not None:
                raise Untranslatable(f"has the option {key}={value!r}, which Keras 3 does not have")
        elif ONLY_IN_KERAS_2[key] is not ANY and value not in ONLY_IN_KERAS_2[key]:
            raise Untranslatable(f"has the option {key}={value!r}, for which Keras 3 has nothing")
    return found


def _taken(target: Any) -> set[str]:
    """What a constructor takes: as far up as each one hands on what it does not know."""
    found: set[str] = set()
    for cls in target.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__).parameters
        found |= set(parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found - {"self", "args", "kwargs"}


def name_of(layer: Any) -> str:
    """Keras 3 wants no slash in a name."""
    return layer.name.replace("/", "_")


def policy(layer: Any) -> str:
    return layer.dtype_policy.name


def activation(function: Any) -> Any:
    """A function of Keras 2 by its name in Keras 3. Its hard_sigmoid is another one there."""
    import keras
    import tf_keras

    name = getattr(function, "__name__", None) if callable(function) else function
    if name == "hard_sigmoid":
        return hard_sigmoid()
    module = getattr(function, "__module__", "") or ""
    if isinstance(function, tf_keras.layers.Layer):
        return translated(function)
    if callable(function) and not module.startswith(("tf_keras.", "tensorflow.")):
        raise Untranslatable(f"has the activation {name!r}, a function of one's own")
    if name == "softmax_v2":
        name = "softmax"
    if not isinstance(name, str) or not hasattr(keras.activations, name):
        raise Untranslatable(f"has the activation {name!r}, which Keras 3 does not have")
    return name


def hard_sigmoid() -> Callable[..., Any]:
    """clip(0.2·x + 0.5, 0, 1), as tf_keras/src/activations.py has it, in Keras 3's operations.

    Registered with Keras, for the whole process, when it is first asked for: a copied model finds it there.
    """
    import keras

    known = keras.saving.get_registered_object(KERAS2_HARD_SIGMOID)
    if known is None:

        def keras2_hard_sigmoid(x: Any) -> Any:
            return keras.ops.clip(0.2 * x + 0.5, 0, 1)

        known = keras.saving.register_keras_serializable(*KERAS2_HARD_SIGMOID.split(">"))(keras2_hard_sigmoid)
    return known


def plain(value: Any, leaf: Callable[[Any], Any] = lambda x: x) -> Any:
    """The nest with ``leaf`` of every leaf, in Python's own lists, tuples and dictionaries.

    What tf_keras hands about are TensorFlow's wrappers of them, which is why this is not `nests.mapped`.
    """
    if isinstance(value, Mapping):
        return {key: plain(one, leaf) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(one, leaf) for one in value]
        return tuple(items) if isinstance(value, tuple) else items
    return leaf(value)


def _has_steps(layer: Any) -> bool:
    import tf_keras

    return isinstance(layer, tf_keras.layers.RNN)


def _is_keras(layer: Any) -> bool:
    return type(layer).__module__.startswith("tf_keras.")


# --- the layers that hold others, or whose options have another form ------------------------------------------------


def _wrapper(layer: Any) -> Any:
    import keras

    target = getattr(keras.layers, type(layer).__name__)
    return target(translated(layer.layer), **options(layer, target, ("layer",)))


def _bidirectional(layer: Any) -> Any:
    import keras

    given = options(layer, keras.layers.Bidirectional, ("layer", "backward_layer"))
    return keras.layers.Bidirectional(
        translated(layer.forward_layer), backward_layer=translated(layer.backward_layer), **given
    )


def _rnn(layer: Any) -> Any:
    import keras

    return keras.layers.RNN(translated(layer.cell), **options(layer, keras.layers.RNN, ("cell",)))


def _stacked(layer: Any) -> Any:
    import keras

    return keras.layers.StackedRNNCells(
        [translated(cell) for cell in layer.cells], **options(layer, keras.layers.StackedRNNCells, ("cells",))
    )


def _batch_normalization(layer: Any) -> Any:
    import keras

    given = options(layer, keras.layers.BatchNormalization, ("axis",))
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if len(axes) != 1:
        raise Untranslatable(f"normalises over the axes {axes} together, and Keras 3 over one only")
    return keras.layers.BatchNormalization(axis=axes[0], **{**given, "synchronized": False})


def _layer_normalization(layer: Any) -> Any:
    import keras

    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    return keras.layers.LayerNormalization(
        axis=axes if len(axes) > 1 else axes[0], **options(layer, keras.layers.LayerNormalization, ("axis",))
    )


def _normalization(layer: Any) -> Any:
    import keras

    given = options(layer, keras.layers.Normalization, ("mean", "variance", "axis"))
    axis = layer.axis if layer.axis is None or isinstance(layer.axis, int) else tuple(layer.axis)
    return keras.layers.Normalization(axis=axis, mean=layer.input_mean, variance=layer.input_variance, **given)


def _activation(layer: Any) -> Any:
    import keras

    return keras.layers.Activation(activation(layer.activation), name=name_of(layer), dtype=policy(layer))


def _identity(layer: Any) -> Any:
    import keras

    return keras.layers.Identity(name=name_of(layer), dtype=policy(layer))


SPECIAL: dict[str, Callable[[Any], Any]] = {
    "Activation": _activation,
    "ActivityRegularization": _identity,
    "BatchNormalization": _batch_normalization,
    "Bidirectional": _bidirectional,
    "LayerNormalization": _layer_normalization,
    "Normalization": _normalization,
    "RNN": _rnn,
    "StackedRNNCells": _stacked,
    "SyncBatchNormalization": _batch_normalization,
    "TimeDistributed": _wrapper,
}
