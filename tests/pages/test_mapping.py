"""Mapping: the table and its filters, the detail of a row, overrides that stay and can be undone."""

from __future__ import annotations

import json

from k2t_core.permissions import Permissions
from k2t_core.project.project import Project
from tests.pages.conftest import click, texts


def table(app):
    return app.dataframe[0].value


def test_nothing_loaded_says_what_to_do(show):
    assert "No model is loaded yet." in texts(show("mapping"))


def test_the_table_has_both_sides(show, project):
    app = show("mapping", project("convnet"))
    frame = table(app)
    assert frame["Keras layer"].tolist() == ["image", "conv", "flatten", "classes"]
    assert frame["PyTorch output"].tolist()[1] == "(N, 32, 28, 28) NCHW"
    assert "permute(3, 2, 0, 1)" in frame["Weights: Keras → PyTorch"].tolist()[1]
    assert frame["Status"].tolist()[2] == "◆ ambiguous"


def test_filters_narrow_the_table_and_are_kept(show, project):
    found = project("convnet")
    app = show("mapping", found)
    app.multiselect[0].set_value(["Dense"]).run()
    assert table(app)["Keras layer"].tolist() == ["classes"]
    app.switch_page("pages/learn.py").run()
    app.switch_page("pages/mapping.py").run()
    assert table(app)["Keras layer"].tolist() == ["classes"]
    app.multiselect[0].set_value([]).run()
    app.text_input[0].set_value("permute(3").run()
    assert table(app)["Keras layer"].tolist() == ["conv"]
    app.text_input[0].set_value("nothing like it").run()
    assert "No row matches the filter." in texts(app)
    assert found.settings["mapping.text"] == "nothing like it"


def test_rows_are_stepped_through_and_the_address_is_a_link(show, project):
    app = show("mapping", project("shared"), layer="encoder/conv2")
    assert "└ conv2" in table(app)["Keras layer"].tolist()
    click(app, "Next row")
    assert app.query_params["layer"] in ("encoder/flatten", ["encoder/flatten"]) and "encoder/flatten" in texts(app)
    click(app, "Previous row")
    assert app.query_params["layer"] in ("encoder/conv2", ["encoder/conv2"])
    app.query_params["layer"] = "nobody"
    app.run()
    assert "no layer nobody" in app.warning[0].value and not app.exception
    app.text_input[0].set_value("encoder/conv").run()
    assert table(app)["Keras layer"].tolist() == ["encoder/conv1", "encoder/conv2"]


def test_an_alternative_stays_over_pages_and_is_undone(show, project):
    found = project("convnet")
    app = show("mapping", found, layer="flatten")
    app.text_input[1].set_value("to see it caught").run()
    app.radio[0].set_value("plain flatten").run()
    assert [o.value for o in found.recipe.overrides] == ["plain flatten"]
    # The layer is judged at once, the whole model when asked.
    assert "This layer alone **differs**" in texts(app) and not found.has_conversion
    click(app, "Verify the whole model")
    assert "The whole model **differs**, from this layer on" in texts(app)
    for page in ("learn", "convert", "load", "mapping"):
        app.switch_page(f"pages/{page}.py").run()
    assert "Overrides in force: 1" in texts(app) and "to see it caught" in texts(app)
    next(button for button in app.button if button.key == "take-back:0").click().run()
    assert found.recipe.overrides == ()
    assert app.radio[0].value == "default"
    click(app, "Undo")
    assert len(found.recipe.overrides) == 1
    click(app, "Redo")
    assert not found.recipe.overrides


def test_preprocessing_of_strings_is_cut_off_and_put_back(show, tmp_path):
    from tests.keras_side.test_cutting import text_model

    text_model().save(tmp_path / "text.keras")
    found = Project.create()
    found.load(tmp_path / "text.keras")
    app = show("mapping", found)
    assert "✕ unsupported" in table(app)["Status"].tolist() and "words" in texts(app)  # the unsupported row is selected
    click(app, "Start the model behind this layer")
    assert found.recipe.cuts == ["words"] and not found.plan.problems
    assert table(app)["Status"].tolist()[0] == "✂ cut off · overridden" and table(app)["Keras layer"].tolist()[:2] == [
        "words (cut off)",
        "words",
    ]
    found.verify()
    assert found.report.passed
    click(app, "Put it back")
    assert found.recipe.overrides == () and found.plan.problems


def test_of_a_recipe_for_another_model_what_fits_is_taken(show, project):
    found = project("square")
    fitting = {"layer": "square1", "kind": "permutation", "value": {"key": "weight", "axes": [0, 1]}, "reason": ""}
    foreign = {"layer": "nobody", "kind": "alternative", "value": "plain flatten", "reason": ""}
    app = show("mapping", found)

    def upload(*overrides):
        recipe = {"k2t_recipe": 1, "fingerprint": "of another model", "overrides": overrides}
        next(u for u in app.file_uploader if "recipe.json" in u.label).upload(
            "recipe.json", json.dumps(recipe).encode(), "application/json"
        ).run()
        assert not app.exception

    upload(foreign)
    assert "none of its overrides fits" in app.error[0].value and not found.recipe.overrides
    upload(fitting, foreign)
    assert [override.layer for override in found.recipe.overrides] == ["square1"]
    (warning,) = app.warning
    assert "left out" in warning.value and "nobody" in warning.value and "square1" not in warning.value
    click(app, "Undo")
    assert not found.recipe.overrides and not app.warning


def test_code_in_a_recipe_waits_for_the_users_word(show, project, tmp_path):
    found = project("square")
    app = show("mapping", found)
    code = f"open({str(tmp_path / 'ran')!r}, 'w').write('') and x or x"
    recipe = {
        "k2t_recipe": 1,
        "fingerprint": None,
        "overrides": [{"layer": "square1", "kind": "snippet", "value": code, "reason": "trust me"}],
    }

    def upload():
        next(u for u in app.file_uploader if "recipe.json" in u.label).upload(
            "recipe.json", json.dumps(recipe).encode(), "application/json"
        ).run()
        assert not app.exception

    upload()
    assert any("holds Python code" in warning.value for warning in app.warning) and any(
        block.value == code for block in app.code
    )
    assert not found.recipe.overrides and not (tmp_path / "ran").exists()
    click(app, "Leave it")
    assert not found.recipe.overrides and not app.warning
    upload()
    click(app, "Use it with its code")
    assert [override.kind for override in found.recipe.overrides] == ["snippet"] and not any(
        "holds Python code" in w.value for w in app.warning
    )


def test_a_server_without_snippets_draws_no_editor_and_takes_no_code_of_a_recipe(show, project):
    found = project("square")
    Permissions(snippets=False).declare()
    app = show("mapping", found, layer="square1")
    assert not any("PyTorch code" in one.label for one in app.expander)
    recipe = {"k2t_recipe": 1, "overrides": [{"layer": "square1", "kind": "snippet", "value": "x", "reason": ""}]}
    next(u for u in app.file_uploader if "recipe.json" in u.label).upload(
        "recipe.json", json.dumps(recipe).encode(), "application/json"
    ).run()
    assert "--allow-snippets" in app.error[0].value.replace("\\", "") and not found.recipe.overrides
    assert not any(button.label == "Use it with its code" for button in app.button)


def test_a_duel_of_two_readings(show, project):
    found = project("square")
    app = show("mapping", found, layer="square1", duel="1")  # as a lesson links to it
    assert next(t for t in app.toggle if t.label.startswith("Duel")).value
    assert not app.exception
    other = next(box for box in app.selectbox if box.label == "The other")
    assert other.value == "weight transposed by (0, 1)" and other.options[0] == "in force"
    words = texts(app)
    assert (
        "Agrees: relative difference" in words
        and "Differs: relative difference" in words
        and "The **one** is nearer to Keras" in words
    )
    click(app, "Follow both through the later layers")
    later = next(frame.value for frame in app.dataframe if "The other" in frame.value)
    assert later["Layer"].tolist() == ["square1", "square2"]
    assert all(later["The one"] < 1e-5) and all(later["The other"] > 0.1) and all(later["Change"] > 1e3)
    assert not found.recipe.overrides and not found.has_conversion
    click(app, "Put this in force")
    assert found.recipe.overrides[0].value == {"key": "weight", "axes": [0, 1]}
    assert "This layer alone **differs**" in texts(app)


def test_the_graph_has_the_selection_of_the_table_and_can_be_put_away(show, project):
    held = project("shared")
    app = show("mapping", held, layer="encoder/conv2")
    (graph,) = app.get("bidi_component")
    data = json.loads(graph.proto.mixed.json or graph.proto.json)
    assert data["selected"] == "encoder/conv2" and data["colour"] == "status" and data["reveal"]
    assert json.loads(data["graph"])["nodes"]["encoder#2/conv2"]["row"] == "encoder/conv2"
    next(toggle for toggle in app.toggle if toggle.label == "Graph").set_value(False).run()
    assert not app.get("bidi_component") and held.settings["mapping.graph"] is False


def test_a_key_held_down_does_not_stay_on_one_row(show, project):
    """The button that is pressed again may be that of an earlier run of the page: it goes on from the row of now."""
    found = project("shared")
    app = show("mapping", found, layer="encoder/conv1")
    found.set("mapping.selected", "encoder/conv2")  # by a press that the page has not drawn yet
    click(app, "Next row")
    assert found.settings["mapping.selected"] == "encoder/flatten"
