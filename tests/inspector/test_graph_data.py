"""What the graph draws: every call once, the edges of the model's own graph, folds that are torch's modules."""

from __future__ import annotations

import importlib.util
import json

import pytest

import k2t_core as k2t
from k2t_core.emit.source import write_source
from k2t_core.inspector.graph_data import Overlay, graph_data
from k2t_core.planning.plan import Plan, rows
from k2t_core.project.bundled import examples

FOLDS = ("model", "block", "sequence")


def tower(blocks: int = 12):
    """Residual blocks alike, the halves of each joined again: they become a block class in an nn.Sequential."""
    import keras
    from keras import layers

    x = image = keras.Input((8, 8, 4), name="image")
    for k in range(blocks):
        y = layers.Conv2D(4, 3, padding="same", name=f"stage{k}_first")(x)
        y = layers.Activation("relu", name=f"stage{k}_relu")(y)
        y = layers.Conv2D(4, 3, padding="same", name=f"stage{k}_second")(y)
        x = layers.Add(name=f"stage{k}_add")([x, y])
    return keras.Model(image, x, name="tower")


def whole(graph: dict) -> set[tuple[str, str]]:
    """The edges between layers, with every fold open: followed through its ports."""
    sources = {}
    for parent, source, exit, target, entry, _ in graph["edges"]:
        sources.setdefault((parent, target, entry), []).append((source, exit))

    def made(parent: str, node: str, port: int) -> set[str]:
        """The layers at the end of a port, seen from inside the fold ``parent``."""
        if node == "":
            outer = graph["nodes"][parent]["parent"]
            return {
                layer for source, exit in sources.get((outer, parent, port), ()) for layer in made(outer, source, exit)
            }
        if graph["nodes"][node]["kind"] in FOLDS:
            return {layer for source, exit in sources[node, "", port] for layer in made(node, source, exit)}
        return {node}

    found = set()
    for parent, source, exit, target, _, _ in graph["edges"]:
        if target and graph["nodes"][target]["kind"] not in FOLDS:
            found |= {(layer, target) for layer in made(parent, source, exit)}
    return found


def expected(plan: Plan) -> set[tuple[str, str]]:
    """The same, from Keras's graph."""
    found = set()

    def visit(graph, made: dict[str, str], path: str) -> dict[str, str]:
        for node in graph.nodes:
            if node.layer.graph is None:
                found.update((made[t], f"{path}{node.id}") for t in node.inputs)
                made.update(dict.fromkeys(node.outputs, f"{path}{node.id}"))
            else:
                inner = visit(
                    node.layer.graph,
                    {t: made[outer] for t, outer in zip(node.layer.graph.inputs, node.inputs)},
                    f"{path}{node.id}/",
                )
                made.update((outer, inner[t]) for t, outer in zip(node.layer.graph.outputs, node.outputs))
        return made

    graph = plan.root.graph
    made = visit(graph, {t: f"in {name}" for t, name in zip(graph.inputs, graph.input_names)}, "")
    found |= {(f"cut {cut.layer.path}", f"in {cut.layer.path}") for cut in plan.traced.cuts}
    return found | {(made[t], f"out {name}") for t, name in zip(graph.outputs, graph.output_names)}


def check(plan: Plan) -> dict:
    """The graph of a plan, after what is true of every graph."""
    graph = graph_data(plan)
    nodes = graph["nodes"]
    assert json.loads(json.dumps(graph)) == graph | {"edges": [list(edge) for edge in graph["edges"]]}
    assert whole(graph) == expected(plan)
    assert {node["row"] for node in nodes.values()} - {None} == {row.call for row in rows(plan)}
    for parent, source, exit, target, entry, _ in graph["edges"]:
        for node, port, ports, own in ((source, exit, "exits", "entries"), (target, entry, "entries", "exits")):
            if node == "":
                assert port < nodes[parent][own]
            else:
                assert nodes[node]["parent"] == parent
                assert nodes[node]["kind"] not in FOLDS or port < nodes[node][ports]
    for name, node in nodes.items():
        assert node["parent"] == "" or nodes[node["parent"]]["kind"] in FOLDS
        assert list(nodes).index(node["parent"]) < list(nodes).index(name) if node["parent"] else True
        assert all(0 <= place <= 1 for place in node["heat"].values())
    return graph


@pytest.mark.parametrize("name", list(examples().EXAMPLES))
def test_the_edges_of_every_example_are_those_of_its_graph(example, name):
    check(k2t.plan(example(name)))


@pytest.mark.parametrize("name", ["ResNet50", "InceptionV3", "NASNetMobile"])
def test_the_edges_of_a_real_network_are_those_of_its_graph_however_it_is_folded(name):
    import keras

    graph = check(k2t.plan(getattr(keras.applications, name)(weights=None)))
    top = [node for node in graph["nodes"].values() if node["parent"] == ""]
    assert len(top) < len(graph["nodes"]) / 4


def test_the_folds_are_the_modules_that_are_written(tmp_path):
    model = tower()
    result = k2t.convert(model, tmp_path / "out")
    spec = importlib.util.spec_from_file_location("tower", tmp_path / "out" / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = {name: type(part).__name__ for name, part in module.load_model().named_modules() if name}
    nodes = graph_data(result.plan)["nodes"].values()
    modules = {
        node["torch"]["name"]: node["torch"]["type"]
        for node in nodes
        if node["torch"]["type"] not in ("function", "argument", "returned")
    }
    assert modules.keys() == written.keys()
    for name, kind in modules.items():
        assert kind.removeprefix("nn.").startswith(written[name])
    kinds = [node["kind"] for node in nodes]
    assert kinds.count("sequence") == 1 and kinds.count("block") == 12 and kinds.count("layer") == 48
    assert next(node["size"] for node in nodes if node["kind"] == "sequence") == 48


def test_a_nested_model_that_is_called_twice_is_two_folds_over_the_same_rows(example):
    nodes = graph_data(k2t.plan(example("shared")))["nodes"]
    first, second = (name for name, node in nodes.items() if node["kind"] == "model")
    inside = {fold: [node["row"] for node in nodes.values() if node["parent"] == fold] for fold in (first, second)}
    assert inside[first] == inside[second] == ["encoder/conv1", "encoder/conv2", "encoder/flatten", "encoder/features"]
    assert nodes[first]["torch"]["name"] == nodes[second]["torch"]["name"] == "encoder"
    assert nodes[f"{second}/conv1"]["torch"]["name"] == "encoder.conv1"
    assert nodes[first]["status"] == "ambiguous"  # of its Flatten


def test_shapes_are_in_the_order_of_each_side(example):
    nodes = graph_data(k2t.plan(example("convnet")))["nodes"]
    assert nodes["conv"]["keras"] == {"name": "conv", "type": "Conv2D", "shape": "28×28×32"}
    assert nodes["conv"]["torch"] == {
        "name": "conv",
        "type": "nn.Conv2d",
        "shape": "32×28×28",
        "code": "nn.Conv2d(3, 32, kernel_size=3, padding=1)",
    }
    assert nodes["flatten"]["torch"]["name"] == "x.flatten(1)"
    assert nodes["in image"]["torch"]["shape"] == "3×28×28"


def test_a_permute_stands_on_its_edge():
    import keras
    from keras import layers

    plan = k2t.plan(
        keras.Sequential(
            [
                keras.Input((6, 5, 3)),
                layers.Conv2D(4, 3, name="conv"),
                layers.Reshape((12, 4), name="rows"),
                layers.LSTM(2, name="lstm"),
            ]
        )
    )
    notes = {(edge[1], edge[3]): edge[5] for edge in graph_data(plan)["edges"]}
    assert notes["rows", "lstm"] == "transpose(1, 2)" and "x.transpose(1, 2)" in write_source(plan).text
    assert not any(note for edge, note in notes.items() if edge != ("rows", "lstm"))


def test_parameters_of_a_fold_are_those_inside_it_counted_once(example):
    model = tower()
    nodes = graph_data(k2t.plan(model))["nodes"]
    (sequence,) = (node for node in nodes.values() if node["kind"] == "sequence")
    assert sequence["text"]["parameters"] == f"{model.count_params():,}" and sequence["heat"]["parameters"] == 1.0
    plan = k2t.plan(example("convnet"))
    numbers = {name: node["text"].get("parameters") for name, node in graph_data(plan)["nodes"].items()}
    assert numbers == {"in image": None, "conv": "896", "flatten": "0", "classes": "250,890", "out classes": None}


def test_errors_are_those_of_the_report_and_rise_to_the_folds(example, tmp_path):
    from k2t_core.recipe import Override, Recipe

    result = k2t.convert(
        example("shared"),
        tmp_path / "out",
        recipe=Recipe((Override("encoder/flatten", "alternative", "plain flatten"),)),
    )
    report = k2t.verify(result.folder, example("shared"), weights="model", edge_cases=False)
    graph = graph_data(result.plan, Overlay.of(report))
    nodes = graph["nodes"]
    worst = {r.tensor: r for r in report.layers if " " not in r.tensor}
    for name in ("encoder/conv1", "encoder#2/flatten", "subtract"):
        (tensor,) = (t for t in worst if t.split(":")[0] == name)
        assert float(nodes[name]["text"]["error"]) == pytest.approx(worst[tensor].cumulative.relative, rel=0.06)
    assert nodes["encoder/conv1"]["heat"]["error"] < 0.4 < nodes["encoder/features"]["heat"]["error"]
    assert nodes["encoder/features"]["heat"]["alone"] < 0.4  # the Flatten before it is to blame
    assert nodes["encoder"]["heat"]["error"] == max(
        node["heat"].get("error", 0.0) for name, node in nodes.items() if node["parent"] == "encoder"
    )
    assert (
        nodes["encoder"]["overridden"]
        and nodes["encoder/flatten"]["overridden"]
        and not nodes["encoder/conv1"]["overridden"]
    )
    assert {name for name, node in nodes.items() if node["first"]} == {
        "encoder",
        "encoder#2",
        "encoder/flatten",
        "encoder#2/flatten",
    }
    assert {"error", "alone", "parameters"} == graph["legends"].keys()
    assert graph_data(result.plan)["legends"].keys() == {"parameters"}


def test_a_layer_with_a_blank_in_its_name_has_its_errors(tmp_path):
    """Its own, and those of what was looked at before its activation."""
    import keras
    from keras import layers

    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(3, activation="softmax", name="my end")(layers.Dense(3, name="my layer")(x)))
    result = k2t.convert(model, tmp_path)
    report = k2t.verify(tmp_path, model, weights="randomised", edge_cases=False)
    assert [r.tensor for r in report.layers] == ["my layer", "my end", "my end before softmax"]
    nodes = graph_data(result.plan, Overlay.of(report))["nodes"]
    assert "error" in nodes["my layer"]["text"] and "error" in nodes["my end"]["text"]
    before = report.layers[2].isolated.relative
    assert float(nodes["my end"]["text"]["alone"]) >= float(f"{before:.1e}")


def test_a_layer_without_a_counterpart_is_drawn_and_marks_its_folds():
    import keras
    import tensorflow as tf

    class Foreign(keras.layers.Layer):
        def call(self, x):
            return tf.math.special.dawsn(x)  # which PyTorch does not have

    inner = keras.Sequential([keras.Input((3,)), Foreign(name="odd_one")], name="inner")
    nodes = check(k2t.plan(keras.Sequential([keras.Input((3,)), inner])))["nodes"]
    assert nodes["inner/odd_one"]["status"] == nodes["inner"]["status"] == "unsupported"
    assert nodes["inner/odd_one"]["torch"]["name"] == "no counterpart"


def test_a_layer_that_is_cut_off_stands_before_the_input_in_its_place():
    from tests.keras_side.test_cutting import cut_off, text_model

    nodes = check(k2t.plan(text_model(), k2t.Recipe(tuple(cut_off("words")))))["nodes"]
    assert (
        nodes["cut words"]["status"] == "cut off"
        and nodes["cut words"]["row"] == "words (cut off)"
        and nodes["in words"]["kind"] == "input"
    )


def test_what_is_inside_an_opened_layer_is_drawn():
    import keras
    from keras import layers

    from tests.keras_side.test_opened import Positions, TransformerBlock

    tokens = keras.Input((12,), dtype="int32")
    x = Positions(name="positions")(tokens)
    for k in range(3):
        x = TransformerBlock(name=f"block{k}")(x)
    nodes = check(k2t.plan(keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)), name="encoder")))[
        "nodes"
    ]
    assert any(node["keras"]["type"] == "MultiHeadAttention" for node in nodes.values())
    assert sum(node["torch"]["type"] == "TransformerBlock" for node in nodes.values()) == 3
