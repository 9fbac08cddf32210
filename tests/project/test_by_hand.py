"""The same by hand: the lines that the app shows, run as they stand, give what the app gave."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest

from k2t_core.cli import main
from k2t_core.emit.manifest import FILES
from k2t_core.errors import K2TError
from k2t_core.project.by_hand import OUT, lesson_python, verify_line
from k2t_core.project.project import Project

WRONG = ("square1", "permutation", {"key": "weight", "axes": [0, 1]}, "to see it 'caught'")


@pytest.fixture
def square(example, tmp_path, monkeypatch):
    """A project as after an upload, and the folder of a person who has the same model file."""
    project = Project.create()
    with open(example("square"), "rb") as file:
        project.load(project.receive("my square.keras", file))
    folder = tmp_path / "by hand"
    folder.mkdir()
    (folder / "my square.keras").write_bytes(example("square").read_bytes())
    monkeypatch.chdir(folder)
    return project


def replay(command: str) -> tuple[int, str]:
    """(exit code, output) of a `k2t` line."""
    name, *arguments = shlex.split(command)
    assert name == "k2t"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            main(arguments)
        except SystemExit as error:
            return error.code or 0, said.getvalue()
    return 0, said.getvalue()


def run(python: str) -> tuple[dict, str]:
    """(names, output) of Python lines."""
    names: dict = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(python, names)
    return names, said.getvalue()


@pytest.mark.parametrize("override", [None, WRONG])
@pytest.mark.parametrize("own_inputs", [False, True])
def test_the_shown_lines_replay_to_the_same_bytes_and_verdict(square, tmp_path, override, own_inputs):
    folder = tmp_path / "by hand"
    if override is not None:
        square.override(*override)
        (folder / "recipe.json").write_text(square.plan.recipe, encoding="utf-8")
    if own_inputs:
        np.save(folder / "mine.npy", np.random.default_rng(0).standard_normal((3, 16)).astype("float32"))
        with open(folder / "mine.npy", "rb") as file:
            square.set_inputs("mine.npy", file)
    else:
        square.set("verify.batch", 3)
        square.set("verify.seed", 7)
    square.set("verify.training", True)
    square.set("verify.edge_cases", False)
    square.verify()

    assert replay(square.by_hand.convert_command())[0] == 0
    first = {name: (folder / OUT / name).read_bytes() for name in FILES}
    assert first == {name: (square.out / name).read_bytes() for name in FILES}
    code, said = replay(square.by_hand.verify_command() + " --json")
    assert code == (override is not None)
    assert json.loads(said)["verdict"] == square.report.verdict

    run(square.by_hand.convert_python())
    assert first == {name: (folder / OUT / name).read_bytes() for name in FILES}
    names, said = run(square.by_hand.verify_python())
    assert said.strip() == square.report.verdict
    assert names["report"].to_json()["runs"] == square.report.to_json()["runs"]

    names, said = run(square.by_hand.judge_python("square1"))
    assert said == f"{'agrees' if override is None else 'differs'} {square.judge('square1').difference.relative}\n"
    assert len(run(square.by_hand.inspect_python())[0]["plan"].recipe.overrides) == (override is not None)
    assert replay(square.by_hand.inspect_command())[0] == 0


def test_layers_of_ones_own_come_with_the_rules_of_the_server(tmp_path, monkeypatch):
    """``k2t app --rules FILE``: the app registers what the file holds, and the shown lines name it."""
    (tmp_path / "my_layers.py").write_text(
        "import keras\n\n\n"
        "@keras.saving.register_keras_serializable('by_hand')\n"
        "class Doubled(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x * 2.0\n"
    )
    build = (
        "import keras\n"
        "from my_layers import Doubled\n"
        "stack = [keras.Input((3,)), keras.layers.Dense(2), Doubled(name='doubled')]\n"
        "keras.Sequential(stack).save('own.keras')"
    )
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("K2T_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    project = Project.create()
    with pytest.raises(K2TError, match="Doubled.*--rules"):
        project.load("own.keras")
    monkeypatch.setenv("K2T_RULES", str(tmp_path / "my_layers.py"))
    project.load("own.keras")
    project.verify()
    assert project.report.passed and "* 2.0" in project.code.text
    for command in (
        project.by_hand.inspect_command(),
        project.by_hand.convert_command(),
        project.by_hand.verify_command(),
    ):
        code, _ = replay(command)
        assert code == 0 and "--rules" in command
    names, _ = run(project.by_hand.verify_python())
    assert names["report"].passed and "load_rules" in project.by_hand.convert_python()


def test_every_program_runs_in_a_process_of_its_own(square, tmp_path):
    """Nothing of it rests on what the app has imported."""
    square.override(*WRONG)
    recipe = square.plan.recipe
    (tmp_path / "by hand" / "recipe.json").write_text(recipe, encoding="utf-8")
    shown = square.by_hand
    programs = {
        shown.inspect_python(): "square1",
        shown.convert_python(): "model.py",
        shown.verify_python(): "differs",  # what was just converted
        shown.judge_python("square1"): "differs",
        lesson_python("dense_kernel", {"inputs": 3, "units": 3, "seed": 0}): "Difference(",
    }
    for program, words in programs.items():
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and words in done.stdout, program + done.stderr


def test_a_path_is_never_an_option():
    assert verify_line("-o2", "-m.keras", {}) == "k2t verify ./-o2 --against ./-m.keras"


def test_a_line_tells_what_does_not_stand_as_it_comes():
    assert verify_line("out", "m.keras", {"inputs": None, "edge_cases": True, "training": False, "search": 0}) == (
        "k2t verify out --against m.keras"
    )
    options = {"seed": 0, "edge_cases": False, "search": 2, "training": True, "rules": "my rules.py"}
    assert verify_line("my out", "m.keras", {**options, "allow_unsafe": True}) == (
        "k2t verify 'my out' --against m.keras --seed 0 --search 2 --rules 'my rules.py'"
        " --no-edge-cases --training --allow-unsafe"
    )
