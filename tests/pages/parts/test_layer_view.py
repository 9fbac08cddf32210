"""A row is looked at: source, documentation, activations and weights."""

from __future__ import annotations

import re

import keras
import numpy as np
from keras import layers

from k2t_core.project.project import Project
from tests.pages.conftest import texts


def test_a_row_tells_why_and_shows_its_weights(show, project):
    app = show("mapping", project("convnet"), layer="conv")
    words = texts(app)
    assert "Kernel axes" in words and "The weights as pictures" in words
    assert "Outlined on both sides: kernel" in words
    assert any("nn.Conv2d(3, 32" in re.sub("<[^>]+>", "", str(page.proto.body)) for page in app.get("html"))
    assert any(code.value.startswith("conv = layers.Conv2D(32, kernel_size=(3, 3)") for code in app.code)
    assert (
        "Activations on the current sample" in words
        and "The largest difference is in channel" in words
        or "Every number is the same." in words
    )
    assert len(app.get("plotly_chart")) == 5
    next(n for n in app.number_input if n.label == "PyTorch axis 0").set_value(7).run()
    assert "weight[7, 2, 2, 2]" in texts(app)


def test_every_row_can_be_looked_at_whatever_stands_in_the_model(show, tmp_path):
    """Strings at the input, an opened layer with a weight of its own, NaN weights, readings that lose an axis."""
    from tests.inspector.test_exercise import Scaled
    from tests.keras_side.test_cutting import text_model

    x = keras.Input((8, 8, 3))
    y = layers.GlobalAveragePooling2D(name="pool")(
        layers.Pipeline([layers.Conv2D(4, 3), layers.ReLU()], name="pipe")(x)
    )
    model = keras.Model(x, layers.Dense(2, name="last")(Scaled(name="scaled")(y)))
    model.get_layer("last").bias.assign([np.nan, 1])
    for index, one in enumerate((model, text_model())):
        one.save(tmp_path / f"{index}.keras")
        found = Project.create()
        found.load(tmp_path / f"{index}.keras")
        found.set("mapping.duel", True)
        app = show("mapping", found)
        for row in found.plan.rows:
            found.set("mapping.selected", row.call)
            app.query_params["layer"] = row.call
            app.run()
            assert not app.exception and row.call.split("/")[-1].replace("_", "\\_") in texts(app), row.call
    assert "takes strings, and torch has none" in texts(app)
