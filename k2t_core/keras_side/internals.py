"""What k2t uses of Keras beyond its public API, each under a name that says what it is for.

A new version of Keras that moves or renames something inside is met in this file; tests/keras_side/test_internals.py
sees to it that no other module of k2t_core imports keras.src or touches a private attribute of Keras's. `allowed.py`
and `rules/applications.py` name modules of it, which files name, and import none. What a node and a symbolic tensor
offer in the open (``node.operation``, ``node.arguments``, ``node.input_tensors``, ``layer.symbolic_call``) is used.

Long because all that is private to Keras is met in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from k2t_core.progress import check


@contextmanager
def patched(target: Any, **attributes: Any) -> Iterator[None]:
    """While this is in force, attributes of a module, a class or a live object have other values; they come back.

    What the target itself did not have, only its class or base, is taken away again. A layer's attributes are set past
    Keras's own tracking. A patched module or class is the whole process's: what is put there must leave other threads
    alone.
    """
    own = vars(target)
    kept = {name: own[name] for name in attributes if name in own}
    plain = isinstance(target, (type, ModuleType))
    put, take = (setattr, delattr) if plain else (object.__setattr__, object.__delattr__)
    try:
        for name, value in attributes.items():
            put(target, name, value)
        yield
    finally:
        for name in attributes:
            if name in kept:
                put(target, name, kept[name])
            elif name in own:
                take(target, name)


# --- the graph that Keras keeps --------------------------------------------------------------------------------------


def functional(model: Any) -> Any:
    """The functional graph behind a model, or None where it has none or overrides how it is called."""
    import keras
    from keras.src.models.functional import Functional

    if isinstance(model, keras.Sequential):
        return model._functional if type(model).call is keras.Sequential.call else None
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


def nodes_of(model: Any) -> Iterator[Any]:
    """Every node of a functional model of Keras or tf_keras, its inputs among them; none where it keeps no graph."""
    for nodes in getattr(getattr(model, "_functional", model), "_nodes_by_depth", {}).values():
        yield from nodes


def calls_of(function: Any) -> list[Any]:
    """The nodes of a keras.Function or functional model in the order in which Keras runs them, without its inputs."""
    return [
        node
        for _, nodes in sorted(function._nodes_by_depth.items(), reverse=True)
        for node in nodes
        if not node.is_input
    ]


def operation_behind(tensor: Any) -> Any:
    """The layer or operation that a symbolic tensor comes from, None where Keras does not know."""
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def node_behind(tensor: Any) -> Any:
    """The node that gave a symbolic tensor, None where Keras does not know."""
    operation = operation_behind(tensor)
    return None if operation is None else operation._inbound_nodes[tensor._keras_history.node_index]


def calls_to(operation: Any) -> list[Any]:
    """The nodes of every call of a layer or operation so far."""
    return list(operation._inbound_nodes)


def histories(tensors: Iterable[Any]) -> list[tuple[Any, Any]]:
    """(tensor, where Keras says that it comes from), to be given back by `restore_histories`."""
    return [(x, getattr(x, "_keras_history", None)) for x in tensors]


def restore_histories(kept: Iterable[tuple[Any, Any]]) -> None:
    for x, history in kept:
        x._keras_history = history


@contextmanager
def untouched(operations: Sequence[Any]) -> Iterator[None]:
    """Take back the nodes that a symbolic run leaves on the layers it calls, those inside an opened layer too."""
    import keras

    called = {
        id(op): op for outer in operations for op in (flattened(outer) if isinstance(outer, keras.Layer) else [outer])
    }
    lengths = [(op, len(op._inbound_nodes), len(op._outbound_nodes)) for op in called.values()]
    try:
        yield
    finally:
        for op, inbound, outbound in lengths:
            del op._inbound_nodes[inbound:]
            del op._outbound_nodes[outbound:]


def packed_inputs(function: Any, flat: Sequence[Any]) -> Any:
    """The nest in which a functional model takes its inputs, with these in the places of its own."""
    from keras import tree

    return tree.pack_sequence_as(function._inputs_struct, list(flat))


def packed_outputs(function: Any, flat: Sequence[Any]) -> Any:
    """The nest in which a functional model gives its outputs, with these in the places of its own."""
    from keras import tree

    return tree.pack_sequence_as(function._outputs_struct, list(flat))


# --- layers ----------------------------------------------------------------------------------------------------------


def home(cls: type) -> str:
    """The package of Keras that a class is of: "layers", "ops", "activations"; empty for any other class."""
    found = cls.__module__.removeprefix("keras.src.").partition(".")[0]
    return found if cls.__module__.startswith("keras.src.") and found in ("layers", "ops", "activations") else ""


def name_by_class(operation: Any) -> str:
    """The name that Keras makes up for an operation, before it counts: its class in snake case."""
    from keras.src.utils.naming import to_snake_case

    return to_snake_case(type(operation).__name__)


def flattened(layer: Any) -> list[Any]:
    """A layer or model of Keras or tf_keras, and all layers in it."""
    return list(layer._flatten_layers())


def sublayers(layer: Any) -> list[Any]:
    """The layers that a layer holds itself."""
    return list(layer._layers)


def own_variables(layer: Any) -> list[Any]:
    """The variables that a layer holds itself, first those that training changes."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def variables_of(operation: Any) -> list[Any]:
    """The variables of a layer and of those in it; an operation has none."""
    return list(getattr(operation, "variables", ()))


def stored_dtype(variable: Any) -> str:
    """The dtype in which a variable is kept: its ``dtype`` is that of the autocast in force."""
    return variable._dtype


def takes_mask(layer: Any) -> bool:
    """Whether its call() has an argument ``mask``."""
    return layer._call_has_mask_arg


def takes_training(layer: Any) -> bool:
    """Whether its call() has an argument ``training``."""
    return layer._call_has_training_arg


def in_inference(operation: Any) -> dict[str, bool]:
    """The arguments under which a functional model in inference mode calls a layer or operation."""
    return {"training": False} if "training" in getattr(operation, "_call_context_args", {}) else {}


def shapes_built_for(model: Any) -> list[Any]:
    """The shapes of the arguments that a model was built for, in their order; none where it was not built by a call."""
    return list((getattr(model, "_build_shapes_dict", None) or {}).values())


# --- masks, which travel as attributes of tensors --------------------------------------------------------------------


def mask_of(tensor: Any) -> Any:
    from keras.src.backend import get_keras_mask

    return get_keras_mask(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    from keras.src.backend import set_keras_mask

    set_keras_mask(tensor, mask)


# --- building from a config ------------------------------------------------------------------------------------------


def safe_mode(on: bool) -> Any:
    """A context in which Keras refuses code that a config holds, or runs it."""
    from keras.src.saving.serialization_lib import SafeModeScope

    return SafeModeScope(on)


def sketch(config: dict[str, Any], h5: bool, safe: bool) -> Any:
    """The architecture in a config, without memory: in a stateless scope variables have shapes but no values.

    h5: the config is that of an .h5 file. safe: refuse code in it. Keras changes the config that it reads.
    """
    import keras
    from keras.src.backend.common import global_state
    from keras.src.legacy.saving import saving_options, saving_utils

    try:
        with keras.StatelessScope(initialize_variables=False):
            if not h5:
                return keras.saving.deserialize_keras_object(config, safe_mode=safe)
            with saving_options.keras_option_scope(use_legacy_config=True), safe_mode(safe):
                return saving_utils.model_from_config(config)
    finally:
        # The scope leaves a list of variables that the next one would fill.
        global_state.set_global_attribute("uninitialized_variables", [])


@contextmanager
def untrained() -> Iterator[None]:
    """While this is in force, models that Keras or tf_keras builds from a config are not compiled, nested ones neither.

    ``compile=False`` holds for the outermost model alone. It is the whole process's: nothing in k2t compiles a model.
    """
    from importlib.util import find_spec

    import keras

    def left_out(self: Any, config: Any) -> None:
        """The loss, the metrics and the optimizer of the file are not looked up."""

    with ExitStack() as stack:
        stack.enter_context(patched(keras.Model, compile_from_config=left_out))
        if find_spec("tf_keras") is not None:
            import tf_keras

            stack.enter_context(patched(tf_keras.Model, compile_from_config=left_out))
        yield


class Passes(list):
    """The layers of a config, over which tf_keras goes again and again until every call is made.

    Each pass makes one call at least; one more than there are calls means that it would go on for ever.
    """

    def __init__(self, layers: list[Any]):
        super().__init__(layers)
        self.left = 2 + sum(len(x.get("inbound_nodes") or ()) for x in layers if isinstance(x, dict))

    def __iter__(self) -> Iterator[Any]:
        check()
        self.left -= 1
        if self.left < 0:
            raise ValueError("a layer waits for a call that never comes")
        return super().__iter__()


@contextmanager
def ending_search() -> Iterator[None]:
    """While this is in force, tf_keras gives up where it would look for ever for the calls of a model.

    It is the whole process's, and changes nothing for models that can be built.
    """
    from tf_keras.src.engine import functional

    original = functional.reconstruct_from_config

    def reconstruct(config: Any, *args: Any, **kwargs: Any) -> Any:
        return original({**config, "layers": Passes(config["layers"])}, *args, **kwargs)

    with patched(functional, reconstruct_from_config=reconstruct):
        yield


@contextmanager
def few_steps(most: int) -> Iterator[None]:
    """While this is in force, tf_keras raises ValueError for a sequence of more steps that it would unroll.

    It is the whole process's, and changes nothing for models that can be built.
    """
    import tensorflow as tf
    from tf_keras.src import backend

    original = backend.rnn

    def rnn(step: Any, inputs: Any, *args: Any, unroll: bool = False, **kwargs: Any) -> Any:
        count = tf.nest.flatten(inputs)[0].shape[0 if kwargs.get("time_major") else 1]
        if unroll and count is not None and count > most:
            raise ValueError(f"unroll=True with {count:,} steps, and k2t takes at most {most:,}")
        return original(step, inputs, *args, unroll=unroll, **kwargs)

    with patched(backend, rnn=rnn):
        yield


@contextmanager
def names_from_the_start() -> Iterator[None]:
    """Keras counts up the names that it makes up, in the whole process; within this it begins anew."""
    from keras.src.backend.common import global_state

    kept = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", None)
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", kept)


# --- tf_keras --------------------------------------------------------------------------------------------------------


def is_graph_of_keras2(model: Any) -> bool:
    """Whether tf_keras keeps a graph of its model."""
    return getattr(model, "_is_graph_network", False)


def layers_of_keras2(model: Any) -> list[Any]:
    """The layers of a model of Keras 2, those in nested models and wrappers too, without the models themselves."""
    import tf_keras

    return [layer for layer in model._flatten_layers() if not isinstance(layer, tf_keras.Model)]


def structure_of_keras2(model: Any) -> tuple[Any, Any]:
    """The nests of symbolic tensors in which a model of tf_keras takes its inputs and gives its outputs."""
    return model._nested_inputs, model._nested_outputs


# --- calls inside a TensorFlow graph ---------------------------------------------------------------------------------


def namespaces_of_operations() -> tuple[ModuleType, ...]:
    """The modules in which Keras and its users look up functions of ``keras.ops``."""
    import keras
    import keras.src.ops

    return keras.ops, keras.src.ops


def is_function(value: Any) -> bool:
    """Whether it is a function, and no class, module or constant."""
    return callable(value) and not isinstance(value, (type, ModuleType))


def is_graph_tensor(value: Any) -> bool:
    """Whether it is a tensor of a graph that is being recorded, and holds no numbers."""
    import tensorflow as tf

    return isinstance(value, tf.Tensor) and not hasattr(value, "numpy")


def variables_in(graph: Any, variables: Iterable[Any]) -> dict[str, Any]:
    """The Keras variables that a recorded graph reads: by the name of the tensor that stands for them in it."""
    handles = {id(v._value.handle): v for v in variables}
    return {inner.name: handles[id(outer)] for outer, inner in graph.captures if id(outer) in handles}


def constants_in(graph: Any) -> dict[str, Any]:
    """Tensors with numbers that a recorded graph uses: by the name of the tensor that stands for them in it."""
    return {
        inner.name: outer.numpy()
        for outer, inner in graph.captures
        if hasattr(outer, "numpy") and outer.dtype.name != "resource"
    }


@contextmanager
def names_apart(operations: Iterable[Any]) -> Iterator[None]:
    """While this is in force layers have names of their own: keras.Function takes no two of one name."""
    with ExitStack() as stack:
        for index, operation in enumerate({id(op): op for op in operations}.values()):
            stack.enter_context(patched(operation, name=f"{operation.name}_{index}"))
        yield


def without_activation(layer: Any) -> Any:
    """The same layer, its variables included, with no activation."""
    import keras

    plain = object.__new__(type(layer))  # copy.copy would save it and load it again
    vars(plain).update(vars(layer), activation=keras.activations.linear, _inbound_nodes=[], _outbound_nodes=[])
    return plain


def hold(variable: Any, theirs: Any) -> None:
    """Let a variable of Keras 3 be this one of TensorFlow's."""
    variable._value = theirs


def shape_of_keras2(layer: Any) -> Any:
    """What a layer of Keras 2 was built for."""
    return layer._build_input_shape


@contextmanager
def inferring() -> Iterator[None]:
    """While this is in force the calls in a call are of inference, whatever one of them has by default.

    Augmentation layers default to training=True, which Keras would hand on to the layers called after them
    (keras/src/layers/layer.py, CallContext).
    """
    from keras.src.backend.common import global_state

    context = global_state.get_global_attribute("current_call_ctx")
    if context is None:
        yield
        return
    with patched(context, training=False):
        yield


def set_shape(tensor: Any, shape: tuple) -> None:
    """Let a symbolic tensor have another shape: what is known of its sizes besides."""
    tensor._shape = shape


def function_graph(op: Any, attribute: str) -> Any:
    """The graph of a function that an operation of TensorFlow calls, by the attribute that names it."""
    name, graph = op.get_attr(attribute).name, op.graph
    while graph is not None:
        found = graph._functions.get(name)
        if found is not None:
            return found.graph
        graph = getattr(graph, "outer_graph", None)
    raise LookupError(f"no function {name!r}")


# --- numbers in the place of others ----------------------------------------------------------------------------------


def stand_in_variable(value: Any) -> Any:
    """A variable of TensorFlow with these numbers, for `in_place`."""
    import tensorflow as tf

    return tf.Variable(value, trainable=True)


@contextmanager
def in_place(variables: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[None]:
    """While this is in force Keras variables hold other variables of TensorFlow: both by path."""
    with ExitStack() as stack:
        for path, value in values.items():
            stack.enter_context(patched(variables[path], _value=value))
        yield


def keeps_numbers(layer: Any) -> bool:
    """Whether a layer computes with numbers of its own that it once took from its variables."""
    return type(layer).__name__ == "Normalization"
