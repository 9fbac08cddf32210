"""What is taken of Keras's inside is taken in one file; what is patched comes back."""

from __future__ import annotations

import ast
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from k2t_core.keras_side import internals
from k2t_core.keras_side.internals import patched

PACKAGE = Path(internals.__file__).parents[1]
HOME = Path(internals.__file__).relative_to(PACKAGE).as_posix()
# (file, what it touches) beside internals.py, and why.
ALLOWED = {
    ("processes/worker.py", "_exit"): "a function of os",
    ("rules/applications.py", "keras.src.applications.convnext.LayerScale"): "the kind of a class is its full path",
    ("rules/applications.py", "keras.src.applications.convnext.StochasticDepth"): "the kind of a class",
    ("rules/applications.py", "keras.src.applications.inception_resnet_v2.CustomScaleLayer"): "the kind of a class",
}
# Looked up by name, as getattr does: these belong to Keras, TensorFlow and tf_keras.
NAMES = {
    "_build_shapes_dict",
    "_call_context_args",
    "_call_has_mask_arg",
    "_call_has_training_arg",
    "_dtype",
    "_flatten_layers",
    "_functional",
    "_inbound_nodes",
    "_inputs_struct",
    "_is_graph_network",
    "_keras_history",
    "_keras_mask",
    "_layers",
    "_nested_inputs",
    "_nested_outputs",
    "_nodes_by_depth",
    "_non_trainable_variables",
    "_outbound_nodes",
    "_outputs_struct",
    "_trainable_variables",
    "_value",
}


def touched(path: Path) -> set[str]:
    """Modules of keras.src that a file imports or names, and private attributes of objects that are not its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    }
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if ".src" in alias.name}
        elif isinstance(node, ast.ImportFrom) and ".src" in (node.module or ""):
            found.add(str(node.module))
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")) and node.attr not in own:
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in NAMES or node.value.startswith(("keras.src.", "tf_keras.src.")):
                found.add(node.value)
    return found


def test_no_other_module_touches_keras_inside():
    found = {
        (name, what)
        for path in sorted(PACKAGE.rglob("*.py"))
        if "node_modules" not in path.parts and (name := path.relative_to(PACKAGE).as_posix()) != HOME
        for what in touched(path)
    }
    # What a file may name is written in terms of the frameworks' modules: that is what allowed.py holds.
    found = {(module, name) for module, name in found if module != "keras_side/allowed.py"}
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set()  # no reason for what is gone


# Private to TensorFlow's graphs, to tf_keras's layers and to symbolic tensors.
OF_OTHERS = {"_functions", "_build_input_shape", "_shape"}


def test_the_search_sees_what_is_taken_here():
    found = touched(PACKAGE / HOME)
    assert {"keras.src.models.functional", "keras.src.backend", "_inbound_nodes", "_nodes_by_depth"} <= found
    assert {name for name in found if name.startswith("_")} <= NAMES | OF_OTHERS


# --- patched ---


class Plain:
    shared = "of the class"

    def __init__(self):
        self.own = 1


def test_what_was_there_comes_back_and_what_was_not_goes():
    thing = Plain()
    with pytest.raises(ZeroDivisionError), patched(thing, own=2, shared="of the object", new=3):
        assert (thing.own, thing.shared, thing.new) == (2, "of the object", 3)
        raise ZeroDivisionError
    assert vars(thing) == {"own": 1} and Plain.shared == thing.shared == "of the class"


def test_one_within_another():
    thing = Plain()
    with patched(thing, shared="outer"):
        with patched(thing, shared="inner", own=2):
            assert (thing.shared, thing.own) == ("inner", 2)
        assert (thing.shared, thing.own) == ("outer", 1)
    assert vars(thing) == {"own": 1}


def test_taken_away_meanwhile():
    thing = Plain()
    with patched(thing, own=2, new=3):
        del thing.own, thing.new
    assert vars(thing) == {"own": 1}


def test_a_module_and_a_class():
    module = types.ModuleType("module")
    module.known = 1
    with patched(module, known=2, new=3), patched(Plain, shared="patched"):
        assert (module.known, module.new, Plain().shared) == (2, 3, "patched")
    assert module.known == 1 and not hasattr(module, "new") and Plain.shared == "of the class"


def test_a_static_method_comes_back_as_one():
    class Holder:
        @staticmethod
        def twice(x):
            return 2 * x

    with patched(Holder, twice=lambda _, x: 3 * x):
        assert Holder().twice(1) == 3
    assert Holder().twice(1) == 2


def test_a_layer_of_a_layer_is_patched_past_keras_tracking():
    """A built layer refuses a new sublayer; and none may stay among those it tracks."""
    outer = layers.TimeDistributed(layers.Dense(2))
    outer(np.ones((1, 3, 4), "float32"))
    before = internals.sublayers(outer)
    with patched(outer, layer=layers.Dense(3)):
        assert internals.sublayers(outer) == before
    assert internals.sublayers(outer) == before and outer.layer is before[0]


# --- what the names promise ---


@pytest.fixture
def model():
    x = keras.Input((4,), name="in")
    y = layers.Dense(3, name="first")(x)
    return keras.Model({"in": x}, [layers.Dense(2, name="second")(y), y])


def test_nodes_and_what_is_behind_a_tensor(model):
    assert [node.operation.name for node in internals.calls_of(model)] == ["first", "second"]
    assert {node.operation.name for node in internals.nodes_of(model)} == {"in", "first", "second"}
    assert list(internals.nodes_of(layers.Dense(2))) == []
    second, first = model.outputs
    assert internals.operation_behind(second).name == "second"
    assert internals.node_behind(first).input_tensors[0] is model.inputs[0]
    fresh = keras.KerasTensor((None, 2))
    assert internals.operation_behind(fresh) is None and internals.node_behind(fresh) is None


def test_functional(model):
    assert internals.functional(model) is model
    sequential = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    assert len(internals.calls_of(internals.functional(sequential))) == 1
    assert internals.functional(keras.Sequential([layers.Dense(2)])) is None  # has no input yet
    assert internals.functional(layers.Dense(2)) is None

    class Changed(keras.Model):
        def call(self, inputs):
            return super().call(inputs)

    x = keras.Input((4,))
    assert internals.functional(Changed(x, layers.Dense(2)(x))) is None


def test_the_nests_of_inputs_and_outputs(model):
    assert internals.packed_inputs(model, [1]) == {"in": 1}
    assert internals.packed_outputs(model, (1, 2)) == [1, 2]


def test_a_symbolic_run_leaves_no_nodes(model):
    first = model.get_layer("first")
    with internals.untouched(model.operations):
        first(keras.Input((4,)))
        assert len(internals.calls_to(first)) == 2
    assert len(internals.calls_to(first)) == 1


def test_home():
    assert internals.home(layers.Dense) == "layers"
    assert internals.home(type(internals.operation_behind(keras.ops.mean(keras.Input((4,)))))) == "ops"
    assert internals.home(type(internals.operation_behind(keras.activations.relu(keras.Input((4,)))))) == "activations"
    assert internals.home(Plain) == internals.home(keras.Model) == ""


def test_masks_and_inference():
    x = keras.ops.ones((2, 3))
    assert internals.mask_of(x) is None
    internals.set_mask(x, "mask")
    assert internals.mask_of(x) == "mask"
    assert internals.in_inference(layers.Dropout(0.5)) == {"training": False}
    assert internals.in_inference(keras.ops.mean) == {}
    assert internals.takes_mask(layers.LSTM(2)) and not internals.takes_mask(layers.Dense(2))


def test_a_sketch_has_no_values():
    config = keras.saving.serialize_keras_object(keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")]))
    sketch = internals.sketch(config, h5=False, safe=True)
    assert [tuple(v.shape) for v in sketch.variables] == [(4, 3), (3,)]
    assert layers.Dense(2)(np.ones((1, 3))).shape == (1, 2)  # and the next layer is built as ever


def test_names_begin_anew_within():
    first = layers.Dense(2).name
    with internals.names_from_the_start():
        assert layers.Dense(2).name == "dense"
    assert layers.Dense(2).name != first
