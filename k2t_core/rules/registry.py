"""The registry of rules, and what a rule is given (`Call`) and gives back (`Mapping`).

A rule is a pure function from one call of a Keras layer to its PyTorch counterpart. It imports no framework. Code in
a `Mapping` is text in which a `Slot` (an input tensor) and ``SELF`` (the layer's own module) stand for names that the
emitter chooses.

    @rule("Dense", demand=LAST, flat="absorb")
    def dense(call): ...

Long because it is all that a rule is written with: what is handed to it, what it hands back, what is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from k2t_core.graph import Graph, Layer, Node, Ref, Shape, Tensor, Variable
from k2t_core.layout import Layout, identity
from k2t_core.nests import mapped
from k2t_core.rules.slots import OUT as OUT  # part of what a rule is written with
from k2t_core.rules.slots import SELF as SELF
from k2t_core.rules.slots import slot
from k2t_core.transforms import Transform

# What a layer's consumers vote for when the layout of an input is free.
FIRST, LAST, ANY = "channels_first", "channels_last", "any"

EXACT, AMBIGUOUS, INERT, UNSUPPORTED, CUT_OFF = "exact", "ambiguous", "inert", "unsupported", "cut off"

# Constructor arguments that do not change what a layer computes in inference.
INERT_OPTIONS = frozenset(
    """name trainable dtype seed autocast kernel_initializer bias_initializer recurrent_initializer
    depthwise_initializer
    pointwise_initializer embeddings_initializer beta_initializer gamma_initializer moving_mean_initializer
    moving_variance_initializer alpha_initializer scale_initializer kernel_regularizer bias_regularizer
    recurrent_regularizer depthwise_regularizer pointwise_regularizer embeddings_regularizer beta_regularizer
    gamma_regularizer alpha_regularizer activity_regularizer kernel_constraint bias_constraint recurrent_constraint
    depthwise_constraint pointwise_constraint embeddings_constraint beta_constraint gamma_constraint alpha_constraint
    lora_rank lora_alpha quantization_config unit_forget_bias build_config synchronized sparse ragged""".split()
)

# Variables that no layer computes with in inference: how much a Normalization has seen, what a SpectralNormalization
# starts from when it trains.
INERT_VARIABLES = frozenset({"count", "vector_u"})


def is_generator(path: str) -> bool:
    """Whether a variable is the state of a random generator."""
    return path.rsplit("/", 1)[-1] == "seed_generator_state"


def is_weight(path: str) -> bool:
    """Whether a variable is one that a layer of Keras's computes with."""
    return not is_generator(path) and path.rsplit("/", 1)[-1] not in INERT_VARIABLES


class Unconvertible(Exception):
    """Raised by a rule: this call has no counterpart. The message says why and what the user can do."""


@dataclass(frozen=True)
class Slot:
    """An input tensor of a call. In code it stands for the torch tensor in the layout that the rule wants."""

    index: int
    tensor: Tensor
    layout: Layout

    @property
    def shape(self) -> Shape:
        """The Keras shape."""
        return self.tensor.shape

    @property
    def rank(self) -> int:
        return len(self.tensor.shape)

    @property
    def dtype(self) -> str:
        return self.tensor.dtype

    def size(self, axis: int) -> int:
        """The size of an axis that is fixed, as every axis is that a weight runs over."""
        size = self.shape[axis]
        assert size is not None, f"axis {axis} of {self.shape} is free"
        return size

    def __str__(self) -> str:
        return slot(self.index)


@dataclass(frozen=True)
class Module:
    """The constructor call of a torch module, or of a helper class written into the file.

    args: by parameter name, in order; the first ``positional`` are written without their names.
    dtype: of its weights; where the rule leaves it None, the planner sets it from the layer's dtype policy.
    learns: whether its weights are parameters; False where all of them are buffers, which cannot be frozen.
    """

    cls: str
    args: dict[str, Any] = field(default_factory=dict)
    positional: int = 0
    dtype: str | None = None
    learns: bool = True


@dataclass(frozen=True)
class Expression:
    """Source text among a module's arguments: a function such as ``F.relu``."""

    text: str


@dataclass(frozen=True)
class Weight:
    """An entry of the module's state_dict: ``key`` relative to the module, fed by ``source``, a relative Keras name.

    source None marks an entry that no Keras variable feeds.
    """

    key: str
    source: str | None
    steps: tuple[Transform, ...] = ()


@dataclass(frozen=True)
class Alternative:
    """Another defensible (or often mistaken) reading of a layer: what it means and when it is right."""

    name: str
    meaning: str
    when: str


@dataclass(frozen=True)
class Nested:
    """A graph that becomes the module of a call: the planner plans it as it plans a nested model.

    arriving: the layout of each input of the graph where nothing in it has a wish of its own. outer: from the layout
    of a tensor of the graph to that of the call's; it raises Unconvertible where there is none.
    """

    graph: Graph
    arriving: tuple[Layout, ...]
    outer: Callable[[Layout], Layout]


@dataclass(frozen=True)
class Mapping:
    """The PyTorch counterpart of one call.

    forward: an expression over Slots and SELF; or statements, the outputs assigned to OUT.
    wants: the layout of each Slot, in order; empty: as they come. gives: the layout of each output; empty: Keras's own.
    nested: in the place of ``module``; the planner adds the module and the layouts of the first input and the outputs.
    init: statements after the module's construction. why, keras, torch: for the reader of the table.
    """

    forward: str | tuple[str, ...]
    module: Module | None = None
    weights: tuple[Weight, ...] = ()
    wants: tuple[Layout, ...] = ()
    gives: tuple[Layout, ...] = ()
    nested: Nested | None = None
    init: tuple[str, ...] = ()
    status: str = EXACT
    why: str = ""
    keras: str = ""
    torch: str = ""
    alternatives: tuple[Alternative, ...] = ()


_REQUIRED = object()


@dataclass(eq=False)
class Call:
    """One call of a layer, as a rule sees it.

    Reading an option or an argument marks it as understood; whatever a rule leaves unread makes the layer
    unsupported, so that an option k2t does not know is refused by name and never ignored.
    """

    node: Node
    graph: Graph
    layouts: Sequence[Layout]
    wanted: Sequence[Layout | None] = ()
    choice: str | None = None
    absorbs_flat: bool = False
    read_options: set[str] = field(default_factory=set)
    read_arguments: set[str] = field(default_factory=set)

    def __post_init__(self):
        self.inputs = tuple(
            Slot(i, self.graph.tensors[t], layout) for i, (t, layout) in enumerate(zip(self.node.inputs, self.layouts))
        )
        slots = iter(self.inputs)
        arguments = dict(self.node.arguments)
        self.arguments = mapped(lambda leaf: next(slots) if isinstance(leaf, Ref) else leaf, arguments)
        self.outputs = tuple(self.graph.tensors[t] for t in self.node.outputs)

    @property
    def layer(self) -> Layer:
        return self.node.layer

    @property
    def x(self) -> Slot:
        """The first argument of the call, a single tensor."""
        name, value = next(iter(self.arguments.items()))
        if not isinstance(value, Slot):
            raise Unconvertible(f"it is called with {type(value).__name__} where k2t expects one tensor")
        self.read_arguments.add(name)
        return value

    def option(self, name: str, default: Any = _REQUIRED) -> Any:
        """A constructor argument of the layer."""
        self.read_options.add(name)
        if name in self.layer.config:
            return self.layer.config[name]
        if default is _REQUIRED:
            raise Unconvertible(
                f"its option {name!r} is missing from the file; save the model again with a current Keras"
            )
        return default

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument of the call: a Slot, a nest of Slots, or plain data."""
        self.read_arguments.add(name)
        return self.arguments.get(name, default)

    def variable(self, name: str) -> Variable:
        """The layer's variable called ``name``, or whose relative name ends in ``/name``."""
        found = self.layer.variable(name)
        if found is None:
            raise Unconvertible(f"its variable {name!r} is missing; build the model before saving it")
        return found

    def layout(self, index: int = 0) -> Layout:
        return self.inputs[index].layout

    def refuse(self, condition: bool, message: str) -> None:
        """Raise Unconvertible(message) where ``condition`` holds."""
        if condition:
            raise Unconvertible(message)

    def unread(self) -> list[str]:
        """Options and call arguments that the rule has not looked at."""
        arguments = [f"{name} (in the call)" for name in self.arguments if name not in self.read_arguments]
        return self.unread_options() + arguments

    def unread_options(self) -> list[str]:
        return [name for name in self.layer.config if name not in self.read_options | INERT_OPTIONS]


@dataclass(frozen=True)
class Gates:
    """The gates of a recurrent layer: the blocks of its kernels, a letter each, as they stand in Keras and in torch.

    meanings: what the gate of a letter does, whatever a framework calls it.
    """

    keras: tuple[str, ...]
    torch: tuple[str, ...]
    meanings: dict[str, str] = field(hash=False)


def no_numbers(node: Node) -> tuple[float, ...]:
    return ()


def nothing(*given: Any) -> None:
    return None


@dataclass(frozen=True)
class Rule:
    """A registered rule, and what else is known of its layers: the one place for it.

    demand: what its input votes for: FIRST, LAST, ANY (pass on what the output's consumers want), None (no vote);
    or a function of the Layer that says so. flat: "absorb" if it can take a flattened input in torch's order,
    "pass" if it treats every element alike.
    widths: arguments of its modules that say how wide a tensor is: blocks name them and pass them on alike.
    role: what it is in a block of layers: "convolution", "dense", "normalization", "activation", "attention", "add",
    "multiply", "concatenate", "pooling", "global pooling" or "mean".
    called: what it is called at the head of a block's name (``SeparableConvBN``), where its role does not say enough.
    kernel_axes: what the last two axes of a variable count, by its name, where that is not in and out.
    gates: of a recurrent layer. over_time: whether it runs over axis 1 step by step.
    normalises: by statistics of the "sample" or of the "batch", moving ones in inference.
    draws: random numbers in training: "elements" or whole "channels" set to 0, or "noise".
    takes_masks: whether it merges its inputs otherwise where they are masked.
    What it says of the numbers that it is given, so that a batch can be drawn for them:
    rows: of the table in which its input's numbers are places; None where they are ordinary numbers.
    range: "kept" where its own numbers lie among its input's, along the same axes; "moved" where along others.
    factors, shifts: the constants by which a call multiplies its input, and that it adds to it.
    expects: (mean, variance) of what a layer is made for, along the last axis; it is given a variable's value by path.
    """

    function: Callable[[Call], Mapping]
    kinds: tuple[str, ...]
    demand: str | None | Callable[[Layer], str | None] = None
    flat: str | None = None
    widths: tuple[str, ...] = ()
    role: str | None = None
    called: str | None = None
    kernel_axes: dict[str, tuple[str, str]] = field(default_factory=dict, hash=False)
    gates: Gates | None = None
    over_time: bool = False
    normalises: str | None = None
    draws: str | None = None
    takes_masks: bool = False
    rows: Callable[[Node], int | None] = nothing
    range: str | None = None
    factors: Callable[[Node], Sequence[float]] = no_numbers
    shifts: Callable[[Node], Sequence[float]] = no_numbers
    expects: Callable[[Layer, Callable[[str], Any]], tuple[Any, Any] | None] = nothing

    def demand_of(self, layer: Layer) -> str | None:
        return self.demand(layer) if callable(self.demand) else self.demand


# Of the process: a rule that has been registered holds for every model.
registered: dict[str, Rule] = {}
widths: set[str] = set()  # of all rules


def rule(
    *kinds: str, demand: Any = None, flat: str | None = None, override: bool = False, **facts: Any
) -> Callable[[Callable[[Call], Mapping]], Callable[[Call], Mapping]]:
    """Register a rule for Keras layer classes (``"Conv2D"``), operations (``"ops.Mean"``) or your own classes (full
    path).

    facts: the other fields of `Rule`. Registering a kind twice raises ValueError unless ``override=True``; what is
    known of the kind then stays known where ``facts`` do not say otherwise.
    """

    def register(function: Callable[[Call], Mapping]) -> Callable[[Call], Mapping]:
        for kind in kinds:
            if kind in registered and not override:
                raise ValueError(f"a rule for {kind} is registered already; pass override=True to replace it")
            before = registered.get(kind, NO_RULE)
            registered[kind] = replace(before, function=function, kinds=kinds, demand=demand, flat=flat, **facts)
            widths.update(registered[kind].widths)
        return function

    return register


def find(kind: str) -> Rule | None:
    """The rule for a kind, None where there is none."""
    return registered.get(kind)


def _refused(call: Call) -> Mapping:
    raise Unconvertible(f"k2t has no rule for {call.layer.kind}")


NO_RULE = Rule(_refused, ())


def known(kind: str) -> Rule:
    """What is known of a kind: its rule, or `NO_RULE`, which says nothing."""
    return registered.get(kind, NO_RULE)


def gates_of(layer: Layer) -> Gates | None:
    """The gates of a layer, or of a layer within it; a cell (``GRUCell``) has those of its layer."""
    found = (known(inner.kind.removesuffix("Cell")).gates for inner in (layer, *layer.children.values()))
    return next((gates for gates in found if gates is not None), None)


def is_width(argument: str) -> bool:
    """Whether a module's argument says how wide a tensor is, by any rule."""
    return argument in widths


def kinds() -> list[str]:
    """Every kind that has a rule."""
    return sorted(registered)


def demand_channels_first(layer: Layer) -> str:
    """Demand of a layer with ``data_format``: its Keras axes already are torch's where it says channels_first."""
    return LAST if layer.config.get("data_format") == "channels_first" else FIRST


def image_layout(call: Call) -> Layout:
    """The layout in which torch wants the input of a layer with ``data_format``: N, C, space."""
    from k2t_core.layout import channels_first

    return (
        identity(call.x.rank) if call.option("data_format", None) == "channels_first" else channels_first(call.x.rank)
    )
