"""Batches to compare on: drawn at random for what each input means, or the user's own."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from k2t_core.errors import InputError, one_line
from k2t_core.graph import Graph, Layer, Shape
from k2t_core.keras_side.memory import check_batch, check_file
from k2t_core.rules.merging import bias_of_one_sample

DISTRIBUTIONS = {
    "normal": "standard normal",
    "uniform": "uniform in [0, 1)",
    "image": "whole numbers 0…255, as pixels",
    "zeros": "all zeros",
    "ones": "all ones",
}
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
PIXELS = 0.05  # a factor below this brings pixels to about 1
MOST_IMAGES = 64
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

    Zeros, numbers a thousand times smaller and larger, and other sizes where dimensions are free. Where Keras itself computes
    something else for a single sample (`bias_of_one_sample`) they are batches of 2.
    """
    rng = np.random.default_rng([seed, 1])
    count = 1 if bias_of_one_sample(graph) is None else 2
    floats = any("float" in graph.tensors[t].dtype for t in graph.inputs)
    found = [(f"zeros, batch of {count}", [_draw(graph, t, count, rng, "zeros") for t in graph.inputs])]
    if floats:
        # float16 ends at 65504: a thousand times larger numbers would overflow on one side or the other.
        large = 8 if any(t.dtype == "float16" for _, inner, _ in graph.walk() for t in inner.tensors.values()) else 1000
        for name, scale in (
            (f"tiny numbers (normal · 0.001), batch of {count}", 1e-3),
            (f"large numbers (normal · {large}), batch of {count}", large),
        ):
            arrays = [_draw(graph, t, count, rng, "normal") for t in graph.inputs]
            scaled = ["float" in graph.tensors[t].dtype and _vocabulary(graph, t)[0] is None for t in graph.inputs]
            found.append((name, [a * a.dtype.type(scale) if one else a for a, one in zip(arrays, scaled)]))
    if any(n is None for t in graph.inputs for n in graph.tensors[t].shape[1:]):
        found.append(
            (
                f"other sizes, batch of {count}",
                [
                    _draw(graph, t, count, rng, "normal", sizes=(FREE_SIZE + 7, FREE_IMAGE_SIZE + 32))
                    for t in graph.inputs
                ],
            )
        )
    return found


@dataclass(frozen=True, eq=False)
class Range:
    """What the first layer behind an input says about its numbers: mean and deviation, or pixels where they are None."""

    mean: np.ndarray | None
    deviation: np.ndarray | None
    why: str

    @property
    def what(self) -> str:
        if self.mean is None:
            return "pixels 0…255"
        return f"numbers around {self.mean.mean():.3g} ± {self.deviation.mean():.3g}"


def implied_batch(
    graph: Graph, value: Callable[[str], np.ndarray], batch: int, seed: int = 0
) -> tuple[str, list[np.ndarray]] | None:
    """(description, batch) in the ranges that the model's own preprocessing implies; None where it says nothing.

    A Rescaling, or a division, by a factor that brings 0…255 to about 1 means pixels; a Normalization means its own mean
    and variance. value: of a variable, by its path.
    """
    rng = np.random.default_rng([seed, 4])
    arrays, reasons = [], []
    for name, t in zip(graph.input_names, graph.inputs):
        found = _implied(graph, t, value) if "string" not in graph.tensors[t].dtype else None
        if found is None:
            arrays.append(_draw(graph, t, batch, rng, "normal"))
            continue
        if found.mean is None:
            arrays.append(_draw(graph, t, batch, rng, "image"))
        else:
            array = _draw(graph, t, batch, rng, "normal")
            arrays.append((array * found.deviation + found.mean).astype(array.dtype))
        reasons.append(
            f"{found.what} for {name!r}, as {found.why}" if len(graph.inputs) > 1 else f"{found.what}, as {found.why}"
        )
    return ("; ".join(reasons), arrays) if reasons else None


def _implied(graph: Graph, tensor: str, value: Callable[[str], np.ndarray]) -> Range | None:
    """What the layers that read a tensor say of its range; through nested models and layers that do not change numbers."""
    for node in graph.consumers()[tensor]:
        layer, config = node.layer, node.layer.config
        if layer.graph is not None:
            found = _implied(layer.graph, layer.graph.inputs[node.inputs.index(tensor)], value)
        elif layer.kind == "Rescaling":
            scale = np.abs(np.asarray(config.get("scale"), "float64"))
            found = (
                Range(None, None, f"the Rescaling {layer.path!r} multiplies by {float(scale.flat[0]):.4g}")
                if 0 < scale.max() < PIXELS
                else None
            )
        elif layer.kind in ("ops.Divide", "ops.TrueDivide", "ops.Multiply"):
            factor = next((v for v in node.arguments.values() if isinstance(v, (int, float)) and v), 1)
            scale = abs(factor if layer.kind == "ops.Multiply" else 1 / factor)
            found = Range(None, None, f"the model multiplies by {scale:.4g} first") if 0 < scale < PIXELS else None
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
    return Range(mean.ravel(), np.sqrt(variance).ravel(), f"the Normalization {layer.path!r} expects")


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
    vocabulary, masked = _vocabulary(graph, tensor)
    if vocabulary is not None and distribution == "zeros":
        return np.zeros(shape, spec.dtype)
    if vocabulary is not None:
        tokens = rng.integers(0, vocabulary, shape)
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


def _vocabulary(graph: Graph, tensor: str) -> tuple[int | None, bool]:
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
                    size, inner = _vocabulary(layer.graph, layer.graph.inputs[index])
                    sizes += [size] if size else []
                    masked |= inner
        elif layer.kind in ("ops.Cast", "Identity", "Reshape", "Flatten", "ops.Reshape", "ops.GetItem"):
            size, inner = _vocabulary(graph, node.outputs[0])
            sizes += [size] if size else []
            masked |= inner
        elif layer.kind == "ops.Add":  # an offset for each column, as where several share one table
            size, _ = _vocabulary(graph, node.outputs[0])
            offsets = [np.max(v) for v in node.arguments.values() if isinstance(v, (int, np.ndarray))]
            sizes += [max(size - int(max(offsets)), 1)] if size and offsets else []
    return (min(sizes), masked) if sizes else (None, False)


def read_inputs(path: str | Path, graph: Graph) -> list[np.ndarray]:
    """The user's batch, in Keras's layout.

    ``.npz``: an array for each input, by name or in order. ``.csv``: a sample a row; the columns that are named after an
    input (``age``; ``size_0``, ``size_1``), or all in order. For a model of one input also ``.npy``; an image, or a folder of images, brought to the input's size, pixels 0…255.
    Raises InputError.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in IMAGES:
        return check_inputs([_read_images(path, graph)], graph, path.name)
    if path.suffix.lower() == ".csv":
        return check_inputs(_read_table(path, graph), graph, path.name)
    if path.suffix.lower() not in (".npy", ".npz"):
        raise InputError(
            f"{path.name}: not a kind of file that inputs are read from: .npz, .npy, .csv, or images ({', '.join(sorted(IMAGES))})"
        )
    try:
        check_file(
            path,
            sum(item.file_size for item in zipfile.ZipFile(path).infolist())
            if path.suffix.lower() == ".npz"
            else path.stat().st_size,
        )
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            named = {"": data}
        else:
            with data:
                named = {name: data[name] for name in data.files}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        why = "it holds Python objects, or is damaged" if "pickle" in str(error) else one_line(error, 120)
        raise InputError(f"{path.name}: not a .npy or .npz file of numbers ({why})") from error
    names = graph.input_names
    arrays = [named[name] for name in names] if set(names) <= set(named) else list(named.values())
    return check_inputs(arrays, graph, path.name)


def _only_input(graph: Graph, path: Path) -> Shape:
    """The shape of the model's one input."""
    if len(graph.inputs) != 1:
        raise InputError(
            f"{path.name}: the model has {len(graph.inputs)} inputs ({', '.join(graph.input_names)}); give a .npz with an array for each"
        )
    return graph.tensors[graph.inputs[0]].shape


def _read_table(path: Path, graph: Graph) -> list[np.ndarray]:
    import pandas as pd

    try:
        table = pd.read_csv(path)
        if all(_is_number(name) for name in table.columns):  # no line of names
            table = pd.read_csv(path, header=None)
        values = table.to_numpy(dtype="float64")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(
            f"{path.name}: not a table of numbers with commas between them ({one_line(error, 120)})"
        ) from error
    shapes = [graph.tensors[t].shape[1:] for t in graph.inputs]
    if len(shapes) == 1 and shapes[0].count(None) == 1:
        known = math.prod(n for n in shapes[0] if n is not None)
        if known and not values.shape[1] % known:
            return [values.reshape(len(values), *(-1 if n is None else n for n in shapes[0]))]
    if any(None in shape for shape in shapes):
        raise InputError(
            f"{path.name}: its {values.shape[1]} columns do not tell the sizes that the model leaves free; give a .npz"
        )
    sizes = [math.prod(shape) for shape in shapes]
    columns = [_columns(name, list(map(str, table.columns))) for name in graph.input_names]
    if [len(found) for found in columns] != sizes:
        if values.shape[1] != sum(sizes):
            wanted = ", ".join(f"{name} {size}" for name, size in zip(graph.input_names, sizes))
            raise InputError(
                f"{path.name}: has {values.shape[1]} columns, the model takes {sum(sizes)} numbers ({wanted}), by the name of the input or in order"
            )
        ends = np.cumsum(sizes)
        columns = [list(range(end - size, end)) for size, end in zip(sizes, ends)]
    return [values[:, found].reshape(len(values), *shape) for found, shape in zip(columns, shapes)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns(name: str, names: Sequence[str]) -> list[int]:
    """The columns of an input: that of its name, or those of its name and a number, in the order of the numbers."""
    numbered = [
        (int(found[1] or 0), index)
        for index, column in enumerate(names)
        if (found := re.fullmatch(re.escape(name) + r"(?:[ _.\[]*(\d+)\]?)?", column))
    ]
    return [index for _, index in sorted(numbered)]


def _read_images(path: Path, graph: Graph) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    shape = _only_input(graph, path)
    if len(shape) != 4 or shape[3] not in (1, 3, 4):
        raise InputError(
            f"{path.name}: the model's input is {shape}, not images with channels last (1, 3 or 4 of them)"
        )
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no images ({', '.join(sorted(IMAGES))}) in this folder")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[shape[3]]
    arrays = []
    for file in files[:MOST_IMAGES]:
        try:
            with Image.open(file) as image:
                image = image.convert(mode)
                size = (
                    (shape[2] or image.width, shape[1] or image.height)
                    if not arrays
                    else (arrays[0].shape[1], arrays[0].shape[0])
                )
                arrays.append(np.asarray(image.resize(size), "float32").reshape(size[1], size[0], shape[3]))
        except FileNotFoundError as error:
            raise InputError(f"{file}: no such file") from error
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise InputError(f"{file.name}: not an image that can be read ({one_line(error, 120)})") from error
    return np.stack(arrays)


def check_inputs(arrays: Sequence[np.ndarray], graph: Graph, name: str = "inputs") -> list[np.ndarray]:
    """The arrays in the model's dtypes. Raises InputError where count, shape, dtype or values do not fit."""
    if len(arrays) != len(graph.inputs):
        raise InputError(
            f"{name}: {len(arrays)} arrays for a model of {len(graph.inputs)} inputs ({', '.join(graph.input_names)})"
        )
    batches = {len(a) if np.ndim(a) else 0 for a in arrays}
    if len(batches) > 1 or 0 in batches:
        raise InputError(f"{name}: the inputs must have the same batch size of at least 1, not {sorted(batches)}")
    checked = []
    for label, t, array in zip(graph.input_names, graph.inputs, arrays):
        spec = graph.tensors[t]
        array = np.asarray(array)
        if array.ndim != len(spec.shape) or any(
            want is not None and want != got for want, got in zip(spec.shape, array.shape)
        ):
            wanted = "(" + ", ".join("any" if n is None else str(n) for n in spec.shape) + ")"
            raise InputError(
                f"{name}: input {label!r} has shape {array.shape}, the model takes {wanted} in Keras's axis order"
            )
        if not array.size and 0 not in spec.shape:
            raise InputError(f"{name}: input {label!r} has shape {array.shape}: there is nothing in it")
        if array.dtype.kind not in "biuf":
            raise InputError(f"{name}: input {label!r} is of dtype {array.dtype}, not numbers")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{name}: input {label!r} holds NaN or infinity")
        if "int" in spec.dtype and array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
            raise InputError(f"{name}: input {label!r} must be whole numbers ({spec.dtype})")
        vocabulary, _ = _vocabulary(graph, t)
        if vocabulary is not None and (array.min() < 0 or array.max() >= vocabulary):
            raise InputError(
                f"{name}: input {label!r} holds tokens from {array.min():g} to {array.max():g}, but the Embedding knows 0 to {vocabulary - 1}"
            )
        with np.errstate(over="ignore"):
            checked.append(array.astype(spec.dtype))
        if array.dtype.kind == "f" and not np.isfinite(checked[-1].astype("float64")).all():
            raise InputError(
                f"{name}: input {label!r} holds numbers up to {np.abs(array).max():.3g}, beyond the range of {spec.dtype}"
            )
    check_batch(graph, len(checked[0]))
    return checked
