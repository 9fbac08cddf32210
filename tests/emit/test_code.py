"""Which lines of model.py a Keras layer became, and what of a forward its taps rest on."""

from __future__ import annotations

import ast

import k2t_core as k2t
from k2t_core.emit.code import forward_hashes, forwards, layers_by_line, lines_by_layer, statements
from k2t_core.emit.source import write_source


def lines(code, layer):
    return [code.text.splitlines()[number - 1].strip() for number in lines_by_layer(code)[layer]]


def test_a_layer_has_its_statement_and_its_constructor(example):
    code = write_source(k2t.plan(example("convnet")))
    assert any("self.conv = nn.Conv2d" in line for line in lines(code, "conv"))
    assert any("self.conv(" in line for line in lines(code, "conv"))
    assert any("flatten" in line for line in lines(code, "flatten"))


def test_a_layer_of_two_statements_has_both(example):
    found = lines(write_source(k2t.plan(example("lstm"))), "lstm")
    assert [line.split("(")[0] for line in found] == ["self.lstm = nn.LSTM", "_, ", "x = hidden[0]"]


def test_lines_and_layers_say_the_same(example):
    code = write_source(k2t.plan(example("shared")))
    pairs = {(layer, line) for layer, lines in lines_by_layer(code).items() for line in lines}
    assert pairs == {(layer, line) for line, layers in layers_by_line(code).items() for layer in layers}


def test_every_tap_is_a_statement_that_assigns_its_variable(example):
    code = write_source(k2t.plan(example("unet")))
    steps = {item.name: statements(function) for item, function in forwards(ast.parse(code.text))}
    for tap in code.taps:
        assert tap.variable in ast.unparse(steps[tap.class_name][tap.statement]).split(" = ")[0]


SOURCE = """
class Net:
    def forward(self, x):
        {doc}
        x = self.a(x)
        {name} = x {sign} 1
        return {name}
"""


def test_the_hash_holds_as_long_as_the_names_do():
    def hashed(doc="", name="y", sign="+"):
        return forward_hashes(SOURCE.format(doc=doc, name=name, sign=sign))["Net"]

    assert hashed() == hashed(sign="-") == hashed(doc='"""What it does."""')
    assert hashed() != hashed(name="z")
