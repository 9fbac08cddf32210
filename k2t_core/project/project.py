"""The session model: one project of one user, kept on disk. It knows nothing of Streamlit.

A project is a model file, the recipe with its undo history, the conversion, the last report and the settings of the
pages. The folder holds all that a person made; the live Keras model is in memory only and is read again when needed.
A project's id is the key to it: unguessable, and never listed.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import k2t_core as k2t
from k2t_core.emit.code import Code
from k2t_core.emit.conversion import check_modules
from k2t_core.emit.source import write_source
from k2t_core.errors import K2TError, OverrideError, UnsafeModelError
from k2t_core.keras_side.loading import load_rules
from k2t_core.planning.plan import Plan, of_interest
from k2t_core.progress import Cancelled, Progress, silent
from k2t_core.project.jobs import Job
from k2t_core.project.layer_bench import PROBES, QUICK
from k2t_core.project.runs import KEPT_RUNS, PastRun
from k2t_core.project.settings import LOOKED_AT, OF_THE_MODEL, SETTINGS, home, server_rules
from k2t_core.project.store import VERSION, Recent, prune, read_json
from k2t_core.recipe import Override, Recipe, parsed_recipe, read_recipe


class Project:
    """Everything one user works on. Every change is on disk when the method returns."""

    # The projects in memory by folder, so that a reloaded browser tab finds its running job and its live model again.
    _live: weakref.WeakValueDictionary[Path, Project] = weakref.WeakValueDictionary()
    _registry = threading.Lock()

    def __init__(self, folder: Path):
        self.folder = folder
        self.model_path: Path | None = None
        self.allow_unsafe = False
        self.fingerprint: str | None = None
        self.refused: Path | None = None  # a file that waits for the user's leave to run its code
        self.settings: dict[str, Any] = dict(SETTINGS)
        self.job: Job | None = None
        self._history: list[Recipe] = [Recipe()]
        self._position = 0
        self._traced: Any = None
        self._plan: Any = None
        self._code: tuple[Plan, Code] | None = None  # what a plan is written as
        self._report: Any = None
        self._expected: tuple[Any, dict[str, Any]] | None = None  # a plan and its manifest
        self._verdict: tuple[Any, Any] | None = None  # of `judge`, the last
        self._probes: OrderedDict[tuple[Any, ...], Any] = (
            OrderedDict()
        )  # layers that were looked at alone, last used last
        self._duel: tuple[Any, list[Any]] | None = None  # the last, with what it was between
        self.exercise: Any = None  # the broken model of the Learn page
        self._lock = threading.RLock()

    # Finding a project

    @classmethod
    def create(cls) -> Project:
        """A new project. It takes no space on disk before something is kept in it."""
        root = home() / "projects"
        prune(root)
        return cls._register(cls(root / secrets.token_urlsafe(24)))

    @classmethod
    def restore(cls, id: str) -> Project | None:
        """The project of that id, from memory or disk; None where there is none."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{32}", id):
            return None
        folder = home() / "projects" / id
        with cls._registry:
            project = cls._live.get(folder)
        if project is not None:
            return project
        if not (folder / "project.json").is_file():
            return None
        project = cls(folder)
        project._read()
        return cls._register(project)

    @classmethod
    def recent(cls, limit: int = 8) -> list[Recent]:
        """The projects on disk that hold a model, last used first. For a server with one user: an id is the key to its project."""
        root = home() / "projects"
        stamps = [(path.stat().st_mtime, path) for path in root.glob("*/project.json")] if root.is_dir() else []
        found = []
        for changed, path in sorted(stamps, reverse=True):
            data = read_json(path)
            if data is None or not data["model"]["path"] or not (path.parent / data["model"]["path"]).is_file():
                continue
            found.append(
                Recent(
                    path.parent.name, Path(data["model"]["path"]).name, changed, len(data["history"][data["position"]])
                )
            )
            if len(found) == limit:
                break
        return found

    @classmethod
    def forget(cls, id: str) -> None:
        """Delete a project with its model and all that was made of it."""
        project = cls.restore(id)
        if project is not None:
            with cls._registry:
                cls._live.pop(project.folder, None)
            shutil.rmtree(project.folder, ignore_errors=True)

    @classmethod
    def _register(cls, project: Project) -> Project:
        with cls._registry:
            return cls._live.setdefault(project.folder, project)

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def out(self) -> Path:
        """The folder of the conversion."""
        return self.folder / "out"

    # The model

    @property
    def has_model(self) -> bool:
        return self.model_path is not None

    @property
    def is_open(self) -> bool:
        """Whether the live Keras model is in memory."""
        return self._traced is not None

    @property
    def traced(self) -> Any:
        """The live model with its graph. Read-only."""
        if self._traced is None:
            raise K2TError("no model is loaded; load one first")
        return self._traced

    def receive(self, name: str, data: BinaryIO, kind: str = "models") -> Path:
        """Copy an uploaded file into the project and return where it is."""
        folder = self.folder / kind / secrets.token_hex(4)
        folder.mkdir(parents=True, mode=0o700)
        path = folder / (Path(name.replace("\\", "/")).name or "upload")
        with open(path, "wb") as file:
            shutil.copyfileobj(data, file)
        return path

    def load(self, path: str | Path, *, allow_unsafe: bool = False, progress: Progress | None = None) -> None:
        """Load a model file. Where it cannot be read, the model loaded before stays, with all that belongs to it.

        Overrides are kept where the file is the one they were made for; with another file, the model before and its
        overrides go on as a project of their own (see `recent`).
        """
        say = progress or silent
        path = Path(path).expanduser().absolute()
        try:
            say(0.05, "Starting TensorFlow")
            _start_keras()
            say(0.4, f"Reading {path.name}")
            if server_rules():
                load_rules(server_rules())
            source = k2t.load(path, allow_unsafe=allow_unsafe)
            say(0.7, "Following the layers")
            traced = k2t.trace(source)
            say(0.9, "Planning the conversion")
        except UnsafeModelError:
            self.refused = path
            raise
        except (K2TError, Cancelled):
            self._discard(path)
            raise
        with self._lock:
            other = source.fingerprint != self.fingerprint
            if other:
                if self.recipe.overrides:
                    self._shelve()
                self._history, self._position = [Recipe()], 0
                self._forget_results()
                for name in OF_THE_MODEL:
                    self.settings[name] = SETTINGS[name]
            self.model_path, self.allow_unsafe, self.fingerprint, self.refused = (
                path,
                allow_unsafe,
                source.fingerprint,
                None,
            )
            self._traced, self._plan = traced, None
            self._probes.clear()
            self._save()
            self._tidy()
        plan = self.plan  # computed here, where progress shows
        if other:
            self.set("mapping.selected", of_interest(plan))

    def open(self, progress: Progress | None = None) -> None:
        """Read the project's model file again, after the server was restarted."""
        if self.model_path is None:
            raise K2TError("no model is loaded; load one first")
        self.load(self.model_path, allow_unsafe=self.allow_unsafe, progress=progress)

    def _shelve(self) -> None:
        """Move the model, its overrides and results into a new project."""
        shelf = Project(self.folder.with_name(secrets.token_urlsafe(24)))
        shelf.folder.mkdir(parents=True, mode=0o700)
        for name in ("out", "report", "inputs", "runs", "runs.jsonl"):
            if (self.folder / name).exists():
                shutil.move(self.folder / name, shelf.folder / name)
        shelf.model_path = self.model_path
        models = self.folder / "models"
        if models in self.model_path.parents:
            own = models / self.model_path.relative_to(models).parts[0]
            shutil.move(own, shelf.folder / "models" / own.name)
            shelf.model_path = shelf.folder / self.model_path.relative_to(self.folder)
        shelf.allow_unsafe, shelf.fingerprint = self.allow_unsafe, self.fingerprint
        shelf._history, shelf._position = self._history, self._position
        shelf.settings = dict(self.settings)
        if self.settings["verify.inputs"]:
            shelf.settings["verify.inputs"] = str(
                shelf.folder / Path(self.settings["verify.inputs"]).relative_to(self.folder)
            )
        shelf._save()

    def _discard(self, path: Path) -> None:
        """Delete a file that was copied in; a file of the user's own stays."""
        models = self.folder / "models"
        if models in path.parents and path != self.model_path:
            shutil.rmtree(models / path.relative_to(models).parts[0])

    def _tidy(self) -> None:
        """Delete the files that were copied in before the current one."""
        models = self.folder / "models"
        for folder in models.iterdir() if models.is_dir() else ():
            if folder not in self.model_path.parents:
                shutil.rmtree(folder)

    # The recipe

    @property
    def recipe(self) -> Recipe:
        return self._history[self._position]

    @property
    def plan(self) -> Any:
        """The plan of the model under the recipe. Raises OverrideError where the two do not fit."""
        with self._lock:
            if self._plan is None:
                self._plan = k2t.plan(self.traced, self.recipe)
            return self._plan

    @property
    def code(self) -> Code:
        """What the plan is written as. Raises UnsupportedError where the plan has problems."""
        with self._lock:
            plan = self.plan
            if self._code is None or self._code[0] is not plan:
                self._code = (plan, write_source(plan))
            return self._code[1]

    @property
    def can_undo(self) -> bool:
        return self._position > 0

    @property
    def can_redo(self) -> bool:
        return self._position < len(self._history) - 1

    def override(self, layer: str, kind: str, value: Any, reason: str = "") -> None:
        """Put an override in force. Raises OverrideError where it is impossible; then nothing changes."""
        plain = json.loads(json.dumps(value))  # as recipe.json gives it back, so that a replay writes the same bytes
        self._change(self.recipe.with_override(Override(layer, kind, plain, reason)))

    def take_back(self, override: Override) -> None:
        """Undo one override, wherever it stands in the list. One that is gone already is gone."""
        if override in self.recipe.overrides:
            self._change(self.recipe.without(self.recipe.overrides.index(override)))

    def reset(self) -> None:
        """Undo all overrides, in one step that can itself be undone."""
        if self.recipe.overrides:
            self._change(Recipe())

    def apply(self, recipe: Recipe) -> None:
        """Put the overrides of a recipe in force, instead of those that are. Raises OverrideError where they do not fit."""
        overrides = tuple(
            replace(override, value=json.loads(json.dumps(override.value))) for override in recipe.overrides
        )
        if overrides != self.recipe.overrides:
            self._change(Recipe(overrides))

    def import_recipe(self, text: str | bytes) -> list[str]:
        """Replace the overrides by those of a recipe.json; returns why the others were left out.

        PyTorch code in it runs from then on: see `Recipe.snippets`. Of a recipe that was made for another model, or for another version of this one, those are taken that fit. Raises
        OverrideError where a recipe of this very model does not fit it, and where nothing of another one does.
        """
        recipe, left = parsed_recipe(text), []
        if recipe.fingerprint not in (None, self.fingerprint):
            recipe, left = k2t.merge(recipe, self.traced)
            if left and not recipe.overrides:
                raise OverrideError(
                    f"the recipe was made for another model, and none of its overrides fits this one: {left[0]}"
                )
        self._change(Recipe(recipe.overrides))
        return left

    def undo(self) -> None:
        self._step(-1)

    def redo(self) -> None:
        self._step(1)

    def _step(self, by: int) -> None:
        with self._lock:
            if 0 <= self._position + by < len(self._history):
                self._position += by
                self._plan = None
                self._save()

    def _change(self, recipe: Recipe) -> None:
        plan = k2t.plan(self.traced, recipe)
        check_modules(plan)
        with self._lock:
            self._history = [*self._history[: self._position + 1], recipe]
            self._position += 1
            self._plan = plan
            self._save()

    # Conversion and verification

    @property
    def is_converted(self) -> bool:
        """Whether the folder ``out`` holds what the plan, as it stands, would write."""
        try:
            manifest = (self.out / "manifest.json").read_text(encoding="utf-8")
            recipe = (self.out / "recipe.json").read_text(encoding="utf-8")
        except OSError:
            return False
        if self.plan.problems or not all((self.out / name).is_file() for name in ("model.py", "model.safetensors")):
            return False
        # An earlier version of k2t may have written another manifest of the same model.
        return (recipe, json.loads(manifest)) == (self.plan.recipe.to_json(), self._manifest())

    def _manifest(self) -> dict[str, Any]:
        """The manifest that a conversion of the plan would write."""
        plan = self.plan
        if self._expected is None or self._expected[0] is not plan:
            from k2t_core.emit.manifest import manifest

            self._expected = (plan, json.loads(json.dumps(manifest(plan, self.code))))
        return self._expected[1]

    @property
    def has_conversion(self) -> bool:
        """Whether there is a conversion, be it of an earlier recipe."""
        return (self.out / "manifest.json").is_file()

    def convert(self, progress: Progress | None = None) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        for left in self.out.glob(".k2t-*"):  # of a server that died in the middle
            shutil.rmtree(left)
        plan = self.plan
        self._code = (plan, k2t.convert(plan, self.out, progress=progress).code)

    def verify(self, progress: Progress | None = None) -> None:
        """Compare the conversion with the model; convert first where the overrides have changed since."""
        say = progress or silent
        start = 0.0
        if not self.is_converted:
            start = 0.4
            self.convert(lambda share, text: say(start * share, f"Converting first: {text[0].lower()}{text[1:]}"))
        settings = self.settings
        report = k2t.verify(
            self.out,
            self.traced,
            inputs=settings["verify.inputs"],
            batch=settings["verify.batch"],
            seed=settings["verify.seed"],
            distribution=settings["verify.distribution"],
            weights=settings["verify.weights"],
            tolerance=settings["verify.tolerance"],
            edge_cases=settings["verify.edge_cases"],
            training=settings["verify.training"],
            search=settings["verify.search"],
            progress=lambda share, text: say(start + (1 - start) * share, text),
        )
        from k2t_core.verification.report import write_report

        write_report(report, self.folder / "report", self._conversion_id())
        self._report = report
        self._keep(report)

    def _keep(self, report: Any) -> None:
        """A line in the table of past verifications."""
        from k2t_core.project.by_hand import verify_command

        run = report.deciding
        line = PastRun(
            time.time(),
            tuple(o.describe() for o in read_recipe(self.out / "recipe.json").overrides),
            "differs" if not report.passed else "agrees" if report.proves else "proves nothing",
            max((o.difference.relative for r in report.runs for o in r.outputs), default=0.0),
            report.first_divergence,
            run.inputs,
            verify_command(self),
            secrets.token_hex(8),
        )
        folder = self.folder / "runs"
        folder.mkdir(exist_ok=True)
        (folder / f"{line.id}.json").write_text(json.dumps(report.to_json(), ensure_ascii=False), encoding="utf-8")
        kept = [*self.past_runs(), line][-KEPT_RUNS:]
        for path in folder.iterdir():
            if path.stem not in {past.id for past in kept}:
                path.unlink()
        lines = [json.dumps(asdict(past), ensure_ascii=False) for past in kept]
        staging = self.folder / "runs.jsonl.new"
        staging.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(staging, self.folder / "runs.jsonl")

    def past_runs(self) -> list[PastRun]:
        """The verifications of this model, oldest first."""
        path = self.folder / "runs.jsonl"
        if not path.is_file():
            return []
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            data = json.loads(line)
            found.append(PastRun(**{**data, "overrides": tuple(data["overrides"])}))
        return found

    def past_report(self, run: PastRun) -> dict[str, Any] | None:
        """The numbers of a verification that was made, as `Report.to_json` gives them; None where they were not kept."""
        path = self.folder / "runs" / f"{run.id}.json"
        return json.loads(path.read_text(encoding="utf-8")) if run.id and path.is_file() else None

    @property
    def is_quick(self) -> bool:
        """Whether a run of the model takes so little that it need not be asked for."""
        return sum(prod(weight.shape) for weight in self.plan.weights) <= QUICK

    def probe(self, layer: str) -> Any:
        """A layer with what Keras gives it and makes of it, to judge a mapping of it alone: see `verification.alone`.

        Keras runs the model once for each layer that is asked for; its values are kept. Raises K2TError for a nested model.
        """
        from k2t_core.keras_side.batches import random_batch, read_inputs
        from k2t_core.verification.alone import probe

        key = self._probe_key(layer)
        with self._lock:
            found = self._probes.pop(key, None)
        if found is None:
            plan, settings = self.plan, self.settings
            graph = plan.traced.graph
            arrays = (
                read_inputs(settings["verify.inputs"], graph)
                if settings["verify.inputs"]
                else random_batch(graph, LOOKED_AT, settings["verify.seed"], settings["verify.distribution"])
            )
            found = probe(plan.traced, layer, [array[:LOOKED_AT] for array in arrays], plan)
        with self._lock:
            self._probes[key] = found
            while len(self._probes) > PROBES:
                self._probes.popitem(last=False)
        return found

    def is_probed(self, layer: str) -> bool:
        """Whether Keras has run for this layer, so that `judge` answers at once."""
        return self._probe_key(layer) in self._probes

    def _probe_key(self, layer: str) -> tuple[Any, ...]:
        # The layouts that arrive may change with the overrides of the layers before.
        arriving = next((p.inputs for _, _, _, p in self.plan.root.walk() if p.node.layer.path == layer), None)
        return (layer, arriving, *(self.settings[f"verify.{name}"] for name in ("inputs", "seed", "distribution")))

    def judge(self, layer: str, recipe: Recipe | None = None) -> Any:
        """A layer alone, on Keras's own input, under a recipe or the one in force: its `Verdict`. Raises K2TError."""
        probe, recipe = self.probe(layer), recipe or self.recipe
        key = (layer, id(probe), json.dumps([asdict(override) for override in recipe.of(layer)]))
        if self._verdict is None or self._verdict[0] != key:  # a page asks again at each touch
            self._verdict = (key, probe.judge(recipe))
        return self._verdict[1]

    def samples(self, layer: str) -> int:
        """On how many samples the layer is looked at alone."""
        return len(self.probe(layer).expected[0])

    def activations(self, layer: str, sample: int) -> list[Any]:
        """What both frameworks make of a sample in this layer alone: an `Activation` for each of its outputs. Raises K2TError."""
        from k2t_core.inspector.activations import activations

        return activations(self.probe(layer).expected, self.judge(layer).values, sample)

    def weak(self, layer: str) -> str | None:
        """Why this layer's weights cannot tell a right mapping from a wrong one; None where they can."""
        from k2t_core.verification.weakness import find_weaknesses

        weights = [weight for weight in self.plan.weights if weight.layer == layer]
        entries = {
            w.key: {"keras": [w.source] if w.source else [], "steps": [step.to_json() for step in w.steps]}
            for w in weights
        }
        return next(
            (
                f"{weakness.variable}: {weakness.reason}"
                for weakness in find_weaknesses({"variables": entries}, self.traced.value)
            ),
            None,
        )

    @property
    def report(self) -> Any:
        """The last report, None where there is none."""
        from k2t_core.verification.report import read_report

        if self._report is None:
            self._report = read_report(self.folder / "report")
        return self._report

    @property
    def report_is_current(self) -> bool:
        """Whether the last report speaks of the model and overrides as they stand."""
        from k2t_core.verification.report import report_key

        return self.is_converted and report_key(self.folder / "report") == self._conversion_id()

    def _conversion_id(self) -> str:
        return hashlib.sha256(
            (self.out / "manifest.json").read_bytes() + (self.out / "recipe.json").read_bytes()
        ).hexdigest()

    def _forget_results(self) -> None:
        self._report = None
        self._probes.clear()
        self.exercise = self._duel = None
        (self.folder / "runs.jsonl").unlink(missing_ok=True)
        for name in ("out", "report", "inputs", "runs"):
            if (self.folder / name).exists():
                shutil.rmtree(self.folder / name)
        self.settings["verify.inputs"] = None

    # Long work

    def start(self, kind: str, text: str, work: Callable[[Progress], None]) -> Job:
        """Start ``work`` in a thread; while another job runs, that one is returned and nothing starts."""
        with self._lock:
            if self.job is None or not self.job.running:
                self.job = Job(kind, text, work)
            return self.job

    def start_load(self, path: str | Path, allow_unsafe: bool = False) -> Job:
        return self.start("load", "Loading", lambda say: self.load(path, allow_unsafe=allow_unsafe, progress=say))

    def start_example(self, name: str) -> Job:
        """Build a bundled example and load it."""

        def work(say: Progress) -> None:
            from k2t_core.project.bundled import examples

            say(0.02, "Starting TensorFlow")
            folder = self.folder / "models" / secrets.token_hex(4)
            folder.mkdir(parents=True, mode=0o700)
            say(0.05, f"Building the example {name}")
            path = examples().build(name, folder)
            self.load(path, progress=say)

        return self.start("load", "Loading", work)

    def start_open(self) -> Job:
        return self.start("load", "Loading", self.open)

    def start_convert(self) -> Job:
        return self.start("convert", "Converting", self.convert)

    @property
    def onnx(self) -> Path | None:
        """model.onnx of the conversion, once it was asked for."""
        path = self.out / "model.onnx"
        return path if path.is_file() else None

    def write_onnx(self, progress: Progress | None = None) -> None:
        """Write model.onnx beside the conversion. Raises K2TError; the other files stay as they are."""
        from k2t_core.emit.onnx import write_onnx

        write_onnx(self.out, self.plan.root.graph, progress)

    def start_onnx(self) -> Job:
        return self.start("onnx", "Exporting to ONNX", self.write_onnx)

    def start_verify(self) -> Job:
        return self.start("verify", "Verifying", self.verify)

    def start_probe(self, layer: str) -> Job:
        """Let Keras run for one layer, so that it can be judged alone."""
        return self.start("probe", f"Keras runs the model once for {layer}", lambda say: self.probe(layer))

    def start_duel(self, layer: str, one: Recipe, other: Recipe) -> Job:
        """Follow two readings of a layer through the rest of the model, on identical inputs: see `followed`."""
        key = self._duel_key(layer, one, other)

        def work(say: Progress) -> None:
            self._duel = (key, self._follow(layer, one, other, say))

        return self.start("duel", "Running both", work)

    def followed(self, layer: str, one: Recipe, other: Recipe) -> list[Any] | None:
        """The `LayerChange` from one reading to the other at the layer and each later one, None where nobody has asked yet."""
        return self._duel[1] if self._duel is not None and self._duel[0] == self._duel_key(layer, one, other) else None

    def _duel_key(self, layer: str, *recipes: Recipe) -> tuple[Any, ...]:
        overrides = (json.dumps([asdict(override) for override in recipe.overrides]) for recipe in recipes)
        return (
            layer,
            self.fingerprint,
            *overrides,
            *(self.settings[f"verify.{name}"] for name in ("inputs", "seed", "distribution")),
        )

    def _follow(self, layer: str, one: Recipe, other: Recipe, say: Progress) -> list[Any]:
        from k2t_core.inspector.run_comparison import changes, comparisons

        settings, reports = self.settings, []
        for index, recipe in enumerate((one, other)):
            words = ("the one", "the other")[index]
            with tempfile.TemporaryDirectory(prefix="k2t-duel-") as folder:
                say(index / 2, f"Converting {words}")
                k2t.convert(k2t.plan(self.traced, recipe), folder)
                report = k2t.verify(
                    folder,
                    self.traced,
                    inputs=settings["verify.inputs"],
                    batch=LOOKED_AT,
                    seed=settings["verify.seed"],
                    distribution=settings["verify.distribution"],
                    weights="model",
                    edge_cases=False,
                    explain=False,
                    progress=lambda share, text, index=index, words=words: say(
                        (index + min(share, 0.99)) / 2, f"Running {words}: {text}"
                    ),
                )
            reports.append(report.to_json())
        found = changes(*reports, comparisons(*reports)[0])
        start = next((index for index, change in enumerate(found) if change.layer == layer), 0)
        return [
            change for change in found[start:] if change.factor is not None
        ]  # what is accumulated: not what was looked at alone

    def start_exercise(self, seed: int) -> Job:
        """Break a copy of the conversion, for the Learn page: see `k2t_core.inspector.exercise`."""
        from k2t_core.inspector.exercise import exercise

        def work(say: Progress) -> None:
            self.exercise = exercise(self.plan, seed, say)
            self.set("learn.break.seed", seed)
            self.set("learn.break.answer", None)
            self.set("learn.break.reason", None)

        return self.start("exercise", "Breaking a copy of the conversion", work)

    # Settings and disk

    def set(self, name: str, value: Any) -> None:
        """Remember a setting of a page. Raises KeyError for a name that no page has."""
        if name not in SETTINGS:
            raise KeyError(name)
        with self._lock:
            if self.settings[name] != value:
                self.settings[name] = value
                self._save()

    def set_inputs(self, name: str | None, data: BinaryIO | None = None) -> None:
        """Keep the user's own batch for Verify, or go back to a random one with None."""
        if (self.folder / "inputs").exists():
            shutil.rmtree(self.folder / "inputs")
        self.set("verify.inputs", None if name is None else str(self.receive(name, data, "inputs")))

    def set_images(self, files: Sequence[tuple[str, BinaryIO]]) -> None:
        """Keep several images, by name, as the user's own batch: a sample each, in this order. Raises K2TError for other files."""
        from k2t_core.keras_side.batches import IMAGES

        other = next((name for name, _ in files if Path(name).suffix.lower() not in IMAGES), None)
        if other is not None:
            raise K2TError(f"{other}: several files at once can only be images; put arrays into one .npz")
        self.set_inputs(None)
        folder = self.folder / "inputs" / "images"
        folder.mkdir(parents=True, mode=0o700)
        for index, (name, data) in enumerate(files):
            with open(folder / f"{index:03d} {Path(name.replace(chr(92), '/')).name}", "wb") as file:
                shutil.copyfileobj(data, file)
        self.set("verify.inputs", str(folder))

    def _save(self) -> None:
        data = {
            "k2t_project": VERSION,
            "model": {
                "path": self._relative(self.model_path),
                "allow_unsafe": self.allow_unsafe,
                "fingerprint": self.fingerprint,
            },
            "history": [[asdict(override) for override in recipe.overrides] for recipe in self._history],
            "position": self._position,
            "settings": {name: value for name, value in self.settings.items() if value != SETTINGS[name]},
        }
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        staging = self.folder / "project.json.new"
        staging.write_text(json.dumps(data, indent=2, ensure_ascii=False), encoding="utf-8")
        os.replace(staging, self.folder / "project.json")

    def _read(self) -> None:
        data = json.loads((self.folder / "project.json").read_text(encoding="utf-8"))
        model = data["model"]
        self.model_path = self.folder / model["path"] if model["path"] else None
        self.allow_unsafe, self.fingerprint = model["allow_unsafe"], model["fingerprint"]
        self._history = [Recipe(tuple(Override(**item) for item in items)) for items in data["history"]]
        self._position = data["position"]
        self.settings.update({name: value for name, value in data["settings"].items() if name in SETTINGS})

    def _relative(self, path: Path | None) -> str | None:
        if path is None:
            return None
        return str(path.relative_to(self.folder)) if self.folder in path.parents else str(path)


@cache
def _start_keras() -> None:
    """Import Keras, once. Streamlit collects all garbage after each run of a page; the frameworks' own objects, which are
    never garbage, are left out of that from here on: it took most of a second."""
    import keras  # noqa: F401

    gc.collect()
    gc.freeze()
