"""A live layer or operation → `graph.Layer`: its kind, its name and path, its config, its variables and their paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k2t_core.errors import RAISED, UnsupportedError, named
from k2t_core.graph import Graph, Layer, Variable
from k2t_core.keras_side import internals
from k2t_core.keras_side.opened import StandIn
from k2t_core.names import unused
from k2t_core.rules import registry
from k2t_core.rules.activations import KERAS2_HARD_SIGMOID, knows_activation

CHILD_ATTRIBUTES = ("layer", "forward_layer", "backward_layer")
CHILD_CONFIG = ("layer", "backward_layer", "layers", "cell")


@dataclass(eq=False)
class Describer:
    """Describes the layers of one model, each under names and paths of its own.

    inner: (functional model, name, prefix of its paths) → graph, of a model that a wrapper holds.
    inside: id of a live layer or operation in an opened layer → (that layer's name, its own name there).
    notes: id of a live layer → why it could not be opened.
    variables: path → live variable, of all layers described so far. owners: id of a live layer → prefix of its scope.
    """

    inner: Callable[[Any, str, str], Graph]
    inside: dict[int, tuple[str, str]] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)

    def label(self, op: Any, known: Collection[int]) -> str:
        """The name of a layer in its graph; of one in an opened layer, with that layer's name before it.

        known: ids of the operations that Keras itself keeps in the graph. Of what a mask or a cast has made the name
        counts up.
        """
        if id(op) in self.inside:
            return "_".join(filter(None, self.inside[id(op)]))
        return op.name if id(op) in known else _snake(type(op).__name__)

    def layer(self, op: Any, label: str, prefix: str, graph: Graph | None = None, canonical: bool = False) -> Layer:
        """The layer, operation or variable, called ``label`` in the scope of paths that begin with ``prefix``.

        graph: that of a nested model.
        canonical: name its variables after the layer and not as Keras did, whose names in an opened layer count all of
        the process.

        Raises UnsupportedError for a layer that is of another scope as well.
        """
        import keras

        canonical = canonical or id(op) in self.inside
        outer = self.inside[id(op)][0] if id(op) in self.inside else ""
        path = f"{prefix}{outer}/{label.removeprefix(f'{outer}_')}" if outer else f"{prefix}{label}"
        if isinstance(op, StandIn):
            return self._stand_in(op, path, label)
        if not isinstance(op, keras.Layer):
            config = {k: v for k, v in vars(op).items() if not k.startswith("_") and k != "name"}
            return Layer(path, label, kind_of(op), config, note=self.notes.get(id(op), ""))
        owner = self.owners.setdefault(id(op), prefix)
        if owner != prefix:
            raise UnsupportedError(
                [
                    f"layer {op.name!r} is shared between {owner or 'the model'!r} and {prefix or 'the model'!r}; "
                    "call the nested model as a whole, or build it with layers of its own"
                ]
            )
        if graph is not None:
            return Layer(path, label, "Model", {}, graph=graph)
        inner = children(op)
        skip = set(map(id, inner.values()))
        return Layer(
            path,
            label,
            kind_of(op),
            _config(op, inner),
            tuple(self._variables(op, skip, home=path if canonical else None)),
            {a: self._child(c, path, canonical) for a, c in inner.items()},
            note=self.notes.get(id(op), ""),
        )

    def _stand_in(self, source: StandIn, path: str, label: str) -> Layer:
        if source.variable is None:
            return Layer(path, label, "Constant", {"value": source.value})
        trainable = bool(source.variable.trainable and source.owner.trainable)
        own = internals.own_variables(source.owner)
        named = dict(zip(map(id, own), self._named(own, home=path.rpartition("/")[0])))
        return Layer(path, label, "Variable", {"trainable": trainable}, (named[id(source.variable)],))

    def _child(self, op: Any, path: str, canonical: bool) -> Layer:
        inner = internals.functional(op)
        if inner is not None:
            graph = self.inner(inner, op.name, f"{path}/{op.name}/")
            return Layer(f"{path}/{op.name}", op.name, "Model", {}, graph=graph)
        return self.layer(op, name_inside(op, {}) if canonical else op.name, f"{path}/", canonical=canonical)

    def _variables(self, op: Any, skip: set[int], prefix: str = "", home: str | None = None) -> Iterator[Variable]:
        yield from self._named(internals.own_variables(op), prefix, home)
        for sub in internals.sublayers(op):
            if id(sub) not in skip:
                below = f"{home}/{name_inside(sub, {})}" if home is not None else None
                yield from self._variables(sub, skip, f"{prefix}{sub.name}/", below)

    def _named(self, variables: Sequence[Any], prefix: str = "", home: str | None = None) -> Iterator[Variable]:
        """Variables of one layer, each under a path of its own: Keras's, or below ``home``."""
        unnamed: set[str] = set()
        for v in variables:
            name = v.name
            if re.fullmatch(r"variable(_\d+)?", name):  # made without a name: Keras counts those of the whole process
                name = unused("variable", unnamed, first=1)
                unnamed.add(name)
            wanted = v.path.removesuffix(v.name) + name if home is None else f"{home}/{name}".lstrip("/")
            path = next((p for p, known in self.variables.items() if known is v), None)  # a layer and its code: one
            path = path or unused(wanted, self.variables, "~", first=1)
            self.variables[path] = v
            yield Variable(path, prefix + name, tuple(v.shape), str(v.dtype), bool(v.trainable))


def kind_of(op: Any) -> str:
    """The name that rules are registered under: see `Layer.kind`."""
    cls = type(op)
    if hasattr(cls, "k2t_kind"):  # an operation of our own
        return op.k2t_kind
    home = internals.home(cls)
    if home == "layers":
        return cls.__name__
    # Of activations: what keras.activations.relu makes of a tensor of the model.
    return f"{home or cls.__module__}.{cls.__name__ if home else cls.__qualname__}"


def own_activation(op: Any) -> bool:
    """Whether a layer that a rule knows has an activation that none knows, such as a function of a user's own.

    Not of a recurrent layer, which uses it in every step.
    """
    rule = registry.find(kind_of(op))
    return rule is not None and not rule.over_time and _of_ones_own(getattr(op, "activation", None))


def own_steps(op: Any) -> bool:
    """Whether a recurrent layer that a rule knows uses in each step a function that none knows."""
    rule = registry.find(kind_of(op))
    if rule is None or not (rule.over_time or kind_of(op).endswith("Cell")):
        return False
    return any(_of_ones_own(getattr(op, name, None)) for name in ("activation", "recurrent_activation"))


def _of_ones_own(function: Any) -> bool:
    """Whether it is a function, and none of Keras's activations."""
    import keras

    if not callable(function) or isinstance(function, keras.Layer):
        return False
    home, name = str(getattr(function, "__module__", "")), getattr(function, "__name__", "")
    known = home.split(".")[0] == "keras" and knows_activation(name)
    return not known and keras.saving.get_registered_name(function) != KERAS2_HARD_SIGMOID


def name_inside(op: Any, names: Mapping[int, str]) -> str:
    """The name of what is inside an opened layer: the attribute (``names``: by id), or its own.

    Where Keras made that up, it is without the number, which counts all of the process.
    """
    import keras

    if id(op) in names:
        return names[id(op)]
    if isinstance(op, StandIn):
        return op.name or f"{name_inside(op.owner, names)}_input"
    kind = internals.name_by_class(op)
    made_up = not isinstance(op, keras.Layer) or re.fullmatch(rf"{kind}(_\d+)?", op.name)
    return kind if made_up else op.name


def children(op: Any) -> dict[str, Any]:
    """The layers that a layer of Keras's own wraps, by attribute."""
    import keras

    found = {a: c for a in CHILD_ATTRIBUTES if isinstance(c := getattr(op, a, None), keras.Layer)}
    if type(op) is keras.layers.RNN and isinstance(op.cell, keras.Layer):
        found["cell"] = op.cell
    elif isinstance(op, keras.layers.StackedRNNCells):
        cells = enumerate(op.cells)
        found.update({f"cell_{index}": cell for index, cell in cells if isinstance(cell, keras.Layer)})
    return found


def _config(op: Any, children: Collection[str]) -> dict[str, Any]:
    """get_config(), and what it does not carry: the adapted state, and what a wrapper sets on its layer later on."""
    import keras

    try:
        given = op.get_config()
    except RAISED as error:
        if registry.find(kind_of(op)) is not None:
            raise UnsupportedError(
                [f"layer {op.name!r} ({type(op).__name__}): its get_config() raises {named(error)}; mend it"]
            ) from error
        given = {}  # no rule reads it
    config = {k: v for k, v in given.items() if k not in CHILD_CONFIG or k == "layers" and not children}
    if "zero_output_for_mask" in config:
        config["zero_output_for_mask"] = op.zero_output_for_mask
    if type(op) is keras.layers.CategoryEncoding:
        config["sparse"] = op.sparse
    if type(op) is keras.layers.IntegerLookup:
        config["vocabulary"] = [int(token) for token in op.get_vocabulary(include_special_tokens=False)]
    return config


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
