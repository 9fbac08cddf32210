"""Options that no layer takes, as a damaged or hostile file may hold them: a refused layer, never a raw exception.

Keras itself refuses most of them while it builds the layer. What it lets through (NaN, infinity, huge integers, words
where a number belongs) must not fell a rule, the layouts or the writing of the source.
"""

from __future__ import annotations

import keras
import pytest

import k2t_core as k2t
from k2t_core.emit.source import write_source
from k2t_core.keras_side.reading import read
from k2t_core.rules.registry import INERT_OPTIONS
from tests.conformance.test_conformance import CASES

ODD = (float("nan"), float("inf"), -(10**30), 10**30, -1, "words", [], {}, None, True, [float("nan")] * 3)
KINDS = sorted(name for name, cases in CASES.items() if any(case.refused is None for case in cases))


def planned(traced) -> bool:
    """Whether the model is planned and written; a refusal is one of k2t's own, of one line."""
    try:
        write_source(k2t.plan(traced))
    except k2t.K2TError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_odd_options_are_refused_by_name(kind):
    case = next(case for case in CASES[kind] if case.refused is None)
    keras.backend.clear_session()
    try:
        model = case.build()
    except Exception:
        pytest.skip("Keras does not build the first case on this machine")
    traced = read(model)
    assert planned(traced)
    tried = 0
    for node in [node for _, _, node in traced.graph.walk() if node.layer.kind == kind or kind in str(node.layer.path)]:
        config = node.layer.config
        for number, (option, value) in enumerate(list(config.items())):
            if option in INERT_OPTIONS:
                continue
            for odd in ODD[number % 3 :: 3]:
                config[option] = odd
                planned(traced)
                tried += 1
            config[option] = value
    assert planned(traced)


def test_names_that_python_reads_otherwise_and_names_of_torchs_own():
    x = keras.Input((3,), name="ｃlass")
    y = x
    for name in ("_modules", "_parameters", "ｄef", "register_forward_hook", "ﬁt", "lambda"):
        y = keras.layers.Dense(3, name=name)(y)
    text = write_source(k2t.plan(keras.Model(x, y, name="ｉmport"))).text
    scope: dict = {}
    exec(compile(text, "model.py", "exec"), {"__name__": "model"}, scope)
    assert "self._modules =" not in text and "_modules_layer" in text


def test_names_of_torch_are_all_reserved():
    from torch import nn

    from k2t_core.planning.names import MODULE_ATTRIBUTES

    own = {name for name in dir(nn.Module()) if not name.startswith("__")}
    assert own - MODULE_ATTRIBUTES == set()
