from __future__ import annotations

import pytest

from k2t_core.errors import InputError, K2TError, OverrideError, UnsupportedError
from k2t_core.processes.child import WorkerFault, error_of
from k2t_core.processes.worker import failed


class OfAUser(K2TError):
    pass


@pytest.mark.parametrize(
    "error", [InputError("no"), OverrideError("no"), UnsupportedError(["a", "b"]), MemoryError("x")]
)
def test_an_error_as_data_and_back(error):
    again = error_of(failed(error))
    assert type(again) is type(error) and str(again) == str(error)


def test_a_class_that_the_parent_does_not_know_is_its_base():
    again = error_of(failed(OfAUser("no")))
    assert type(again) is K2TError and str(again) == "no"


def test_any_other_is_a_fault_with_the_place_where_it_was_raised():
    try:
        {}["a"]
    except KeyError as error:
        again = error_of(failed(error))
    assert isinstance(again, WorkerFault) and str(again) == "KeyError: 'a'" and "test_worker.py" in again.where


@pytest.mark.parametrize("kind", ["SystemExit", "annotations", "re", "one_line", "RAISED", "Exception"])
def test_a_name_that_is_no_error_of_k2t_makes_nothing(kind):
    assert isinstance(error_of({"failed": kind, "words": "x"}), WorkerFault)
