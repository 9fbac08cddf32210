"""One layer looked at alone, on what Keras gives it: its verdict, its activations, a duel of two readings of it."""

from __future__ import annotations

import json
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

import numpy as np

from k2t_core.emit.conversion import convert
from k2t_core.graph import Graph
from k2t_core.inspector.activations import Activation, activations
from k2t_core.inspector.run_comparison import LayerChange, changes, comparisons
from k2t_core.keras_side.batches import random_batch
from k2t_core.keras_side.input_files import read_inputs
from k2t_core.keras_side.traced import Traced
from k2t_core.layout import Layout
from k2t_core.planning.plan import Plan
from k2t_core.planning.planner import plan as make_plan
from k2t_core.progress import Progress, silent
from k2t_core.project.settings import LOOKED_AT
from k2t_core.recipe import Recipe
from k2t_core.verification import verify
from k2t_core.verification.alone import Probe, Verdict, probe
from k2t_core.verification.weakness import find_weaknesses

QUICK = 3_000_000  # parameters up to which the model is run for a layer without being asked: a fraction of a second
PROBES = 12  # layers whose values on the batch are kept, to judge the next change at once


@dataclass(frozen=True)
class Inputs:
    """The batch of a verification, a user's file or random numbers: its first LOOKED_AT samples are looked at."""

    path: str | None
    seed: int
    distribution: str

    @staticmethod
    def of(settings: Mapping[str, Any]) -> Inputs:
        return Inputs(settings["verify.inputs"], settings["verify.seed"], settings["verify.distribution"])

    def arrays(self, graph: Graph) -> list[np.ndarray]:
        """An array for each input of the graph. Raises InputError."""
        if self.path:
            return [array[:LOOKED_AT] for array in read_inputs(self.path, graph)]
        return random_batch(graph, LOOKED_AT, self.seed, self.distribution)


@dataclass(frozen=True)
class ProbeKey:
    """Of what a probe speaks. arriving: the layouts of the inputs, which the overrides of earlier layers may change."""

    layer: str
    arriving: tuple[Layout, ...] | None
    inputs: Inputs


@dataclass(frozen=True)
class DuelKey:
    """What a duel is between."""

    layer: str
    one: str
    other: str
    inputs: Inputs


@dataclass
class Memory:
    """What the benches of one model have found, kept from plan to plan.

    Another model has another memory, so that a probe that ends after it was loaded is not taken for one of its layers.
    """

    probes: OrderedDict[ProbeKey, Probe] = field(default_factory=OrderedDict)  # last used last
    judged: tuple[Probe, str, Verdict] | None = None  # the last, with the probe and the layer's overrides
    duel: tuple[DuelKey, list[LayerChange]] | None = None  # the last
    lock: threading.Lock = field(default_factory=threading.Lock)


class LayerBench:
    """The layers of a traced model under a plan, on a batch."""

    def __init__(self, traced: Traced, plan: Plan, inputs: Inputs, memory: Memory | None = None):
        self.traced, self.plan, self.inputs = traced, plan, inputs
        self._memory = memory or Memory()

    @property
    def recipe(self) -> Recipe:
        """The recipe in force."""
        return self.plan.recipe

    @property
    def is_quick(self) -> bool:
        """Whether a run of the model takes so little that it need not be asked for."""
        return sum(prod(weight.shape) for weight in self.plan.weights) <= QUICK

    def probe(self, layer: str) -> Probe:
        """A layer with what Keras gives it and makes of it, to judge a mapping of it alone.

        Keras runs the model once for each layer that is asked for; its values are kept. Raises K2TError for a nested
        model.
        """
        key, memory = self._key(layer), self._memory
        with memory.lock:
            found = memory.probes.get(key)
        if found is None:  # outside of the lock: a page asks meanwhile what is there already
            traced = self.plan.traced
            found = probe(traced, layer, self.inputs.arrays(traced.graph), self.plan)
        with memory.lock:
            memory.probes[key] = found
            memory.probes.move_to_end(key)
            while len(memory.probes) > PROBES:
                memory.probes.popitem(last=False)
        return found

    def is_probed(self, layer: str) -> bool:
        """Whether Keras has run for this layer, so that `judge` answers at once."""
        return self._key(layer) in self._memory.probes

    def _key(self, layer: str) -> ProbeKey:
        arriving = next((p.inputs for _, _, _, p in self.plan.root.walk() if p.node.layer.path == layer), None)
        return ProbeKey(layer, arriving, self.inputs)

    def judge(self, layer: str, recipe: Recipe | None = None) -> Verdict:
        """A layer alone, on Keras's own input, under a recipe or the one in force. Raises K2TError."""
        probe, recipe = self.probe(layer), recipe or self.recipe
        overrides = json.dumps([asdict(override) for override in recipe.of(layer)])
        judged = self._memory.judged  # a page asks again at each touch
        if judged is None or judged[0] is not probe or judged[1] != overrides:
            judged = self._memory.judged = (probe, overrides, probe.judge(recipe))
        return judged[2]

    def samples(self, layer: str) -> int:
        """On how many samples the layer is looked at alone."""
        return len(self.probe(layer).expected[0])

    def activations(self, layer: str, sample: int) -> list[Activation | None]:
        """What both frameworks make of a sample in this layer alone, for each of its outputs. Raises K2TError."""
        return activations(self.probe(layer).expected, self.judge(layer).values, sample)

    def weak(self, layer: str) -> str | None:
        """Why this layer's weights cannot tell a right mapping from a wrong one; None where they can."""
        found = find_weaknesses([w for w in self.plan.weights if w.layer == layer], self.traced)
        return f"{found[0].variable}: {found[0].reason}" if found else None

    def followed(self, layer: str, one: Recipe, other: Recipe) -> list[LayerChange] | None:
        """What `follow` found of these two, None where nobody has asked yet."""
        duel = self._memory.duel
        return duel[1] if duel is not None and duel[0] == self._duel_key(layer, one, other) else None

    def follow(self, layer: str, one: Recipe, other: Recipe, progress: Progress | None = None) -> list[LayerChange]:
        """Follow two readings of a layer through the rest of the model, on identical inputs: the change from one to the
        other at the layer and each later one."""
        say = progress or silent
        reports = [self._whole(one, "the one", _part(say, 0.0)), self._whole(other, "the other", _part(say, 0.5))]
        found = changes(reports[0], reports[1], comparisons(reports[0], reports[1])[0])
        start = next((index for index, change in enumerate(found) if change.layer == layer), 0)
        # Only what is accumulated: not what was looked at alone.
        later = [change for change in found[start:] if change.factor is not None]
        self._memory.duel = (self._duel_key(layer, one, other), later)
        return later

    def _duel_key(self, layer: str, *recipes: Recipe) -> DuelKey:
        one, other = (json.dumps([asdict(override) for override in recipe.overrides]) for recipe in recipes)
        return DuelKey(layer, one, other, self.inputs)

    def _whole(self, recipe: Recipe, words: str, say: Progress) -> dict[str, Any]:
        """The numbers of the whole model under a recipe."""
        with tempfile.TemporaryDirectory(prefix="k2t-duel-") as folder:
            say(0.0, f"Converting {words}")
            convert(make_plan(self.traced, recipe), folder)
            report = verify(
                folder,
                self.traced,
                inputs=self.inputs.path,
                batch=LOOKED_AT,
                seed=self.inputs.seed,
                distribution=self.inputs.distribution,
                weights="model",
                edge_cases=False,
                explain=False,
                progress=lambda share, text: say(min(share, 0.99), f"Running {words}: {text}"),
            )
        return report.to_json()


def _part(say: Progress, start: float) -> Progress:
    """The progress of one half of the work."""
    return lambda share, text: say(start + share / 2, text)
