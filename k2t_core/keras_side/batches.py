"""Batches to compare on, drawn at random for what each input means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from k2t_core.errors import InputError
from k2t_core.graph import Graph, Layer
from k2t_core.keras_side.memory import check_batch
from k2t_core.rules.merging import bias_of_one_sample

DISTRIBUTIONS = {
    "normal": "standard normal",
    "uniform": "uniform in [0, 1)",
    "image": "whole numbers 0…255, as pixels",
    "zeros": "all zeros",
    "ones": "all ones",
}
PIXELS = 0.05  # a factor below this brings pixels to about 1
FREE_SIZE, FREE_IMAGE_SIZE = 16, 64  # of a free dimension other than the batch


def random_batch(graph: Graph, batch: int = 4, seed: int = 0, distribution: str = "normal") -> list[np.ndarray]:
    """One array for each input, in Keras's layout and dtype, reproducible from ``seed``.

    Token inputs (those that reach an Embedding) are drawn from its vocabulary, about a fifth of each sequence's end
    set to 0 where the Embedding masks zeros. Other integers are 0…9, bools three quarters True.
    """
    if distribution not in DISTRIBUTIONS:
        raise InputError(f"unknown input distribution {distribution!r}; one of {', '.join(DISTRIBUTIONS)}")
    if batch < 1:
        raise InputError(f"the batch size is {batch}; it must be at least 1")
    if seed < 0:
        raise InputError(f"the seed is {seed}; it must be a whole number from 0 up")
    strings = next(
        (name for name, t in zip(graph.input_names, graph.inputs) if "string" in graph.tensors[t].dtype), None
    )
    if strings is not None:
        raise InputError(
            f"input {strings!r} takes strings, and torch has none: cut the model off behind the layers that read them"
        )
    check_batch(graph, batch)
    rng = np.random.default_rng(seed)
    return [_draw(graph, t, batch, rng, distribution) for t in graph.inputs]


def edge_batches(graph: Graph, seed: int = 0) -> list[tuple[str, list[np.ndarray]]]:
    """(description, batch) of what a batch of ordinary numbers does not show; each a batch of 1.

    Zeros, numbers a thousand times smaller and larger, and other sizes where dimensions are free. Where Keras itself
    computes something else for a single sample (`bias_of_one_sample`) they are batches of 2.
    """
    rng = np.random.default_rng([seed, 1])
    count = 1 if bias_of_one_sample(graph) is None else 2
    floats = any("float" in graph.tensors[t].dtype for t in graph.inputs)
    found = [(f"zeros, batch of {count}", [_draw(graph, t, count, rng, "zeros") for t in graph.inputs])]
    if floats:
        # float16 ends at 65504: a thousand times larger numbers would overflow on one side or the other.
        large = 8 if any(t.dtype == "float16" for _, inner, _ in graph.walk() for t in inner.tensors.values()) else 1000
        scaled = ["float" in graph.tensors[t].dtype and vocabulary(graph, t)[0] is None for t in graph.inputs]
        for name, scale in (
            (f"tiny numbers (normal · 0.001), batch of {count}", 1e-3),
            (f"large numbers (normal · {large}), batch of {count}", large),
        ):
            arrays = [_draw(graph, t, count, rng, "normal") for t in graph.inputs]
            found.append((name, [a * a.dtype.type(scale) if one else a for a, one in zip(arrays, scaled)]))
    if any(n is None for t in graph.inputs for n in graph.tensors[t].shape[1:]):
        sizes = FREE_SIZE + 7, FREE_IMAGE_SIZE + 32
        arrays = [_draw(graph, t, count, rng, "normal", sizes) for t in graph.inputs]
        found.append((f"other sizes, batch of {count}", arrays))
    return found


@dataclass(frozen=True, eq=False)
class Range:
    """What the first layer behind an input says about its numbers: (mean, deviation), or pixels where it is None."""

    statistics: tuple[np.ndarray, np.ndarray] | None
    why: str

    @property
    def what(self) -> str:
        if self.statistics is None:
            return "pixels 0…255"
        mean, deviation = self.statistics
        return f"numbers around {mean.mean():.3g} ± {deviation.mean():.3g}"


def implied_batch(
    graph: Graph, value: Callable[[str], np.ndarray], batch: int, seed: int = 0
) -> tuple[str, list[np.ndarray]] | None:
    """(description, batch) in the ranges that the model's own preprocessing implies; None where it says nothing.

    A Rescaling, or a division, by a factor that brings 0…255 to about 1 means pixels; a Normalization means its own
    mean and variance.

    value: of a variable, by its path.
    """
    rng = np.random.default_rng([seed, 4])
    arrays, reasons = [], []
    for name, t in zip(graph.input_names, graph.inputs):
        found = _implied(graph, t, value) if "string" not in graph.tensors[t].dtype else None
        if found is None:
            arrays.append(_draw(graph, t, batch, rng, "normal"))
            continue
        if found.statistics is None:
            arrays.append(_draw(graph, t, batch, rng, "image"))
        else:
            mean, deviation = found.statistics
            array = _draw(graph, t, batch, rng, "normal")
            arrays.append((array * deviation + mean).astype(array.dtype))
        reasons.append(
            f"{found.what} for {name!r}, as {found.why}" if len(graph.inputs) > 1 else f"{found.what}, as {found.why}"
        )
    return ("; ".join(reasons), arrays) if reasons else None


def _implied(graph: Graph, tensor: str, value: Callable[[str], np.ndarray]) -> Range | None:
    """What the layers that read a tensor say of its range, behind nested models and layers that leave numbers alone."""
    for node in graph.consumers()[tensor]:
        layer, config = node.layer, node.layer.config
        if layer.graph is not None:
            found = _implied(layer.graph, layer.graph.inputs[node.inputs.index(tensor)], value)
        elif layer.kind == "Rescaling":
            scale = np.abs(np.asarray(config.get("scale"), "float64"))
            why = f"the Rescaling {layer.path!r} multiplies by {float(scale.flat[0]):.4g}"
            found = Range(None, why) if 0 < scale.max() < PIXELS else None
        elif layer.kind in ("ops.Divide", "ops.TrueDivide", "ops.Multiply"):
            factor = next((v for v in node.arguments.values() if isinstance(v, (int, float)) and v), 1)
            scale = abs(factor if layer.kind == "ops.Multiply" else 1 / factor)
            found = Range(None, f"the model multiplies by {scale:.4g} first") if 0 < scale < PIXELS else None
        elif layer.kind == "Normalization" and not config.get("invert"):
            found = _adapted(layer, value)
        elif layer.kind in ("ops.Cast", "Identity", "Resizing", "CenterCrop", "ZeroPadding2D"):
            found = _implied(graph, node.outputs[0], value)
        else:
            found = None
        if found is not None:
            return found
    return None


def _adapted(layer: Layer, value: Callable[[str], np.ndarray]) -> Range | None:
    """The range that a Normalization was made for, where its statistics lie along the last axis or are one number."""
    variables = {v.name: v.path for v in layer.variables}
    mean, variance = (
        np.asarray(
            layer.config[name]
            if layer.config.get(name) is not None
            else value(variables[name])
            if name in variables
            else np.nan,
            "float64",
        )
        for name in ("mean", "variance")
    )
    if (
        layer.config.get("axis") not in (-1, [-1], (-1,), None)
        or not np.isfinite(mean).all()
        or not np.isfinite(variance).all()
    ):
        return None
    return Range((mean.ravel(), np.sqrt(variance).ravel()), f"the Normalization {layer.path!r} expects")


def _draw(
    graph: Graph,
    tensor: str,
    batch: int,
    rng: np.random.Generator,
    distribution: str,
    sizes: tuple[int, int] = (FREE_SIZE, FREE_IMAGE_SIZE),
) -> np.ndarray:
    spec = graph.tensors[tensor]
    free = sizes[1] if len(spec.shape) >= 4 else sizes[0]
    shape = (spec.shape[0] or batch, *(free if n is None else n for n in spec.shape[1:]))
    size, masked = vocabulary(graph, tensor)
    if size is not None and distribution == "zeros":
        return np.zeros(shape, spec.dtype)
    if size is not None:
        tokens = rng.integers(0, size, shape)
        if masked and len(shape) >= 2:
            lengths = rng.integers(max(1, shape[1] - max(1, shape[1] // 3)), shape[1] + 1, shape[0])
            tokens[np.arange(shape[1])[None, :] >= lengths[:, None]] = 0
        return tokens.astype(spec.dtype)
    if spec.dtype == "bool":
        return rng.random(shape) < 0.75
    if distribution in ("zeros", "ones"):
        return np.full(shape, float(distribution == "ones")).astype(spec.dtype)
    if "int" in spec.dtype:
        return rng.integers(0, 10, shape).astype(spec.dtype)
    if distribution == "uniform":
        return rng.random(shape).astype(spec.dtype)
    if distribution == "image":
        return rng.integers(0, 256, shape).astype(spec.dtype)
    return rng.standard_normal(shape).astype(spec.dtype)


def vocabulary(graph: Graph, tensor: str) -> tuple[int | None, bool]:
    """(input_dim, mask_zero) of the smallest Embedding that a tensor reaches unchanged, else (None, False)."""
    sizes, masked = [], False
    for node in graph.consumers()[tensor]:
        layer = node.layer
        while layer.kind == "TimeDistributed":
            layer = layer.children["layer"]
        if layer.kind == "Embedding":
            sizes.append(int(layer.config["input_dim"]))
            masked |= bool(layer.config.get("mask_zero"))
        elif layer.graph is not None:
            for index, t in enumerate(node.inputs):
                if t == tensor:
                    size, inner = vocabulary(layer.graph, layer.graph.inputs[index])
                    sizes += [size] if size else []
                    masked |= inner
        elif layer.kind in ("ops.Cast", "Identity", "Reshape", "Flatten", "ops.Reshape", "ops.GetItem"):
            size, inner = vocabulary(graph, node.outputs[0])
            sizes += [size] if size else []
            masked |= inner
        elif layer.kind == "ops.Add":  # an offset for each column, as where several share one table
            size, _ = vocabulary(graph, node.outputs[0])
            offsets = [np.max(v) for v in node.arguments.values() if isinstance(v, (int, np.ndarray))]
            sizes += [max(size - int(max(offsets)), 1)] if size and offsets else []
    return (min(sizes), masked) if sizes else (None, False)
