"""What the pages remember, and where projects are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

LOOKED_AT = 2  # samples on which a layer alone is judged

# What the pages remember, with what they start from.
SETTINGS: dict[str, Any] = {
    "allow_unsafe": False,
    "example": None,
    "graph.colour": "status",
    "graph.open": [],  # the folds that are unfolded
    "mapping.graph": True,
    "mapping.selected": None,
    "mapping.text": "",
    "mapping.status": [],
    "mapping.type": [],
    "mapping.overridden": False,
    "mapping.duel": False,
    "mapping.sample": 0,
    "convert.layer": None,
    "verify.batch": 4,
    "verify.seed": 0,
    "verify.distribution": "normal",
    "verify.weights": "both",
    "verify.tolerance": 1e-4,
    "verify.inputs": None,
    "verify.edge_cases": True,
    "verify.training": False,
    "verify.search": 0,
    "verify.look": None,  # the tolerance that the charts are coloured by; None: the verification's own
    "verify.output": None,
    "verify.class": None,
    "verify.sample": 0,
    "verify.linear": False,
    "verify.log_counts": False,
    "verify.labels": "",
    "learn.lesson": "flatten",
    "learn.predictions": {},  # lesson → which of `lessons.OUTCOMES`
    "learn.flatten.height": 3,
    "learn.flatten.width": 2,
    "learn.flatten.channels": 3,
    "learn.flatten.seed": 0,
    "learn.ones.size": 4,
    "learn.ones.seed": 0,
    "learn.lstm.units": 3,
    "learn.lstm.features": 2,
    "learn.lstm.steps": 5,
    "learn.lstm.order": "i f o g",
    "learn.lstm.bias": "doubled",
    "learn.lstm.seed": 0,
    "learn.same.size": 6,
    "learn.same.kernel": 3,
    "learn.same.stride": 2,
    "learn.same.seed": 0,
    "learn.kernel.size": 3,
    "learn.kernel.channels": 2,
    "learn.kernel.seed": 0,
    "learn.pooling.size": 8,
    "learn.pooling.window": 3,
    "learn.pooling.seed": 0,
    "learn.epsilon.variance": 1e-3,
    "learn.epsilon.seed": 0,
    "learn.momentum.steps": 5,
    "learn.momentum.seed": 0,
    "learn.gru.units": 3,
    "learn.gru.features": 2,
    "learn.gru.steps": 5,
    "learn.gru.after": True,
    "learn.gru.reordered": False,
    "learn.gru.seed": 0,
    "learn.activations.name": "LeakyReLU()",
    "learn.activations.seed": 0,
    "learn.dense.inputs": 4,
    "learn.dense.units": 3,
    "learn.dense.seed": 0,
    "learn.attention.wrong": "heads",
    "learn.attention.heads": 2,
    "learn.attention.key_dim": 3,
    "learn.attention.steps": 4,
    "learn.attention.seed": 0,
    "learn.memory.wrong": "reshape",
    "learn.memory.height": 3,
    "learn.memory.width": 4,
    "learn.memory.channels": 2,
    "learn.memory.seed": 0,
    "learn.inference.layer": "BatchNormalization",
    "learn.inference.seed": 0,
    "learn.break.seed": 0,
    "learn.break.answer": None,
    "learn.break.reason": None,
}

# The options of `k2t.verify` that the setting ``verify.<name>`` gives, in the order in which they are told.
VERIFY = ("inputs", "batch", "seed", "distribution", "weights", "tolerance", "search", "edge_cases", "training")

# Settings that speak of the loaded model: another model starts without them.
OF_THE_MODEL = (
    "graph.open",
    "mapping.selected",
    "mapping.text",
    "mapping.status",
    "mapping.type",
    "mapping.overridden",
    "mapping.sample",
    "convert.layer",
    "verify.inputs",
    "verify.look",
    "verify.output",
    "verify.class",
    "verify.sample",
    "verify.labels",
)


def home() -> Path:
    """Where projects are kept: $K2T_HOME, or the platform's cache folder."""
    if os.environ.get("K2T_HOME"):
        return Path(os.environ["K2T_HOME"]).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "k2t"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "k2t"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "k2t"


def server_rules() -> str | None:
    """The file with rules and Keras classes of one's own that the server was started with: ``k2t app --rules FILE``."""
    return os.environ.get("K2T_RULES")
