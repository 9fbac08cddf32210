"""Learn: the reader predicts, then every lesson runs both frameworks and shows a wrong and a right version."""

from __future__ import annotations

import pytest

from k2t_core.inspector.lessons import LESSONS, OUTCOMES
from tests.pages.conftest import click, texts


def named(elements, label):
    return next(element for element in elements if element.label == label)


def test_every_lesson_shows_a_wrong_and_a_right_version_after_the_prediction(show):
    app = show("learn", lesson=next(iter(LESSONS)))
    for lesson in LESSONS:
        if lesson != next(iter(LESSONS)):
            app.get("button_group")[0].set_value(lesson).run()
        assert not app.exception and not app.error, lesson
        assert app.query_params["lesson"] == [lesson] or app.query_params["lesson"] == lesson
        assert not app.success and "Predict first" in texts(app), lesson
        assert any("lessons." in code.value for code in app.code), lesson
        named(app.radio, "Your prediction").set_value("some").run()
        assert not app.exception
        assert any("Agrees." in str(e.value) for e in app.success), lesson
        assert any("Differs." in str(e.value) for e in app.error) or any(
            "Refused by torch." in str(e.value) for e in app.warning
        ), lesson
        assert "s you predicted" in texts(app)
        assert len(app.get("plotly_chart")) >= 3


def test_settings_and_predictions_are_kept_and_computed_anew(show):
    app = show("learn", lesson="flatten")
    named(app.radio, "Your prediction").set_value("all").run()
    assert "**As you predicted.**" in texts(app)
    named(app.slider, "Channels").set_value(1).run()
    assert "both orders are the same" in texts(app) and OUTCOMES["same"] in texts(app)
    app.switch_page("pages/load.py").run()
    app.switch_page("pages/learn.py").run()
    assert named(app.slider, "Channels").value == 1 and named(app.radio, "Your prediction").value == "all"


def test_a_link_opens_a_lesson_in_a_given_state(show, project):
    found = project("square")
    app = show("learn", found, lesson="dense", inputs="5", units="99", seed="no number")
    assert [named(app.slider, label).value for label in ("In", "Out", "Seed")] == [5, 6, 0]
    named(app.slider, "In").set_value(2).run()
    assert {name: app.query_params[name] for name in ("inputs", "units")} in (
        {"inputs": ["2"], "units": ["6"]},
        {"inputs": "2", "units": "6"},
    )
    assert any("Take your own layer: square1" in str(link.proto.label) for link in app.get("page_link"))


@pytest.mark.parametrize("right", [True, False])
def test_break_it(show, project, right):
    found = project("convnet")
    app = show("learn", found, lesson="break")
    click(app, "Break my model")
    exercise = found.exercise
    assert "is off by" in texts(app) and "Found" not in texts(app)
    answer = next(layer for layer in exercise.choices if (layer == exercise.layer) == right)
    named(app.radio, "Which layer diverges first?").set_value(answer).run()
    assert not app.exception and "when you have answered both" in texts(app)
    reason = next(text for text in exercise.reasons if (text == exercise.fault) == right)
    named(app.radio, "What is wrong with it?").set_value(reason).run()
    assert not app.exception
    assert ("**Found.**" in texts(app)) == right and ("**And that is why**" in texts(app)) == right
    assert right or "**Not that**" in texts(app)
    assert not found.recipe.overrides and not found.has_conversion
    click(app, "Another fault")
    assert found.exercise.seed == exercise.seed + 1 and named(app.radio, "Which layer diverges first?").value is None
