"""Two verifications of one model set side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k2t_core.inspector.charts import change_chart
from k2t_core.inspector.run_comparison import LayerChange, changes, comparisons, worst_output
from k2t_core.project.project import Project


def test_two_verifications_layer_by_layer(example, tmp_path, monkeypatch):
    monkeypatch.setenv("K2T_HOME", str(tmp_path))
    project = Project.create()
    project.load(example("square"))
    project.set("verify.edge_cases", False)
    project.verify()
    project.override("square2", "permutation", {"key": "weight", "axes": [0, 1]})
    project.verify()
    before, after = (project.past_report(past) for past in project.past_runs())
    assert comparisons(before, after) == [(one.weights, one.inputs) for one in project.report.runs]
    for which in comparisons(before, after):
        found = {change.layer: change for change in changes(before, after, which)}
        assert found["square1"].before == found["square1"].after
        assert found["square2"].before < 1e-5 < 0.1 < found["square2"].after and found["square2"].after_alone > 0.1
        assert worst_output(before, which) < 1e-5 < 0.1 < worst_output(after, which)
    assert comparisons(before, {"runs": [{"weights": "model", "inputs": "others"}]}) == []
    figure = change_chart(changes(before, after, comparisons(before, after)[0]))
    assert [trace.name for trace in figure.data] == ["before", "after"] and figure.data[0].customdata[0][0] == "square1"
    assert project.past_report(replace(project.past_runs()[0], id="")) is None


def a_run(weights, **layers):
    """A run as a report's JSON has it. layers: the accumulated and the isolated relative difference of each."""
    return {
        "weights": weights,
        "inputs": "normal",
        "outputs": [{"relative": max(both[0] for both in layers.values())}],
        "layers": [
            {
                "tensor": f"{name}:0",
                "layer": name,
                "cumulative": {"relative": both[0]},
                "isolated": None if both[1] is None else {"relative": both[1]},
            }
            for name, both in layers.items()
        ],
    }


def test_layers_of_either_run_are_listed_in_the_order_of_the_later_one():
    before = {"runs": [a_run("model", gone=(1e-3, None), kept=(1e-6, 1e-7))]}
    after = {"runs": [a_run("model", new=(0.0, 0.0), kept=(2e-6, None))]}
    found = changes(before, after, ("model", "normal"))
    assert found == [
        LayerChange("new:0", "new", None, 0.0, None, 0.0),
        LayerChange("kept:0", "kept", 1e-6, 2e-6, 1e-7, None),
        LayerChange("gone:0", "gone", 1e-3, None, None, None),
    ]
    assert worst_output(before, ("model", "normal")) == 1e-3


@pytest.mark.parametrize(
    ("before", "after", "factor"),
    [(1e-6, 3e-6, 3.0), (0.0, 0.0, 1.0), (0.0, 1e-6, float("inf")), (None, 1.0, None), (1.0, None, None)],
)
def test_how_many_times_larger_a_difference_became(before, after, factor):
    assert LayerChange("a:0", "a", before, after, None, None).factor == (factor and pytest.approx(factor))
