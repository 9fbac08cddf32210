"""The user's own batch: read from a file, and checked against what the model takes."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from k2t_core.errors import InputError, one_line
from k2t_core.graph import Graph, Shape
from k2t_core.keras_side.batches import vocabulary
from k2t_core.keras_side.memory import check_batch, check_file

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
MOST_IMAGES = 64


def read_inputs(path: str | Path, graph: Graph) -> list[np.ndarray]:
    """The user's batch, in Keras's layout.

    ``.npz``: an array for each input, by name or in order. ``.csv``: a sample a row; the columns that are named after
    an input (``age``; ``size_0``, ``size_1``), or all in order. For a model of one input also ``.npy``; an image, or a
    folder of images, brought to the input's size, pixels 0…255.

    Raises InputError.
    """
    path = Path(path)
    found = [path, *path.iterdir()] if path.is_dir() else [path]
    odd = next((one for one in found if one.exists() and not one.is_file() and not one.is_dir()), None)
    if odd is not None:  # a pipe would hold whoever reads it
        raise InputError(f"{odd}: is no file; give a .npz, .npy, .csv or an image")
    if path.is_dir() or path.suffix.lower() in IMAGES:
        return check_inputs([_read_images(path, graph)], graph, path.name)
    if path.suffix.lower() == ".csv":
        return check_inputs(_read_table(path, graph), graph, path.name)
    if path.suffix.lower() not in (".npy", ".npz"):
        raise InputError(
            f"{path.name}: not a kind of file that inputs are read from: .npz, .npy, .csv, "
            f"or images ({', '.join(sorted(IMAGES))})"
        )
    try:
        check_file(path, _unpacked(path))
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


def _unpacked(path: Path) -> int:
    """Bytes of the arrays in a .npy or .npz file."""
    if path.suffix.lower() == ".npz":
        with zipfile.ZipFile(path) as archive:
            return sum(item.file_size for item in archive.infolist())
    return path.stat().st_size


def _only_input(graph: Graph, path: Path) -> Shape:
    """The shape of the model's one input."""
    if len(graph.inputs) != 1:
        raise InputError(
            f"{path.name}: the model has {len(graph.inputs)} inputs ({', '.join(graph.input_names)}); "
            "give a .npz with an array for each"
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
    sizes = [math.prod(n for n in shape if n is not None) for shape in shapes]
    columns = [_columns(name, list(map(str, table.columns))) for name in graph.input_names]
    if [len(found) for found in columns] != sizes:
        if values.shape[1] != sum(sizes):
            wanted = ", ".join(f"{name} {size}" for name, size in zip(graph.input_names, sizes))
            raise InputError(
                f"{path.name}: has {values.shape[1]} columns, the model takes {sum(sizes)} numbers ({wanted}), "
                "by the name of the input or in order"
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
    arrays: list[np.ndarray] = []
    for file in files[:MOST_IMAGES]:
        try:
            with Image.open(file) as opened:
                image = opened.convert(mode)
            width, height = shape[2] or image.width, shape[1] or image.height
            if arrays:  # all of one batch are of one size
                height, width = arrays[0].shape[:2]
            arrays.append(np.asarray(image.resize((width, height)), "float32").reshape(height, width, shape[3]))
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
        known, _ = vocabulary(graph, t)
        if known is not None and (array.min() < 0 or array.max() >= known):
            raise InputError(
                f"{name}: input {label!r} holds tokens from {array.min():g} to {array.max():g}, "
                f"but the Embedding knows 0 to {known - 1}"
            )
        with np.errstate(over="ignore"):
            checked.append(array.astype(spec.dtype))
        if array.dtype.kind == "f" and not np.isfinite(checked[-1].astype("float64")).all():
            raise InputError(
                f"{name}: input {label!r} holds numbers up to {np.abs(array).max():.3g}, "
                f"beyond the range of {spec.dtype}"
            )
    check_batch(graph, len(checked[0]))
    return checked
