"""One core a process, quiet frameworks, and the bundled models built once a session."""

from __future__ import annotations

import gc
import os
import random

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import tensorflow as tf
import torch
from hypothesis import settings
from keras.src.backend.common import global_state

import k2t_core as k2t
from k2t_core.project.bundled import examples
from k2t_core.project.engines import Engines, Here
from k2t_core.project.project import Project

# The same examples on every machine, however slow it is.
settings.register_profile("k2t", derandomize=True, deadline=None, database=None)
settings.load_profile("k2t")

THREADS = 1  # a test process for each core: more threads than cores cost many times what they save

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)
torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True, scope="session")
def frozen():
    """Keras collects garbage with every new session, Streamlit after each run.

    Without the frameworks' own million objects that takes no time.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def names_from_the_start():
    """Random weights go by a variable's path.

    A layer's name, and so the numbers of a test, may not depend on which tests ran before it.
    """
    global_state.set_global_attribute("object_name_uids", None)


@pytest.fixture(autouse=True)
def engines_here(monkeypatch):
    """Projects of tests have their engine in the test's own process, where it can be looked into.

    Those of the app in a browser, and of `tests/project/test_engines.py`, have processes.
    """
    monkeypatch.setattr(Project, "engines", Engines(Here))


@pytest.fixture(scope="session")
def example(tmp_path_factory) -> Callable[[str], Path]:
    """``example("convnet")``: the path of a bundled model's file. Read-only: all tests share it."""
    folder = tmp_path_factory.mktemp("examples")
    built: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in built:
            built[name] = examples().build(name, folder)
        return built[name]

    return get


@pytest.fixture(scope="session")
def converted(example, tmp_path_factory) -> Callable[[str], Path]:
    """``converted("convnet")``: the folder of its conversion, without overrides. Read-only: all tests share it."""
    folder = tmp_path_factory.mktemp("converted")
    done: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in done:
            done[name] = k2t.convert(example(name), folder / name).folder
        return done[name]

    return get


AT_LEAST, ONE_IN = 10, 5  # of a rule's parametrised cases, in the sample


@cache
def touches_layouts(path: Path) -> bool:
    """Whether tests run Keras on channels first, which depends on the processor's kernels: `pytest -m layouts`."""
    text = path.read_text(encoding="utf-8")
    return path.parent.name == "conformance" or "channels_first" in text or "data_format" in text


def pytest_collection_modifyitems(config, items):
    """Of the thousands of cases of the rules, a fixed sample.

    ``K2T_SWEEP=all`` runs every one, ``K2T_ORDER=7`` shuffles what runs.
    A test named on the command line (``file.py::test``) runs with all its cases.
    """
    for item in items:
        if touches_layouts(item.path) and item.get_closest_marker("browser") is None:
            item.add_marker(pytest.mark.layouts)
    _take_a_sample(config, items)
    if order := os.environ.get("K2T_ORDER"):
        random.Random(order).shuffle(items)


def _take_a_sample(config, items):
    if os.environ.get("K2T_SWEEP") == "all" or any(
        "::" in argument or "tests/rules" in argument for argument in config.args
    ):
        return
    cases: dict[tuple[str, str], list] = {}
    for item in items:
        if item.path.parent.name == "rules":
            cases.setdefault((str(item.path), item.originalname), []).append(item)
    dropped = set()
    for found in cases.values():
        count = max(AT_LEAST, len(found) // ONE_IN)
        kept = (
            {id(found[k * len(found) // count]) for k in range(count)}
            if len(found) > count
            else {id(item) for item in found}
        )
        dropped |= {id(item) for item in found} - kept
    config.hook.pytest_deselected(items=[item for item in items if id(item) in dropped])
    items[:] = [item for item in items if id(item) not in dropped]
