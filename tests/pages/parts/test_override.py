"""A layer is overruled where it is shown: by a permutation, arguments, or PyTorch code."""

from __future__ import annotations

from tests.pages.conftest import click, texts


def write(app, project, layer, code):
    """Type into the editor, which AppTest cannot do, and let the page check it."""
    current = next((override.value for override in project.recipe.of(layer) if override.kind == "snippet"), "")
    app.session_state[f"snippet:{layer}:{bool(current)}"] = True  # unfolded
    app.session_state[f"code:{layer}:{current}"] = code
    app.run()
    assert not app.exception, [e.value for e in app.exception]


def test_a_missing_transpose_is_caught_at_once(show, project):
    found = project("square")
    app = show("mapping", found, layer="square1")
    next(box for box in app.selectbox if box.label == "Permutation").set_value((0, 1)).run()
    click(app, "Apply this permutation")
    assert found.recipe.overrides[0].value == {"key": "weight", "axes": [0, 1]}
    assert "This layer alone **differs**" in texts(app)


def test_constructor_arguments_are_changed_and_wrong_ones_refused(show, project):
    found = project("square")
    app = show("mapping", found, layer="square1")
    field = next(n for n in app.number_input if n.label == "in_features")
    field.set_value(17)
    click(app, "Apply arguments")
    assert "shape" in app.error[0].value
    assert found.recipe.overrides == ()


def test_a_snippet_runs_when_it_is_asked_for_and_replaces_a_layer(show, project, monkeypatch):
    ran = []
    check = type(found := project("square")).check_snippet
    monkeypatch.setattr(type(found), "check_snippet", lambda *args: ran.append(args[1:]) or check(*args))
    app = show("mapping", found, layer="square1")
    code = "x @ w['kernel'] + w['bias']"
    write(app, found, "square1", code)
    assert "Nothing of it has run" in texts(app) and not ran
    click(app, "Check")
    assert "Would differ" in texts(app) and ran == [("square1", code)] and not found.recipe.overrides
    write(app, found, "square1", "torch.tanh(x @ w['kernel'] + w['bias'])")
    assert "Would differ" not in texts(app) and "Nothing of it has run" in texts(app)
    click(app, "Check")
    assert "Would agree" in texts(app)
    click(app, "Apply this code")
    assert found.recipe.overrides[0].kind == "snippet"
    assert "This layer alone agrees" in texts(app)
    for wrong, words, runs in (
        ("x = 1", "Not one Python expression", False),
        ("x @ w['kernel'].T[:3]", "RuntimeError", True),
        ("y", "NameError", True),
    ):
        write(app, found, "square1", wrong)
        if runs:
            click(app, "Check")
        assert words in texts(app)
        assert all(button.disabled for button in app.button if button.label in ("Check", "Apply this code"))
    assert "tanh" in found.recipe.overrides[0].value


def test_arguments_are_fields_of_their_types(show, project):
    found = project("unet")
    app = show("mapping", found, layer="down1_norm")
    assert next(field for field in app.toggle if field.label == "track_running_stats").value is True
    next(field for field in app.number_input if field.label == "eps").set_value(0.5)
    click(app, "Apply arguments")
    assert found.recipe.overrides[0].value == {"eps": 0.5} and "This layer alone **differs**" in texts(app)
    app = show("mapping", found, layer="down1_conv")
    choice = next(box for box in app.selectbox if box.label == "padding_mode")
    assert choice.options == ["zeros", "reflect", "replicate", "circular"]
    choice.set_value("circular")
    click(app, "Apply arguments")
    assert found.recipe.of("down1_conv")[0].value == {
        "padding_mode": "circular"
    } and "This layer alone **differs**" in texts(app)
    for page in ("load", "convert", "verify", "learn"):
        app.switch_page(f"pages/{page}.py").run()
        assert [badge.value for badge in app.get("badge")] or "2 overrides" in texts(app), page
    click(app, "Undo")
    assert [override.layer for override in found.recipe.overrides] == ["down1_norm"]
    click(app, "Redo")
    assert len(found.recipe.overrides) == 2


def test_an_argument_that_changes_the_shape_is_told_by_shapes(show, project):
    found = project("convnet")
    layer = next(row.layer for row in found.plan.rows if row.type == "Conv2D")
    found.override(layer, "arguments", {"stride": 2})
    assert "it gives (2, 14, 14, 32), Keras (2, 28, 28, 32)" in texts(show("mapping", found, layer=layer))
