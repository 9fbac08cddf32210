"""The session model: what it keeps, what it gives back after a restart, and that errors change nothing."""

from __future__ import annotations

import gc
import io
import json
import threading
import time
import weakref

import keras
import numpy as np
import pytest

from k2t_core.errors import K2TError, OverrideError, UnsafeModelError, UnsupportedError
from k2t_core.project.layer_bench import LayerBench
from k2t_core.project.project import Project
from k2t_core.project.settings import home
from k2t_core.project.workbench import Workbench
from k2t_core.recipe import Override


def live(project: Project) -> Workbench:
    """The frameworks' side of a project, which is in this process in tests."""
    return project.engine.workbench


def restarted(project: Project) -> Project:
    """The project as a new server process finds it."""
    return Project.read(project.folder)


def test_a_new_project_takes_no_space(tmp_path):
    project = Project.create()
    assert len(project.id) == 32
    assert not home().exists()
    assert Project.restore(project.id) is project


@pytest.mark.parametrize("id", ["", "../../etc", "a" * 31, "a" * 32, "x" * 33])
def test_unknown_or_malformed_ids_restore_nothing(id):
    assert Project.restore(id) is None


def test_everything_adjusted_survives_a_restart(square):
    square.set("verify.batch", 7)
    square.set("learn.lstm.order", "f i g o")
    square.override("square1", "permutation", {"key": "weight", "axes": (0, 1)}, "to see it fail")
    square.override("square2", "arguments", {"bias": True})
    square.undo()
    found = restarted(square)
    assert found.settings == square.settings
    assert found.recipe == square.recipe
    assert [o.reason for o in found.recipe.overrides] == ["to see it fail"]
    assert found.can_undo and found.can_redo
    assert found.has_model and not found.is_open
    found.open()
    assert found.code.text == square.code.text


def test_undo_redo_reset_and_one_by_one(square):
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    square.override("square2", "permutation", {"key": "weight", "axes": [0, 1]})
    first, second = square.recipe.overrides
    square.take_back(first)
    assert square.recipe.overrides == (second,)
    square.undo()
    assert square.recipe.overrides == (first, second)
    square.redo()
    assert square.recipe.overrides == (second,)
    square.reset()
    assert square.recipe.overrides == () and not square.can_redo
    square.undo()
    assert square.recipe.overrides == (second,)
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    assert not square.can_redo
    square.take_back(Override("square9", "snippet", "x"))  # gone already: a second click
    assert len(square.recipe.overrides) == 2


@pytest.mark.parametrize(
    ("layer", "kind", "value", "words"),
    [
        ("nobody", "alternative", "x", "does not have"),
        ("square1", "alternative", "no such", "no alternative"),
        ("square1", "permutation", {"key": "weight", "axes": [0, 0]}, "permutation"),
        ("square1", "permutation", {"key": "nothing", "axes": [0, 1]}, "no weight"),
        ("square1", "arguments", {"in_features": 5}, "shape"),
        ("square1", "arguments", {"colour": "red"}, "cannot be built"),
        ("square1", "snippet", "x = 1", "not one Python expression"),
    ],
)
def test_an_impossible_override_is_refused_and_changes_nothing(square, layer, kind, value, words):
    before = (square.recipe, square.plan, (square.folder / "project.json").read_text())
    with pytest.raises(OverrideError, match=words):
        square.override(layer, kind, value)
    assert (square.recipe, square.plan, (square.folder / "project.json").read_text()) == before
    assert not square.can_undo


def test_recipes_are_exported_and_imported(square, example):
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]}, "because")
    text = square.plan.recipe
    other = Project.create()
    other.load(example("square"))
    other.import_recipe(text)
    assert other.recipe.overrides == square.recipe.overrides
    for wrong in (
        "{",
        "[1]",
        "{}",
        json.dumps({"k2t_recipe": 1, "overrides": [{"layer": "nobody", "kind": "snippet", "value": "x"}]}),
    ):
        with pytest.raises(OverrideError):
            other.import_recipe(wrong)
    assert other.recipe.overrides == square.recipe.overrides


def test_a_bad_file_leaves_the_loaded_model(square, tmp_path):
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    before = (square.model_path, square.recipe, live(square).traced)
    bad = square.receive("model.keras", io.BytesIO(b"only text"))
    with pytest.raises(K2TError, match="not a Keras model"):
        square.load(bad)
    assert (square.model_path, square.recipe, live(square).traced) == before
    assert not bad.exists()
    with pytest.raises(K2TError, match="no such file"):
        square.load(tmp_path / "absent.keras")
    assert (square.model_path, square.recipe, live(square).traced) == before


def test_another_model_starts_without_overrides(square, example):
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    square.convert()
    square.load(example("square"))
    assert square.recipe.overrides and square.has_conversion
    square.load(example("dense"))
    assert not square.recipe.overrides and not square.can_undo and not square.has_conversion


def test_uploaded_files_are_kept_once_and_the_users_own_are_left(square, example):
    with open(example("dense"), "rb") as data:
        first = square.receive("../../evil/dense.keras", data)
    assert first.name == "dense.keras" and square.folder in first.parents
    square.load(first)
    with open(example("dense"), "rb") as data:
        second = square.receive("dense.keras", data)
    square.load(second)
    assert second.exists() and not first.exists()
    assert restarted(square).model_path == second
    square.load(example("square"))
    assert not second.exists() and example("square").exists()


def test_a_file_with_code_waits_for_leave(tmp_path):
    import keras

    path = tmp_path / "lambda.keras"
    keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Lambda(
                lambda x: __import__("tensorflow").math.special.dawsn(x), output_shape=(3,), name="twice"
            ),
        ]
    ).save(path)
    project = Project.create()
    kept = project.receive(path.name, open(path, "rb"))
    with pytest.raises(UnsafeModelError, match="twice"):
        project.load(kept)
    assert project.refused == kept and kept.exists() and not project.has_model
    project.load(project.refused, allow_unsafe=True)
    assert project.refused is None and project.allow_unsafe and project.plan.problems


def test_the_leave_to_run_code_is_for_one_file_as_it_was(tmp_path, example):
    import keras

    def with_code(factor):
        path = tmp_path / f"lambda{factor}.keras"
        layer = keras.layers.Lambda(lambda x: x * factor, output_shape=(3,), name="code")
        keras.Sequential([keras.Input((3,)), layer]).save(path)
        return path

    first, other = with_code(2), with_code(3)
    project = Project.create()
    with pytest.raises(K2TError, match="no file waits"):
        project.start_refused()
    with pytest.raises(UnsafeModelError):
        project.load(first)
    job = project.start_refused()
    job.wait()
    assert job.error is None and project.allow_unsafe and project.refused is None
    with pytest.raises(UnsafeModelError):
        project.load(other)  # the leave was not for the next file
    assert project.refused == other
    # What runs is a copy that nobody else can change after it was looked at.
    assert project.folder in project.model_path.parents and project.model_path.read_bytes() == first.read_bytes()
    restarted(project).open()
    waiting = Project.create()
    with pytest.raises(UnsafeModelError):
        waiting.load(first)
    first.write_bytes(other.read_bytes())
    with pytest.raises(K2TError, match="has changed since it was refused"):
        waiting.load(first, allow_unsafe=True)
    restarted(project).open()
    project.model_path.write_bytes(other.read_bytes())
    with pytest.raises(UnsafeModelError, match="code"):
        restarted(project).open()


def test_conversion_is_current_only_for_the_recipe_it_was_made_with(square):
    assert not square.is_converted
    square.convert()
    assert square.is_converted
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    assert not square.is_converted and square.has_conversion
    square.undo()
    assert square.is_converted
    found = restarted(square)
    found.open()
    assert found.is_converted


def test_a_wrong_permutation_is_caught_and_undone(square):
    said = []
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    square.verify(lambda share, text: said.append((share, text)))
    assert any(text.startswith("Converting first") for _, text in said)
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert not square.report.passed and square.report.first_divergence == "square1"
    assert square.report_is_current
    square.undo()
    assert not square.report_is_current
    square.verify()
    assert square.report.passed and square.report.proves and square.report_is_current


def test_the_report_survives_a_restart(square):
    square.override("square1", "permutation", {"key": "weight", "axes": [0, 1]})
    square.verify()
    found = restarted(square)
    found.open()
    assert found.report.to_json() == square.report.to_json()
    assert found.report_is_current
    for a, b in zip(found.report.runs, square.report.runs):
        assert a.tolerance == b.tolerance and a.layers == b.layers
        assert all(
            np.array_equal(x.keras, y.keras) and np.array_equal(x.torch, y.torch) for x, y in zip(a.outputs, b.outputs)
        )


def test_the_users_own_inputs(square):
    data = io.BytesIO()
    np.save(data, np.random.default_rng(0).standard_normal((3, 16)).astype("float32"))
    data.seek(0)
    square.set_inputs("mine.npy", data)
    square.verify()
    assert square.report.runs[0].inputs == "mine.npy"
    assert square.report.outputs[0].keras_shape == (3, 16)
    square.set_inputs("wrong.npy", io.BytesIO(b"nothing"))
    with pytest.raises(K2TError, match="wrong.npy"):
        square.verify()
    square.use_random_inputs()
    assert square.settings["verify.inputs"] is None
    square.verify()


def test_the_users_model_is_never_changed(square):
    before = [np.array(v) for v in live(square).traced.source.model.get_weights()]
    square.set("verify.weights", "both")
    square.verify()
    assert all(np.array_equal(a, b) for a, b in zip(before, live(square).traced.source.model.get_weights()))


def test_work_is_never_started_twice():
    project, started, go = Project.create(), [], threading.Event()

    def work(say):
        started.append(1)
        say(0.5, "half")
        go.wait(10)

    first = project.start("convert", "Converting", work)
    second = project.start("verify", "Verifying", work)
    assert first is second
    while first.share < 0.5:
        time.sleep(0.01)
    assert (first.text, first.running, len(started)) == ("half", True, 1)
    go.set()
    first.wait()
    assert not first.running
    project.start("verify", "Verifying", work).wait()
    assert len(started) == 2


def test_settings_are_known_by_name():
    with pytest.raises(KeyError):
        Project.create().set("verify.bacth", 3)


def test_a_forgotten_project_is_gone(square):
    Project.forget(square.id)
    assert Project.recent() == [] and Project.restore(square.id) is None
    Project.forget(square.id)


def test_another_model_leaves_the_overridden_one_to_be_continued(example):
    project = Project.create()
    project.load(project.receive("square.keras", open(example("square"), "rb")))
    project.override("square1", "permutation", {"key": "weight", "axes": [0, 1]}, "kept")
    project.set_inputs("mine.npy", io.BytesIO(b"x"))
    project.convert()
    project.load(example("dense"))
    assert project.recipe.overrides == () and project.settings["verify.inputs"] is None and not project.has_conversion
    shelved = next(r for r in Project.recent() if r.id != project.id)
    assert (shelved.model, shelved.overrides) == ("square.keras", 1)
    found = Project.restore(shelved.id)
    found.open()
    assert [o.reason for o in found.recipe.overrides] == ["kept"]
    assert found.is_converted
    assert found.folder in found.model_path.parents and str(found.folder) in found.settings["verify.inputs"]


def test_a_new_model_starts_at_the_row_that_matters(example):
    project = Project.create()
    project.load(example("convnet"))
    assert project.settings["mapping.selected"] == "flatten"  # ambiguous
    project.load(example("dense"))
    assert project.settings["mapping.selected"] == "hidden"  # the first with weights


def test_a_conversion_by_an_earlier_k2t_is_made_again(square):
    square.convert()
    assert square.is_converted
    path = square.out / "manifest.json"
    data = json.loads(path.read_text())
    del data["taps"]
    path.write_text(json.dumps(data))
    assert not square.is_converted
    square.verify()
    assert square.is_converted and square.report.passed


def test_a_project_that_nobody_holds_takes_its_model_with_it(example):
    project = Project.create()
    project.start_load(example("lstm")).wait()
    project.start_verify().wait()
    assert project.judge("lstm").passed
    project.start_exercise(0).wait()
    assert project.exercise is not None
    traced = live(project).traced
    left = [weakref.ref(thing) for thing in (project, traced, traced.source.model)]
    del traced
    del project
    gc.collect()
    assert [reference() for reference in left] == [None, None, None]


def test_several_images_are_a_batch(example, tmp_path):
    from PIL import Image

    def picture(shade: int) -> io.BytesIO:
        file = io.BytesIO()
        Image.new("RGB", (40, 30), (shade, shade, shade)).save(file, "png")
        file.seek(0)
        return file

    found = Project.create()
    found.load(example("convnet"))
    found.set_images([("b.png", picture(200)), ("a.png", picture(100))])
    found.settings["verify.edge_cases"] = False
    found.verify()
    assert found.report.passed and [int(image.max()) for image in found.report.runs[0].batch[0]] == [200, 100], (
        "in the order in which they were given"
    )
    with pytest.raises(K2TError, match="x.npy: several files at once can only be images"):
        found.set_images([("a.png", picture(1)), ("x.npy", picture(2))])
    assert found.settings["verify.inputs"] is not None, "what was there stays"


def test_other_images_are_other_inputs(example):
    """A layer that was looked at on the images before is run again."""
    from PIL import Image

    def picture(shade: int) -> tuple[str, io.BytesIO]:
        file = io.BytesIO()
        Image.new("RGB", (28, 28), (shade, shade, shade)).save(file, "png")
        file.seek(0)
        return "a.png", file

    found = Project.create()
    found.load(example("convnet"))
    found.set_images([picture(10)])
    found.probe("conv")
    assert found.is_probed("conv")
    found.set_images([picture(200)])
    assert not found.is_probed("conv") and found.judge("conv").passed
    assert len(list((found.folder / "inputs").iterdir())) == 1, "those before are deleted"


def test_a_probe_that_ends_after_another_model_came_is_not_taken_for_one_of_its_layers(square, example):
    bench = LayerBench(live(square).traced, live(square).plan, square.inputs, live(square).memory)
    square.load(example("square"))
    bench.probe("square1")
    assert bench.is_probed("square1") and not square.is_probed("square1")


def test_a_file_of_keras_2_that_keras_3_computes_otherwise_is_not_loaded(square, tmp_path, monkeypatch):
    from k2t_core.keras_side.keras2 import layers

    tf_keras = pytest.importorskip("tf_keras")
    x = tf_keras.Input((4,))
    tf_keras.Model(x, tf_keras.layers.Dense(4, activation="hard_sigmoid", name="gate")(x)).save(tmp_path / "old.h5")
    monkeypatch.setattr(layers, "hard_sigmoid", lambda: keras.activations.hard_sigmoid)
    before = square.fingerprint, square.model_path
    with pytest.raises(UnsupportedError, match="gate"):
        square.load(tmp_path / "old.h5")
    assert (square.fingerprint, square.model_path) == before and restarted(square).fingerprint == before[0]
    assert square.is_open and square.plan.rows
