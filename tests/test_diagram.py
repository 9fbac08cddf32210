"""The drawing of a model: every call is on it, edges join what is drawn, folding hides and unfolding shows."""

from __future__ import annotations

import re

import pytest

import k2t_core as k2t
from k2t_core.bundled import examples
from k2t_core.diagram import diagram, foldable


@pytest.mark.parametrize("name", list(examples().EXAMPLES))
def test_every_example_is_drawn_and_no_edge_leads_nowhere(example, name):
    plan = k2t.plan(example(name))
    for unfolded in ((), tuple(foldable(plan))):
        text = diagram(plan, unfolded)
        drawn = re.findall(r"^(n\d+) \[", text, re.M)
        edges = re.findall(r"^(n\d+) -> (n\d+);", text, re.M)
        assert {end for edge in edges for end in edge} <= set(drawn)
        assert text.count("{") == text.count("}")
        assert all(f'output {output}"' in text for output in plan.root.graph.output_names)


def test_a_nested_model_is_folded_until_asked_for(example):
    plan = k2t.plan(example("shared"))
    assert list(foldable(plan)) == ["encoder"]
    folded, unfolded = diagram(plan), diagram(plan, ["encoder"])
    assert folded.count("model of 4 layers") == 2 and "conv1" not in folded
    assert unfolded.count("subgraph") == 2 and unfolded.count("conv1") == 2
    assert "model of" not in unfolded


def test_repeated_blocks_are_folded():
    import keras
    from keras import layers

    x = image = keras.Input((8, 8, 4), name="image")
    for _ in range(12):
        y = layers.Conv2D(4, 3, padding="same")(x)
        y = layers.Activation("relu")(y)
        y = layers.Conv2D(4, 3, padding="same")(y)
        x = layers.Add()([x, y])
    plan = k2t.plan(keras.Model(image, x, name="tower"))
    (key,) = foldable(plan)
    folded, unfolded = diagram(plan), diagram(plan, [key])
    assert folded.count("Conv2D") == 0 and folded.count(" -> ") < 20
    assert unfolded.count("Conv2D") == 24


def test_names_are_quoted():
    import keras

    plan = k2t.plan(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name='say "hi" \\ there')]))
    assert r'say \"hi\" \\ there' in diagram(plan)


def test_dark_and_light_differ_in_colour_only(example):
    plan = k2t.plan(example("dense"))
    strip = lambda text: re.sub(r"#[0-9A-F]{6}", "", text)  # noqa: E731
    assert strip(diagram(plan, dark=True)) == strip(diagram(plan))
