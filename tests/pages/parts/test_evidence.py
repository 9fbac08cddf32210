"""What a verification is shown by: its tables, and the settings that they are looked at with."""

from __future__ import annotations

from dataclasses import replace

from tests.pages.conftest import click


def test_settings_of_the_evidence_are_kept_and_used(show, project):
    found = project("square")
    app = show("verify", found)
    app.toggle[0].set_value(False).run()
    app.toggle[1].set_value(True).run()
    next(field for field in app.number_input if field.label.startswith("Search")).set_value(1).run()
    assert (
        found.settings["verify.edge_cases"],
        found.settings["verify.training"],
        found.settings["verify.search"],
    ) == (False, True, 1)
    command, python = (code.value for code in app.code)
    assert command.split()[:3] == ["k2t", "verify", "out"] and command.endswith(
        "square.keras --search 1 --no-edge-cases --training"
    ), command
    assert "search=1, edge_cases=False, training=True" in python
    click(app, "Verify")
    outputs = next(frame.value for frame in app.dataframe if "Mean absolute" in frame.value)
    assert (
        outputs["Cosine similarity"][0] > 0.999999
        and 0 <= outputs["Keras from float64"][0] < 1e-4 > outputs["PyTorch from float64"][0] >= 0
    )
    assert len(found.report.runs) == 3 and "search" in found.report.runs[-1].inputs
    assert any(f"of {len(found.report.training)} agree" in expander.label for expander in app.expander)
    assert [button.label for button in app.get("download_button")] == ["HTML report", "report.json"]
    result = found.report.training[0]
    wrong = replace(found.report, training=(replace(result, passed=False), *found.report.training[1:]))
    found.runs.write(wrong, found.store.conversion_key())
    app.run()
    assert (
        "differs in training" in app.error[0].value
        and "1 of " in app.error[1].value
        and result.what in app.error[1].value
    )


def test_the_time_step_and_what_an_override_does(show, project):
    found = project("lstm")
    found.override("lstm", "gates", [1, 0, 2, 3], "our trainer wrote them so")
    app = show("verify", found)
    click(app, "Verify")
    assert "**lstm**, from time step 1 of 10 on" in app.error[0].value
    table = next(frame.value for frame in app.dataframe if "By default" in frame.value)
    assert table["Reason"].tolist() == ["our trainer wrote them so"] and table["Verdict"].tolist() == ["✕ differs"]
    assert table["Error with it"][0] > 0.1 > 1e-5 > table["By default"][0]
