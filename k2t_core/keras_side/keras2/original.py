"""A file of Keras 2: read by tf_keras, which goes on reading them, rebuilt in Keras 3, and compared with that.

What follows (graph, plan, comparison of single layers) works on the model of Keras 3; the outputs that a conversion is
judged by are those of tf_keras (`Original.predict`). Before anything is planned, `check` compares the two layer by
layer, so that a layer which Keras 3 computes in another way is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.errors import RAISED, K2TError, ModelFileError, UnsupportedError, one_line
from k2t_core.keras_side import compiling
from k2t_core.keras_side.internals import (
    ending_search,
    few_steps,
    layers_of_keras2,
    nodes_of,
    patched,
    structure_of_keras2,
    untrained,
)
from k2t_core.keras_side.keras2.operations import may_run
from k2t_core.keras_side.randomise import settle
from k2t_core.keras_side.sizes import MAX_STEPS

# max|Keras 3 − tf_keras| / max|tf_keras| of a tensor: more than two implementations of one formula differ by rounding.
TOLERANCE = 1e-4
LOW_PRECISION_TOLERANCE = 3e-2
# Layers that run whatever function of TensorFlow the file names.
OPERATION_LAYERS = ("TFOpLambda", "SlicingOpLambda")
OWN_MODULES = re.compile(
    r"(keras|tf_keras|builtins|tensorflow\.python\.ops\.init_ops(_v2)?)(\.|$)"
)  # the last: initial values
CODE = {
    "Lambda": "Lambda",
    "__lambda__": "Lambda",
    "TensorFlowOpLayer": "TensorFlowOpLayer",
    "InstanceMethod": "method of a tensor",
    "InstanceProperty": "property of a tensor",
    "ClassMethod": "method of a class",
}


@dataclass(eq=False)
class Original:
    """The model as tf_keras has it.

    twin: the same in Keras 3. variables: pairs of its and Keras 3's.
    tensors: (layer, its symbolic tensor, that of Keras 3), of the outermost model.
    """

    model: Any
    twin: Any
    variables: list[tuple[Any, Any]]
    tensors: list[tuple[str, Any, Any]]
    checked: bool = False
    forms: dict[int, Any] = field(default_factory=dict)  # as `loading.Source.compiled`, of calls in ``calls``
    calls: dict[int, tuple[Any, Any, Any]] = field(default_factory=dict)  # id → (layer, its call, that with XLA)

    @property
    def compiled(self) -> tuple[str, ...]:
        """Names of the layers that tf_keras has run compiled by XLA, for want of a kernel."""
        return tuple(dict.fromkeys(layer.name for layer, call, _ in self.calls.values() if id(call) in self.forms))

    def predict(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs in inference mode, flat, in Keras's layout."""
        return self._run(self.model, arrays)

    def with_values(self, value: Callable[[Any], np.ndarray | None]) -> Original:
        """A copy in which variables have other values.

        value: gives that of a variable of Keras 3, or None to leave it.
        """
        import tf_keras

        clone = tf_keras.models.clone_model(self.model)
        clone.set_weights(self.model.get_weights())
        twins = {id(theirs): ours for theirs, ours in self.variables}
        for theirs, variable in zip(self.model.weights, clone.weights):
            new = value(twins[id(theirs)]) if id(theirs) in twins else None
            if new is not None:
                variable.assign(new)
        settle(clone)
        return Original(clone, None, [], [], checked=True)

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Compare the layers of both on a batch, once.

        Raises UnsupportedError with the first that Keras 3 computes otherwise.
        """
        import keras
        import tf_keras

        if self.checked:
            return
        theirs = self._run(tf_keras.Model(self.model.inputs, [x for _, x, _ in self.tensors]), arrays)
        ours = compiling.outputs(keras.Model(self.twin.inputs, [y for _, _, y in self.tensors]), arrays)
        for (layer, _, _), want, got in zip(self.tensors, theirs, ours):
            how = _difference(want, got)
            if how:
                raise UnsupportedError(
                    [
                        f"layer {layer!r}: Keras 3 computes something else than Keras 2, which wrote the file ({how}); "
                        "rebuild the model in Keras 3, or report it with the file"
                    ]
                )
        self.checked = True

    def _run(self, model: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        import tensorflow as tf

        inputs = tf.nest.pack_sequence_as(
            structure_of_keras2(model)[0] if model is self.model else model.inputs,
            [tf.convert_to_tensor(a) for a in arrays],
        )
        if not self.calls:
            try:
                return [np.asarray(y) for y in tf.nest.flatten(model(inputs, training=False))]
            except Exception as error:
                if not compiling.lacks_kernel(error):
                    raise
            for layer in layers_of_keras2(self.model):
                call = layer.call
                self.calls.setdefault(id(layer), (layer, call, partial(self._call, call)))
        with ExitStack() as stack:
            for layer, _, instead in self.calls.values():
                stack.enter_context(patched(layer, call=instead))
            return [np.asarray(y) for y in tf.nest.flatten(model(inputs, training=False))]

    def _call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A layer's call, compiled by XLA where it lacks a kernel: it alone, as `compiling` tells."""
        return compiling.run(call, args, kwargs, self.forms)


def _difference(want: np.ndarray, got: np.ndarray) -> str:
    """In words how two tensors differ by more than rounding; empty where they do not."""
    from k2t_core.difference import Difference  # whose package loads models

    if want.shape != got.shape or want.dtype != got.dtype:
        return f"{got.dtype} {got.shape} instead of {want.dtype} {want.shape}"
    relative = Difference.of(want, got).relative
    limit = 0.0 if want.dtype.kind in "iub" else LOW_PRECISION_TOLERANCE if want.dtype.itemsize == 2 else TOLERANCE
    return f"largest relative difference {relative:.1e}" if relative > limit else ""


def load(
    path: Path, info: dict[str, Any], check_sizes: Callable[[dict[str, int], Iterator[tuple[str, tuple]]], None]
) -> Original:
    """The model, with its twin in Keras 3.

    ``check_sizes`` gets the bytes of each variable and the shapes of the layers, before memory is used.

    Raises ModelFileError where tf_keras is missing or cannot read the file, UnsupportedError with every layer that has
    no counterpart.
    """
    import tensorflow as tf
    import tf_keras

    from k2t_core.keras_side.keras2.rebuild import rebuild

    need: dict[str, int] = {}
    refusals: list[ModelFileError] = []  # tf_keras writes its own words around what is raised within a layer

    def create(make: Callable[..., Any], **options: Any) -> Any:
        shape = options.get("shape")
        if shape is not None and tf.TensorShape(shape).is_fully_defined():
            need[f"{options.get('name')} {len(need)}"] = (
                math.prod(shape) * tf.as_dtype(options.get("dtype") or "float32").size
            )
            try:
                check_sizes(need, iter(()))
            except ModelFileError as error:
                refusals.append(error)
                raise
        return make(**options)

    try:
        with tf.variable_creator_scope(create), untrained(), ending_search(), few_steps(MAX_STEPS):
            model = tf_keras.models.load_model(path, compile=False)
        check_sizes(need, _shapes(model))
    except RAISED as error:  # it raises every type there is for a file that it cannot rebuild
        refused = refusals[0] if refusals else error
        if isinstance(refused, K2TError):
            raise refused from None
        raise ModelFileError(
            f"{path.name}: tf_keras {tf_keras.__version__} cannot rebuild the model: {one_line(error, 300)}"
        ) from error
    try:
        return Original(model, *rebuild(model))
    except K2TError:
        raise
    except RAISED as error:  # as does Keras 3 for what it is built of
        raise ModelFileError(f"{path.name}: cannot be rebuilt in Keras 3: {one_line(error, 300)}") from error


def need_package(path: Path, info: dict[str, Any]) -> None:
    """Raises ModelFileError where tf_keras is missing, which reads files of Keras 2."""
    import tensorflow as tf

    if find_spec("tf_keras") is None:
        tensorflow = ".".join(tf.__version__.split(".")[:2])
        raise ModelFileError(
            f"{path.name}: written by Keras {info['keras_version']}; to read such files, install tf_keras: "
            f"pip install --no-deps tf_keras=={tensorflow}.*"
        )


def reference() -> dict[str, str]:
    """The package that computes the outputs."""
    return {"package": "tf_keras", "version": version("tf_keras"), "backend": "tensorflow"}


def check_config(name: str, objects: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Refuse what would run code, or a function of TensorFlow that nobody looked at, before anything is built.

    objects: (layer name, serialized object) of the file's config. Raises UnsupportedError with all of them.
    """
    problems = []
    for owner, item in objects:
        kind, config = item["class_name"], item.get("config")
        if kind in CODE:
            problems.append(
                f"{name}: layer {owner!r} is a {CODE[kind]} of Keras 2, whose code k2t neither runs nor carries to "
                "Keras 3; rebuild the model in Keras 3 without it"
            )
        elif kind in OPERATION_LAYERS:
            symbol = config.get("function") if isinstance(config, dict) else None
            if not isinstance(symbol, str) or not may_run(symbol):
                problems.append(
                    f"{name}: layer {owner!r} is TensorFlow's operation tf.{one_line(symbol)}, which k2t cannot carry "
                    "to Keras 3; rebuild the model in Keras 3 with keras.ops"
                )
        elif ">" in kind or not OWN_MODULES.match(str(item.get("module") or "keras")):
            what = config if kind == "function" else item.get("registered_name") or kind
            problems.append(
                f"{name}: layer {owner!r} needs {what!r}, which is not Keras's own; "
                "k2t opens such layers in files of Keras 3 only"
            )
    if problems:
        raise UnsupportedError(list(dict.fromkeys(problems)))


def _shapes(model: Any) -> Iterator[tuple[str, tuple]]:
    import tensorflow as tf

    for node in nodes_of(model):
        yield from ((node.layer.name, tuple(x.shape)) for x in tf.nest.flatten(node.outputs))
        yield from _shapes(node.layer)
