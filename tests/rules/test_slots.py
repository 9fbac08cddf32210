"""The names in a rule's code that are filled in, and that no other module spells them."""

import math
import re
from pathlib import Path

import keras
import pytest
import torch

import k2t_core as k2t
from k2t_core.errors import K2TError, OverrideError
from k2t_core.planning.plan import rows as plan_rows
from k2t_core.recipe import Override, Recipe
from k2t_core.rules import slots
from k2t_core.rules.registry import OUT, SELF
from k2t_core.rules.slots import (
    fill,
    formula,
    has_slots,
    is_slot,
    keywords,
    literal,
    number,
    operand,
    slot,
    with_keyword,
    with_slots,
)
from tests.harness import check, convert_and_run, sample

ROOT = Path(__file__).parents[2]
A, B = slot(0), slot(1)


def test_nothing_else_spells_a_slot():
    written = [p for folder in ("k2t_core", "pages", "benchmarks") for p in (ROOT / folder).rglob("*.py")]
    assert Path(slots.__file__) in written
    found = [
        p
        for p in written
        if re.search(r"⟦|⟧|__k2t_(self|out|\d|\{)", p.read_text("utf-8")) and p != Path(slots.__file__)
    ]
    assert found == []


def test_filling_leaves_the_rest_of_the_text_as_it_is():
    code = f"F.softmax({A}  ,dim = (-1)) * '{A}' # é {B}"
    assert fill(code, ["y"]) == f"F.softmax(y  ,dim = (-1)) * '{A}' # é {B}"


def test_places_are_counted_in_bytes():
    assert fill(f"f('Größe ∞', {A}, 'é', {B})", ["y.transpose(1, 2)", "z"]) == "f('Größe ∞', y.transpose(1, 2), 'é', z)"


def test_what_is_filled_in_is_not_filled_again():
    assert fill(f"{A} + {B}", [B, A]) == f"{B} + {A}"


def test_only_what_is_given_is_filled():
    code = f"{OUT.format(1)}, {OUT.format(0)} = {SELF}({A})"
    assert fill(code, ["x"]) == f"{OUT.format(1)}, {OUT.format(0)} = {SELF}(x)"
    assert fill(code, self_="self.lstm") == f"{OUT.format(1)}, {OUT.format(0)} = self.lstm({A})"
    assert fill(code, outs=["y", "_"]) == f"_, y = {SELF}({A})"


def test_statements_and_their_comments():
    line = f"{SELF}.weight.requires_grad_(False)  # scale=False"
    assert fill(line, self_="self.norm") == "self.norm.weight.requires_grad_(False)  # scale=False"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("x", "x.sum(1)"),
        ("self.a.b", "self.a.b.sum(1)"),
        ("x[0]", "x[0].sum(1)"),
        ("x.transpose(1, 2)", "x.transpose(1, 2).sum(1)"),
        ("(x + 1)", "(x + 1).sum(1)"),
        ("x + 1", "(x + 1).sum(1)"),
        ("(x) + (y)", "((x) + (y)).sum(1)"),
        ("-x", "(-x).sum(1)"),
        ("lambda t: t", "(lambda t: t).sum(1)"),
    ],
)
def test_an_operand_binds_as_one_thing(text, filled):
    assert fill(f"{A}.sum(1)", [text]) == filled


def test_an_input_that_the_call_does_not_have():
    with pytest.raises(K2TError, match=r"'x \+ x1' names tensor 1 of 1"):
        fill(f"{A} + {B}", ["x"])
    with pytest.raises(K2TError, match="names tensor 2 of 1"):
        fill(f"{OUT.format(2)} = {A}", ["x"], outs=["y"])


def test_code_that_is_no_python():
    with pytest.raises(K2TError, match="not valid Python"):
        fill(f"f({A}", ["x"])


def test_formula():
    assert formula(f"torch.cat([{A}, {B}], dim=1)") == "torch.cat([x, x1], dim=1)"
    assert formula((f"_, {OUT.format(0)} = {SELF}({slot(10)})", f"{OUT.format(1)} = {A}")) == "_, y = self(x10); y1 = x"


def test_a_layer_that_does_nothing():
    assert is_slot(A) and is_slot(slot(12))
    assert not any(map(is_slot, (SELF, OUT.format(0), f"{A}.sum()", "x", f"({A})")))
    assert not is_slot((f"{OUT.format(0)} = {A}",))


def test_what_depends_on_the_call():
    assert has_slots(f"{SELF}.value") and has_slots(f"torch.tensor([1, 2], device={A}.device)")
    assert not has_slots("math.inf") and not has_slots("-0.5")


@pytest.mark.parametrize(
    "code", [A, f"{SELF}({A})", f"({A} + 1)", f"F.relu({A})", f"{A}.float()", "((((x) + 1) / 2).clamp(0, 1))"]
)
def test_a_method_can_be_called_on_it(code):
    assert operand(code) == code


@pytest.mark.parametrize("code", ["x", f"-{SELF}({A})", f"{A} * ({B})", f"f({A}) + g({B})", "2"])
def test_a_method_cannot_be_called_on_it(code):
    assert operand(code) == f"({code})"


def test_keywords():
    code = f"F.softmax(F.gelu({A}), dim=-1) + f({B}, dim=2, like={A})"
    assert keywords(code) == {"dim": [-1, 2], "approximate": [None]}


def test_with_keyword_changes_the_keyword_and_nothing_else():
    code = f"F.layer_norm( {A} , {A}.shape[-1:] ) + f('é', eps =1e-5)"
    assert with_keyword(code, "eps", 0.001) == f"F.layer_norm( {A} , {A}.shape[-1:] , eps=0.001) + f('é', eps =0.001)"
    assert with_keyword(code, "dim", 1) == code
    assert with_keyword(f"F.gelu({A})", "approximate", "tanh") == f"F.gelu({A}, approximate='tanh')"
    line = f"{OUT.format(0)} = F.softmax({A}, dim=(-1))  # last"
    assert with_keyword(line, "dim", (1, 2)) == f"{OUT.format(0)} = F.softmax({A}, dim=((1, 2)))  # last"


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        (f"F.leaky_relu({A}, 0.2)", f"F.leaky_relu({A}, -0.5)"),
        (f"F.leaky_relu({A})", f"F.leaky_relu({A}, negative_slope=-0.5)"),
        (f"torch.nn.functional.leaky_relu({A}, -1)", f"torch.nn.functional.leaky_relu({A}, -0.5)"),
        (f"F.leaky_relu(F.leaky_relu({A}, 0.1), negative_slope=1)", None),
        (f"{A}.leaky_relu(0.2)", f"{A}.leaky_relu(0.2)"),  # a method: its first argument is no input
    ],
)
def test_with_keyword_replaces_what_stands_by_position(code, changed):
    changed = changed or f"F.leaky_relu(F.leaky_relu({A}, -0.5), negative_slope=-0.5)"
    assert with_keyword(code, "negative_slope", -0.5) == changed


def test_positional_arguments_have_names_too():
    code = f"F.threshold({A}, 0.5, -1) + F.elu({B}) + F.layer_norm({A}, (4,), None, None, 1e-3)"
    assert keywords(code) == {"threshold": [0.5], "value": [-1], "alpha": [None], "eps": [0.001]}
    assert with_keyword(code, "eps", 1.0).endswith("F.layer_norm(__k2t_0__, (4,), None, None, 1.0)")


def test_a_place_that_cannot_be_told_is_refused():
    with pytest.raises(OverrideError, match=r"F.elu\(\*x\) is 'alpha' cannot be told"):
        with_keyword(f"F.elu(*{A})", "alpha", 2)
    assert with_keyword(f"F.elu(*{A}, alpha=1)", "alpha", 2) == f"F.elu(*{A}, alpha=2)"


@pytest.mark.parametrize(
    ("code", "given"),
    [
        ("x + x0 + y.x", f"{A} + {A} + y.x"),
        ("f(x, x=x)", f"f({A}, x={A})"),
        ("(lambda x, y=x: x + y)(x)", f"(lambda x, y={A}: x + y)({A})"),
        (
            "torch.stack([x * 2 for x in x.unbind(1) if x.any()])",
            f"torch.stack([x * 2 for x in {A}.unbind(1) if x.any()])",
        ),
        ("[t + x for t in x]", f"[t + {A} for t in {A}]"),
        ("torch.einsum('x,y', x, w['x'])", f"torch.einsum('x,y', {A}, {SELF}['x'])"),
    ],
)
def test_a_users_names(code, given):
    assert with_slots(code, {"x": A, "x0": A, "w": SELF}) == given


def test_a_name_in_an_fstring_is_filled_or_refused():
    try:
        assert with_slots("f('é', f'é{x}', x)", {"x": A}) == f"f('é', f'é{{{A}}}', {A})"
    except K2TError as error:  # Python 3.11 does not say where it stands
        assert "take x out of the f-string" in str(error)


# --- arguments of functions, through a whole conversion ----------------------------------------------------------

ops = keras.ops
WRITTEN = {  # function → (what becomes it with an argument by position, without one), its options and other values
    "leaky_relu": (lambda x: keras.layers.LeakyReLU(0.2)(x), None, {"negative_slope": 0.4}),
    "leaky_relu, activation": (lambda x: keras.layers.Activation("leaky_relu")(x), None, {"negative_slope": 0.4}),
    "leaky_relu, relu": (lambda x: keras.layers.ReLU(negative_slope=0.1)(x), None, {"negative_slope": 0.4}),
    "leaky_relu, ops": (lambda x: ops.leaky_relu(x, 0.3), None, {"negative_slope": 0.4}),
    "elu": (lambda x: keras.layers.ELU(0.5)(x), lambda x: keras.layers.ELU()(x), {"alpha": 0.7}),
    "elu, ops": (lambda x: ops.elu(x, 0.5), lambda x: ops.elu(x), {"alpha": 0.7}),
    "celu": (lambda x: ops.celu(x, 0.5), lambda x: ops.celu(x), {"alpha": 0.7}),
    "hardshrink": (lambda x: ops.hard_shrink(x, 0.3), None, {"lambd": 0.9}),
    "softshrink": (lambda x: ops.soft_shrink(x, 0.3), None, {"lambd": 0.9}),
    "threshold": (lambda x: ops.threshold(x, 0.1, -2.0), None, {"threshold": 0.6, "value": 3.5}),
    "gelu": (lambda x: ops.gelu(x), lambda x: ops.gelu(x, False), {"approximate": "none"}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_override_of_an_option_is_what_torch_computes(name):
    function = getattr(torch.nn.functional, name.split(",")[0])
    given, left_out, options = WRITTEN[name]
    for make in filter(None, (given, left_out)):
        x = keras.Input((64,))
        model = keras.Model(x, make(x))
        (layer,) = (row.layer for row in plan_rows(k2t.plan(model)) if row.type != "InputLayer")
        _, module, _, (got,) = convert_and_run(model, recipe=[Override(layer, "arguments", options)])
        value = torch.as_tensor(sample(model)[0])
        assert torch.equal(function(value, **options), torch.as_tensor(got)), name


def test_an_option_of_an_activation_inside_a_layer():
    x = keras.Input((6,))
    model = keras.Model(x, keras.layers.Dense(5, activation="leaky_relu", name="dense")(x))
    conversion, *_ = convert_and_run(model, recipe=[Override("dense", "arguments", {"negative_slope": 0.4})])
    assert "F.leaky_relu(self.dense(" in conversion.code.text and ", 0.4)" in conversion.code.text


# --- snippets through a whole conversion -------------------------------------------------------------------------


def _converted(layer: keras.Layer, *shapes: tuple[int, ...], code: str):
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))
    return check(model, recipe=Recipe((Override(layer.name, "snippet", code),)))


def test_a_snippet_may_name_its_own_variables_like_the_input():
    _converted(keras.layers.ReLU(), (3,), code="torch.stack([x.relu() for x in x.unbind(1)], dim=1)")
    _converted(keras.layers.ReLU(), (3,), code="(lambda x: x.relu())(x)")


def test_a_snippet_for_a_layer_of_several_inputs():
    _converted(keras.layers.Subtract(name="minus"), (3,), (3,), code="x0 - x1")


def test_a_snippet_whose_lines_are_ended_by_a_comment():
    with pytest.raises(OverrideError, match="put on one line"):
        _converted(keras.layers.ReLU(), (3,), code="(x  # the input\n.relu())")


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.inf, "math.inf"), (-math.inf, "-math.inf"), (math.nan, "math.nan"), ([1.0, -math.inf], "[1.0, -math.inf]")],
)
def test_a_number_without_digits_is_written_as_python_reads_it(value, text):
    code = with_keyword(f"F.elu({A}, alpha=1.0)", "alpha", value)
    assert code == f"F.elu({A}, alpha={text})"
    if isinstance(value, float):
        assert number(value) == text and repr(keywords(code)["alpha"]) == repr([value]), "it can be overridden again"


def test_what_is_no_data_is_spelled_by_who_knows_it():
    assert literal({"a": (math.inf, [None])}) == "{'a': (math.inf, [None])}"
    assert literal([SELF, (1,)], lambda value: "here" if value == SELF else None) == "[here, (1,)]"
    with pytest.raises(K2TError, match="cannot write object"):
        literal([object()])
