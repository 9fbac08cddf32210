"""The rows that a search finds, and the call of each."""

from __future__ import annotations

import keras
import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.inspector.mapping_rows import matching, node_of
from k2t_core.planning.plan import rows


@pytest.fixture(scope="module")
def plan():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3), name="image"),
            layers.Conv2D(4, 3, name="conv"),
            layers.Flatten(name="flatten"),
            layers.Dense(5, name="head"),
        ]
    )
    return k2t.plan(model, k2t.Recipe().with_override(k2t.Override("head", "snippet", "x @ w['kernel']")))


@pytest.mark.parametrize(
    "asked, found",
    [
        ({}, ["image", "conv", "flatten", "head"]),
        ({"text": "CONV kernel"}, ["conv"]),  # every word, in any field, capitals or not
        ({"text": "conv head"}, []),
        ({"text": "(N, 4, 4, 4)"}, ["conv"]),
        ({"types": ["Flatten", "Dense"]}, ["flatten", "head"]),
        ({"types": ["Flatten", "Conv2D"], "statuses": ["ambiguous"]}, ["flatten"]),
        ({"overridden": True}, ["head"]),
    ],
)
def test_rows_are_found_by_words_type_status_and_overrides(plan, asked, found):
    assert [row.call for row in matching(rows(plan), **asked)] == found


def test_a_row_stands_for_its_call(plan, example):
    nodes = [node_of(plan, row) for row in rows(plan)]
    assert nodes[0] is None and [node.layer.path for node in nodes[1:]] == ["conv", "flatten", "head"]
    shared = k2t.plan(example("shared"))
    inner = next(row for row in rows(shared) if "/" in row.call)
    assert node_of(shared, inner).layer.path == inner.layer
