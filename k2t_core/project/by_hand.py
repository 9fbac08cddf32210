"""What the app does for a project, as the command and as the Python lines that do the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k2t_core.inspector.html_report import command_line
from k2t_core.project.settings import LOOKED_AT, SETTINGS, server_rules

if TYPE_CHECKING:
    from k2t_core.project.project import Project

FOLDER = "out"
# Options of `k2t verify` by the setting of the page, in its order; those that are as they come are not written.
OPTIONS = {
    name: f"verify.{name}" for name in ("inputs", "batch", "seed", "distribution", "weights", "tolerance", "search")
}


def inspect_command(project: Project) -> str:
    return shlex.join(
        ["k2t", "inspect", _model(project), *_rules(), *(["--allow-unsafe"] if project.allow_unsafe else [])]
    )


def inspect_python(project: Project) -> str:
    """The mapping table under the overrides in force."""
    recipe = ', "recipe.json"' if project.recipe.overrides else ""
    return f"{_import()}\n\nplan = k2t.plan({_model(project)!r}{recipe}{_unsafe(project)})\nprint(plan.table())"


def judge_python(project: Project, layer: str) -> str:
    """One layer alone, as the Mapping page judges it, its overrides written out."""
    settings = project.settings
    if settings["verify.inputs"]:
        reading = f"arrays = [array[:{LOOKED_AT}] for array in k2t.read_inputs({Path(settings['verify.inputs']).name!r}, traced.graph)]"
    else:
        reading = f"arrays = k2t.random_batch(traced.graph, {LOOKED_AT}, {settings['verify.seed']}, {settings['verify.distribution']!r})"
    lines = [
        *_import().splitlines(),
        "",
        f"traced = k2t.trace(k2t.load({_model(project)!r}{_unsafe(project)}))",
        "recipe = k2t.Recipe()",
        *(
            f"recipe = recipe.with_override(k2t.Override({o.layer!r}, {o.kind!r}, {o.value!r}{f', {o.reason!r}' if o.reason else ''}))"
            for o in project.recipe.of(layer)
        ),
        *([f"traced = k2t.cut(traced, {project.recipe.cuts!r})"] if project.recipe.cuts else []),
        reading,
        f"verdict = k2t.probe(traced, {layer!r}, arrays).judge(recipe)",
        'print("agrees" if verdict.passed else "differs", verdict.difference.relative)',
    ]
    return "\n".join(lines)


def convert_command(project: Project) -> str:
    words = ["k2t", "convert", _model(project), "--out", FOLDER]
    words += ["--recipe", "recipe.json"] if project.recipe.overrides else []
    words += ["--onnx"] if project.onnx else []
    words += _rules()
    words += ["--allow-unsafe"] if project.allow_unsafe else []
    return shlex.join(words)


def convert_python(project: Project) -> str:
    recipe = ', "recipe.json"' if project.recipe.overrides else ""
    onnx = ", onnx=True" if project.onnx else ""
    return f'{_import()}\n\nresult = k2t.convert({_model(project)!r}, "{FOLDER}"{recipe}{onnx}{_unsafe(project)})\nprint(result.model_path)'


def verify_command(project: Project) -> str:
    flags = {
        "--no-edge-cases": not project.settings["verify.edge_cases"],
        "--training": project.settings["verify.training"],
        "--allow-unsafe": project.allow_unsafe,
    }
    return " ".join(
        [
            command_line(FOLDER, _model(project), {**_options(project), "rules": server_rules()}),
            *(flag for flag, wanted in flags.items() if wanted),
        ]
    )


def verify_python(project: Project) -> str:
    options: dict[str, Any] = _options(project)
    for name in ("edge_cases", "training"):
        if project.settings[f"verify.{name}"] != SETTINGS[f"verify.{name}"]:
            options[name] = project.settings[f"verify.{name}"]
    told = "".join(f", {name}={value!r}" for name, value in options.items())
    return f'{_import()}\n\nreport = k2t.verify("{FOLDER}", {_model(project)!r}{told}{_unsafe(project)})\nprint(report.verdict)'


def _rules() -> list[str]:
    return ["--rules", server_rules()] if server_rules() else []


def _import() -> str:
    """The first lines of what is shown in Python."""
    return "import k2t_core as k2t" + (f"\n\nk2t.load_rules({server_rules()!r})" if server_rules() else "")


def _options(project: Project) -> dict[str, Any]:
    changed = {
        name: project.settings[setting]
        for name, setting in OPTIONS.items()
        if project.settings[setting] != SETTINGS[setting]
    }
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
