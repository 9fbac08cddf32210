"""Two cores for everyone, quiet frameworks, and the bundled models built once a session."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
import torch

import k2t_core as k2t
from k2t_core.bundled import examples

THREADS = 2

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)
torch.set_num_threads(THREADS)


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
