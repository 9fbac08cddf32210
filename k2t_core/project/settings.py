"""What the pages remember, and where projects are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from k2t_core.inspector.lessons import LESSONS

LOOKED_AT = 2  # samples on which a layer alone is judged

# What the pages remember, with what they start from.
SETTINGS: dict[str, Any] = {
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
    **{f"learn.{name}.{key}": value for name, lesson in LESSONS.items() for key, value in lesson.defaults.items()},
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
