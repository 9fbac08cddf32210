"""What a wrong answer does, in the words of a prediction; and the table of the lessons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from keras import layers

from k2t_core.inspector import lessons
from k2t_core.inspector.lessons.experiment import OUTCOMES, Answer, Experiment
from k2t_core.project.settings import SETTINGS

KERAS = np.array([[1.0, 2.0, 3.0, 4.0]], "float32")


def outcome(wrong: Answer) -> str:
    return Experiment(KERAS, wrong, Answer.of("right", KERAS, torch.from_numpy(KERAS)), {}).outcome


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1, 2, 3, 4]], "same"),
        ([[1, 2, 3, 4.00001]], "same"),
        ([[1, 2, 3, 5]], "some"),
        ([[1, 3, 4, 5]], "all"),
        ([[1, 2, 3]], "all"),
    ],
)
def test_the_outcome_of_a_wrong_version(values, expected):
    wrong = Answer.of("wrong", KERAS, torch.tensor(values, dtype=torch.float32))
    assert outcome(wrong) == expected in OUTCOMES
    assert wrong.agrees == (expected == "same")


def test_an_error_of_torchs_is_an_outcome_too():
    def refused():
        return torch.ones(2) @ torch.ones(3)

    wrong = Answer.attempt("wrong", KERAS, refused)
    assert outcome(wrong) == "error" and not wrong.agrees and "size" in wrong.error
    assert wrong.output.shape == KERAS.shape and np.isnan(wrong.output).all()


def test_a_fault_of_our_own_is_no_outcome():
    with pytest.raises(ZeroDivisionError):
        Answer.attempt("wrong", KERAS, lambda: 1 / 0)


@pytest.mark.parametrize("name", lessons.LESSONS)
def test_every_lesson_speaks_of_layers_of_keras_and_is_reached_by_the_name_that_is_printed(name):
    lesson = lessons.LESSONS[name]
    assert lesson.title and lesson.kinds and all(hasattr(layers, kind) for kind in lesson.kinds)
    assert getattr(lessons, lesson.run.__name__) is lesson.run
    assert all(SETTINGS[f"learn.{name}.{key}"] == value for key, value in lesson.defaults.items())
