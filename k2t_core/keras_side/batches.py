"""Batches to compare on, drawn at random for what each input means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from k2t_core.errors import InputError
from k2t_core.graph import Graph
from k2t_core.keras_side.memory import check_batch
from k2t_core.rules import registry
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

    Token inputs (those that reach a table of rows, as an Embedding has) are drawn from its vocabulary, about a fifth of
    each sequence's end set to 0 where the table masks zeros. Other integers are 0…9, bools three quarters True.
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
        layer, rule = node.layer, registry.known(node.layer.kind)
        factors = [abs(factor) for factor in rule.factors(node)]
        statistics = rule.expects(layer, value)
        found = None
        if layer.graph is not None:
            found = _implied(layer.graph, layer.graph.inputs[node.inputs.index(tensor)], value)
        elif factors and 0 < max(factors) < PIXELS:
            who = "the model" if layer.kind.startswith("ops.") else f"the {layer.kind} {layer.path!r}"
            found = Range(None, f"{who} multiplies by {factors[0]:.4g}{' first' if who == 'the model' else ''}")
        elif statistics is not None:
            mean, variance = statistics
            found = Range((mean, np.sqrt(variance)), f"the {layer.kind} {layer.path!r} expects")
        elif rule.range == "kept":
            found = _implied(graph, node.outputs[0], value)
        if found is not None:
            return found
    return None


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
    """(rows, mask_zero) of the smallest table that a tensor reaches unchanged, else (None, False)."""
    sizes, masked = [], False
    for node in graph.consumers()[tensor]:
        while "layer" in node.layer.children:  # a wrapper
            node = replace(node, layer=node.layer.children["layer"])
        layer, rule = node.layer, registry.known(node.layer.kind)
        if (rows := rule.rows(node)) is not None:
            sizes.append(rows)
            masked |= bool(layer.config.get("mask_zero"))
        elif layer.graph is not None:
            for index, t in enumerate(node.inputs):
                if t == tensor:
                    size, inner = vocabulary(layer.graph, layer.graph.inputs[index])
                    sizes += [size] if size else []
                    masked |= inner
        elif rule.range is not None:
            size, inner = vocabulary(graph, node.outputs[0])
            sizes += [size] if size else []
            masked |= inner
        elif shifts := rule.shifts(node):  # an offset for each column, as where several share one table
            size, _ = vocabulary(graph, node.outputs[0])
            sizes += [max(size - int(max(shifts)), 1)] if size else []
    return (min(sizes), masked) if sizes else (None, False)
