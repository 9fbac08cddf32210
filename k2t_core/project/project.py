"""The session model: one project of one user, kept on disk. It knows nothing of Streamlit.

A project is a model file, the recipe with its undo history, the conversion, the last report and the settings of the
pages. The folder holds all that a person made; the live Keras model is in memory only and is read again when needed.
A project's id is the key to it: unguessable, and never listed.

The parts are `History`, `Store`, `Runs`, `LayerBench` and `Jobs`, each in a module of its own; this one holds them
together, and the lock under which the live model, its plan and what is on disk change as one.

Long because it is the one object that the pages talk to: a line or two for each thing that a user does.
"""

from __future__ import annotations

import gc
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from k2t_core.emit.code import Code
from k2t_core.emit.conversion import check_overrides, convert
from k2t_core.emit.formats import FORMATS
from k2t_core.emit.manifest import Manifest
from k2t_core.emit.source import write_source
from k2t_core.errors import K2TError, UnsafeModelError
from k2t_core.inspector.activations import Activation
from k2t_core.inspector.exercise import Exercise, exercise
from k2t_core.inspector.run_comparison import LayerChange
from k2t_core.keras_side.input_files import IMAGES
from k2t_core.keras_side.loading import load
from k2t_core.keras_side.model_file import file_fingerprint
from k2t_core.keras_side.reading import read
from k2t_core.keras_side.traced import Traced
from k2t_core.keras_side.user_rules import load_rules
from k2t_core.planning.plan import Plan, of_interest
from k2t_core.planning.planner import plan as make_plan
from k2t_core.progress import Cancelled, Progress, silent
from k2t_core.project import store
from k2t_core.project.bundled import examples
from k2t_core.project.by_hand import ByHand
from k2t_core.project.history import History, as_replayed, imported
from k2t_core.project.jobs import Job, Jobs
from k2t_core.project.layer_bench import LayerBench, Memory
from k2t_core.project.runs import PastRun, Runs
from k2t_core.project.settings import OF_THE_MODEL, SETTINGS, VERIFY, home, server_rules
from k2t_core.project.store import ModelFile, Recent, Saved, Store
from k2t_core.recipe import Override, Recipe, read_recipe
from k2t_core.verification import verify
from k2t_core.verification.alone import Probe, Verdict
from k2t_core.verification.report import Report


class Project:
    """Everything one user works on. Every change is on disk when the method returns."""

    # State of the process: the projects in memory by folder, so that a reloaded browser tab finds its running job and
    # its live model again. It keeps none of them alive.
    _live: weakref.WeakValueDictionary[Path, Project] = weakref.WeakValueDictionary()
    _registry = threading.Lock()

    def __init__(self, folder: Path):
        self.folder = folder
        self.store, self.runs, self.jobs = Store(folder), Runs(folder), Jobs()
        self.file: ModelFile | None = None
        self.refused: Path | None = None  # a file that waits for the user's leave to run its code
        self._refused_as = ""  # its fingerprint: the leave is for what was refused
        self.settings: dict[str, Any] = dict(SETTINGS)
        self.exercise: Exercise | None = None  # the broken model of the Learn page
        self._history = History()
        self._traced: Traced | None = None
        self._plan: Plan | None = None
        self._code: tuple[Plan, Code] | None = None  # a plan and what it is written as
        self._expected: tuple[Plan, str] | None = None  # a plan and its manifest.json
        self._bench_memory = Memory()
        self._lock = threading.RLock()

    # Finding a project

    @classmethod
    def create(cls) -> Project:
        """A new project. It takes no space on disk before something is kept in it."""
        root = home() / "projects"
        store.prune(root)
        return cls._register(cls(root / store.new_id()))

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
        return cls._register(cls.read(folder)) if Store(folder).exists else None

    @classmethod
    def read(cls, folder: Path) -> Project:
        """The project in a folder, as a new process finds it."""
        project = cls(folder)
        saved = project.store.read()
        project.file, project._history = saved.file, saved.history
        project.settings = dict(saved.settings)
        return project

    @classmethod
    def recent(cls, limit: int = 8) -> list[Recent]:
        """The projects on disk that hold a model, last used first.

        For a server with one user: an id is the key to its project.
        """
        return store.recent(home() / "projects", limit)

    @classmethod
    def forget(cls, id: str) -> None:
        """Delete a project with its model and all that was made of it."""
        project = cls.restore(id)
        if project is not None:
            with cls._registry:
                cls._live.pop(project.folder, None)
            project.store.delete()

    @classmethod
    def _register(cls, project: Project) -> Project:
        with cls._registry:
            return cls._live.setdefault(project.folder, project)

    @property
    def id(self) -> str:
        return self.folder.name

    # The model

    @property
    def has_model(self) -> bool:
        return self.file is not None

    @property
    def model_path(self) -> Path | None:
        return self.file.path if self.file is not None else None

    @property
    def model_file(self) -> ModelFile:
        """The file of the model. Raises K2TError where there is none."""
        if self.file is None:
            raise K2TError("no model is loaded; load one first")
        return self.file

    @property
    def allow_unsafe(self) -> bool:
        return self.file is not None and self.file.allow_unsafe

    @property
    def fingerprint(self) -> str | None:
        return self.file.fingerprint if self.file is not None else None

    @property
    def is_open(self) -> bool:
        """Whether the live Keras model is in memory."""
        return self._traced is not None

    @property
    def traced(self) -> Traced:
        """The live model with its graph. Read-only."""
        if self._traced is None:
            raise K2TError("no model is loaded; load one first")
        return self._traced

    def receive(self, name: str, data: BinaryIO, kind: str = "models") -> Path:
        """Copy an uploaded file into the project and return where it is."""
        return self.store.receive(name, data, kind)

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
            rules = server_rules()
            if rules:
                load_rules(rules)
            if allow_unsafe and path == self.refused and file_fingerprint(path) != self._refused_as:
                raise K2TError(
                    f"{path.name}: the file has changed since it was refused; load it again without its code"
                )
            source = load(path, allow_unsafe=allow_unsafe)
            say(0.7, "Following the layers")
            traced = read(source)
            say(0.9, "Planning the conversion")
        except UnsafeModelError:
            self.refused, self._refused_as = path, file_fingerprint(path)
            raise
        except (K2TError, Cancelled):
            if path != self.model_path:
                self.store.discard(path)
            raise
        with self._lock:
            other = source.fingerprint != self.fingerprint
            before = Saved(self.file, self._history, dict(self.settings))
            if other:
                self._history, self.exercise = History(), None
                self.runs.forget()
                for name in OF_THE_MODEL:
                    self.settings[name] = SETTINGS[name]
            self.file, self.refused = ModelFile(path, allow_unsafe, source.fingerprint), None
            self.settings["allow_unsafe"] = False  # the leave was for this file
            self._traced, self._plan, self._bench_memory = traced, None, Memory()
            if other:
                self.store.switch(self._saved(), before if before.history.recipe.overrides else None)
            else:
                self._save()
            self.store.keep_only("models", path)
        plan = self.plan  # computed here, where progress shows
        if other:
            self.set("mapping.selected", of_interest(plan))

    def open(self, progress: Progress | None = None) -> None:
        """Read the project's model file again, after the server was restarted."""
        file = self.model_file
        # The leave to run its code was for what the file held then.
        unchanged = file.allow_unsafe and file.path.is_file() and file_fingerprint(file.path) == file.fingerprint
        self.load(file.path, allow_unsafe=unchanged, progress=progress)

    # The recipe

    @property
    def recipe(self) -> Recipe:
        return self._history.recipe

    @property
    def plan(self) -> Plan:
        """The plan of the model under the recipe. Raises OverrideError where the two do not fit."""
        with self._lock:
            if self._plan is None:
                self._plan = make_plan(self.traced, self.recipe)
            return self._plan

    @property
    def code(self) -> Code:
        """What the plan is written as. Raises UnsupportedError where the plan has problems."""
        with self._lock:
            plan, code = self.plan, self._code
            if code is None or code[0] is not plan:
                code = self._code = (plan, write_source(plan))
            return code[1]

    @property
    def can_undo(self) -> bool:
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        return self._history.can_redo

    def override(self, layer: str, kind: str, value: Any, reason: str = "") -> None:
        """Put an override in force. Raises OverrideError where it is impossible; then nothing changes."""
        self._change(self.recipe.with_override(as_replayed(Override(layer, kind, value, reason))))

    def take_back(self, override: Override) -> None:
        """Undo one override, wherever it stands in the list. One that is gone already is gone."""
        if override in self.recipe.overrides:
            self._change(self.recipe.without(self.recipe.overrides.index(override)))

    def reset(self) -> None:
        """Undo all overrides, in one step that can itself be undone."""
        if self.recipe.overrides:
            self._change(Recipe())

    def apply(self, recipe: Recipe) -> None:
        """Put a recipe's overrides in force, instead of those that are. Raises OverrideError where they do not fit."""
        overrides = tuple(map(as_replayed, recipe.overrides))
        if overrides != self.recipe.overrides:
            self._change(Recipe(overrides))

    def import_recipe(self, text: str | bytes) -> list[str]:
        """Replace the overrides by those of a recipe.json (see `history.imported`); returns why others were left out.

        PyTorch code in it runs from then on: see `Recipe.snippets`. Raises OverrideError where a recipe of this very
        model does not fit it, and where nothing of another one does.
        """
        recipe, left = imported(text, self.traced)
        self._change(recipe)
        return left

    def undo(self) -> None:
        with self._lock:
            self._step(self._history.undone())

    def redo(self) -> None:
        with self._lock:
            self._step(self._history.redone())

    def _step(self, history: History) -> None:
        if history is not self._history:
            self._history, self._plan = history, None
            self._save()

    def _change(self, recipe: Recipe) -> None:
        with self._lock:  # no other model comes in between
            plan = make_plan(self.traced, recipe)
            check_overrides(plan)
            self._history, self._plan = self._history.then(recipe), plan
            self._save()

    # Conversion and verification

    @property
    def out(self) -> Path:
        """The folder of the conversion."""
        return self.store.out

    @property
    def formats(self) -> dict[str, Path]:
        """Those of `FORMATS` that were written beside the conversion, each with its file."""
        return self.store.formats

    @property
    def has_conversion(self) -> bool:
        """Whether there is a conversion, be it of an earlier recipe."""
        return self.store.has_conversion

    @property
    def is_converted(self) -> bool:
        """Whether the folder ``out`` holds what the plan, as it stands, would write."""
        written = self.store.conversion()
        if written is None or self.plan.problems:
            return False
        # An earlier version of k2t may have written another manifest of the same model.
        return written == (self._manifest(), self.plan.recipe.to_json())

    def _manifest(self) -> str:
        """The manifest.json that a conversion of the plan would write."""
        plan, expected = self.plan, self._expected
        if expected is None or expected[0] is not plan:
            expected = self._expected = (plan, Manifest.of(plan, self.code).text)
        return expected[1]

    def convert(self, progress: Progress | None = None) -> None:
        plan = self.plan
        self._code = (plan, convert(plan, self.out, progress=progress).code)

    def write_format(self, name: str, progress: Progress | None = None) -> None:
        """Write one of `FORMATS` beside the conversion. Raises K2TError; the other files stay as they are."""
        format = FORMATS[name]
        format.maker().write(self.out / format.file, self.plan.root.graph, progress)

    def verify(self, progress: Progress | None = None) -> None:
        """Compare the conversion with the model; convert first where the overrides have changed since."""
        say = progress or silent
        start = 0.0
        if not self.is_converted:
            start = 0.4
            self.convert(lambda share, text: say(start * share, f"Converting first: {text[0].lower()}{text[1:]}"))
        report = verify(
            self.out,
            self.traced,
            **{name: self.settings[f"verify.{name}"] for name in VERIFY},
            progress=lambda share, text: say(start + (1 - start) * share, text),
        )
        self.runs.write(report, self.store.conversion_key())
        overrides = read_recipe(self.out / "recipe.json").overrides
        self.runs.keep(report, tuple(o.describe() for o in overrides), self.by_hand.verify_command())

    @property
    def report(self) -> Report | None:
        """The last report, None where there is none."""
        return self.runs.last

    @property
    def report_is_current(self) -> bool:
        """Whether the last report speaks of the model and overrides as they stand."""
        return self.is_converted and self.runs.is_of(self.store.conversion_key())

    def past_runs(self) -> list[PastRun]:
        """The verifications of this model, oldest first."""
        return self.runs.past()

    def past_report(self, run: PastRun) -> dict[str, Any] | None:
        """The numbers of a past verification, as `Report.to_json` gives them; None where they were not kept."""
        return self.runs.numbers(run)

    @property
    def by_hand(self) -> ByHand:
        """How to do the same without the app. Raises K2TError where no model is loaded."""
        file = self.model_file
        return ByHand(
            self.store.typed(file.path),
            dict(self.settings),
            self.recipe,
            file.allow_unsafe,
            server_rules(),
            tuple(self.formats),
        )

    # A layer alone

    @property
    def bench(self) -> LayerBench:
        """The layers of the model one by one, under the recipe in force and the inputs that Verify is set to."""
        with self._lock:
            return LayerBench(self.traced, self.plan, self.settings, self._bench_memory)

    @property
    def is_quick(self) -> bool:
        return self.bench.is_quick

    def probe(self, layer: str) -> Probe:
        return self.bench.probe(layer)

    def is_probed(self, layer: str) -> bool:
        return self.bench.is_probed(layer)

    def judge(self, layer: str, recipe: Recipe | None = None) -> Verdict:
        return self.bench.judge(layer, recipe)

    def samples(self, layer: str) -> int:
        return self.bench.samples(layer)

    def activations(self, layer: str, sample: int) -> list[Activation | None]:
        return self.bench.activations(layer, sample)

    def weak(self, layer: str) -> str | None:
        return self.bench.weak(layer)

    def followed(self, layer: str, one: Recipe, other: Recipe) -> list[LayerChange] | None:
        return self.bench.followed(layer, one, other)

    # Long work

    @property
    def job(self) -> Job | None:
        """The job that runs, or the one that has ended last."""
        return self.jobs.last

    def start(self, kind: str, text: str, work: Callable[[Progress], object]) -> Job:
        """Start ``work`` in a thread; while another job runs, that one is returned and nothing starts."""
        return self.jobs.start(kind, text, work)

    def start_load(self, path: str | Path, allow_unsafe: bool = False) -> Job:
        return self.start("load", "Loading", lambda say: self.load(path, allow_unsafe=allow_unsafe, progress=say))

    def start_example(self, name: str) -> Job:
        """Build a bundled example and load it."""

        def work(say: Progress) -> None:
            say(0.02, "Starting TensorFlow")
            folder = self.store.new_folder("models")
            say(0.05, f"Building the example {name}")
            self.load(examples().build(name, folder), progress=say)

        return self.start("load", "Loading", work)

    def start_open(self) -> Job:
        return self.start("load", "Loading", self.open)

    def start_convert(self) -> Job:
        return self.start("convert", "Converting", self.convert)

    def start_format(self, name: str) -> Job:
        return self.start(name, f"Exporting to {FORMATS[name].title}", lambda say: self.write_format(name, say))

    def start_verify(self) -> Job:
        return self.start("verify", "Verifying", self.verify)

    def start_probe(self, layer: str) -> Job:
        """Let Keras run for one layer, so that it can be judged alone."""
        return self.start("probe", f"Keras runs the model once for {layer}", lambda say: self.probe(layer))

    def start_duel(self, layer: str, one: Recipe, other: Recipe) -> Job:
        """Follow two readings of a layer through the rest of the model, on identical inputs: see `followed`."""
        bench = self.bench  # with the inputs as they are now
        return self.start("duel", "Running both", lambda say: bench.follow(layer, one, other, say))

    def start_exercise(self, seed: int) -> Job:
        """Break a copy of the conversion, for the Learn page: see `k2t_core.inspector.exercise`."""

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

    def set_inputs(self, name: str, data: BinaryIO) -> None:
        """Keep the user's own batch for Verify."""
        self._use_inputs(self.store.receive(name, data, "inputs"))

    def set_images(self, files: Sequence[tuple[str, BinaryIO]]) -> None:
        """Keep several images, by name, as the user's own batch: a sample each, in this order.

        Raises K2TError for other files.
        """
        other = next((name for name, _ in files if Path(name).suffix.lower() not in IMAGES), None)
        if other is not None:
            raise K2TError(f"{other}: several files at once can only be images; put arrays into one .npz")
        self._use_inputs(self.store.receive_images(files))

    def use_random_inputs(self) -> None:
        """Go back from the user's own batch to a random one."""
        self._use_inputs(None)

    def _use_inputs(self, path: Path | None) -> None:
        self.set("verify.inputs", None if path is None else str(path))
        self.store.keep_only("inputs", path)

    def _saved(self) -> Saved:
        return Saved(self.file, self._history, self.settings)

    def _save(self) -> None:
        self.store.save(self._saved())


@cache
def _start_keras() -> None:
    """Import Keras, once.

    Streamlit collects all garbage after each run of a page; the frameworks' own objects, which are never garbage, are
    left out of that from here on: it took most of a second.
    """
    import keras  # noqa: F401

    gc.collect()
    gc.freeze()
