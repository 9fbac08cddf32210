"""Break conversions on purpose and count what verification catches; write docs/mutations.md.

    python benchmarks/mutations.py                          every model, every layer, three sets of weights
    python benchmarks/mutations.py unet gelu_mlp            these models; prints, leaves docs/mutations.md alone
    python benchmarks/mutations.py --layers 4               in keras.applications, at most four layers a kind of mutant
    python benchmarks/mutations.py --jobs 2 --results FILE  two processes; a run that was interrupted goes on

A mutant is one layer's mapping with one fault in it, planned, written and verified like any conversion. It is caught
where the conversion is refused, the module does not run, or the verdict is "differs"; located where the layer that is
named is the mutant. Without mutants every model must agree: the rest are false alarms. Exit code 1 where one is missed
or alarms.

Long because it is a catalogue: a mutant is a few lines, and so is a model that can have it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["KERAS_BACKEND"] = "tensorflow"
# torch's threads wait for each other in turns: on a busy machine twenty times longer than one alone takes.
os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
REPORT = ROOT / "docs" / "mutations.md"
WEIGHTS = ("natural", "ones", "initial")

# Mutants: (mapping, call) → a mapping with a fault, or None where the layer has nothing of the kind.


def _steps(mapping: Any, change: Callable[[Any, Any], tuple | None], call: Any) -> Any:
    """The mapping with the steps of the first weight that ``change`` has an answer for."""
    weights = list(mapping.weights)
    for index, weight in enumerate(weights):
        steps = change(weight, call)
        if steps is not None:
            weights[index] = replace(weight, steps=tuple(steps))
            return replace(mapping, weights=tuple(weights))
    return None


def _shape(weight: Any, call: Any) -> tuple[int, ...]:
    return call.variable(weight.source).shape


def missing_transpose(mapping, call):
    from k2t_core.transforms import Permute

    def change(weight, call):
        at = [i for i, step in enumerate(weight.steps) if isinstance(step, Permute)]
        if weight.source is None or not at or not weight.key.endswith("weight"):
            return None
        axes = weight.steps[at[0]].axes
        if len(axes) == 2 and weight.steps[at[0]] == weight.steps[0]:
            shape = _shape(weight, call)
            return weight.steps[1:] if len(shape) == 2 and shape[0] == shape[1] and shape[0] > 1 else None
        shape = _shape(weight, call)
        if len(shape) != len(axes) or len(weight.steps) > 1:
            return None
        if shape[axes[0]] == shape[axes[1]] > 1:  # as many channels in as out
            return (Permute((axes[1], axes[0], *axes[2:])),)
        if len(axes) >= 4 and shape[axes[-1]] == shape[axes[-2]] > 1:  # height and width
            return (Permute((*axes[:-2], axes[-1], axes[-2])),)
        return None

    return _steps(mapping, change, call)


def swapped_gates(mapping, call):
    from k2t_core.transforms import ReorderBlocks

    changed, weights = False, []
    for weight in mapping.weights:
        steps = []
        for step in weight.steps:
            if isinstance(step, ReorderBlocks) and len(step.order) > 1:
                step, changed = replace(step, order=(step.order[1], step.order[0], *step.order[2:])), True
            steps.append(step)
        weights.append(replace(weight, steps=tuple(steps)))
    if not changed and "lstm" in " ".join(w.source or "" for w in mapping.weights).lower():
        weights, changed = [], True
        for weight in mapping.weights:
            count = 4 if weight.source and "dense" not in weight.source else 0
            shape = _shape(weight, call) if count else ()
            weights.append(
                replace(weight, steps=(*weight.steps, ReorderBlocks(0, (1, 0, 2, 3), "ifco", "fico")))
                if shape and shape[-1] % 4 == 0
                else weight
            )
    return replace(mapping, weights=tuple(weights)) if changed else None


def wrong_flatten_order(mapping, call):
    from k2t_core.transforms import ReorderFlatten

    def change(weight, call):
        kept = [step for step in weight.steps if not isinstance(step, ReorderFlatten)]
        return kept if len(kept) < len(weight.steps) else None

    return _steps(mapping, change, call)


def _argument(name: str, change: Callable[[Any], Any]) -> Callable:
    def mutate(mapping, call):
        module = mapping.module
        if module is None or name not in module.args:
            return None
        other = change(module.args[name])
        return (
            None
            if other is None or other == module.args[name]
            else replace(mapping, module=replace(module, args={**module.args, name: other}))
        )

    return mutate


def _text(change: Callable[[str], str | None]) -> Callable:
    def mutate(mapping, call):
        forward = mapping.forward
        lines = [forward] if isinstance(forward, str) else list(forward)
        for index, line in enumerate(lines):
            other = change(line)
            if other is not None and other != line:
                lines[index] = other
                return replace(mapping, forward=lines[0] if isinstance(forward, str) else tuple(lines))
        return None

    return mutate


_PAD = re.compile(r"F\.pad\((?P<x>.+?), \((?P<pads>[-\d, ]+)\)")


def _mutate_pads(line: str, change: Callable[[list[int]], list[int]]) -> str | None:
    found = _PAD.search(line)
    if not found:
        return None
    pads = [int(p) for p in found["pads"].split(",") if p.strip()]
    other = change(list(pads))
    return (
        None if other == pads else line[: found.start("pads")] + ", ".join(map(str, other)) + line[found.end("pads") :]
    )


def _other_side(pads: list[int]) -> list[int]:
    return (
        [p for i in range(0, len(pads), 2) for p in (pads[i + 1], pads[i])]
        if all(abs(pads[i] - pads[i + 1]) <= 1 for i in range(0, len(pads), 2))
        else pads
    )


def _later(pads: list[int]) -> list[int]:
    return [pads[0] - 1, 1] if len(pads) == 2 and pads[0] > 1 and pads[1] == 0 else pads


def padding_on_the_other_side(mapping, call):
    if call.layer.config.get("padding") != "same":
        return None
    return _text(lambda line: _mutate_pads(line, _other_side))(mapping, call)


def causal_padding_off_by_one(mapping, call):
    return (
        _text(lambda line: _mutate_pads(line, _later))(mapping, call)
        if call.layer.config.get("padding") == "causal"
        else None
    )


def crop_off_by_one(mapping, call):
    if "Cropping" not in call.layer.kind:
        return None

    def change(line: str) -> str | None:
        found = re.search(r"(\d+):-(\d+)", line)
        return (
            line[: found.start()] + f"{int(found[1]) - 1}:-{int(found[2]) + 1}" + line[found.end() :]
            if found and int(found[1]) > 0
            else None
        )

    return _text(change)(mapping, call)


def mean_and_variance_swapped(mapping, call):
    sources = {w.key: w.source for w in mapping.weights}
    if not sources.get("running_mean") or not sources.get("running_var"):
        return None
    swap = {"running_mean": sources["running_var"], "running_var": sources["running_mean"]}
    return replace(mapping, weights=tuple(replace(w, source=swap.get(w.key, w.source)) for w in mapping.weights))


def scale_and_offset_swapped(mapping, call):
    sources = {w.key: w.source for w in mapping.weights}
    if sources.get("weight") not in ("gamma",) or sources.get("bias") != "beta":
        return None
    swap = {"weight": "beta", "bias": "gamma"}
    return replace(mapping, weights=tuple(replace(w, source=swap.get(w.key, w.source)) for w in mapping.weights))


def dropped_bias(mapping, call):
    from k2t_core.transforms import Fill, chain_shape

    def change(weight, call):
        if weight.source is None or not weight.source.rsplit("/")[-1] == "bias":
            return None
        return (Fill(tuple(chain_shape(weight.steps, _shape(weight, call))), 0.0),)

    changed = _steps(mapping, change, call)
    return changed and replace(
        changed,
        weights=tuple(replace(w, source=None) if w.steps and w.steps[0].name == "fill" else w for w in changed.weights),
    )


def heads_transposed(mapping, call):
    return "heads transposed" if any(a.name == "heads transposed" for a in mapping.alternatives) else None


def concatenated_in_another_order(mapping, call):
    if call.layer.kind != "Concatenate" or len(set(s.shape for s in call.inputs)) > 1:
        return None

    from k2t_core.rules.slots import slot

    def change(line: str) -> str | None:
        return line.replace(f"[{slot(0)}, {slot(1)}", f"[{slot(1)}, {slot(0)}")

    return _text(change)(mapping, call)


def concatenated_along_another_axis(mapping, call):
    if call.layer.kind != "Concatenate" or len(call.outputs[0].shape) < 3:
        return None
    return _text(lambda line: re.sub(r"dim=(-?\d+)", lambda m: f"dim={2 if int(m[1]) in (1, -3) else 1}", line))(
        mapping, call
    )


def softmax_along_another_axis(mapping, call):
    if len(call.outputs[0].shape) < 3:
        return None
    return _text(
        lambda line: re.sub(r"(softmax\(.*dim=)(-?\d+)", lambda m: m[1] + ("1" if m[2] == "-1" else "-1"), line)
    )(mapping, call)


def gelu_of_the_other_kind(mapping, call):
    def change(line: str) -> str | None:
        if 'approximate="tanh"' in line:
            return line.replace(', approximate="tanh"', "")
        found = re.search(r"F\.gelu\(", line)
        return re.sub(r"F\.gelu\((.*)\)$", r'F.gelu(\1, approximate="tanh")', line) if found else None

    return _text(change)(mapping, call) or _argument("approximate", lambda v: "none" if v == "tanh" else "tanh")(
        mapping, call
    )


def slope_of_torch(mapping, call):
    return _argument("negative_slope", lambda v: 0.01)(mapping, call) or _text(
        lambda line: re.sub(r"(F\.leaky_relu\(.*), (?:negative_slope=)?[\d.]+\)$", r"\1)", line)
    )(mapping, call)


KINDS: dict[str, Callable] = {
    "missing transpose, equal sizes": missing_transpose,
    "swapped gates": swapped_gates,
    "wrong Flatten order": wrong_flatten_order,
    "torch's epsilon (or Keras's)": _argument("eps", lambda v: 1e-3 if v < 5e-4 else 1e-5),
    "SAME padding on the other side": padding_on_the_other_side,
    "average pooling counts the border": _argument("count_include_pad", lambda v: True if v is False else None),
    "mean and variance swapped": mean_and_variance_swapped,
    "gamma and beta swapped": scale_and_offset_swapped,
    "Keras's momentum in torch's place": _argument("momentum", lambda v: 1 - v),
    "gelu: tanh for exact, or back": gelu_of_the_other_kind,
    "attention heads transposed": heads_transposed,
    "concatenated in another order": concatenated_in_another_order,
    "concatenated along another axis": concatenated_along_another_axis,
    "dropped bias": dropped_bias,
    "crop off by one": crop_off_by_one,
    "causal padding off by one": causal_padding_off_by_one,
    "softmax along another axis": softmax_along_another_axis,
    "torch's leaky slope": slope_of_torch,
}

# Models: the bundled examples, small ones for every family of mutants, and networks of keras.applications, small too.


def models() -> dict[str, Callable[[], Any]]:
    """Name → a function that builds the model."""
    import keras
    from keras import layers as L

    from k2t_core.project.bundled import examples

    def sequential(shape, *stack, dtype="float32"):
        return lambda: keras.Sequential([keras.Input(shape, dtype=dtype), *(make() for make in stack)])

    def inception_like():
        x = keras.Input((12, 12, 4))
        branches = [L.Conv2D(4, k, padding="same", activation="relu")(x) for k in (1, 3)] + [
            L.Conv2D(4, 1)(L.AveragePooling2D(3, 1, padding="same")(x))
        ]
        y = L.Concatenate()([L.Concatenate()(branches[:2]), branches[2]])
        return keras.Model(x, L.Dense(5, activation="softmax")(L.GlobalAveragePooling2D()(L.BatchNormalization()(y))))

    def residual():
        x = keras.Input((12, 12, 4))
        y = x
        for _ in range(2):
            z = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(y))
            y = L.LeakyReLU()(L.Add()([y, L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(L.ReLU()(z)))]))
        return keras.Model(x, L.Dense(3)(L.Flatten()(y)))

    def decoder():
        x, memory = keras.Input((6, 8)), keras.Input((9, 8))
        y = L.LayerNormalization()(x + L.MultiHeadAttention(2, 2)(x, x, use_causal_mask=True))
        y = L.LayerNormalization()(y + L.MultiHeadAttention(4, 4)(y, memory))
        return keras.Model([x, memory], L.Dense(8)(L.Dense(16, activation="gelu")(y)))

    def squeeze_excite():
        x = keras.Input((10, 10, 8))
        y = L.DepthwiseConv2D(3, strides=2, padding="same")(L.BatchNormalization()(x))
        s = L.Dense(8, activation="sigmoid")(L.Dense(8, activation="relu")(L.GlobalAveragePooling2D()(y)))
        return keras.Model(x, L.Dense(4)(L.Flatten()(L.Multiply()([y, L.Reshape((1, 1, 8))(s)]))))

    def siamese():
        a, b = keras.Input((20,)), keras.Input((20,))
        tower = keras.Sequential(
            [keras.Input((20,)), L.Dense(16, activation="relu"), L.Dense(16, activation="tanh")], name="tower"
        )
        return keras.Model([a, b], L.Dense(1)(L.Concatenate()([tower(a), tower(b)])))

    def token_mixer():
        x = keras.Input((6, 6))
        return keras.Model(
            x,
            L.Dense(6)(
                L.Softmax(axis=1)(L.Permute((2, 1))(L.Dense(6, activation="relu")(L.Permute((2, 1))(L.Dense(6)(x)))))
            ),
        )

    small = {
        "square_mlp": sequential((8,), lambda: L.Dense(8, "tanh"), lambda: L.Dense(8, "relu"), lambda: L.Dense(8)),
        "gelu_mlp": sequential(
            (8,), lambda: L.Dense(16, activation="gelu"), lambda: L.LayerNormalization(), lambda: L.Dense(4)
        ),
        "leaky_mlp": sequential(
            (8,),
            lambda: L.Dense(8),
            lambda: L.LeakyReLU(),
            lambda: L.Dense(8, "leaky_relu"),
            lambda: L.BatchNormalization(),
        ),
        "causal_stack": sequential(
            (20, 6),
            lambda: L.Conv1D(6, 3, padding="causal", activation="relu"),
            lambda: L.Conv1D(6, 3, padding="causal", dilation_rate=2),
            lambda: L.BatchNormalization(),
            lambda: L.Dense(6),
        ),
        "strided_same": sequential(
            (16, 16, 3),
            lambda: L.Conv2D(4, 3, 2, "same"),
            lambda: L.MaxPooling2D(3, 2, "same"),
            lambda: L.DepthwiseConv2D(3, 2, "same"),
            lambda: L.Flatten(),
            lambda: L.Dense(3),
        ),
        "average_pools": sequential(
            (11, 11, 3),
            lambda: L.Conv2D(4, 3),
            lambda: L.AveragePooling2D(3, 1, "same"),
            lambda: L.AveragePooling2D(3, 3, "same"),
            lambda: L.Flatten(),
            lambda: L.Dense(3),
        ),
        "cropping": sequential(
            (14, 14, 3),
            lambda: L.Conv2D(4, 3),
            lambda: L.Cropping2D(2),
            lambda: L.Flatten(),
            lambda: L.Dense(8),
            lambda: L.Dense(8),
        ),
        "cropping_1d": sequential(
            (14, 5), lambda: L.Conv1D(5, 3), lambda: L.Cropping1D((2, 3)), lambda: L.Flatten(), lambda: L.Dense(4)
        ),
        "gru": sequential(
            (9, 6), lambda: L.GRU(6, return_sequences=True), lambda: L.GRU(6, reset_after=False), lambda: L.Dense(3)
        ),
        "lstm_stack": sequential(
            (9, 6), lambda: L.LSTM(6, return_sequences=True), lambda: L.Bidirectional(L.LSTM(4)), lambda: L.Dense(3)
        ),
        "simple_rnn": sequential(
            (9, 6), lambda: L.SimpleRNN(6, return_sequences=True), lambda: L.SimpleRNN(6), lambda: L.Dense(3)
        ),
        "video": sequential(
            (6, 8, 8, 3),
            lambda: L.Conv3D(3, 3, padding="same"),
            lambda: L.BatchNormalization(),
            lambda: L.MaxPooling3D(2),
            lambda: L.Flatten(),
            lambda: L.Dense(3),
        ),
        "frames": sequential(
            (4, 8, 8, 3),
            lambda: L.TimeDistributed(L.Conv2D(3, 3)),
            lambda: L.TimeDistributed(L.Flatten()),
            lambda: L.LSTM(5),
            lambda: L.Dense(2),
        ),
        "autoencoder": sequential(
            (16, 16, 3),
            lambda: L.Conv2D(6, 3, 2, "same", activation="relu"),
            lambda: L.Conv2DTranspose(6, 3, 2, "same", activation="relu"),
            lambda: L.GroupNormalization(2),
            lambda: L.Conv2D(3, 1, activation="sigmoid"),
        ),
        "inception_like": inception_like,
        "residual": residual,
        "decoder": decoder,
        "squeeze_excite": squeeze_excite,
        "siamese": siamese,
        "token_mixer": token_mixer,
    }
    bundled = {name: (lambda name=name: examples().make(name)) for name in examples().EXAMPLES}
    return {**bundled, **small, **networks()}


def networks() -> dict[str, Callable[[], Any]]:
    """Networks of keras.applications for which `--layers` counts."""
    from keras import applications as A

    options = {"weights": None, "input_shape": (64, 64, 3), "classes": 10}
    return {
        "MobileNetV2_64": lambda: A.MobileNetV2(alpha=0.35, **options),
        "EfficientNetB0_64": lambda: A.EfficientNetB0(**options),
        "ResNet50_64": lambda: A.ResNet50(**options),
    }


def unbroken() -> dict[str, Callable[[], Any]]:
    """Networks that are verified as they are, for false alarms only."""
    from keras import applications as A

    options = {"weights": None, "input_shape": (64, 64, 3), "classes": 10}
    return {
        "MobileNet_64": lambda: A.MobileNet(alpha=0.5, **options),
        "MobileNetV3Small_64": lambda: A.MobileNetV3Small(**options),
        "DenseNet121_64": lambda: A.DenseNet121(**options),
        "ResNet50V2_64": lambda: A.ResNet50V2(**options),
        "EfficientNetV2B0_64": lambda: A.EfficientNetV2B0(**options),
        "ConvNeXtTiny_64": lambda: A.ConvNeXtTiny(**options),
        "VGG16_64": lambda: A.VGG16(**options),
        "Xception_96": lambda: A.Xception(**{**options, "input_shape": (96, 96, 3)}),
    }


def set_weights(model: Any, kind: str) -> None:
    """natural: as a trained model has them; ones; initial: as Keras makes them."""
    import numpy as np

    from k2t_core.keras_side.randomise import randomise, settle
    from k2t_core.rules.registry import is_weight

    if kind == "natural":
        randomise(model, seed=7)
    elif kind == "ones":
        for v in model.variables:
            if is_weight(v.path) and v.dtype != "string":
                v.assign(np.ones(v.shape, v.dtype))
        settle(model)


@contextmanager
def mutated(layer: str, kind: str, mutate: Callable) -> Iterator[None]:
    """The registry with one layer's rule giving a mutant."""
    from k2t_core.rules import registry

    rule = registry.find(kind)

    def function(call):
        mapping = rule.function(call)
        if call.layer.path != layer:
            return mapping
        other = mutate(mapping, call)
        if isinstance(other, str):
            call.choice = other
            return rule.function(call)
        return other or mapping

    registry.registered[kind] = replace(rule, function=function)
    try:
        yield
    finally:
        registry.registered[kind] = rule


def eligible(plan: Any, most: int | None) -> list[tuple[str, str, str]]:
    """(kind of mutant, layer path, layer class), at most ``most`` layers of each kind, spread over the depth."""
    from k2t_core.rules import registry
    from k2t_core.rules.registry import Call

    found: dict[str, list[tuple[str, str]]] = {}
    seen = set()
    for _, _, scope, planned in plan.root.walk():
        node = planned.node
        if planned.child is not None or planned.mapping is None or node.layer.path in seen:
            continue
        seen.add(node.layer.path)
        call = Call(node, scope.graph, planned.inputs)
        for name, mutate in KINDS.items():
            if registry.find(node.layer.kind) is not None and mutate(planned.mapping, call) is not None:
                found.setdefault(name, []).append((node.layer.path, node.layer.kind))
    return [(name, *layers[i]) for name, layers in found.items() for i in _spread(len(layers), most)]


def _spread(count: int, most: int | None) -> list[int]:
    return (
        list(range(count))
        if most is None or count <= most
        else sorted({round(i * (count - 1) / max(most - 1, 1)) for i in range(most)})
    )


def measure(name: str, weights: str, most: int | None) -> list[dict[str, Any]]:
    """Every mutant of one model under one set of weights, and the model without any."""
    import keras

    import k2t_core as k2t
    from k2t_core.emit.source import write_source
    from k2t_core.keras_side.remembering import remembering

    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    broken = name in models()
    model = {**models(), **unbroken()}[name]()
    set_weights(model, weights)
    traced = k2t.trace(k2t.load(model))
    plan = k2t.plan(traced)
    with tempfile.TemporaryDirectory() as folder:
        text = k2t.convert(plan, folder).code.text
        report = k2t.verify(folder, traced, batch=2, training=broken)
    rows = [{"model": name, "weights": weights, "kind": None, "passed": report.passed, "detail": report.verdict}]
    with remembering():  # the Keras side is the same for every mutant
        for kind, layer, cls in eligible(plan, most if name in networks() else None) if broken else ():
            row = {"model": name, "weights": weights, "kind": kind, "layer": layer, "class": cls}
            with tempfile.TemporaryDirectory() as folder:
                try:
                    with mutated(layer, cls, KINDS[kind]):
                        mutant = k2t.plan(traced)
                        changed = write_source(mutant).text != text or [
                            (w.key, w.source, w.steps) for w in mutant.weights
                        ] != [(w.key, w.source, w.steps) for w in plan.weights]
                        k2t.convert(mutant, folder)
                    if not changed:
                        continue
                    report = k2t.verify(
                        folder,
                        traced,
                        batch=2,
                        edge_cases=False,
                        explain=False,
                        stop_early=True,
                        training=kind.startswith("Keras's momentum"),
                    )
                    row |= {
                        "caught": not report.passed,
                        "computed": not report.computes_the_same,
                        "located": report.first_divergence == layer,
                        "detail": report.verdict,
                    }
                except k2t.K2TError as error:
                    row |= {
                        "caught": True,
                        "computed": True,
                        "located": f"layer {layer!r}" in str(error),
                        "detail": str(error),
                    }
            rows.append(row)
    return rows


def score(mutants: Sequence[dict[str, Any]]) -> tuple[int, int, int]:
    """How many are caught, how many of those located, and how many what is computed shows by itself."""
    return (
        sum(r["caught"] for r in mutants),
        sum(r["caught"] and r["located"] for r in mutants),
        sum(r["computed"] for r in mutants),
    )


def table(rows: list[dict[str, Any]], most: int | None) -> str:
    clean = [r for r in rows if r["kind"] is None]
    mutants = [r for r in rows if r["kind"]]
    kinds, models_of_both = {r["kind"] for r in mutants}, [{r["model"] for r in some} for some in (mutants, clean)]
    caught, located, computed = score(mutants)
    count = max(len(mutants), 1)
    some = f" (in the networks of keras.applications, in at most {most} layers a kind, spread over the depth)"
    lines = [
        "# Mutation score",
        "",
        "Written by `python benchmarks/mutations.py`. A mutant is a conversion with one fault put into one layer on "
        f"purpose, in every layer that can have it{some if most else ''}. Faults in the written weights alone are in "
        "[changed_weights.md](changed_weights.md).",
        "",
        f"{len(mutants)} mutants of {len(kinds)} kinds in {len(models_of_both[0])} models, "
        "each with natural (random), all-ones and Keras's initial weights: "
        f"**{caught} caught ({caught / count:.1%}), {located} located ({located / count:.1%})**; without the proof of "
        f"the weights, by what is computed alone, {computed} ({computed / count:.1%}). "
        f"Without mutants: {len(clean)} verifications of {len(models_of_both[1])} models, "
        "with edge cases (and gradients, where there are mutants), "
        f"**{sum(not r['passed'] for r in clean)} false alarms**.",
        "",
        "| kind | mutants | caught | located | function proof alone |",
        "|---|--:|--:|--:|--:|",
    ]
    for kind in KINDS:
        own = [r for r in mutants if r["kind"] == kind]
        if own:
            lines.append(f"| {kind} | {len(own)} | {' | '.join(map(str, score(own)))} |")
    lines += [
        "",
        "| model | mutants | caught | located | function proof alone | false alarms |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in dict.fromkeys(r["model"] for r in rows):
        own = [r for r in mutants if r["model"] == name]
        alarms = sum(not r["passed"] for r in clean if r["model"] == name)
        lines.append(f"| {name} | {len(own)} | {' | '.join(map(str, score(own)))} | {alarms} |")
    missed = Counter(
        (r["model"], r["kind"], r["layer"], "missed" if not r["caught"] else "located elsewhere", r["detail"])
        for r in mutants
        if not (r["caught"] and r["located"])
    )
    alarmed = [r for r in clean if not r["passed"]]
    lines += [
        "",
        "## Missed, or located elsewhere",
        "",
        *([f"- {m}: {k} in `{layer}`: {what}: {detail[:220]}" for (m, k, layer, what, detail) in missed] or ["None."]),
    ]
    lines += [
        "",
        "## False alarms",
        "",
        *([f"- {r['model']} ({r['weights']} weights): {r['detail']}" for r in alarmed] or ["None."]),
    ]
    return "\n".join(lines) + "\n"


def worker(name: str, weights: Sequence[str], most: int | None) -> list[dict[str, Any]]:
    """`measure` with these sets of weights, in a process of its own.

    Raises RuntimeError with the end of its stderr where that fails.
    """
    command = [sys.executable, __file__, "--worker", name, *weights] + (["--layers", str(most)] if most else [])
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def single_threaded() -> None:
    import tensorflow as tf
    import torch

    torch.set_num_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument(
        "--layers", type=int, help="in networks of keras.applications, at most this many layers a kind of mutant"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--results", type=Path, help="a file that keeps what is measured, so that another run goes on from there"
    )
    parser.add_argument("--worker", nargs="+", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        single_threaded()
        name, *sets = options.worker
        print("\n" + json.dumps([row for weights in sets for row in measure(name, weights, options.layers)]))
        return 0
    names = options.names or [*networks(), *unbroken(), *(name for name in models() if name not in networks())]
    rows: list[dict[str, Any]] = []
    if options.results and options.results.is_file():
        rows = [json.loads(line) for line in options.results.read_text(encoding="utf-8").splitlines()]
    done = {(r["model"], r["weights"]) for r in rows}
    failed = False
    with ThreadPoolExecutor(options.jobs) as pool:
        missing = {name: [weights for weights in WEIGHTS if (name, weights) not in done] for name in names}
        tasks = {pool.submit(worker, name, sets, options.layers): name for name, sets in missing.items() if sets}
        for task in as_completed(tasks):
            name = tasks[task]
            try:
                found = task.result()
            except RuntimeError as error:
                failed = True
                print(f"{name}: FAILED\n{error}", flush=True)
                continue
            rows += found
            if options.results:
                with options.results.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found)
            mutants = [r for r in found if r["kind"]]
            caught, located, _ = score(mutants)
            alarms = sum(not r["passed"] for r in found if not r["kind"])
            print(
                f"{time.strftime('%H:%M:%S')} {name}: {len(mutants)} mutants, {caught} caught, {located} located, "
                f"{alarms} false alarms",
                flush=True,
            )
    order = {name: index for index, name in enumerate([*models(), *unbroken()])}
    rows = sorted((r for r in rows if r["model"] in names), key=lambda r: order[r["model"]])
    text = table(rows, options.layers)
    print(text)
    if not options.names and not failed:
        REPORT.write_text(text, encoding="utf-8")
    return 1 if failed or any(not r["passed"] if r["kind"] is None else not r["caught"] for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
