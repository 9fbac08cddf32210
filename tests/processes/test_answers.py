from __future__ import annotations

import pytest

from k2t_core.processes.answers import check_answer
from k2t_core.processes.messages import MessageError


@pytest.mark.parametrize(
    "message",
    [
        {"ready": 1, "on": {}, "off": {}},
        {"id": 0, "share": 0.5, "text": "half"},
        {"id": 0, "done": None},
        {"id": 0, "failed": "", "words": "x", "where": "y"},
        {"id": 0, "failed": "UnsupportedError", "words": ["x"]},
    ],
    ids=repr,
)
def test_what_a_worker_says(message):
    check_answer(message)


@pytest.mark.parametrize(
    "message",
    [
        [1],
        "x",
        None,
        {},
        {"id": [1], "done": 1},
        {"id": 0},
        {"done": 0},
        {"ready": 1},
        {"ready": 1, "on": [], "off": {}},
        {"id": 0, "failed": 3},
        {"id": 0, "failed": "K2TError", "words": {}},
        {"id": 0, "share": "much", "text": "x"},
        {"id": 0, "share": 1},
    ],
    ids=repr,
)
def test_what_it_does_not_say(message):
    with pytest.raises(MessageError, match="no answer of a worker"):
        check_answer(message)
