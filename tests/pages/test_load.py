"""Load: examples, uploads, bad files in one line each, and projects to continue."""

from __future__ import annotations

import io
import zipfile

import pytest

from k2t_core.permissions import VARIABLE, Permissions
from k2t_core.project.project import Project
from pages.parts import common
from tests.pages.conftest import click, texts


def upload(app, name: str, data: bytes):
    app.file_uploader[0].upload(name, data, "application/octet-stream").run()
    assert not app.exception, [e.value for e in app.exception]
    return app


def zip_of(**files: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


def test_an_example_is_loaded_and_drawn(show):
    app = show("load")
    assert "appear here" in texts(app)
    app.selectbox[0].set_value("convnet").run()
    click(app, "Load example")
    assert "Every layer can be converted." in texts(app)
    assert {metric.label: metric.value for metric in app.metric}["Parameters"] == "251,786"
    assert len(app.get("bidi_component")) == 1


def test_an_upload_is_loaded(show, example):
    app = upload(show("load"), "mine.keras", example("dense").read_bytes())
    assert "Every layer can be converted." in texts(app)
    assert any("mine.keras" in str(s.value) for s in app.subheader)


@pytest.mark.parametrize("kind", ["text", "foreign zip", "truncated", "empty", "hdf5"])
def test_a_bad_file_is_one_line_and_the_model_stays(show, example, project, kind):
    data = {
        "text": b"not a model\n" * 10,
        "foreign zip": zip_of(**{"word/document.xml": "<w/>"}),
        "truncated": example("dense").read_bytes()[:2000],
        "empty": b"",
        "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    }[kind]
    held = project("square")
    app = upload(show("load", held), "broken.keras" if kind != "hdf5" else "broken.h5", data)
    (error,) = app.error
    assert "broken" in error.value and "\n" not in error.value and "Traceback" not in texts(app)
    assert any("square.keras" in str(s.value) for s in app.subheader)
    assert held.model_path.name == "square.keras"


def test_a_lambda_is_refused_until_it_is_allowed(show, tmp_path):
    import keras

    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Lambda(
                lambda x: __import__("tensorflow").math.special.dawsn(x), output_shape=(3,), name="doubled"
            ),
        ]
    )
    model.save(tmp_path / "code.keras")
    app = upload(show("load"), "code.keras", (tmp_path / "code.keras").read_bytes())
    (error,) = app.error
    assert "doubled" in error.value and "Lambda" in error.value
    (leave,) = app.toggle
    assert leave.label.startswith("code.keras may run") and not leave.value
    leave.set_value(True).run()
    click(app, "Load code.keras with its code")
    assert "Not convertible as it is" in texts(app) and "doubled" in texts(app) and not app.toggle


def test_leave_to_run_code_is_not_for_the_next_file(show, tmp_path):
    import keras

    def with_code(name):
        path = tmp_path / f"{name}.keras"
        layer = keras.layers.Lambda(lambda x: x * 2, output_shape=(3,), name=name)
        keras.Sequential([keras.Input((3,)), layer]).save(path)
        return path.read_bytes()

    app = show("load")
    assert not app.toggle, "no leave is given before a file asks for it"
    upload(app, "first.keras", with_code("first"))
    app.toggle[0].set_value(True).run()
    app.file_uploader[0].upload("second.keras", with_code("second"), "application/octet-stream").run()
    (error,), (leave,) = app.error, app.toggle
    assert "second" in error.value and leave.label.startswith("second.keras") and not leave.value
    assert not any(button.label.startswith("Load second") for button in app.button)


def test_an_unsupported_layer_is_named(show, tmp_path):
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable("k2t tests")
    class Foreign(keras.layers.Layer):
        def call(self, x):
            return tf.math.atan(x) + 0 * tf.math.special.dawsn(x)  # which PyTorch does not have

    keras.Sequential([keras.Input((3,)), Foreign(name="odd_one")]).save(tmp_path / "foreign.keras")
    app = upload(show("load"), "foreign.keras", (tmp_path / "foreign.keras").read_bytes())
    assert any("odd\\_one" in error.value and "Foreign" in error.value for error in app.error), texts(app)
    for page in ("convert", "verify"):
        app.switch_page(f"pages/{page}.py").run()
        assert any("odd\\_one" in error.value for error in app.error) and not app.exception
    app.switch_page("pages/mapping.py").run()
    app.session_state["code:odd_one:"] = "torch.atan(x)"
    app.run()
    click(app, "Check")
    assert "Would agree" in texts(app)
    click(app, "Apply this code")
    assert "This layer alone agrees" in texts(app)


def test_projects_are_continued_and_forgotten(show, project):
    first, second = project("square"), project("dense")
    first.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    app = show("load", second)
    assert "1 override" in texts(app)
    assert "dense.keras" not in [b.label for b in app.button]
    click(app, "square.keras")
    assert app.query_params["project"] == first.id
    assert any("square.keras" in str(s.value) for s in app.subheader)
    next(b for b in app.button if b.key == f"forget:{second.id}").click().run()
    assert Project.restore(second.id) is None
    assert not any(str(b.key).startswith("continue:") for b in app.button)


def test_what_the_owner_of_a_shared_server_has_not_turned_on_is_not_drawn(show, project, tmp_path, monkeypatch):
    import keras

    layer = keras.layers.Lambda(lambda x: x * 2, output_shape=(3,), name="code")
    keras.Sequential([keras.Input((3,)), layer]).save(tmp_path / "code.keras")
    project("square")
    for granted in (False, True):
        Permissions(paths=granted, unsafe=granted, snippets=granted, projects=granted).declare()
        app = upload(show("load"), "code.keras", (tmp_path / "code.keras").read_bytes())
        assert ("Continue where you left off" in texts(app)) == granted
        assert ("Path" in [tab.label for tab in app.tabs]) == granted
        assert bool(app.toggle) == granted
        assert ("the owner of this server has not allowed that" in app.error[0].value) != granted


def test_a_server_that_streamlit_alone_has_started_shows_nothing(show, project, monkeypatch):
    found = project("square")
    monkeypatch.delenv(VARIABLE)
    app = show("load", found)
    assert [error.value for error in app.error] == ["Start this app by `k2t app`."]
    assert not app.button and "square" not in texts(app)


def test_what_a_page_does_not_expect_ends_in_plain_words(show, monkeypatch):
    monkeypatch.setattr(common, "safety_net", common.guarded)
    monkeypatch.setattr(Project, "recent", classmethod(lambda cls: {}["nothing"]))
    app = show("load")
    assert "Something failed inside k2t" in app.error[0].value and any("KeyError" in code.value for code in app.code)
