"""What a model file may name: a list, checked before Keras or tf_keras sees the config.

A config names classes and functions by module and name, and whoever reads it looks them up and calls them: a ban list
forgets one (`keras.config.set_floatx`, a cell wrapper with stored code, `builtins.exec` as a way to split words). So
here stands what a model is made of, taken from the frameworks' public namespaces by what a thing *is*: layers,
operations on tensors, initial values, regularizers, constraints, dtype policies, activations. Everything else is
refused by name, whatever it would do.

The same pass looks at how the calls hang together: a call that waits for one that never comes makes tf_keras search
without end, and a call on literals alone is computed while the file is read, at whatever size it asks for.

Long because what a file may name is read in one place, with the reason for each exception.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from k2t_core.errors import ModelFileError, UnsupportedError
from k2t_core.nests import leaves
from k2t_core.rules import registry

# Layers that run what they load from elsewhere, or another framework's code.
LOADERS = frozenset({"TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
# Values that are not classes, as serialization_lib.serialize_keras_object writes them. Not "__typespec__", which names
# a class.
VALUES = frozenset(
    {
        "__keras_tensor__",
        "__tensor__",
        "__numpy__",
        "__bytes__",
        "__ellipsis__",
        "__slice__",
        "__tuple__",
        "TensorShape",
    }
)
ARRAYS = ("__numpy__", "__tensor__")  # of VALUES: numbers, and the dtype that they are made in
# A dtype of numpy's may be as long as it says: one element of "V2000000000" takes two gigabytes.
NUMBERS = re.compile(r"(bfloat16|float(8_e4m3fn|8_e5m2|16|32|64)|u?int(4|8|16|32|64)|complex(64|128)|bool|string)")
MAX_VISITS = 300_000  # of calls, until they are in an order: both loaders go over all of them again and again
CODE = "__lambda__"  # stored Python code, which `loading.check_safety` asks the user about
# Options that count what Python makes or does one by one while a layer is built or run, whatever is stored: a list of
# so many words, a loop of so many turns. All other sizes end in variables and tensors, see `sizes`.
AMOUNTS = {
    "bins": 2**16,
    "chain_depth": 1000,
    "fft_length": 2**17,
    "ngrams": 1000,
    "num_chains": 1000,
    "num_mel_bins": 2**12,
    "num_oov_indices": 10**6,
    "num_ops": 1000,
    "output_size": 10**6,
    "power_iterations": 10**4,
    # Windows: TensorFlow's kernels count in 32 bits, and end the process where that is not enough.
    **dict.fromkeys(("cropping", "dilation_rate", "padding", "pool_size", "rate", "strides"), 2**16),
}
FILES = ("vocabulary", "idf_weights")  # options that Keras takes for a path where they are a string
OPERATIONS = ("core", "einops", "image", "linalg", "math", "nn", "numpy")  # modules of keras.src.ops
OPERATION_LAYERS = frozenset(
    {"TFOpLambda", "SlicingOpLambda", "AddLoss", "AddMetric"}
)  # of Keras 2; their functions: keras2.operations


@dataclass(frozen=True)
class Names:
    """classes: name → the modules under which a file may name it. functions: likewise. A name without a module is one
    of either.
    """

    classes: Mapping[str, frozenset[str]]
    functions: Mapping[str, frozenset[str]]

    def knows(self, item: Mapping[str, Any]) -> bool:
        """Whether a serialized object (``{"module": …, "class_name": …, "config": …}``) is on the list."""
        if item["class_name"] in VALUES or item["class_name"] == CODE:
            return True
        is_function = item["class_name"] == "function"
        name = item.get("config") if is_function else item["class_name"]
        homes = (self.functions if is_function else self.classes).get(name) if isinstance(name, str) else None
        return homes is not None and (item.get("module") is None or item["module"] in homes)


def _public(module: ModuleType, base: type | tuple[type, ...]) -> Iterator[tuple[str, type]]:
    """The classes that a module exports, by every name that it exports them under."""
    for name, value in vars(module).items():
        if inspect.isclass(value) and issubclass(value, base):
            yield name, value


def _homes(cls: Any, *public: str) -> frozenset[str]:
    """The modules that a file may give for a class: where it is exported, and where it is written."""
    return frozenset({*public, cls.__module__})


def _functions(*modules: ModuleType) -> dict[str, frozenset[str]]:
    """Functions by name. Keras writes one of its own as ``builtins`` and its name."""
    found: dict[str, frozenset[str]] = {}
    for module in modules:
        for name, value in vars(module).items():
            if (
                inspect.isfunction(value)
                and not name.startswith("_")
                and name not in ("get", "serialize", "deserialize")
            ):
                found[name] = found.get(name, frozenset()) | _homes(
                    value, module.__name__.replace("._tf_keras", ""), "builtins"
                )
    return found


@cache
def keras3() -> Names:
    """The list for files of Keras 3."""
    import keras

    classes: dict[str, frozenset[str]] = {}

    def add(name: str, cls: type, *public: str) -> None:
        classes[name] = classes.get(name, frozenset()) | _homes(cls, *public)

    for name, cls in _public(keras.layers, keras.Layer):
        if cls.__name__ not in LOADERS:
            add(name, cls, "keras.layers")
    for namespace, base in (
        ("initializers", keras.initializers.Initializer),
        ("regularizers", keras.regularizers.Regularizer),
        ("constraints", keras.constraints.Constraint),
        ("quantizers", keras.quantizers.Quantizer),
        ("dtype_policies", keras.DTypePolicy),
    ):
        for name, cls in _public(getattr(keras, namespace), base):
            add(name, cls, f"keras.{namespace}", "keras")
    for namespace in OPERATIONS:
        for name, cls in _public(import_module(f"keras.src.ops.{namespace}"), keras.Operation):
            if not issubclass(cls, keras.Layer):
                add(name, cls, "keras.ops")
    for cls in (keras.Model, keras.Sequential, import_module("keras.src.models.functional").Functional):
        add(cls.__name__, cls, "keras", "keras.models")
    add("SeedGenerator", keras.random.SeedGenerator, "keras.random")
    for name in ("QuantizationConfig", "Int8QuantizationConfig", "Int4QuantizationConfig", "Float8QuantizationConfig"):
        if hasattr(keras.quantizers, name):
            add(name, getattr(keras.quantizers, name), "keras.quantizers")
    for kind in registry.kinds():  # classes that are known by their full path, such as those of keras.applications
        module, _, name = kind.rpartition(".")
        if module.startswith("keras."):
            add(name, getattr(import_module(module), name), module)
    return Names(classes, _functions(keras.activations, keras.ops))


@cache
def keras2() -> Names:
    """The list for files of Keras 1 and 2, which tf_keras reads. TensorFlow's operations in them are a list of their
    own.
    """
    import tf_keras

    classes: dict[str, frozenset[str]] = {}

    def add(name: str, cls: type, *public: str) -> None:
        written = cls.__module__
        older = {written.replace("tf_keras.src", "keras.src"), written.replace("tf_keras.src", "keras")}
        both = {home.replace("keras", package, 1) for home in public for package in ("keras", "tf_keras")}
        classes[name] = classes.get(name, frozenset()) | {
            written,
            *older,
            *both,
            *(f"tensorflow.{home}" for home in public),
        }

    for module, home in (
        (tf_keras.layers, "keras.layers"),
        (tf_keras.layers.experimental, "keras.layers.experimental"),
    ):
        for name, cls in _public(module, tf_keras.layers.Layer):
            if cls.__name__ not in (*LOADERS, "Lambda"):
                add(name, cls, home, "keras.layers")
    for name in ("BatchNormalizationV1", "BatchNormalizationV2"):  # what early versions of 2 called it
        add(name, tf_keras.layers.BatchNormalization, "keras.layers")
    for name, cls in _public(tf_keras.initializers, object):
        add(name, cls, "keras.initializers", "keras.initializers.initializers_v2", "keras.initializers.initializers")
        # Initial values of TensorFlow's own: tf.random_normal_initializer and its kind.
        classes[name] |= {"tensorflow.python.ops.init_ops", "tensorflow.python.ops.init_ops_v2"}
    for namespace in ("regularizers", "constraints"):
        for name, cls in _public(getattr(tf_keras, namespace), object):
            add(name, cls, f"keras.{namespace}")
    for cls in (tf_keras.Model, tf_keras.Sequential, import_module("tf_keras.src.engine.functional").Functional):
        add(
            cls.__name__,
            cls,
            "keras",
            "keras.models",
            "keras.engine.training",
            "keras.engine.sequential",
            "keras.engine.functional",
        )
    policy = tf_keras.mixed_precision.Policy
    for name in ("Policy", "PolicyV1"):
        add(name, policy, "keras.mixed_precision", "keras.mixed_precision.policy")
    for name in OPERATION_LAYERS:
        add(
            name,
            getattr(import_module("tf_keras.src.layers.core.tf_op_layer"), name, tf_keras.layers.Layer),
            "keras.layers",
        )
        classes[name] |= {"keras.engine.base_layer", "keras.src.engine.base_layer", "tf_keras.src.engine.base_layer"}
    return Names(classes, _keras2_functions())


def _keras2_functions() -> dict[str, frozenset[str]]:
    import tf_keras

    found = _functions(tf_keras.activations)
    return {
        name: homes | {"keras.activations", "tf_keras.activations", "keras.src.activations"}
        for name, homes in found.items()
    }


def _is_registered(item: Mapping[str, Any]) -> bool:
    """Whether it is a class or function of one's own that somebody has registered.

    By both of its names: the loader of .keras files goes by the registered one, that of .h5 files by the class's.
    """
    import keras

    kind = item["class_name"]
    registered = item.get("config") if kind == "function" else item.get("registered_name") or kind
    found = keras.saving.get_registered_object(registered) if isinstance(registered, str) else None
    return found is not None and (kind in ("function", registered) or kind == getattr(found, "__name__", None))


def check_names(name: str, objects: Iterable[tuple[str, Mapping[str, Any]]], version: int) -> None:
    """Refuse a config that names anything else than what a model is made of, or what the user registered; that takes
    numbers or words from elsewhere, or counts what nobody has room for.

    name: of the file. objects: (layer name, serialized object) of its config. version: 2 or 3, of Keras.

    Raises UnsupportedError with all of them.
    """
    listed = keras2() if version == 2 else keras3()
    problems: dict[str, None] = {}
    for owner, item in objects:
        layer, config = f"{name}: layer {owner[:120]!r}", item.get("config")
        if not listed.knows(item) and not (version == 3 and _is_registered(item)):
            what = config if item["class_name"] == "function" else item["class_name"]
            full = f"{item['module']}.{what}" if isinstance(item.get("module"), str) else str(what)
            problems[
                f"{layer} names {full[:120]!r}, which is none of the layers, operations and "
                f"initial values that a file of Keras {version} may name; nothing of it was run; rebuild the model "
                "without it, or register the class with --rules FILE"
            ] = None
        if item["class_name"] in ARRAYS:
            dtype = config.get("dtype") if isinstance(config, dict) else None
            if not isinstance(dtype, str) or not NUMBERS.fullmatch(dtype):
                problems[
                    f"{layer} holds numbers of the dtype {str(dtype)[:80]!r}, which no layer computes in; "
                    "the file is not trusted"
                ] = None
        if isinstance(config, dict):
            problems.update((f"{layer} {problem}", None) for problem in _odd_options(config))
    if problems:
        raise UnsupportedError(list(problems))


def _odd_options(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the options of an object, whatever it is."""
    own = config.get("name")
    if own is not None and not isinstance(own, str):
        yield f"has the name {str(own)[:80]!r}, which is no text; the file is damaged"
    for option, most in AMOUNTS.items():
        given = config.get(option)
        for count in leaves(given):
            if isinstance(count, (int, float)) and not count <= most:
                yield (
                    f"has the option {option}={str(count)[:40]}, and k2t takes at most {most:,}; "
                    "build it with a smaller one"
                )
    for option in FILES:
        if isinstance(config.get(option), str):
            yield (
                f"takes its {option} from the file {config[option][:80]!r}, which k2t does not read; "
                "adapt the layer and save the model again, so that they are in it"
            )


# --- how the calls hang together ---


def check_calls(name: str, config: Any, version: int) -> None:
    """Refuse models whose calls wait for one another, or for one that is not there, and calls on literals alone.

    version: 2 or 3, of Keras: they count the calls of nested models differently.

    Raises ModelFileError, which names the layer.
    """
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            inner = value.get("config")
            if isinstance(inner, dict) and isinstance(inner.get("layers"), list) and "output_layers" in inner:
                _check_graph(name, inner["layers"], version)
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _check_graph(name: str, layers: list[Any], version: int) -> None:
    calls: dict[str, list[list[tuple[str, int]]]] = {}  # layer → for each of its calls the (layer, call) that it reads
    first: dict[str, int] = {}  # the number of a layer's first call
    for layer in layers:
        if (
            not isinstance(layer, dict)
            or not isinstance(layer.get("inbound_nodes"), list)
            or not isinstance(layer.get("config"), dict)
        ):
            raise ModelFileError(
                f"{name}: its config describes no layers; save it again with model.save('model.keras')"
            )
        own = layer.get("name") or layer["config"].get("name")
        if str(own) in calls:
            raise ModelFileError(f"{name}: two layers are called {str(own)[:120]!r}; the file is damaged")
        calls[str(own)] = [list(_read(node)) for node in layer["inbound_nodes"]]
        first[str(own)] = int(version == 2 and _has_own_input(layer))
        for reads in calls[str(own)]:
            if not reads:
                raise ModelFileError(
                    f"{name}: layer {str(own)[:120]!r} is called on literals alone, which no model that Keras saves "
                    "does; the file is not trusted"
                )
    # An input has one call, which is not written.
    made = {layer: 0 if nodes else 1 for layer, nodes in calls.items()}
    waiting = [layer for layer, nodes in calls.items() if nodes]
    visits = 0
    while waiting:
        visits += len(waiting)
        if visits > MAX_VISITS:
            raise ModelFileError(
                f"{name}: its {len(layers):,} layers stand in an order in which Keras takes hours to find their calls; "
                "the file is not trusted"
            )
        late = []
        for layer in waiting:
            nodes = calls[layer]
            while made[layer] < len(nodes) and all(
                made.get(other, 0) > index - first.get(other, 0) for other, index in nodes[made[layer]]
            ):
                made[layer] += 1
            if made[layer] < len(nodes):
                late.append(layer)
        if len(late) == len(waiting):
            missing = next(
                (other for layer in late for other, _ in calls[layer][made[layer]] if other not in calls), None
            )
            why = (
                f"reads {missing[:120]!r}, which is no layer of the model"
                if missing is not None
                else "waits for a call that never comes"
            )
            raise ModelFileError(f"{name}: layer {late[0][:120]!r} {why}; the file is damaged")
        waiting = late


def _has_own_input(layer: dict[str, Any]) -> bool:
    """Whether it is a nested model that was built on an input of its own.

    Keras 2 counts that as its call 0 (functional.py, _should_skip_first_node).
    """
    config = layer.get("config")
    inner = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(inner, list) or not inner or not isinstance(inner[0], dict):
        return False
    return inner[0].get("class_name") == "InputLayer" or "batch_input_shape" in (inner[0].get("config") or {})


def _read(node: Any) -> Iterator[tuple[str, int]]:
    """(layer, call) of every tensor that a call reads.

    Keras 3 writes a call as ``{"args": …, "kwargs": …}``, in which a tensor is an object and a list is a literal;
    Keras 2 as ``[[layer, call, tensor, kwargs], …]``, with ``[layer, call, tensor]`` in the kwargs.
    """
    lists = not (isinstance(node, dict) and "args" in node)
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            config = value.get("config")
            history = config.get("keras_history") if isinstance(config, dict) else None
            if isinstance(history, list) and len(history) == 3 and type(history[1]) is int:
                yield str(history[0]), history[1]
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            if lists and len(value) in (3, 4) and isinstance(value[0], str) and type(value[1]) is int and value[1] >= 0:
                yield value[0], value[1]
                stack.extend(value[3:])
            else:
                stack.extend(value)
