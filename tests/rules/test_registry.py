"""What a rule registers beside its function, and that no other room knows facts about kinds of layers."""

import ast
from pathlib import Path

import keras
import pytest

import k2t_core as k2t
from k2t_core.graph import Layer
from k2t_core.rules import registry
from k2t_core.rules.registry import Mapping, gates_of, is_generator, is_weight, is_width, known, rule

ROOT = Path(__file__).parents[2] / "k2t_core"
# Literals that read like a kind of layer and are none, or that speak of this layer and no other.
ALLOWED = {
    ("planning/plan.py", "InputLayer"): "what the table calls an input, which has no rule",
    ("planning/block_names.py", "ReLU"): "a word in the names of block classes: ConvBNReLU",
    ("planning/block_names.py", "ELU"): "the same",
    ("planning/block_names.py", "LeakyReLU"): "the same",
    ("planning/names.py", "ReLU"): "the same: it is one word, not three",
}


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "registered", dict(registry.registered))
    monkeypatch.setattr(registry, "widths", set(registry.widths))
    return registry.registered


def _layer(kind: str, **children: Layer) -> Layer:
    return Layer(kind.lower(), kind.lower(), kind, {}, (), children=children)


def test_no_other_room_names_a_layer():
    names = {name for name in dir(keras.layers) if isinstance(getattr(keras.layers, name), type)} - {"Layer"}
    names |= {getattr(keras.layers, name).__name__ for name in names}
    found = set()
    for room in ("planning", "emit", "verification", "inspector", "project"):
        for path in (ROOT / room).rglob("*.py"):
            if path.parent.name == "lessons":  # a lesson is about the layers that it names
                continue
            constants = (n.value for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant))
            found |= {(path.relative_to(ROOT).as_posix(), value) for value in constants if value in names}
    assert found == set(ALLOWED)


def test_a_kind_is_registered_once(registered):
    with pytest.raises(ValueError, match="a rule for Dense is registered already"):
        rule("Dense")(lambda call: Mapping(""))


def test_who_replaces_a_rule_keeps_what_is_known_of_the_layer(registered):
    rule("LSTM", override=True)(lambda call: Mapping(""))
    assert known("LSTM").gates.keras == ("i", "f", "c", "o") and known("LSTM").over_time
    rule("LSTM", override=True, over_time=False)(lambda call: Mapping(""))
    assert not known("LSTM").over_time and known("GRU").over_time


def test_of_a_kind_without_a_rule_nothing_is_known():
    assert registry.find("mine>Layer") is None
    assert known("mine>Layer").gates is None and not known("mine>Layer").over_time


def test_gates_of_a_layer_and_of_what_it_wraps():
    lstm = _layer("LSTM")
    assert gates_of(lstm).torch == ("i", "f", "g", "o")
    assert gates_of(_layer("Bidirectional", forward_layer=lstm, backward_layer=lstm)) == gates_of(lstm)
    assert gates_of(_layer("RNN", cell=_layer("GRUCell"))).keras == ("z", "r", "h")
    assert gates_of(_layer("Dense")) is None and gates_of(_layer("SimpleRNN")) is None


def test_a_gate_means_the_same_on_both_sides():
    for kind in ("LSTM", "GRU"):
        gates = known(kind).gates
        assert {gates.meanings[g] for g in gates.keras} == {gates.meanings[g] for g in gates.torch}


def test_a_rule_of_a_users_own_may_declare_widths(registered):
    assert is_width("in_channels") and not is_width("breadth")
    rule("mine>Layer", widths=("breadth",))(lambda call: Mapping(""))
    assert is_width("breadth")


def test_a_block_with_grouped_queries_is_called_a_transformer():
    x = inputs = keras.Input((6, 8))
    for _ in range(12):
        y = keras.layers.LayerNormalization()(x)
        x = keras.layers.Add()([x, keras.layers.GroupQueryAttention(4, 4, 2)(y, y)])
        y = keras.layers.Dense(16, "relu")(keras.layers.LayerNormalization()(x))
        x = keras.layers.Add()([x, keras.layers.Dense(8)(y)])
    planned = k2t.plan(keras.Model(inputs, x))
    assert [use.block.class_name for use in planned.root.instances][:1] == ["TransformerBlock"]


def test_what_no_layer_computes_with_is_no_weight():
    wrapped = keras.layers.SpectralNormalization(keras.layers.Dense(2, name="seed_generator"), name="wrapped")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Normalization(), wrapped, keras.layers.Dropout(0.5)])
    paths = [v.path for v in model.variables]
    names = {path.rsplit("/", 1)[-1] for path in paths if not is_weight(path)}
    assert names == {"count", "vector_u", "seed_generator_state"}
    assert [path for path in paths if is_generator(path)] == [paths[-1]], "whatever a layer is called"
