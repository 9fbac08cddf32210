"""Learn: every lesson runs both frameworks and shows a wrong and a right version."""

from __future__ import annotations

import pytest

from tests.pages.conftest import texts

LESSONS = ("flatten", "ones", "kernel", "same", "pooling", "epsilon", "momentum", "lstm", "gru", "activations")


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_shows_a_wrong_and_a_right_version(show, lesson):
    app = show("learn", lesson=lesson)
    assert app.query_params["lesson"] == lesson
    assert any("Agrees." in str(e.value) for e in app.success)
    assert any("Differs." in str(e.value) for e in app.error)
    assert len(app.get("plotly_chart")) >= 3


def test_settings_are_kept_and_computed_anew(show):
    app = show("learn", lesson="flatten")
    channels = next(slider for slider in app.slider if slider.label == "Channels")
    channels.set_value(1).run()
    assert "both orders are the same" in texts(app)
    app.switch_page("pages/load.py").run()
    app.switch_page("pages/learn.py").run()
    assert next(slider for slider in app.slider if slider.label == "Channels").value == 1


def test_another_lesson_is_chosen_on_the_page(show):
    app = show("learn", lesson="pooling")
    app.get("button_group")[0].set_value("gru").run()
    assert not app.exception
    assert app.query_params["lesson"] == "gru"
    assert app.subheader[0].value == "GRU: gates and reset_after"
