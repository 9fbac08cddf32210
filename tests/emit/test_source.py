"""model.py as text: the same plan gives the same, and it imports and carries what it uses and nothing else."""

from __future__ import annotations

import ast

import pytest
from keras import layers

import k2t_core as k2t
from k2t_core.emit.source import write_source
from k2t_core.errors import UnsupportedError
from k2t_core.planning.helper_sources import helper_sources, names_in
from tests.harness import functional


def imported(tree):
    return {
        alias.asname or alias.name.split(".")[0]
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }


@pytest.mark.parametrize("name", ["convnet", "lstm", "transformer", "unet"])
def test_it_imports_and_carries_what_it_uses(name, example):
    plan = k2t.plan(example(name))
    text = write_source(plan).text
    tree = ast.parse(text)
    assert write_source(plan).text == text
    assert imported(tree) <= names_in(tree)
    carried = {item.name for item in tree.body if hasattr(item, "name")} & set(helper_sources())
    assert carried == names_in(tree) & set(helper_sources())


def test_what_a_docstring_says_is_not_imported():
    """The docstring of ``one_hot`` names F.one_hot, which it does not call."""
    model = functional(layers.CategoryEncoding(4, output_mode="one_hot"), (1,), dtype="int32")
    assert "import torch.nn.functional" not in write_source(k2t.plan(model)).text


def test_a_function_brings_its_import():
    text = write_source(k2t.plan(functional(layers.Activation("relu"), (4,)))).text
    assert "import torch.nn.functional as F" in text.splitlines() and "import math" not in text


def test_a_plan_with_problems_is_not_written():
    plan = k2t.plan(functional(layers.Identity(), (4,), dtype="string"))
    with pytest.raises(UnsupportedError, match="strings"):
        write_source(plan)
