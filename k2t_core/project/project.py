"""The session model: one project of one user, kept on disk. It knows nothing of Streamlit, and loads no framework.

A project is a model file, the recipe with its undo history, the conversion, the last report and the settings of the
pages. The folder holds all that a person made; the live Keras model is in the project's engine (`engines`, `workbench`)
and is read again when needed. A project's id is the key to it: unguessable, and never listed.

The parts are `History`, `Store`, `Runs` and `Jobs`, each in a module of its own; this one holds them together, and the
lock under which the engine's recipe and what is on disk change as one.

Long because it is the one object that the pages talk to: a line or two for each thing that a user does.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from k2t_core.emit.formats import FORMATS
from k2t_core.errors import K2TError, ProcessEnded, UnsafeModelError
from k2t_core.inspector.activations import Activation
from k2t_core.inspector.exercise import Exercise
from k2t_core.inspector.graph_data import Overlay
from k2t_core.inspector.layer_docs import Documentation
from k2t_core.inspector.lessons import Experiment
from k2t_core.inspector.run_comparison import LayerChange
from k2t_core.inspector.weight_picture import WeightPicture
from k2t_core.keras_side.input_files import IMAGES
from k2t_core.keras_side.model_file import file_fingerprint
from k2t_core.permissions import permissions
from k2t_core.progress import Cancelled, Progress, interruptible, silent
from k2t_core.project import store
from k2t_core.project.by_hand import ByHand
from k2t_core.project.engines import Engine, Engines
from k2t_core.project.history import History, as_replayed
from k2t_core.project.jobs import Job, Jobs
from k2t_core.project.layer_bench import Inputs
from k2t_core.project.planned import Duellist, LayerFacts, Planned, Source
from k2t_core.project.runs import PastRun, Runs
from k2t_core.project.settings import OF_THE_MODEL, SETTINGS, VERIFY, home, server_rules
from k2t_core.project.snippets import Check
from k2t_core.project.store import ModelFile, Recent, Saved, Store
from k2t_core.recipe import Override, Recipe, read_recipe
from k2t_core.verification.alone import Verdict
from k2t_core.verification.report import Report


class Project:
    """Everything one user works on. Every change is on disk when the method returns."""

    # State of the process: the projects in memory by folder, so that a reloaded browser tab finds its running job and
    # its live model again. It keeps none of them alive.
    _live: weakref.WeakValueDictionary[Path, Project] = weakref.WeakValueDictionary()
    _registry = threading.Lock()
    engines = Engines()  # state of the process as well

    def __init__(self, folder: Path):
        self.folder = folder
        self.store, self.runs, self.jobs = Store(folder), Runs(folder), Jobs()
        self.file: ModelFile | None = None
        self.refused: Path | None = None  # a file that waits for the user's leave to run its code
        self.refused_as = ""  # its fingerprint: the leave is for what was refused
        self.settings: dict[str, Any] = dict(SETTINGS)
        self.exercise: Exercise | None = None  # the broken model of the Learn page
        self._history = History()
        self._engine: Engine | None = None
        self._end_engine: weakref.finalize | None = None  # with this object
        self._is_open = False  # whether the engine holds the model
        self._planned: Planned | None = None  # under the recipe in force
        self._told: dict[tuple[Any, ...], Any] = {}  # what the engine has told of it
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

        For a server with one user: an id is the key to its project. Raises K2TError where others are served.
        """
        if not permissions().projects:
            raise K2TError("what others work on is not listed on a server that is shared")
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
        return self._is_open and self._engine is not None and self._engine.alive

    @property
    def engine(self) -> Engine:
        """The project's engine; a new one where there is none, or where it has ended."""
        with self._lock:
            if self._engine is None or not self._engine.alive:
                self._is_open, self._planned, self._told = False, None, {}
                if self._end_engine is not None:
                    self._end_engine.detach()
                self._engine = self.engines.take()
                self._end_engine = weakref.finalize(self, self.engines.end, self._engine, "its project was closed")
            self.engines.used(self._engine)
            return self._engine

    def _ask(self, name: str, *args: Any, progress: Progress | None = None, **named: Any) -> Any:
        """Something of the live model. Raises K2TError where none is loaded, ProcessEnded where its engine crashes."""
        if self._is_open and not self.is_open:
            raise ProcessEnded("the engine has ended; read the model again")
        if not self.is_open:
            raise K2TError("no model is loaded; load one first")
        return self.engine.call(name, *args, progress=progress, **named)

    def _of_plan(self, name: str, *args: Any, progress: Progress | None = None) -> Any:
        """Something of the live model under the recipe in force."""
        self._put_in_force()
        return self._ask(name, *args, progress=progress)

    def _once(self, name: str, *args: Any) -> Any:
        """The same, asked once for each plan."""
        self._put_in_force()
        with self._lock:
            told, key = self._told, (name, *args)
        if key not in told:
            told[key] = self._ask(name, *args)
        return told[key]

    def _put_in_force(self) -> Planned:
        with self._lock:
            if self._planned is None or not self.is_open:
                self._planned, self._told = self._ask("planned", self.recipe), {}
            return self._planned

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
        self._check_place(path)
        asked = path
        try:
            if allow_unsafe:
                path = self._own(path)
            if allow_unsafe and asked == self.refused and file_fingerprint(path) != self.refused_as:
                raise K2TError(
                    f"{path.name}: the file has changed since it was refused; load it again without its code"
                )
            fingerprint = self.engine.call("load", path, allow_unsafe, server_rules(), progress=say)
        except UnsafeModelError:
            self.refused, self.refused_as = path, file_fingerprint(path)
            raise
        except (K2TError, Cancelled):
            if path != self.model_path:
                self.store.discard(path)
            raise
        with self._lock:
            other = fingerprint != self.fingerprint
            before = Saved(self.file, self._history, dict(self.settings))
            if other:
                self._history, self.exercise = History(), None
                self.runs.forget()
                for name in OF_THE_MODEL:
                    self.settings[name] = SETTINGS[name]
            self.file, self.refused = ModelFile(path, allow_unsafe, fingerprint), None
            self._is_open, self._planned, self._told = True, None, {}
            if other:
                self.store.switch(self._saved(), before if before.history.recipe.overrides else None)
            else:
                self._save()
            self.store.keep_only("models", path)
        self.engines.warm()  # for the next project
        with interruptible(lambda: False):  # it is loaded: whoever cancels now comes too late
            plan = self.plan  # computed here, where progress shows
        if other:
            self.set("mapping.selected", plan.interest)

    def _check_place(self, path: Path) -> None:
        """Raises K2TError for a file that lies neither in the project nor where the server's owner lets users read."""
        granted = permissions()
        if str(path) != granted.model and not path.resolve().is_relative_to(self.folder.resolve()):
            granted.need("paths", f"{path.name}: a file of the server's machine is not opened by its path; upload it")

    def _own(self, path: Path) -> Path:
        """The file where nobody else can put another in its place after it was looked at: in the project's folder."""
        if not path.is_file() or self.folder in path.parents:
            return path
        with open(path, "rb") as file:
            return self.receive(path.name, file)

    def start_refused(self) -> Job:
        """Load the file that waits for leave to run its code, with it. The leave is for the file as it was refused."""
        if self.refused is None:
            raise K2TError("no file waits for leave to run its code; load it again")
        return self.start_load(self.refused, allow_unsafe=True)

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
    def plan(self) -> Planned:
        """The plan of the model under the recipe. Raises OverrideError where the two do not fit."""
        return self._put_in_force()

    @property
    def code(self) -> Source:
        """What the plan is written as. Raises UnsupportedError where the plan has problems."""
        return self._once("source")

    def facts(self, call: str) -> LayerFacts:
        """What is to be known of a row of the plan."""
        return self._once("facts", call)

    def documentation(self, call: str) -> tuple[list[Documentation], list[Documentation]]:
        """What the installed Keras and PyTorch say of the two sides of a row."""
        return self._once("documentation", call)

    def graph(self, report: Report | None) -> str:
        """Both models, with what a report says of them, as JSON for the component that draws them."""
        return self._of_plan("graph", Overlay.of(report))

    def picture(self, key: str, element: Sequence[int]) -> WeightPicture:
        """A weight before and after its transform, around an element of it in PyTorch."""
        return self._once("picture", key, tuple(element))

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
        recipe, left = self._ask("imported", text)
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
            self._history, self._planned = history, None
            self._save()

    def _change(self, recipe: Recipe) -> None:
        with self._lock:  # no other model comes in between
            planned = self._ask("planned", recipe, check=True)
            self._history, self._planned, self._told = self._history.then(recipe), planned, {}
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
        return written == (self._once("manifest"), self.plan.recipe)

    def convert(self, progress: Progress | None = None) -> None:
        self._of_plan("convert", self.out, progress=progress or silent)

    def write_format(self, name: str, progress: Progress | None = None) -> None:
        """Write one of `FORMATS` beside the conversion. Raises K2TError; the other files stay as they are."""
        self._of_plan("write_format", name, self.out, progress=progress or silent)

    def verify(self, progress: Progress | None = None) -> None:
        """Compare the conversion with the model; convert first where the overrides have changed since."""
        say = progress or silent
        start = 0.0
        if not self.is_converted:
            start = 0.4
            self.convert(lambda share, text: say(start * share, f"Converting first: {text[0].lower()}{text[1:]}"))
        options = {name: self.settings[f"verify.{name}"] for name in VERIFY}
        report = self._ask(
            "verify", self.out, options, progress=lambda share, text: say(start + (1 - start) * share, text)
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
    def inputs(self) -> Inputs:
        """The batch that Verify is set to, on which a layer alone is looked at."""
        return Inputs.of(self.settings)

    @property
    def is_quick(self) -> bool:
        """Whether a run of the model takes so little that it need not be asked for."""
        return self.plan.quick

    def is_probed(self, layer: str) -> bool:
        """Whether Keras has run for this layer, so that `judge` answers at once."""
        return self._of_a_layer("is_probed", layer)

    def probe(self, layer: str) -> None:
        """Let Keras run for one layer, so that it can be judged alone. Raises K2TError for a nested model."""
        self._of_a_layer("run_for", layer)

    def judge(self, layer: str) -> Verdict:
        """A layer alone, on Keras's own input, under the recipe in force. Raises K2TError."""
        return self._of_a_layer("judge", layer)

    def samples(self, layer: str) -> int:
        """On how many samples the layer is looked at alone."""
        return self._of_a_layer("samples", layer)

    def activations(self, layer: str, sample: int) -> list[Activation | None]:
        """What both frameworks make of a sample in this layer alone, for each of its outputs. Raises K2TError."""
        return self._of_a_layer("activations", layer, sample)

    def weak(self, layer: str) -> str | None:
        """Why this layer's weights cannot tell a right mapping from a wrong one; None where they can."""
        return self._of_a_layer("weak", layer)

    def can_check(self, layer: str) -> bool:
        """Whether `check_snippet` has what Keras gives the layer: it runs in no time, or has run already."""
        return self.is_quick or self.is_probed(layer)

    def check_snippet(self, layer: str, code: str) -> Check:
        """Run a snippet alone, because a person asks for it; nothing is put in force."""
        return self._of_a_layer("check_snippet", layer, code)

    def readings(self, layer: str) -> list[tuple[str, Recipe]]:
        """The other readings that the layer's shapes allow, in words, each with the recipe that puts it in force."""
        return self._of_a_layer("readings", layer)

    def duellist(self, layer: str, recipe: Recipe) -> Duellist:
        """One reading of a layer, judged alone. Raises K2TError where torch refuses it."""
        return self._of_a_layer("duellist", layer, recipe)

    def followed(self, layer: str, one: Recipe, other: Recipe) -> list[LayerChange] | None:
        """What `start_duel` found of these two, None where nobody has asked yet."""
        return self._of_a_layer("followed", layer, one, other)

    def _of_a_layer(self, name: str, *args: Any) -> Any:
        return self._of_plan(name, *args, self.inputs)

    # The Learn page

    def lesson(self, experiment: str, settings: Mapping[str, Any]) -> Experiment:
        """An experiment, computed by both frameworks now. It needs no model."""
        return self.engine.call("lesson", experiment, dict(settings))

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
            self.load(self.engine.call("build_example", name, folder), progress=say)

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
        ask = partial(self._of_plan, "follow", layer, one, other, self.inputs)  # as they are now
        return self.start("duel", "Running both", lambda say: ask(progress=say))

    def start_exercise(self, seed: int) -> Job:
        """Break a copy of the conversion, for the Learn page: see `k2t_core.inspector.exercise`."""

        def work(say: Progress) -> None:
            self.exercise = self._of_plan("exercise", seed, progress=say)
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
