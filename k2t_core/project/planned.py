"""What the pages know of a model: facts as data, as the engine tells them. See `workbench`, which finds them."""

from __future__ import annotations

from dataclasses import dataclass

from k2t_core.difference import Difference, Rounding
from k2t_core.inspector.activations import Activation
from k2t_core.inspector.arguments import Argument
from k2t_core.inspector.card import Card
from k2t_core.inspector.card import Side as CardSide
from k2t_core.inspector.exercise import Exercise
from k2t_core.inspector.graph_data import Overlay
from k2t_core.inspector.layer_docs import Documentation
from k2t_core.inspector.lessons import Answer, Experiment
from k2t_core.inspector.run_comparison import LayerChange
from k2t_core.inspector.weight_picture import Band, Side, WeightPicture
from k2t_core.planning.plan import PlannedWeight, Row
from k2t_core.processes.messages import Codec
from k2t_core.project.layer_bench import Inputs
from k2t_core.project.snippets import Check
from k2t_core.recipe import Override, Recipe
from k2t_core.rules.registry import Alternative
from k2t_core.transforms import (
    Cast,
    Constant,
    Fill,
    Permute,
    ReorderBlocks,
    ReorderFlatten,
    Reshape,
    SqrtAtLeast,
    Take,
    Transform,
)
from k2t_core.verification.alone import Verdict
from k2t_core.verification.report import (
    Cause,
    Effect,
    LayerResult,
    OutputResult,
    Report,
    Run,
    TimeStep,
    TrainingResult,
    Weakness,
)
from k2t_core.verification.weights_proof import Unequal, WeightsProof


@dataclass(frozen=True)
class Planned:
    """A model under a recipe.

    recipe: as recipe.json has it. interest: the row to look at first. quick: see `LayerBench.is_quick`.
    """

    card: Card
    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    recipe: str
    input_names: tuple[str, ...]
    interest: str | None
    quick: bool


@dataclass(frozen=True)
class Source:
    """model.py as the plan is written, and which of its lines, from 1, compute which layer."""

    text: str
    by_line: dict[int, list[str]]
    by_layer: dict[str, list[int]]


@dataclass(frozen=True)
class LayerFacts:
    """What is to be known of one row, to look at its layer and to overrule it.

    keras: its call as it is written in Keras; None for an input. weights: those that can be permuted, by the key that
    an override names. arguments: of the constructor in torch. uncuttable: why the model cannot start behind it, or
    None.
    """

    keras: str | None
    weights: dict[str, PlannedWeight]
    arguments: tuple[Argument, ...]
    uncuttable: str | None


@dataclass(frozen=True, eq=False)
class Duellist:
    """One reading of a layer, judged alone, and its lines in model.py."""

    verdict: Verdict
    lines: tuple[str, ...]


# All that goes between the server and an engine.
CODEC = Codec(
    *(Planned, Source, LayerFacts, Duellist, Row, PlannedWeight, Alternative, Override, Recipe, Card, CardSide),
    *(Transform, Permute, Reshape, ReorderBlocks, ReorderFlatten, Take, Fill, SqrtAtLeast, Constant, Cast),
    *(Argument, Documentation, WeightPicture, Side, Band, Activation, LayerChange, Inputs, Check, Overlay),
    *(Verdict, Difference, Rounding, Experiment, Answer, Exercise),
    *(Report, Run, OutputResult, LayerResult, TimeStep, TrainingResult, Weakness, Cause, Effect, WeightsProof, Unequal),
)
