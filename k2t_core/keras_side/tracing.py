"""Keras model → `Graph`: read a functional model's own nodes, with the masks that Keras carries at run time.

The graph is re-run once on symbolic tensors, node by node in Keras's order, because masks travel as attributes of
tensors and reach a layer only when it is called (`Layer.__call__`, step 6, in keras/src/layers/layer.py). What each
layer then receives, masks included, is what the graph records. The model itself is left as it was.

Long because all of one run of a model stands together: what is known, opened or nested.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from k2t_core.errors import RAISED, UnsupportedError, one_line
from k2t_core.graph import Graph
from k2t_core.keras_side import internals
from k2t_core.keras_side.calls import RecordedCall, bind, replaced, symbolic_call, tensors_in
from k2t_core.keras_side.describing import Describer, children, kind_of, name_inside, own_activation, own_steps
from k2t_core.keras_side.graph_builder import FORMS, build
from k2t_core.keras_side.internals import mask_of, set_mask
from k2t_core.keras_side.loading import Source
from k2t_core.keras_side.opened import CannotOpen, Opened
from k2t_core.keras_side.recording import open_layer
from k2t_core.keras_side.traced import LiveScope, Traced
from k2t_core.keras_side.trial import is_taken
from k2t_core.names import unused
from k2t_core.rules import registry

_lock = threading.Lock()  # of the whole process: symbolic calls touch the shared layers' node lists


def trace(source: Source, closed: Collection[str] = ()) -> Traced:
    """The graph of a loaded model. Raises UnsupportedError for models that have no static graph.

    A layer that no rule knows is opened (see `recording`), except those at the paths ``closed``.
    """
    model = source.model
    functional = internals.functional(model) or _around(model)
    if functional is None:
        raise UnsupportedError(
            [
                f"model {model.name!r} is a subclassed {type(model).__name__} (or a Sequential without an input shape) "
                "whose input is not known; call it once on one tensor (or a list of tensors) before saving it, "
                "rebuild it with the functional API, or add keras.Input to the Sequential"
            ]
        )
    with _lock:
        tracer = _Tracer(model, frozenset(closed))
        scope = tracer.scope(functional, model.name, "", masks=None)
    why = tracer.describer.notes.get(id(model))
    if why is not None:
        raise UnsupportedError(
            [
                f"model {model.name!r} is a subclassed {type(model).__name__}, and {why}; "
                "rebuild it with the functional API"
            ]
        )
    return Traced(
        source,
        scope.graph,
        scope,
        tracer.describer.variables,
        opened=frozenset(tracer.opened),
        closed=frozenset(closed),
    )


def with_closed(traced: Traced, names: Collection[str]) -> Traced:
    """The model with these of its opened layers closed: a snippet replaces such a layer as a whole."""
    names = traced.opened & frozenset(names)
    if not names:
        return traced
    key = ("closed", *sorted(names))
    if key not in traced.variants:
        traced.variants[key] = replace(trace(traced.source, traced.closed | names), cuts=traced.cuts)
    return traced.variants[key]


def _around(model: Any) -> Any:
    """A functional model of one call: that of a subclassed model, on inputs of the shapes that it was built for.

    None where they are not known.
    """
    import keras

    shapes = internals.shapes_built_for(model)
    if not isinstance(model, keras.Model) or not model.built or len(shapes) != 1 or type(model) is keras.Sequential:
        return None
    several = isinstance(shapes[0][0], (list, tuple))
    inputs = [keras.Input(shape[1:]) for shape in (shapes[0] if several else shapes)]
    given = inputs if several else inputs[0]
    options = {"training": False} if internals.takes_training(model) else {}
    try:
        return keras.Model(given, model(given, **options), name=model.name)
    except RAISED as error:  # call() may do anything
        raise UnsupportedError(
            [
                f"model {model.name!r} is a subclassed {type(model).__name__}, and Keras cannot follow its call() "
                f"({one_line(error, 160)}); rebuild it with the functional API"
            ]
        ) from error


@dataclass(eq=False)
class _Tracer:
    """Runs one live model, and those nested in it, on symbolic tensors.

    closed: paths of layers that are not opened. opened: of those that were.
    actual: id of a symbolic input of what is inside an opened layer → the tensor that arrives.
    """

    model: Any
    closed: frozenset[str]
    opened: list[str] = field(default_factory=list)
    actual: dict[int, Any] = field(default_factory=dict)
    describer: Describer = field(init=False)

    def __post_init__(self) -> None:
        self.describer = Describer(self.inner)

    def inner(self, functional: Any, name: str, prefix: str) -> Graph:
        """The graph of a model that a wrapper holds: nothing is known of how it calls it."""
        return self.scope(functional, name, prefix, masks=None).graph

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

        references = functional.inputs
        masks = masks or [False] * len(references)
        labels = _input_labels(references)
        fresh = [
            KerasTensor(shape, dtype=x.dtype, name=label, **{f: True for f in FORMS if getattr(x, f, False)})
            for shape, x, label in zip(shapes or [x.shape for x in references], references, labels)
        ]
        mask_inputs = []
        for x, masked in zip(fresh, masks):
            if masked:
                mask = KerasTensor(x.shape[:2], dtype="bool", name=f"{x.name}_mask")
                set_mask(x, mask)
                mask_inputs.append(mask)
        calls: list[RecordedCall] = []
        live = {id(x): y for x, y in zip(references, fresh)}
        nested: dict[int, LiveScope] = {}
        opened: dict[int, Opened] = {}
        nodes = internals.calls_of(functional)
        uses = Counter(id(node.operation) for node in nodes)
        with internals.untouched(functional.operations):
            for node in nodes:
                operation = node.operation
                if not operation or any(id(x) not in live for x in node.input_tensors):
                    continue
                args, kwargs = node.arguments.fill_in(live)
                if internals.functional(operation) is not None:
                    call = self.nested_call(operation, args, kwargs, prefix, nested, once=uses[id(operation)] == 1)
                elif (
                    not _is_known(operation)
                    and f"{prefix}{operation.name}" not in self.closed
                    and (inside := self.calls_inside(operation, args, kwargs, prefix))
                ):
                    opened[id(node)], produced, more = inside
                    calls += more
                    for x, y in zip(node.outputs, produced):
                        _refine(y, x.shape)
                    live.update(zip(map(id, node.outputs), produced))
                    continue
                else:
                    call = _called(operation, args, kwargs)
                call.keras_node = node
                calls.append(call)
                live.update(zip(map(id, node.outputs), call.outputs))
            outputs = [live[id(x)] for x in functional.outputs]
            leaving = [mask_of(y) if prefix else None for y in outputs]
            outputs += [mask for mask in leaving if mask is not None]
            inputs = fresh + mask_inputs
            scope = build(functional, name, prefix, inputs, outputs, calls, nested, self.describer, self.actual)
        scope.opened = opened
        scope.masked_inputs = tuple(i for i, masked in enumerate(masks) if masked)
        scope.masked_outputs = tuple(i for i, mask in enumerate(leaving) if mask is not None)
        return scope

    def calls_inside(
        self, layer: Any, args: tuple, kwargs: dict, prefix: str
    ) -> tuple[Opened, list[Any], list[RecordedCall]] | None:
        """(what is inside a layer, its outputs, the calls in it); None where it stays closed."""
        try:
            one, outputs = open_layer(layer, args, kwargs, _called, bind, _is_known_leaf)
            if registry.find(kind_of(layer)) is not None and not all(_is_known(n.operation) for n in one.nodes()):
                raise CannotOpen("what is inside is refused as well")
        except CannotOpen as reason:
            self.describer.notes[id(layer)] = str(reason)
            return None
        self.opened.append(f"{prefix}{layer.name}")
        self.actual.update(one.actual)
        recorded = {id(y): call for call in one.calls for y in call.outputs}
        calls = [RecordedCall(source, {}, [x]) for x, source in one.sources]
        for node in one.nodes():
            call = recorded.get(id(node.outputs[0]))
            if call is None:
                arguments = bind(node.operation, node.arguments.args, node.arguments.kwargs)
                call = RecordedCall(node.operation, arguments, list(node.outputs))
            call.keras_node = node
            calls.append(call)
        for call in calls:
            call.arguments = replaced(call.arguments, self.actual)
            place = ("" if layer is self.model else layer.name, name_inside(call.operation, one.names))
            self.describer.inside.setdefault(id(call.operation), place)
        return one, outputs, calls

    def nested_call(
        self, model: Any, args: tuple, kwargs: dict, prefix: str, nested: dict[int, LiveScope], once: bool
    ) -> RecordedCall:
        """Trace a nested model (once, however often it is called) and give the call symbolic outputs."""
        from keras import KerasTensor, tree

        inner = internals.functional(model)
        inputs = tree.flatten(args[0] if args else kwargs[next(iter(kwargs))])
        inputs = [_of_rank(x, len(reference.shape)) for x, reference in zip(inputs, inner.inputs)]
        masks = [mask_of(x) for x in inputs]
        for x, reference in zip(inputs, inner.inputs):
            if len(x.shape) != len(reference.shape) or x.dtype != reference.dtype:
                raise UnsupportedError(
                    [
                        f"nested model {model.name!r} is called on a {x.dtype} tensor of shape {x.shape} "
                        f"but was built for {reference.dtype} {reference.shape}"
                    ]
                )
        if id(model) not in nested:
            shapes = [x.shape for x in inputs] if once else None
            masked = [m is not None for m in masks]
            nested[id(model)] = self.scope(inner, model.name, f"{prefix}{model.name}/", masked, shapes)
        scope = nested[id(model)]
        if scope.masked_inputs != tuple(i for i, mask in enumerate(masks) if mask is not None):
            raise UnsupportedError(
                [
                    f"nested model {model.name!r} is called once with a mask and once without; "
                    "call it the same way each time"
                ]
            )
        specs = [scope.graph.tensors[t] for t in scope.graph.outputs]
        count = len(inner.outputs)
        given = [KerasTensor(x.shape, dtype=x.dtype) for x in inputs]
        found = specs if once else tree.flatten(inner.compute_output_spec(given if len(given) > 1 else given[0]))
        outputs = [KerasTensor(tuple(x.shape), dtype=spec.dtype) for x, spec in zip(found, specs[:count])]
        mask_outputs = [KerasTensor(spec.shape, dtype="bool") for spec in specs[count:]]
        for index, mask in zip(scope.masked_outputs, mask_outputs):
            set_mask(outputs[index], mask)
        arguments = {"inputs": list(inputs) + [m for m in masks if m is not None]}
        return RecordedCall(model, arguments, outputs + mask_outputs, scope=scope)


def _called(operation: Any, args: tuple, kwargs: dict) -> RecordedCall:
    """The call of what a rule knows. Raises UnsupportedError where Keras does not take what comes before it."""
    try:
        call = symbolic_call(operation, args, kwargs)
    except UnsupportedError:
        raise
    except RAISED as error:
        raise UnsupportedError(
            [
                f"layer {operation.name!r} ({type(operation).__name__}): Keras does not take the shapes of what comes "
                f"before it as k2t follows them ({one_line(error, 200)}); give sizes that are fixed, or a snippet for "
                "the layer before it"
            ]
        ) from error
    if kind_of(operation) in MERGED:
        free = any(x.shape[:1] == (None,) for x in tensors_in(call.arguments))
        for y in call.outputs:
            if free and y.shape[:1] == (1,):
                internals.set_shape(y, (None, *y.shape[1:]))
    return call


# Layers that Keras takes for of one sample where one of their inputs is, though the others have as many as the batch
# (keras/src/layers/merging/base_merge.py).
MERGED = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}


def _of_rank(x: Any, rank: int) -> Any:
    """A tensor as a nested model takes it: with an axis of one entry more or less at its end, as its input has.

    Source: keras/src/models/functional.py, _adjust_input_rank.
    """
    from keras import ops

    if len(x.shape) == rank - 1:
        return ops.expand_dims(x, axis=-1)
    return ops.squeeze(x, axis=-1) if len(x.shape) == rank + 1 and x.shape[-1] == 1 else x


def _refine(tensor: Any, declared: tuple) -> None:
    """Let a tensor have the sizes that its layer declares, where it has them free."""
    if len(tensor.shape) == len(declared):
        internals.set_shape(tensor, tuple(m if n is None else n for n, m in zip(tensor.shape, declared)))


def _is_known(operation: Any) -> bool:
    """Whether there is no need to open it: an operation or a layer that a rule knows, and whatever it wraps.

    Of a Lambda the rule knows only why it is refused.
    """
    import keras

    if not isinstance(operation, keras.Layer):
        return is_taken(operation)
    return (
        registry.find(kind_of(operation)) is not None
        and not isinstance(operation, keras.layers.Lambda)
        and not own_activation(operation)
        and not own_steps(operation)
        and all(map(_is_known_inside, children(operation).values()))
    )


def _is_known_inside(layer: Any) -> bool:
    """Whether the rule of a wrapper, or of a recurrent layer, knows what it holds: a layer, a model or a cell."""
    if internals.home(type(layer)) == "layers" and kind_of(layer).endswith(("Cell", "Cells")):
        return not own_steps(layer) and all(map(_is_known_inside, children(layer).values()))
    return _is_known(layer) or internals.functional(layer) is not None


def _is_known_leaf(layer: Any) -> bool:
    """Whether a rule knows a layer or an operation, and it is no nested model."""
    return _is_known(layer) and internals.functional(layer) is None


def _input_labels(references: Sequence[Any]) -> list[str]:
    """The names of the Input layers: those of their tensors count up over a whole Python session."""
    labels: list[str] = []
    for x in references:
        operation = internals.operation_behind(x)
        labels.append(unused(x.name if operation is None else operation.name, labels, first=1))
    return labels
