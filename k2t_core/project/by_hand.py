"""The same by hand: what the app does, as the command and as the Python lines that do it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k2t_core.project.settings import LOOKED_AT, SETTINGS, VERIFY
from k2t_core.recipe import Recipe

OUT = "out"  # the folder of the conversion
# What says nothing where it stands so: a command does without it.
UNTOLD: dict[str, Any] = {
    "inputs": None,
    "search": 0,
    "rules": None,
    "edge_cases": True,
    "training": False,
    "allow_unsafe": False,
}


def verify_line(folder: str | Path, model: str | Path, options: Mapping[str, Any]) -> str:
    """The ``k2t verify`` line with these options, by their names in `k2t.verify`, the switches last."""
    # A path that begins with a dash would be taken for an option.
    where = [f"./{path}" if str(path).startswith("-") else str(path) for path in (folder, model)]
    words, switches = ["k2t", "verify", where[0], "--against", where[1]], []
    for name, value in options.items():
        if name in UNTOLD and value == UNTOLD[name]:
            continue
        told = name.replace("_", "-")
        if isinstance(value, bool):
            switches.append(f"--{told}" if value else f"--no-{told}")
        else:
            words += [f"--{told}", str(value)]
    return shlex.join([*words, *switches])


@dataclass(frozen=True)
class ByHand:
    """What the app does with a model as it stands, for one who does it without the app.

    model: how a person names the file. settings: those of the pages. recipe: the overrides in force, which they have as
    recipe.json. rules: the file that the server registered (`settings.server_rules`). formats: what was asked for
    beside the four files, by its option.
    """

    model: str
    settings: Mapping[str, Any] = field(default_factory=lambda: SETTINGS)
    recipe: Recipe = Recipe()
    allow_unsafe: bool = False
    rules: str | None = None
    formats: tuple[str, ...] = ()

    def inspect_command(self) -> str:
        return shlex.join(["k2t", "inspect", self.model, *self._registered, *self._allowed])

    def inspect_python(self) -> str:
        """The mapping table under the overrides in force."""
        return self._python(f"plan = k2t.plan({self.model!r}{self._replayed}{self._unsafe})", "print(plan.table())")

    def judge_python(self, layer: str) -> str:
        """One layer alone, as the Mapping page judges it, its overrides written out."""
        overrides = (
            f"k2t.Override({o.layer!r}, {o.kind!r}, {o.value!r}{f', {o.reason!r}' if o.reason else ''})"
            for o in self.recipe.of(layer)
        )
        cuts = self.recipe.cuts
        return self._python(
            f"traced = k2t.trace(k2t.load({self.model!r}{self._unsafe}))",
            "recipe = k2t.Recipe()",
            *(f"recipe = recipe.with_override({override})" for override in overrides),
            *([f"traced = k2t.cut(traced, {cuts!r})"] if cuts else []),
            f"arrays = {self._batch}",
            f"verdict = k2t.probe(traced, {layer!r}, arrays).judge(recipe)",
            'print("agrees" if verdict.passed else "differs", verdict.difference.relative)',
        )

    def convert_command(self) -> str:
        words = ["k2t", "convert", self.model, "--out", OUT]
        words += ["--recipe", "recipe.json"] if self.recipe.overrides else []
        words += [f"--{name}" for name in self.formats]
        return shlex.join([*words, *self._registered, *self._allowed])

    def convert_python(self) -> str:
        formats = "".join(f", {name}=True" for name in self.formats)
        arguments = f'{self.model!r}, "{OUT}"{self._replayed}{formats}{self._unsafe}'
        return self._python(f"result = k2t.convert({arguments})", "print(result.model_path)")

    def verify_command(self) -> str:
        options = {**self._options, "rules": self.rules, "allow_unsafe": self.allow_unsafe}
        return verify_line(OUT, self.model, options)

    def verify_python(self) -> str:
        told = "".join(f", {name}={value!r}" for name, value in self._options.items())
        return self._python(
            f'report = k2t.verify("{OUT}", {self.model!r}{told}{self._unsafe})', "print(report.verdict)"
        )

    def _python(self, *lines: str) -> str:
        registered = [f"k2t.load_rules({self.rules!r})", ""] if self.rules else []
        return "\n".join(["import k2t_core as k2t", "", *registered, *lines])

    @property
    def _options(self) -> dict[str, Any]:
        """The options of the verification that do not stand as they come."""
        changed = {name: self.settings[f"verify.{name}"] for name in VERIFY}
        changed = {name: value for name, value in changed.items() if value != SETTINGS[f"verify.{name}"]}
        if "inputs" in changed:
            changed["inputs"] = self._inputs
            changed = {name: value for name, value in changed.items() if name not in ("batch", "distribution")}
        return changed

    @property
    def _inputs(self) -> str:
        return Path(self.settings["verify.inputs"]).name  # the project's copy has a path that nobody types

    @property
    def _batch(self) -> str:
        if self.settings["verify.inputs"]:
            return f"[array[:{LOOKED_AT}] for array in k2t.read_inputs({self._inputs!r}, traced.graph)]"
        seed, distribution = self.settings["verify.seed"], self.settings["verify.distribution"]
        return f"k2t.random_batch(traced.graph, {LOOKED_AT}, {seed}, {distribution!r})"

    @property
    def _replayed(self) -> str:
        return ', "recipe.json"' if self.recipe.overrides else ""

    @property
    def _registered(self) -> list[str]:
        return ["--rules", self.rules] if self.rules else []

    @property
    def _allowed(self) -> list[str]:
        return ["--allow-unsafe"] if self.allow_unsafe else []

    @property
    def _unsafe(self) -> str:
        return ", allow_unsafe=True" if self.allow_unsafe else ""


def lesson_python(experiment: str, settings: Mapping[str, Any]) -> str:
    """An experiment of the Learn page: the name of its function in `k2t.lessons`, with its arguments."""
    told = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return (
        f"import k2t_core as k2t\n\nexperiment = k2t.lessons.{experiment}({told})\n"
        "print(experiment.wrong.difference, experiment.right.difference)"
    )
