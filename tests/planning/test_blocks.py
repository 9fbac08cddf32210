"""Block classes as data, of a real network."""

from __future__ import annotations

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.keras_side.randomise import randomise
from k2t_core.planning.blocks import Use, is_width
from tests.planning.test_folding import branches


@pytest.fixture(scope="module")
def root():
    x = inputs = keras.Input((8, 8, 3))
    for k, filters in enumerate((4, 5, 6)):
        x = branches(x, filters, f"mixed{k}")
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    randomise(model)
    return k2t.plan(model).root


def test_a_use_walks_through_the_blocks_in_it_and_ends_with_itself(root):
    outer = [use for use in root.uses if any(isinstance(part, Use) for part in use.parts)]
    assert outer, "blocks of blocks"
    for use in outer:
        *inner, last = use.walk()
        assert last is use and inner
        assert all(use.start <= other.start < other.stop <= use.stop for other in inner)
        assert all(other.attr.startswith(f"{use.attr}.") for other in inner)


def test_what_is_aligned_with_the_parts_of_a_block(root):
    for use in root.instances:
        block = use.block
        assert len(block.attrs) == len(block.labels) == len(block.modules) == len(use.parts)
        assert [attr is None for attr in block.attrs] == [module is None for module in block.modules]
        assert len(use.values) == len(block.parameters)


def test_the_parts_are_the_calls_of_the_use_in_order(root):
    def calls(use):
        for part in use.parts:
            yield from calls(part) if isinstance(part, Use) else [part]

    for use in root.uses:
        assert list(calls(use)) == list(range(use.start, use.stop))


@pytest.mark.parametrize(
    ("key", "wide"),
    [("in_channels", True), ("out_features_2", True), ("hidden_channels", True), ("stride", False), ("eps", False)],
)
def test_arguments_that_say_how_wide_a_tensor_is(key, wide):
    assert is_width(key) == wide
