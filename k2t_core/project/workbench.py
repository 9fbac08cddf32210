"""The live model of one project: everything that takes a framework, told as data. It lives in the project's engine.

An engine is a process of its own (`engines`), so that what a file does to a framework, or a framework to itself, it
does there. The server calls these methods by name; what they take and give is in `planned.CODEC`.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from k2t_core.emit.code import Code, layers_by_line, lines_by_layer
from k2t_core.emit.conversion import check_overrides, convert
from k2t_core.emit.formats import FORMATS
from k2t_core.emit.manifest import Manifest
from k2t_core.emit.source import write_source
from k2t_core.errors import K2TError
from k2t_core.inspector import lessons
from k2t_core.inspector.activations import Activation
from k2t_core.inspector.arguments import arguments
from k2t_core.inspector.card import card
from k2t_core.inspector.exercise import Exercise, exercise
from k2t_core.inspector.graph_data import Overlay, graph_data
from k2t_core.inspector.layer_docs import Documentation, documentation_of_keras, documentation_of_torch, keras_call
from k2t_core.inspector.lessons import Experiment
from k2t_core.inspector.mapping_rows import node_of
from k2t_core.inspector.run_comparison import LayerChange
from k2t_core.inspector.weight_picture import WeightPicture, weight_picture
from k2t_core.keras_side.cutting import obstacle
from k2t_core.keras_side.loading import load
from k2t_core.keras_side.reading import read
from k2t_core.keras_side.traced import Traced
from k2t_core.keras_side.user_rules import load_rules
from k2t_core.planning.overrides import permutable
from k2t_core.planning.plan import Plan, Row, of_interest, rows
from k2t_core.planning.planner import plan as make_plan
from k2t_core.progress import Progress
from k2t_core.project import snippets
from k2t_core.project.bundled import examples
from k2t_core.project.history import imported
from k2t_core.project.layer_bench import Inputs, LayerBench, Memory
from k2t_core.project.planned import CODEC, Duellist, LayerFacts, Planned, Source
from k2t_core.recipe import Recipe
from k2t_core.verification import verify
from k2t_core.verification.alone import Probe, Verdict
from k2t_core.verification.diagnosis import candidates
from k2t_core.verification.report import Report


class Workbench:
    """One model at a time, under one recipe at a time."""

    CODEC = CODEC

    def __init__(self) -> None:
        self._traced: Traced | None = None
        self._plan: Plan | None = None
        self._code: tuple[Plan, Code] | None = None  # a plan and what it is written as
        self.memory = Memory()  # of the layers that were looked at alone

    # The model

    def start(self) -> None:
        """Import Keras, so that the first model need not wait for it.

        Streamlit collects all garbage after each run of a page; so does Python. The frameworks' own objects, which are
        never garbage, are left out of that from here on.
        """
        import keras  # noqa: F401

        gc.collect()
        gc.freeze()

    def build_example(self, name: str, folder: Path) -> Path:
        """Build a bundled example and return its file."""
        return examples().build(name, folder)

    def load(self, path: Path, allow_unsafe: bool, rules: str | None, progress: Progress) -> str:
        """Read a model file and return its fingerprint. Where it cannot be read, the model before stays."""
        progress(0.05, "Starting TensorFlow")
        self.start()
        progress(0.4, f"Reading {path.name}")
        if rules:
            load_rules(rules)
        source = load(path, allow_unsafe=allow_unsafe)
        progress(0.7, "Following the layers")
        traced = read(source)
        progress(0.9, "Planning the conversion")
        self._traced, self._plan, self.memory = traced, None, Memory()
        return source.fingerprint

    @property
    def traced(self) -> Traced:
        """The live model with its graph. Read-only."""
        if self._traced is None:
            raise K2TError("no model is loaded; load one first")
        return self._traced

    @property
    def plan(self) -> Plan:
        """The plan of the model under the recipe in force."""
        if self._plan is None:
            self._plan = make_plan(self.traced, Recipe())
        return self._plan

    def planned(self, recipe: Recipe, check: bool = False) -> Planned:
        """Put a recipe in force. check: run its overrides too.

        Raises OverrideError where the two do not fit; then the recipe before stays in force.
        """
        plan = self._plan
        if plan is None or plan.recipe.overrides != recipe.overrides or check:
            plan = make_plan(self.traced, recipe)
            if check:
                check_overrides(plan)
            self._plan = plan
        return Planned(
            card=card(plan),
            rows=tuple(replace(row, arguments={}) for row in rows(plan)),
            problems=tuple(plan.problems),
            recipe=plan.recipe.to_json(),
            input_names=tuple(plan.root.graph.input_names),
            interest=of_interest(plan),
            quick=self._bench(None).is_quick,
        )

    def imported(self, text: str | bytes) -> tuple[Recipe, list[str]]:
        """See `history.imported`."""
        return imported(text, self.traced)

    # What is looked at

    def source(self) -> Source:
        """Raises UnsupportedError where the plan has problems."""
        code = self._written()
        return Source(code.text, layers_by_line(code), lines_by_layer(code))

    def manifest(self) -> str:
        """The manifest.json that a conversion would write."""
        return Manifest.of(self.plan, self._written()).text

    def graph(self, overlay: Overlay) -> str:
        """Both models as JSON for the component that draws them."""
        return json.dumps(graph_data(self.plan, overlay))

    def facts(self, call: str) -> LayerFacts:
        row = self._row(call)
        node = node_of(self.plan, row)
        constructor = row.module.split("(")[0]
        return LayerFacts(
            keras=keras_call(node) if node is not None else None,
            weights=permutable(self.plan, row.layer),
            arguments=tuple(arguments(constructor, row.arguments)) if row.arguments else (),
            uncuttable=obstacle(self.plan.traced, row.layer),
        )

    def documentation(self, call: str) -> tuple[list[Documentation], list[Documentation]]:
        """What the installed Keras and PyTorch say of the two sides of a row."""
        node = node_of(self.plan, self._row(call))
        if node is None:
            return [], []
        keras = documentation_of_keras(node.layer)
        torch = []
        if not self.plan.problems:
            code = self._written()
            torch = documentation_of_torch(code.text, lines_by_layer(code).get(node.layer.path, []))
        return [keras] if keras is not None else [], torch

    def picture(self, key: str, element: Sequence[int]) -> WeightPicture:
        """A weight before and after its transform, around an element of it in PyTorch."""
        weight = next(weight for weight in self.plan.weights if weight.key == key)
        layers = (p.node.layer for _, _, _, p in self.plan.root.walk())
        layer = next((layer for layer in layers if layer.path == weight.layer), None)
        assert weight.source is not None  # of those that can be drawn
        return weight_picture(weight, self.plan.traced.value(weight.source), list(element), layer)

    def lesson(self, experiment: str, settings: Mapping[str, Any]) -> Experiment:
        """An experiment of the Learn page, computed now."""
        if experiment not in {lesson.run.__name__ for lesson in lessons.LESSONS.values()}:
            raise K2TError(f"no experiment {experiment!r}")
        return getattr(lessons, experiment)(**settings)

    def exercise(self, seed: int, progress: Progress) -> Exercise:
        """Break a copy of the conversion, for the Learn page."""
        return exercise(self.plan, seed, progress)

    # A layer alone; inputs: the batch that Verify is set to

    def is_probed(self, layer: str, inputs: Inputs) -> bool:
        return self._bench(inputs).is_probed(layer)

    def run_for(self, layer: str, inputs: Inputs) -> None:
        """Let Keras run for one layer, so that it can be judged alone."""
        self.probe(layer, inputs)

    def probe(self, layer: str, inputs: Inputs) -> Probe:
        """A layer with what Keras gives it and makes of it: no data, and for this side alone."""
        return self._bench(inputs).probe(layer)

    def judge(self, layer: str, inputs: Inputs) -> Verdict:
        return self._bench(inputs).judge(layer)

    def samples(self, layer: str, inputs: Inputs) -> int:
        return self._bench(inputs).samples(layer)

    def activations(self, layer: str, sample: int, inputs: Inputs) -> list[Activation | None]:
        return self._bench(inputs).activations(layer, sample)

    def weak(self, layer: str, inputs: Inputs) -> str | None:
        return self._bench(inputs).weak(layer)

    def check_snippet(self, layer: str, code: str, inputs: Inputs) -> snippets.Check:
        return snippets.check(self._bench(inputs), layer, code)

    def readings(self, layer: str, inputs: Inputs) -> list[tuple[str, Recipe]]:
        """The other readings that the layer's shapes allow, in words, each with the recipe that puts it in force."""
        patient, recipe = self.probe(layer, inputs), self.plan.recipe
        return [(text, changed) for text, changed in candidates(patient, recipe) if _possible(patient, changed)]

    def duellist(self, layer: str, recipe: Recipe, inputs: Inputs) -> Duellist:
        """Raises K2TError where torch refuses this reading."""
        patient = self.probe(layer, inputs)
        verdict = patient.judge(recipe)
        code = write_source(patient.plan(recipe))
        lines = code.text.splitlines()
        return Duellist(verdict, tuple(lines[n - 1].strip() for n in lines_by_layer(code).get(layer, [])))

    def followed(self, layer: str, one: Recipe, other: Recipe, inputs: Inputs) -> list[LayerChange] | None:
        return self._bench(inputs).followed(layer, one, other)

    def follow(self, layer: str, one: Recipe, other: Recipe, inputs: Inputs, progress: Progress) -> list[LayerChange]:
        return self._bench(inputs).follow(layer, one, other, progress)

    # What is written and proved

    def convert(self, out: Path, progress: Progress) -> None:
        plan = self.plan
        self._code = (plan, convert(plan, out, progress=progress).code)

    def write_format(self, name: str, out: Path, progress: Progress) -> None:
        """Write one of `FORMATS` beside the conversion."""
        format = FORMATS[name]
        format.maker().write(out / format.file, self.plan.root.graph, progress)

    def verify(self, out: Path, options: Mapping[str, Any], progress: Progress) -> Report:
        return verify(out, self.traced, **options, progress=progress)

    def _bench(self, inputs: Inputs | None) -> LayerBench:
        return LayerBench(self.traced, self.plan, inputs or Inputs(None, 0, "normal"), self.memory)

    def _written(self) -> Code:
        plan, code = self.plan, self._code
        if code is None or code[0] is not plan:
            code = self._code = (plan, write_source(plan))
        return code[1]

    def _row(self, call: str) -> Row:
        return next(row for row in rows(self.plan) if row.call == call)


def _possible(patient: Probe, recipe: Recipe) -> bool:
    try:
        return not patient.plan(recipe).problems
    except K2TError:  # shapes that do not fit
        return False
