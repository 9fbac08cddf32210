"""What the command line prints of a model and of a report."""

from __future__ import annotations

import keras
import pytest

import k2t_core as k2t
from k2t_core.inspector.card import card_json
from k2t_core.inspector.terminal import print_card, print_report


def test_a_card_has_a_row_for_each_call(example, capsys):
    print_card(card_json(k2t.plan(example("convnet"))))
    said = capsys.readouterr().out
    first, inputs, outputs, *table = [line.strip() for line in said.splitlines() if line.strip()]
    assert first.startswith("convnet.keras: .keras of Keras ") and "251,786 parameters" in first
    assert inputs == "inputs: image (?, 28, 28, 3) float32" and outputs.startswith("outputs: classes (?, ")
    conv = next(line for line in table if line.startswith("conv "))
    assert "Conv2D" in conv and "nn.Conv2d(3, 32" in conv and "NCHW" in conv and conv.endswith("exact")


@pytest.mark.parametrize("weights", ["model", "both"])
def test_a_report_ends_with_its_verdict(example, converted, capsys, weights):
    report = k2t.verify(converted("all_ones"), example("all_ones"), weights=weights, edge_cases=False)
    print_report(report)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == report.verdict
    assert sum(line.rstrip().endswith("agrees") for line in lines[:-1]) == sum(len(run.outputs) for run in report.runs)
    assert any(line.startswith("cannot tell a wrong transpose: conv/kernel: every value is 1") for line in lines)


def test_a_name_is_no_command_to_the_terminal(capsys):
    x = keras.Input((3,), name="x\x1b[2J")
    print_card(card_json(k2t.plan(keras.Model(x, keras.layers.Dense(2, name="d\x1b]0;title\x07")(x)))))
    said = capsys.readouterr().out
    assert "x\ufffd[2J" in said and "d\ufffd]0;title\ufffd" in said and "\x1b" not in said and "\x07" not in said
