"""Every function of keras.ops, keras.activations and keras.random converts exactly, or is refused by name.

CI runs a fixed sample. The whole sweep:

    K2T_SWEEP=all python -m pytest tests/conformance/test_operations.py      # or: python benchmarks/operations.py
"""

import os

import pytest

from tests.conformance.operations import FORMS, cases, functions
from tests.conformance.suite import failure, outcome

EVERY = 12  # of the cases of all functions together, one in so many; of each function the first
CASES: dict[str, list] = {}
for case in cases():
    CASES.setdefault(case.layer, []).append(case)


def test_every_function_has_cases():
    assert functions() - set(FORMS) == set(), "functions without a form in tests/conformance/operations.py"
    assert set(FORMS) - functions() == set(), "forms of functions that Keras does not have"


def sample_of(name):
    found = CASES[name]
    if os.environ.get("K2T_SWEEP") == "all":
        return found
    return found[:: EVERY if len(found) > EVERY else len(found)]


@pytest.mark.parametrize("name", sorted(CASES))
def test_function(name):
    wrong = [(case, why) for case in sample_of(name) if (why := failure(case, outcome(case)))]
    assert not wrong, "\n".join(f"{case}: {why}" for case, why in wrong)
