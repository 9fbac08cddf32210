"""What the app does for a project, as the command and as the Python lines that do the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from k2t_core.html_report import command_line
from k2t_core.project import SETTINGS, Project

FOLDER = "out"
# Options of `k2t verify` by the setting of the page, in its order; those that are as they come are not written.
OPTIONS = {name: f"verify.{name}" for name in ("inputs", "batch", "seed", "distribution", "weights", "tolerance", "search")}


def convert_command(project: Project) -> str:
    words = ["k2t", "convert", _model(project), "--out", FOLDER]
    words += ["--recipe", "recipe.json"] if project.recipe.overrides else []
    words += ["--allow-unsafe"] if project.allow_unsafe else []
    return shlex.join(words)


def convert_python(project: Project) -> str:
    recipe = ', "recipe.json"' if project.recipe.overrides else ""
    return f'import k2t_core as k2t\n\nresult = k2t.convert({_model(project)!r}, "{FOLDER}"{recipe}{_unsafe(project)})\nprint(result.model_path)'


def verify_command(project: Project) -> str:
    flags = {"--no-edge-cases": not project.settings["verify.edge_cases"], "--training": project.settings["verify.training"], "--allow-unsafe": project.allow_unsafe}
    return " ".join([command_line(FOLDER, _model(project), _options(project)), *(flag for flag, wanted in flags.items() if wanted)])


def verify_python(project: Project) -> str:
    options: dict[str, Any] = _options(project)
    for name in ("edge_cases", "training"):
        if project.settings[f"verify.{name}"] != SETTINGS[f"verify.{name}"]:
            options[name] = project.settings[f"verify.{name}"]
    told = "".join(f", {name}={value!r}" for name, value in options.items())
    return f'import k2t_core as k2t\n\nreport = k2t.verify("{FOLDER}", {_model(project)!r}{told}{_unsafe(project)})\nprint(report.verdict)'


def _options(project: Project) -> dict[str, Any]:
    changed = {name: project.settings[setting] for name, setting in OPTIONS.items() if project.settings[setting] != SETTINGS[setting]}
    if "inputs" in changed:
        changed["inputs"] = Path(changed["inputs"]).name  # the project's copy has a path that nobody types
        changed = {name: value for name, value in changed.items() if name not in ("batch", "distribution")}
    return changed


def _model(project: Project) -> str:
    """The model's path; of an uploaded file, its name."""
    path = project.model_path
    return path.name if project.folder in path.parents else str(path)


def _unsafe(project: Project) -> str:
    return ", allow_unsafe=True" if project.allow_unsafe else ""
