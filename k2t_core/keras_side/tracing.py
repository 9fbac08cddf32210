"""Keras model → `Graph`: read a functional model's own nodes, with the masks that Keras carries at run time.

The graph is re-run once on symbolic tensors, node by node in Keras's order, because masks travel as attributes of
tensors and reach a layer only when it is called (`Layer.__call__`, step 6, in keras/src/layers/layer.py). What each
layer then receives, masks included, is what the graph records. The model itself is left as it was.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from k2t_core.errors import RAISED, UnsupportedError, one_line
from k2t_core.graph import Graph, Layer, Node, Ref, Tensor, Variable
from k2t_core.keras_side.loading import Source
from k2t_core.keras_side.opened import CannotOpen, Opened, StandIn, calls_of
from k2t_core.keras_side.opening import open_layer
from k2t_core.rules import registry

FORMS = ("sparse", "ragged")  # attributes of a KerasTensor

CHILD_ATTRIBUTES = ("layer", "forward_layer", "backward_layer")
CHILD_CONFIG = ("layer", "backward_layer", "layers", "cell")
# Merging layers that read the masks of their inputs to compute values (keras/src/layers/merging).

_lock = threading.Lock()  # symbolic calls touch the shared layers' node lists


@dataclass(eq=False)
class LiveScope:
    """How a live functional model maps to a Graph: what the reference runner needs to name Keras's tensors."""

    functional: Any
    graph: Graph
    outputs: dict[tuple[int, int], str]  # (id of the Keras node, output index) → tensor id
    node_ids: dict[int, str]  # id of the Keras node → graph node id
    nested: dict[int, LiveScope]  # id of a nested live model → its scope
    operations: dict[str, Any]  # graph node id → live layer or operation, those that only a mask needs too
    opened: dict[int, Opened] = field(default_factory=dict)  # id of the Keras node of an opened layer → what is inside
    masked_inputs: tuple[int, ...] = ()
    masked_outputs: tuple[int, ...] = ()  # outputs that carry a mask; the masks are the graph's last outputs

    def node(self, name: str) -> Any:
        """Keras's node of a call, by the call's id in the graph."""
        functions = [self.functional, *(one.function for one in self.opened.values())]
        return next(
            n
            for function in functions
            for nodes in function._nodes_by_depth.values()
            for n in nodes
            if self.node_ids.get(id(n)) == name
        )


@dataclass(frozen=True, eq=False)
class Cut:
    """A layer that was cut off, and the tensor that is an input of the model in its place."""

    layer: Layer
    tensor: Tensor

    @property
    def call(self) -> str:
        """What its row of the table goes by."""
        return f"{self.layer.path} (cut off)"


@dataclass(frozen=True, eq=False)
class Traced:
    """A graph with the live model it was read from."""

    source: Source
    graph: Graph
    scope: LiveScope
    variables: Mapping[str, Any]  # variable path → live keras.Variable
    opened: frozenset[str] = frozenset()  # paths of the layers whose inside stands in the graph
    cuts: tuple[Cut, ...] = ()  # see `cutting.cut`
    closed: frozenset[str] = frozenset()  # paths of those that were asked to stay closed
    variants: dict[tuple[str, ...], Traced] = field(
        default_factory=dict
    )  # other readings of the same model: each is made once

    def value(self, path: str) -> np.ndarray:
        """The current value of a Keras variable, by its path."""
        return np.asarray(self.variables[path].numpy())


def trace(source: Source, closed: Collection[str] = ()) -> Traced:
    """The graph of a loaded model. Raises UnsupportedError for models that have no static graph.

    A layer that no rule knows is opened (see `opening`), except those at the paths ``closed``.
    """
    functional = _functional(source.model) or _around(source.model)
    if functional is None:
        raise UnsupportedError(
            [
                f"model {source.model.name!r} is a subclassed {type(source.model).__name__} (or a Sequential without an input shape) whose input is not known; "
                "call it once on one tensor (or a list of tensors) before saving it, rebuild it with the functional API, or add keras.Input to the Sequential"
            ]
        )
    with _lock:
        tracer = _Tracer(frozenset(closed), whole=source.model)
        scope = tracer.scope(functional, source.model.name, "", masks=None)
        if id(source.model) in tracer.notes:
            raise UnsupportedError(
                [
                    f"model {source.model.name!r} is a subclassed {type(source.model).__name__}, and {tracer.notes[id(source.model)]}; rebuild it with the functional API"
                ]
            )
    return Traced(source, scope.graph, scope, tracer.variables, frozenset(tracer.opened), closed=frozenset(closed))


def with_closed(traced: Traced, names: Collection[str]) -> Traced:
    """The model with these of its opened layers closed: a snippet replaces such a layer as a whole."""
    names = traced.opened & frozenset(names)
    if not names:
        return traced
    key = ("closed", *sorted(names))
    if key not in traced.variants:
        traced.variants[key] = replace(trace(traced.source, traced.closed | names), cuts=traced.cuts)
    return traced.variants[key]


def is_functional(model: Any) -> bool:
    """Whether Keras keeps a graph of the model."""
    return _functional(model) is not None


def _around(model: Any) -> Any:
    """A functional model of one call: that of a subclassed model, on inputs of the shapes that it was built for. None where they are not known."""
    import keras

    shapes = list((getattr(model, "_build_shapes_dict", None) or {}).values())
    if not isinstance(model, keras.Model) or not model.built or len(shapes) != 1 or type(model) is keras.Sequential:
        return None
    several = isinstance(shapes[0][0], (list, tuple))
    inputs = [keras.Input(shape[1:]) for shape in (shapes[0] if several else shapes)]
    inputs = inputs if several else inputs[0]
    try:
        return keras.Model(
            inputs, model(inputs, training=False) if model._call_has_training_arg else model(inputs), name=model.name
        )
    except RAISED as error:  # call() may do anything
        raise UnsupportedError(
            [
                f"model {model.name!r} is a subclassed {type(model).__name__}, and Keras cannot follow its call() ({one_line(error, 160)}); rebuild it with the functional API"
            ]
        ) from error


def _functional(model: Any) -> Any:
    """The functional graph behind a model, or None where it has none or overrides how it is called."""
    import keras
    from keras.src.models.functional import Functional

    if isinstance(model, keras.Sequential):
        return model._functional if type(model).call is keras.Sequential.call else None
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


@dataclass(eq=False)
class _Call:
    """A call seen during the symbolic run."""

    operation: Any
    arguments: dict[str, Any]
    outputs: list[Any]
    keras_node: Any = None
    scope: LiveScope | None = None
    result: Any = None  # the outputs as the layer returns them


@dataclass(eq=False)
class _Tracer:
    closed: frozenset[str] = frozenset()
    whole: Any = None  # the live model
    opened: list[str] = field(default_factory=list)  # paths
    notes: dict[int, str] = field(default_factory=dict)  # live layer → why it could not be opened
    inside: dict[int, tuple[str, str]] = field(
        default_factory=dict
    )  # live layer or operation → (opened layer that it is in, its name there)
    actual: dict[int, Any] = field(
        default_factory=dict
    )  # symbolic input of what is inside an opened layer → the tensor that arrives
    variables: dict[str, Any] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)  # live layer → scope that holds it

    def scope(
        self,
        functional: Any,
        name: str,
        prefix: str,
        masks: Sequence[bool] | None,
        shapes: Sequence[tuple] | None = None,
    ) -> LiveScope:
        """Run ``functional`` symbolically and record it. ``masks`` marks the inputs that arrive with a mask."""
        from keras import KerasTensor
        from keras.src.backend import get_keras_mask, set_keras_mask

        references = functional.inputs
        masks = masks or [False] * len(references)
        shapes = shapes or [x.shape for x in references]
        labels = _input_labels(references)
        fresh = [
            KerasTensor(shape, dtype=x.dtype, name=label, **{f: True for f in FORMS if getattr(x, f, False)})
            for shape, x, label in zip(shapes, references, labels)
        ]
        mask_inputs = []
        for x, masked in zip(fresh, masks):
            if masked:
                mask = KerasTensor(x.shape[:2], dtype="bool", name=f"{x.name}_mask")
                set_keras_mask(x, mask)
                mask_inputs.append(mask)
        calls: list[_Call] = []
        live = {id(x): y for x, y in zip(references, fresh)}
        nested: dict[int, LiveScope] = {}
        opened_nodes: dict[int, Opened] = {}
        nodes = calls_of(functional)
        uses: dict[int, int] = {}
        for node in nodes:
            uses[id(node.operation)] = uses.get(id(node.operation), 0) + 1
        with _untouched(functional.operations):
            for node in nodes:
                if not node.operation or any(id(x) not in live for x in node.input_tensors):
                    continue
                args, kwargs = node.arguments.fill_in(live)
                operation = node.operation
                if _functional(operation) is not None:
                    call = self._nested_call(operation, args, kwargs, prefix, nested, once=uses[id(operation)] == 1)
                elif (
                    not _is_known(operation)
                    and f"{prefix}{operation.name}" not in self.closed
                    and (inner := self._opened_calls(operation, args, kwargs, prefix))
                ):
                    opened_nodes[id(node)], produced, more = inner
                    calls += more
                    live.update(zip(map(id, node.outputs), produced))
                    continue
                else:
                    call = _symbolic_call(operation, args, kwargs)
                call.keras_node = node
                calls.append(call)
                for x, y in zip(node.outputs, call.outputs):
                    live[id(x)] = y
            outputs = [live[id(x)] for x in functional.outputs]
            leaving = [get_keras_mask(y) if prefix else None for y in outputs]
            outputs += [mask for mask in leaving if mask is not None]
            scope = self._build(functional, name, prefix, fresh + mask_inputs, outputs, calls, nested)
            scope.opened = opened_nodes
            scope.masked_inputs = tuple(i for i, masked in enumerate(masks) if masked)
            scope.masked_outputs = tuple(i for i, mask in enumerate(leaving) if mask is not None)
            return scope

    def _opened_calls(
        self, layer: Any, args: tuple, kwargs: dict, prefix: str
    ) -> tuple[Opened, list[Any], list[_Call]] | None:
        """(what is inside a layer, its outputs, the calls in it); None where it stays closed."""
        try:
            one, outputs = open_layer(layer, args, kwargs, _recorded_call, _bind)
        except CannotOpen as reason:
            self.notes[id(layer)] = str(reason)
            return None
        self.opened.append(f"{prefix}{layer.name}")
        self.actual.update(one.actual)
        recorded = {id(y): call for call in one.calls for y in call.outputs}
        calls = [_Call(source, {}, [x]) for x, source in one.sources]
        for node in one.nodes():
            call = recorded.get(id(node.outputs[0])) or _Call(
                node.operation, _bind(node.operation, node.arguments.args, node.arguments.kwargs), list(node.outputs)
            )
            call.keras_node = node
            calls.append(call)
        for call in calls:
            call.arguments = _replaced(call.arguments, self.actual)
            self.inside.setdefault(
                id(call.operation), ("" if layer is self.whole else layer.name, _name_inside(call.operation, one.names))
            )
        return one, outputs, calls

    def _nested_call(
        self, model: Any, args: tuple, kwargs: dict, prefix: str, nested: dict[int, LiveScope], once: bool
    ) -> _Call:
        """Trace a nested model (once, however often it is called) and give the call symbolic outputs."""
        from keras import KerasTensor, tree
        from keras.src.backend import get_keras_mask, set_keras_mask

        inner = _functional(model)
        inputs = tree.flatten(args[0] if args else kwargs[next(iter(kwargs))])
        masks = [get_keras_mask(x) for x in inputs]
        flags = tuple(i for i, mask in enumerate(masks) if mask is not None)
        shapes = [x.shape for x in inputs] if once else None
        for x, reference in zip(inputs, inner.inputs):
            if len(x.shape) != len(reference.shape) or x.dtype != reference.dtype:
                raise UnsupportedError(
                    [
                        f"nested model {model.name!r} is called on a {x.dtype} tensor of shape {x.shape} but was built for {reference.dtype} {reference.shape}"
                    ]
                )
        if id(model) not in nested:
            nested[id(model)] = self.scope(
                inner, model.name, f"{prefix}{model.name}/", [m is not None for m in masks], shapes
            )
        scope = nested[id(model)]
        if scope.masked_inputs != flags:
            raise UnsupportedError(
                [
                    f"nested model {model.name!r} is called once with a mask and once without; call it the same way each time"
                ]
            )
        specs = [scope.graph.tensors[t] for t in scope.graph.outputs]
        count = len(inner.outputs)
        shapes_out = (
            [
                tuple(x.shape)
                for x in tree.flatten(
                    inner.compute_output_spec(
                        [KerasTensor(x.shape, dtype=x.dtype) for x in inputs]
                        if len(inputs) > 1
                        else KerasTensor(inputs[0].shape, dtype=inputs[0].dtype)
                    )
                )
            ]
            if not once
            else [s.shape for s in specs[:count]]
        )
        outputs = [KerasTensor(shape, dtype=spec.dtype) for shape, spec in zip(shapes_out, specs)]
        mask_outputs = [KerasTensor(spec.shape, dtype="bool") for spec in specs[count:]]
        for index, mask in zip(scope.masked_outputs, mask_outputs):
            set_keras_mask(outputs[index], mask)
        arguments = {"inputs": list(inputs) + [m for m in masks if m is not None]}
        return _Call(model, arguments, outputs + mask_outputs, scope=scope)

    def _build(self, functional, name, prefix, inputs, outputs, calls, nested) -> LiveScope:
        """Walk back from the outputs, so that nodes appear branch by branch, as a reader follows them."""
        producers = {id(y): call for call in calls for y in call.outputs}
        keep_alive: list[Any] = []
        order: list[_Call] = []
        seen: set[int] = {id(x) for x in inputs}
        done: set[int] = set()
        stack: list[tuple[Any, bool]] = [(y, False) for y in reversed(outputs)]
        while stack:
            tensor, expanded = stack.pop()
            if expanded:
                call = producers[id(tensor)]
                if id(call) not in done:
                    done.add(id(call))
                    order.append(call)
                continue
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if id(tensor) not in producers:
                call = _call_from_history(tensor)
                call.arguments = _replaced(call.arguments, self.actual)
                keep_alive.append(call)
                producers.update({id(y): call for y in call.outputs})
            call = producers[id(tensor)]
            if any(
                tensor is x for x in _tensors(call.arguments)
            ):  # Equalization: what it is given, cast to its dtype, is what it returns
                raise UnsupportedError(
                    [
                        f"layer {call.operation.name!r} ({type(call.operation).__name__}) hands on its input, cast to another dtype, as its output; give it the dtype of its input"
                    ]
                )
            stack.append((tensor, True))
            stack.extend((x, False) for x in reversed(list(_tensors(call.arguments))))

        _drop_unused_masks(order, outputs)
        ids: dict[int, str] = {}
        tensors: dict[str, Tensor] = {}

        def add(tensor: Any, label: str) -> str:
            ids[id(tensor)] = label
            form = next((f for f in FORMS if getattr(tensor, f, False)), "dense")
            tensors[label] = Tensor(label, tuple(tensor.shape), str(tensor.dtype), form)
            return label

        names: set[str] = set()
        for x in inputs:
            names.add(x.name)
            add(x, x.name)
        known = {id(op) for op in functional.operations}
        layers: dict[int, Layer] = {}
        calls_of: dict[int, int] = {}
        nodes: list[Node] = []
        node_ids: dict[int, str] = {}
        operations: dict[str, Any] = {}
        for call in order:
            op = call.operation
            if id(op) not in layers:
                layers[id(op)] = self._layer(op, _unique(self._label(op, known), names), prefix, call.scope)
            calls_of[id(op)] = calls_of.get(id(op), 0) + 1
            layer = layers[id(op)]
            node_id = layer.name if calls_of[id(op)] == 1 else f"{layer.name}#{calls_of[id(op)]}"
            operations[node_id] = op
            if call.keras_node is not None:
                node_ids[id(call.keras_node)] = node_id
            many = len(call.outputs) > 1
            arguments = _with_refs(call.arguments, ids)
            labels = tuple(
                add(y, _free(f"{node_id}:{k}" if many else node_id, tensors)) for k, y in enumerate(call.outputs)
            )
            nodes.append(Node(node_id, layer, arguments, labels))
        graph = Graph(
            name=name,
            inputs=tuple(ids[id(x)] for x in inputs),
            outputs=tuple(ids[id(y)] for y in outputs),
            nodes=tuple(nodes),
            tensors=tensors,
            input_names=tuple(x.name for x in inputs),
            output_names=_output_names(functional, [ids[id(y)] for y in outputs]),
        )
        out_ids = {
            (id(c.keras_node), k): ids[id(y)]
            for c in calls
            if c.keras_node is not None
            for k, y in enumerate(c.outputs)
            if id(y) in ids
        }
        return LiveScope(functional, graph, out_ids, node_ids, nested, operations)

    def _label(self, op: Any, known: set[int]) -> str:
        """The name of a layer in its graph; of one in an opened layer, with that layer's name before it."""
        if id(op) in self.inside:
            return "_".join(filter(None, self.inside[id(op)]))
        return (
            op.name if id(op) in known else _snake(type(op).__name__)
        )  # made by a mask or a cast: its own name counts up

    def _layer(self, op: Any, label: str, prefix: str, scope: LiveScope | None, canonical: bool = False) -> Layer:
        """canonical: name its variables after the layer, not as Keras did: in an opened layer those names count all of the process."""
        import keras

        canonical = canonical or id(op) in self.inside
        outer = self.inside[id(op)][0] if id(op) in self.inside else ""
        path = f"{prefix}{outer}/{label.removeprefix(f'{outer}_')}" if outer else f"{prefix}{label}"
        if isinstance(op, StandIn):
            if op.variable is None:
                return Layer(path, label, "Constant", {"value": op.value})
            trainable = bool(op.variable.trainable and op.owner.trainable)
            own = [*op.owner._trainable_variables, *op.owner._non_trainable_variables]
            named = dict(zip(map(id, own), self._named(own, home=path.rpartition("/")[0])))
            return Layer(path, label, "Variable", {"trainable": trainable}, (named[id(op.variable)],))
        if not isinstance(op, keras.Layer):
            return Layer(
                path, label, kind_of(op), {k: v for k, v in vars(op).items() if not k.startswith("_") and k != "name"}
            )
        owner = self.owners.setdefault(id(op), prefix)
        if owner != prefix:
            raise UnsupportedError(
                [
                    f"layer {op.name!r} is shared between {owner or 'the model'!r} and {prefix or 'the model'!r}; call the nested model as a whole, or build it with layers of its own"
                ]
            )
        if scope is not None:
            return Layer(path, label, "Model", {}, graph=scope.graph)
        children = {a: c for a in CHILD_ATTRIBUTES if isinstance(c := getattr(op, a, None), keras.Layer)}
        if type(op) is keras.layers.RNN and isinstance(op.cell, keras.Layer):
            children["cell"] = op.cell
        elif isinstance(op, keras.layers.StackedRNNCells):
            children.update(
                {f"cell_{index}": cell for index, cell in enumerate(op.cells) if isinstance(cell, keras.Layer)}
            )
        variables = tuple(self._variables(op, set(map(id, children.values())), home=path if canonical else None))
        config = {k: v for k, v in op.get_config().items() if k not in CHILD_CONFIG or k == "layers" and not children}
        # get_config does not carry the adapted state or what a wrapper sets on its layer after construction.
        if "zero_output_for_mask" in config:
            config["zero_output_for_mask"] = op.zero_output_for_mask
        if type(op) is keras.layers.CategoryEncoding:
            config["sparse"] = op.sparse
        if type(op) is keras.layers.IntegerLookup:
            config["vocabulary"] = [int(token) for token in op.get_vocabulary(include_special_tokens=False)]
        return Layer(
            path,
            label,
            kind_of(op),
            config,
            variables,
            {a: self._child(c, path, canonical) for a, c in children.items()},
            note=self.notes.get(id(op), ""),
        )

    def _child(self, op: Any, path: str, canonical: bool) -> Layer:
        inner = _functional(op)
        if inner is not None:
            return Layer(
                f"{path}/{op.name}",
                op.name,
                "Model",
                {},
                graph=self.scope(inner, op.name, f"{path}/{op.name}/", None).graph,
            )
        return self._layer(op, _name_inside(op, {}) if canonical else op.name, f"{path}/", None, canonical)

    def _variables(self, op: Any, skip: set[int], prefix: str = "", home: str | None = None) -> Iterator[Variable]:
        yield from self._named([*op._trainable_variables, *op._non_trainable_variables], prefix, home)
        for sub in op._layers:
            if id(sub) not in skip:
                yield from self._variables(
                    sub, skip, f"{prefix}{sub.name}/", f"{home}/{_name_inside(sub, {})}" if home is not None else None
                )

    def _named(self, variables: Sequence[Any], prefix: str = "", home: str | None = None) -> Iterator[Variable]:
        """Variables of one layer, each under a path of its own: Keras's, or below ``home``."""
        unnamed: set[str] = set()
        for v in variables:
            name = v.name
            if re.fullmatch(r"variable(_\d+)?", name):  # made without a name: Keras counts those of the whole process
                name = _unique("variable", unnamed)
            path = _free(
                v.path.removesuffix(v.name) + name if home is None else f"{home}/{name}".lstrip("/"),
                {p: None for p, known in self.variables.items() if known is not v},
            )
            self.variables[path] = v
            yield Variable(path, prefix + name, tuple(v.shape), str(v.dtype), bool(v.trainable))


def _is_known(operation: Any) -> bool:
    """Whether there is no need to open it: an operation, or a layer that a rule knows (of a Lambda it knows only why it is refused)."""
    import keras

    return (
        not isinstance(operation, keras.Layer)
        or registry.find(kind_of(operation)) is not None
        and not isinstance(operation, keras.layers.Lambda)
    )


def _name_inside(op: Any, names: Mapping[int, str]) -> str:
    """The name of what is inside an opened layer: the attribute, or its own; where Keras made that up, without the number that counts all of the process."""
    import keras
    from keras.src.utils.naming import to_snake_case

    if id(op) in names:
        return names[id(op)]
    if isinstance(op, StandIn):
        return op.name or f"{_name_inside(op.owner, names)}_input"
    kind = to_snake_case(type(op).__name__)
    made_up = not isinstance(op, keras.Layer) or re.fullmatch(rf"{kind}(_\d+)?", op.name)
    return kind if made_up else op.name


def _recorded_call(layer: Any, args: tuple, kwargs: dict) -> _Call | None:
    """The call of a layer that a rule knows; None for one that is to be opened, or a nested model."""
    return _symbolic_call(layer, args, kwargs) if _is_known(layer) and _functional(layer) is None else None


def kind_of(op: Any) -> str:
    """The name that rules are registered under: see `Layer.kind`."""
    cls = type(op)
    if hasattr(cls, "k2t_kind"):  # an operation of our own
        return cls.k2t_kind
    if cls.__module__.startswith("keras.src.layers"):
        return cls.__name__
    if cls.__module__.startswith("keras.src.ops"):
        return f"ops.{cls.__name__}"
    if cls.__module__.startswith("keras.src.activations"):
        return f"activations.{cls.__name__}"  # what keras.activations.relu makes of a tensor of the model
    return f"{cls.__module__}.{cls.__qualname__}"


def _symbolic_call(op: Any, args: tuple, kwargs: dict) -> _Call:
    """Call a layer or operation on symbolic tensors; the arguments recorded are those its ``call`` receives."""
    import keras
    from keras import tree
    from keras.src.backend import get_keras_mask, set_keras_mask

    if not isinstance(op, keras.Layer):
        outputs = op(*args, **kwargs)
        return _Call(op, _bind(op, args, kwargs), tree.flatten(outputs))
    seen: list[tuple[tuple, dict]] = []
    original = op.symbolic_call

    def symbolic_call(*call_args, **call_kwargs):
        seen.append((call_args, call_kwargs))
        return original(*call_args, **call_kwargs)

    object.__setattr__(op, "symbolic_call", symbolic_call)  # past Keras's attribute tracking; removed below
    try:
        inputs = args[0] if args else kwargs.get(next(iter(inspect.signature(op.call).parameters)))
        attached = [get_keras_mask(x) for x in tree.flatten(inputs)]
        outputs = op(*args, **kwargs)
    finally:
        object.__delattr__(op, "symbolic_call")
    if not seen:
        raise UnsupportedError(
            [f"layer {op.name!r} ({type(op).__name__}) cannot be traced: Keras did not call it on symbolic tensors"]
        )
    arguments = _bind(op, *seen[0])
    if registry.known(type(op).__name__).takes_masks and any(m is not None for m in attached):
        arguments["masks"] = attached
    if isinstance(op, keras.layers.TimeDistributed) and not op.layer._call_has_mask_arg:
        arguments.pop("mask", None)  # it hands the mask on to such layers only (time_distributed.py)
    if type(op).__name__ == "ReversibleEmbedding" and op.mask_zero and not arguments.get("reverse"):
        # It sets its mask inside call(), which a symbolic call does not run (reversible_embedding.py).
        set_keras_mask(outputs, keras.ops.not_equal(inputs, 0))
    if isinstance(op, keras.layers.MultiHeadAttention):
        # Its call() takes the mask off its inputs, so that layers called later do not see it (multi_head_attention.py).
        arguments["query_mask"] = attached[0]
        for x in (arguments["query"], arguments["value"], arguments.get("key")):
            if x is not None:
                set_keras_mask(x, None)
    return _Call(op, {k: v for k, v in arguments.items() if v is not None}, tree.flatten(outputs), result=outputs)


def _bind(op: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    return bound_arguments(op, inspect.signature(op.call), args, kwargs)


def bound_arguments(op: Any, signature: inspect.Signature, args: tuple, kwargs: dict) -> dict[str, Any]:
    """Arguments by parameter name, without a ``training`` that inference overrides: False, None, or the layer's own default.

    Augmentation layers have training=True as their default; a functional model passes its own instead (models/functional.py).
    """
    bound = signature.bind(*args, **kwargs)
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        else:
            arguments[name] = value
    declared = bound.signature.parameters.get("training")
    if arguments.get("training") in (None, False, declared.default if declared else None):
        arguments.pop("training", None)
    return {
        k: v
        for k, v in arguments.items()
        if v is not None and not (isinstance(v, list) and v and all(i is None for i in v))
    }


def _call_from_history(tensor: Any) -> _Call:
    """The call behind a tensor that a mask computation made: its node is in the tensor's own history."""
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        raise UnsupportedError([f"tensor {tensor.name!r} does not come from the model's inputs"])
    op = history.operation
    node = op._inbound_nodes[history.node_index]
    return _Call(op, _bind(op, node.arguments.args, node.arguments.kwargs), list(node.outputs))


def _drop_unused_masks(order: Sequence[_Call], outputs: Sequence[Any]) -> None:
    """Take a nested model's mask outputs away where nothing outside reads them."""
    read = {id(x) for call in order for x in _tensors(call.arguments)} | {id(y) for y in outputs}
    scopes = {id(call.scope): call.scope for call in order if call.scope is not None and call.scope.masked_outputs}
    for scope in scopes.values():
        count = len(scope.functional.outputs)
        calls = [call for call in order if call.scope is scope]
        if not any(id(y) in read for call in calls for y in call.outputs[count:]):
            scope.masked_outputs = ()
            scope.graph = scope.graph.pruned(count)
            for call in calls:
                del call.outputs[count:]


@contextmanager
def _untouched(operations: Sequence[Any]) -> Iterator[None]:
    """Take back the nodes that a symbolic run leaves on the layers it calls, those inside an opened layer too."""
    import keras

    called = {
        id(op): op
        for outer in operations
        for op in (outer._flatten_layers() if isinstance(outer, keras.Layer) else [outer])
    }
    lengths = [(op, len(op._inbound_nodes), len(op._outbound_nodes)) for op in called.values()]
    try:
        yield
    finally:
        for op, inbound, outbound in lengths:
            del op._inbound_nodes[inbound:]
            del op._outbound_nodes[outbound:]


def _tensors(value: Any) -> Iterator[Any]:
    from keras import KerasTensor

    if isinstance(value, KerasTensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, slice):
        yield from _tensors((value.start, value.stop, value.step))


def _replaced(value: Any, actual: Mapping[int, Any]) -> Any:
    """Arguments with some symbolic tensors replaced, by their id."""
    if not actual:
        return value
    if isinstance(value, Mapping):
        return {k: _replaced(v, actual) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(v, actual) for v in value)
    if isinstance(value, slice):
        return slice(*(_replaced(v, actual) for v in (value.start, value.stop, value.step)))
    return actual.get(id(value), value)


def _with_refs(value: Any, ids: Mapping[int, str]) -> Any:
    """Arguments as framework-free data: symbolic tensors → Ref, arrays → numpy."""
    from keras import KerasTensor

    if isinstance(value, KerasTensor):
        return Ref(ids[id(value)])
    if isinstance(value, Mapping):
        return {k: _with_refs(v, ids) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_refs(v, ids) for v in value]
    if isinstance(value, tuple):
        return tuple(_with_refs(v, ids) for v in value)
    if isinstance(value, slice):
        return slice(*(_with_refs(v, ids) for v in (value.start, value.stop, value.step)))
    if hasattr(value, "numpy"):
        return np.asarray(value.numpy())
    return value


def _input_labels(references: Sequence[Any]) -> list[str]:
    """The names of the Input layers: those of their tensors count up over a whole Python session."""
    names: set[str] = set()
    histories = [getattr(x, "_keras_history", None) for x in references]
    return [
        _unique(h.operation.name if h is not None and h.operation is not None else x.name, names)
        for x, h in zip(references, histories)
    ]


def _output_names(functional: Any, ids: list[str]) -> tuple[str, ...]:
    names = list(getattr(functional, "output_names", ids))
    return tuple(names[i] if i < len(names) and names.count(names[i]) == 1 else ids[i] for i in range(len(ids)))


def _unique(label: str, names: set[str]) -> str:
    result, k = label, 1
    while result in names:
        result, k = f"{label}_{k}", k + 1
    names.add(result)
    return result


def _free(label: str, taken: Mapping[str, Any]) -> str:
    result, k = label, 1
    while result in taken:
        result, k = f"{label}~{k}", k + 1
    return result


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
