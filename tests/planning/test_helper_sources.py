"""Which helpers a model.py carries: what its code names and what those use, text that runs by itself."""

import ast
import builtins
import importlib
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from k2t_core.planning.helper_sources import helper_names, helper_sources, helpers_for, names_in

# What a generated file imports, as far as it needs it.
IMPORTS = {"math": math, "torch": torch, "F": F, "nn": nn}


def defined(source):
    return [item.name for item in ast.parse(source).body]


def test_no_framework_is_imported_for_the_texts():
    code = (
        "import sys; from k2t_core.planning.helper_sources import helper_sources; assert helper_sources();"
        "assert not {'torch', 'keras', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(helper_sources()))
def test_a_helper_runs_by_itself(name):
    """With what it uses and torch: the text defines what its module defines."""
    text = helpers_for({name})
    namespace = dict(IMPORTS)
    exec(text, namespace)
    original = getattr(importlib.import_module(helper_sources()[name].module), name)
    assert namespace[name].__doc__ == original.__doc__
    assert type(namespace[name]) is type(original)


@pytest.mark.parametrize("name", sorted(helper_sources()))
def test_a_helper_uses_torch_and_other_helpers_only(name):
    """Every name that it reads and does not set itself."""
    tree = ast.parse(helper_sources()[name].source)
    nodes = list(ast.walk(tree))
    own = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.arg for n in nodes if isinstance(n, ast.arg)} | {n.name for n in nodes if hasattr(n, "name")}
    read = {n.id for n in nodes if isinstance(n, ast.Name)} - own
    assert read - set(IMPORTS) - set(dir(builtins)) - set(helper_names()) == set()


def test_what_a_helper_uses_comes_along_once_and_in_the_files_order():
    order = list(helper_sources())
    found = defined(helpers_for({"GatedMultiHeadAttention", "masked_softmax", "unknown"}))
    assert found == ["joint_softmax", "masked_softmax", "masked_attention", *found[3:]]
    assert found[3:] == ["MultiHeadAttention", "MaskedMultiHeadAttention", "GatedMultiHeadAttention"]
    assert found == sorted(found, key=order.index)


def test_nothing_for_code_that_names_none():
    assert helpers_for({"torch", "forward"}) == ""


def test_names_are_those_read_or_set_and_no_attributes():
    assert names_in(ast.parse("y = f(x.top_k, k=g)[z]")) == {"y", "f", "x", "g", "z"}
