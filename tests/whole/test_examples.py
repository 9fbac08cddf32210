"""The bundled models: listed without a framework, the same bytes of weights each time, and each with its trap in it."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from k2t_core.project.bundled import app_folder, examples

ROOT = Path(__file__).parent.parent.parent
NAMES = list(examples().EXAMPLES)


def test_the_list_is_read_without_a_framework():
    script = """
import sys
from k2t_core.project.bundled import examples
print(*examples().EXAMPLES)
assert not {"keras", "tensorflow", "torch", "numpy"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == NAMES


def test_the_app_lies_beside_the_examples():
    assert (app_folder() / "app.py").is_file() and (app_folder() / ".streamlit" / "config.toml").is_file()


def config(path: Path) -> str:
    """A file's architecture, without the memory addresses that Keras calls shared_object_id."""
    with zipfile.ZipFile(path) as archive:
        return re.sub(r'"shared_object_id": \d+', "", archive.read("config.json").decode())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_model_each_time(name, example, tmp_path):
    """Built again, later in the process, with other names counted up and another random state."""
    keras.utils.set_random_seed(99)
    keras.layers.Dense(3)(keras.Input((2,)))
    again = examples().build(name, tmp_path)
    assert config(again) == config(example(name))
    first, second = (keras.models.load_model(path).weights for path in (example(name), again))
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert np.array_equal(np.asarray(a), np.asarray(b)), a.path


@pytest.mark.parametrize("name", NAMES)
def test_titles_and_descriptions_are_for_a_person(name):
    known = examples().EXAMPLES[name]
    assert known.title and known.description.endswith(".") and len(known.title) < 30


def test_every_weight_is_random_but_where_the_example_is_about_that(example):
    for name in NAMES:
        for variable in keras.models.load_model(example(name)).weights:
            if np.prod(variable.shape) > 1 and "seed_generator" not in variable.path:
                constant = np.ptp(np.asarray(variable)) == 0
                assert constant == (name == "all_ones"), f"{name}: {variable.path}"


def test_an_unknown_name(tmp_path):
    with pytest.raises(KeyError):
        examples().build("nope", tmp_path)


def test_the_script_writes_a_file(tmp_path):
    script = [sys.executable, str(ROOT / "examples" / "build.py")]
    done = subprocess.run(
        [*script, "square", "-o", str(tmp_path / "new")], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert zipfile.is_zipfile(tmp_path / "new" / "square.keras")
    done = subprocess.run([*script, "nope"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "convnet" in done.stderr
