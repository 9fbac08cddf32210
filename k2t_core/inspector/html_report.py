"""A verification as one page that an auditor can file: self-contained, with everything that the verdict rests on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

from k2t_core.emit.manifest import Manifest
from k2t_core.inspector import charts
from k2t_core.recipe import Recipe, read_recipe
from k2t_core.verification.report import Report
from k2t_core.verification.taps import is_untouched

PACKAGES = ("k2t", "keras", "tensorflow-cpu", "tensorflow", "torch", "numpy")


def facts(report: Report, folder: str | Path, command: str) -> dict[str, Any]:
    """Everything that the verdict rests on, as plain data: what the page shows, and what ``--json`` prints.

    folder: the conversion that was verified. command: what reproduces the report, as a shell line.
    Raises OutputError where the folder is not a conversion.
    """
    folder = Path(folder)
    manifest = Manifest.read(folder)
    recipe = read_recipe(folder / "recipe.json") if (folder / "recipe.json").is_file() else Recipe()
    return {
        **report.to_json(),
        "command": command,
        "model": {"name": manifest.model, "sha256": manifest.fingerprint},
        "module": {
            "class": manifest.class_name,
            "edited_by_hand": not is_untouched(folder, manifest),
            "sha256": {
                name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
                for name in ("model.py", "model.safetensors")
            },
        },
        "versions": _versions(),
        "recipe": json.loads(recipe.to_json()),
        "mapping": {  # not "weights": that is the report's proof that they arrived bit for bit
            key: {
                "keras": [variable.source] if variable.source else [],
                "layer": variable.layer,
                "keras_shape": None if variable.keras_shape is None else list(variable.keras_shape),
                "transform": variable.transform,
                "torch_shape": list(variable.torch_shape),
            }
            for key, variable in manifest.variables.items()
        },
    }


def html_report(report: Report, folder: str | Path, command: str) -> str:
    """The page: `facts`, and the charts of the run that carries the verdict."""
    from jinja2 import Environment, PackageLoader

    folder = Path(folder)
    data = facts(report, folder, command)
    deciding = report.deciding
    drawn = replace(deciding, tolerance=deciding.own_tolerance)
    figures = [
        charts.difference_histogram(drawn, relative=True),
        charts.difference_histogram(drawn, relative=False),
        charts.ulp_histogram(drawn),
    ]
    if drawn.layers:
        figures.append(charts.layer_chart(drawn))
    # The first figure carries plotly.js itself: the page asks nobody for anything.
    pictures = [
        figure.to_html(full_html=False, include_plotlyjs=index == 0, div_id=f"figure{index}")
        for index, figure in enumerate(figures)
    ]
    environment = Environment(loader=PackageLoader("k2t_core.inspector"), autoescape=True)
    environment.filters["e"] = lambda value: f"{value:.1e}"
    return environment.get_template("report.html").render(
        report=report,
        data=data,
        layers=data["runs"][report.runs.index(deciding)]["layers"],
        figures=pictures,
        source=(folder / "model.py").read_text(encoding="utf-8"),
    )


def write_html_report(report: Report, folder: str | Path, path: str | Path, command: str) -> None:
    """`html_report` into a file, which appears whole or not at all. Raises OSError where it cannot be written."""
    path = Path(path)
    staging = path.with_name(f".{path.name}.new")
    staging.write_text(html_report(report, folder, command), encoding="utf-8")
    os.replace(staging, path)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # one of the two TensorFlows is installed; k2t may run from its folder
    return found
