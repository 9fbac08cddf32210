"""Every class of keras.layers and every name of keras.activations converts exactly, or is refused by name.

CI runs a fixed sample. The whole sweep:

    K2T_SWEEP=all python -m pytest tests/conformance      # or: python benchmarks/coverage.py, which prints the table
"""

import gc
import os

import pytest

from tests.conformance.cases import cases
from tests.conformance.suite import ABSENT, activations, classes, failure, outcome

EVERY, AT_LEAST = 8, 3  # in the sample: one case in 8 of a class, and three at least

CASES: dict[str, list] = {}
for case in cases():
    CASES.setdefault(case.layer, []).append(case)


def sample_of(layer):
    """All cases, or a fixed sample spread over the tables of the class."""
    found = CASES[layer]
    count = len(found) if os.environ.get("K2T_SWEEP") == "all" else min(len(found), max(AT_LEAST, len(found) // EVERY))
    return [found[k * len(found) // count] for k in range(count)]


def test_every_class_has_cases():
    missing = sorted(set(classes()) - set(CASES))
    assert not missing, f"classes of keras.layers without cases in tests/conformance/cases.py: {missing}"
    gone = sorted(set(CASES) - set(classes()))
    assert not gone, f"cases of classes that keras.layers does not export: {gone}"


def test_every_activation_has_cases():
    covered = {word.strip("'") for case in CASES["Activation"] for word in case.name.replace("=", ", ").split(", ")}
    missing = sorted(set(activations()) - covered)
    assert not missing, f"names of keras.activations without cases: {missing}"


@pytest.fixture(autouse=True)
def frozen_again():
    """Each case collects garbage: what the tests before have left behind takes no part in it."""
    gc.collect()
    gc.freeze()


@pytest.mark.parametrize("layer", sorted(CASES))
def test_layer(layer):
    wrong = [(case, why) for case in sample_of(layer) if (why := failure(case, outcome(case)))]
    assert not wrong, "\n".join(f"{case}: {why}" for case, why in wrong)


def test_the_sample_exists_in_keras():
    """Combinations that Keras rejects are no cases; a table must not consist of them."""
    for layer in ("Dense", "Conv2D", "LSTM", "MultiHeadAttention", "Resizing"):
        assert all(outcome(case).kind != ABSENT for case in CASES[layer][:3])
