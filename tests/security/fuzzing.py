"""A fuzzer that knows how model files are built: it takes valid ones and changes their structure.

A mutant is a base file and a few steps, each a mutator with a seed of its own: the same mutant is the same bytes every
time, and a finding is made smaller by leaving steps out. `Worker` judges one mutant in a process that lives on for the
next; ``benchmarks/fuzz.py`` runs it over thousands, `test_fuzz.py` over a fixed sample.

What a mutant may end in: a refusal (a `K2TError` of one line), or a conversion that verifies. Everything else is a
finding, and so is a canary that fires (`tests.security.canaries`).
"""

from __future__ import annotations

import copy
import gc
import json
import os
import random
import shutil
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from k2t_core.keras_side.reading import read
from k2t_core.processes.messages import Codec
from tests.security import canaries
from tests.security.canaries import CODE, Watch
from tests.security.files import Parts

SECRET = str(canaries.SECRET)

MAX_STEPS = 4
HOSTILE_FUNCTIONS = (
    ("os", "system"),
    ("builtins", "exec"),
    ("builtins", "eval"),
    ("keras.config", "set_floatx"),
    ("keras.config", "enable_unsafe_deserialization"),
    ("keras.utils", "get_file"),
    ("keras.models", "load_model"),
    ("keras.ops", "while_loop"),
    ("keras.activations", "relu"),
    ("tf_keras.src.utils.generic_utils", "func_load"),
)
ODD_TEXT = (
    "",
    " ",
    "a/b",
    "../../up",
    "/abs",
    "C:\\x",
    "nul\0byte",
    "half \ud800",
    "line\nbreak",
    'quote"\'"""',
    "\\",
    "{x}",
    "self",
    "import",
    "class",
    "ｃlass",
    "\u2028",
    "\x1b[31m",
    "🧮",
    "x" * 3000,
    "None",
    "nan",
    "0",
    "float99",
    "mixed_float16",
    "channels_first",
    "causal",
    "same",
    "__lambda__",
    "function",
    "Lambda",
    "tf.strings.regex",
)
ODD_NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    7,
    10**3,
    10**6,
    3 * 10**7,
    2**31 - 1,
    2**31,
    2**63 - 1,
    2**63,
    10**30,
    -(10**12),
    0.5,
    -0.0,
    1e-45,
    1e38,
    -1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
)
ODD_OTHERS = (
    None,
    True,
    False,
    [],
    {},
    [None],
    [[]],
    [1, 2],
    ["a"],
    {"a": 1},
    [float("nan")] * 3,
    {"class_name": "Dense"},
)


@dataclass(frozen=True)
class Mutant:
    """base: the name of a file in the corpus. steps: (mutator, its seed)."""

    base: str
    steps: tuple[tuple[str, int], ...]

    def to_json(self) -> list:
        return [self.base, [list(step) for step in self.steps]]

    @staticmethod
    def from_json(data: Sequence) -> Mutant:
        return Mutant(data[0], tuple((name, seed) for name, seed in data[1]))

    def __str__(self) -> str:
        return f"{self.base} · {', '.join(f'{name} {seed}' for name, seed in self.steps)}"


def mutant(seed: int, corpus: Corpus) -> Mutant:
    """The mutant of a seed: a base of the corpus, and one to four steps."""
    rng = random.Random(seed)
    base = rng.choice(corpus.names)
    kinds = [name for name in MUTATORS if name not in ARCHIVE_ONLY or base.endswith(".keras")]
    weights = [MUTATORS[name][1] for name in kinds]
    count = rng.choice((1, 1, 1, 2, 2, 3, MAX_STEPS))
    return Mutant(base, tuple((name, rng.randrange(2**32)) for name in rng.choices(kinds, weights, k=count)))


# --- mutators ---

MUTATORS: dict[str, tuple[Callable[[Parts, random.Random, Corpus], object], float]] = {}
ARCHIVE_ONLY: set[str] = set()
LAST: dict[
    str, Callable[[bytes, random.Random], bytes]
] = {}  # those that change the bytes of the file as it is written


def mutator(weight: float = 1.0, archive: bool = False) -> Callable:
    def register(change: Callable) -> Callable:
        MUTATORS[change.__name__] = (change, weight)
        if archive:
            ARCHIVE_ONLY.add(change.__name__)
        return change

    return register


def odd(rng: random.Random) -> Any:
    """A value that hardly any option takes."""
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(ODD_NUMBERS)
    if kind < 0.75:
        return rng.choice(ODD_TEXT)
    if kind < 0.95:
        return copy.deepcopy(rng.choice(ODD_OTHERS))
    value: Any = 1
    for _ in range(rng.choice((20, 200, 900, 5000))):  # nested
        value = [value] if rng.random() < 0.5 else {"config": value}
    return value


def slots(config: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value in a config."""
    found, stack = [], [config]
    while stack:
        value = stack.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in keys:
            found.append((value, key))
            stack.append(value[key])
    return found


def some(rng: random.Random, found: Sequence, fits: Callable[[Any], bool] = lambda _: True) -> tuple[Any, Any] | None:
    """One of the slots whose value fits."""
    fitting = [(box, key) for box, key in found if fits(box[key])]
    return rng.choice(fitting) if fitting else None


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def put(place: tuple[Any, Any] | None, value: Any) -> None:
    if place is not None:
        place[0][place[1]] = value


@mutator(4)
def odd_value(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    put(some(rng, slots(parts.config)), odd(rng))


@mutator(4)
def odd_option(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """Of a layer, where an odd value reaches what the layer does with it."""
    options = [(item["config"], key) for item in objects(parts.config) for key in item["config"] if key != "layers"]
    if options:
        put(rng.choice(options), odd(rng))


@mutator(4)
def other_number(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    place = some(rng, slots(parts.config), is_number)
    if place is not None:
        value = place[0][place[1]]
        put(
            place,
            rng.choice(
                [value + 1, value - 1, -value, value * 2, 0, value + 0.5, float(value), 10 ** rng.randrange(12)]
            ),
        )


@mutator(3)
def other_option(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """A value that the option may have, of another layer's option of that name."""
    others = [item for _ in range(3) for item in objects(corpus.config(rng.choice(corpus.names)))]
    mine = [(item["config"], key) for item in objects(parts.config) for key in item["config"]]
    rng.shuffle(mine)
    for box, key in mine:
        values = [item["config"][key] for item in others if key in item["config"] and item["config"][key] != box[key]]
        if values and key not in ("name", "layers"):
            box[key] = copy.deepcopy(rng.choice(values))
            return


@mutator(2)
def flip(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    place = some(rng, slots(parts.config), lambda value: isinstance(value, bool))
    if place is not None:
        put(place, not place[0][place[1]])


@mutator(1.5)
def other_text(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    put(some(rng, slots(parts.config), lambda value: isinstance(value, str)), rng.choice(ODD_TEXT))


@mutator(2)
def without_key(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    place = some(rng, slots(parts.config))
    if place is not None:
        del place[0][place[1]]


@mutator()
def renamed_key(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    places = [(box, key) for box, key in slots(parts.config) if isinstance(box, dict)]
    if places:
        box, key = rng.choice(places)
        box[rng.choice((key + "_", key.upper(), "config", "class_name", "layers", "name", *ODD_TEXT[:6]))] = box.pop(
            key
        )


@mutator(1.5)
def swapped(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """Two values of the config change places; one may come to stand within itself, and then nothing changes."""
    found = slots(parts.config)
    if len(found) > 1:
        (a, i), (b, j) = rng.sample(found, 2)
        kept = copy.deepcopy(parts.config)
        a[i], b[j] = b[j], a[i]
        try:
            json.dumps(parts.config)
        except ValueError:
            parts.config = kept


@mutator(1.5)
def grafted(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """A piece of another file's config."""
    other = corpus.config(rng.choice(corpus.names))
    source = some(rng, slots(other), lambda value: isinstance(value, (dict, list)))
    if source is not None:
        put(some(rng, slots(parts.config)), copy.deepcopy(source[0][source[1]]))


@mutator(1.5)
def repeated(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    place = some(rng, slots(parts.config), lambda value: isinstance(value, list) and len(value) > 0)
    if place is not None:
        found = place[0][place[1]]
        found.insert(rng.randrange(len(found) + 1), copy.deepcopy(rng.choice(found)))


@mutator()
def shuffled(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    place = some(rng, slots(parts.config), lambda value: isinstance(value, list) and len(value) > 1)
    if place is not None:
        rng.shuffle(place[0][place[1]])


@mutator(2)
def other_class(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """A layer of another class of the corpus, with this one's options or its own."""
    found, others = list(objects(parts.config)), list(objects(corpus.config(rng.choice(corpus.names))))
    if found and others:
        item, other = rng.choice(found), rng.choice(others)
        for key in ("class_name", "module", "registered_name"):
            if key in other:
                item[key] = other[key]
        if rng.random() < 0.6:
            item["config"] = {**copy.deepcopy(other["config"]), "name": item["config"].get("name")}


@mutator(1.5)
def odd_class(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    found = list(objects(parts.config))
    if found:
        key = rng.choice(("class_name", "module", "registered_name"))
        names = ("os", "builtins", "subprocess", "keras.src.layers", "tf_keras", "keras.utils", "Lambda", "TFSMLayer")
        rng.choice(found)[key] = rng.choice((*names, *ODD_TEXT[:10], None, 3))


@mutator(1.5)
def hostile_function(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    module, name = rng.choice(HOSTILE_FUNCTIONS)
    item = {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": rng.choice((name, "function")),
    }
    put(some(rng, slots(parts.config)), item)


@mutator(1)
def stored_code(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    value = {"code": CODE, "defaults": None, "closure": None}
    item = rng.choice(
        (
            {"class_name": "__lambda__", "config": value},
            {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "l", "function": [CODE, None, None]}},
            [CODE, None, None],
        )
    )
    put(some(rng, slots(parts.config)), item)


@mutator(3)
def other_call(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """A call reads another layer, another call or another tensor; or it goes, or comes twice."""
    layers = [item for item in objects(parts.config) if item.get("inbound_nodes")]
    names = [str(item.get("name") or item["config"].get("name")) for item in objects(parts.config)]
    if not layers:
        return
    nodes = rng.choice(layers)["inbound_nodes"]
    histories = [
        (box, key)
        for box, key in slots(nodes)
        if isinstance(box[key], list) and len(box[key]) >= 3 and isinstance(box[key][0], str)
    ]
    action = rng.random()
    if histories and action < 0.7:
        box, key = rng.choice(histories)
        at = rng.randrange(3)
        box[key][at] = rng.choice([*names, "nobody"]) if at == 0 else rng.choice((0, 1, 2, -1, 10**9, None, "0"))
    elif action < 0.8:
        nodes.clear()
    else:
        nodes.append(copy.deepcopy(rng.choice(nodes)))


@mutator(1.5)
def renamed_layer(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """Everywhere, so that the model stays one; to an odd name, or to that of another layer."""
    names = sorted({str(item["config"].get("name")) for item in objects(parts.config)})
    old = rng.choice(names) if names else None
    new = rng.choice([*ODD_TEXT, *names])
    stack = [parts.config]
    while stack:
        value = stack.pop()
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            if value[key] == old:
                value[key] = new
            elif isinstance(value[key], (dict, list)):
                stack.append(value[key])


@mutator(0.7)
def nested_deep(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """The model within a model within a model."""
    for depth in range(rng.choice((1, 3, 30, 120))):
        outer = {"class_name": "Sequential", "config": {"name": f"outer{depth}", "layers": [parts.config]}}
        if "module" in parts.config:
            outer |= {"module": "keras", "registered_name": None}
        parts.config = outer


@mutator(0.7)
def other_version(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    version = rng.choice(("2.15.0", "3.8.0", "1.2", "", "2", "three", 3, None, "99.0", ["2.1"]))
    if parts.is_archive:
        parts.members = [(name, data) for name, data in parts.members if name != "metadata.json"]
        parts.members.append(("metadata.json", json.dumps({"keras_version": version}).encode()))
    else:

        def change(file: Any) -> None:
            file.attrs.pop("keras_version", None)
            if isinstance(version, (str, int)):
                file.attrs["keras_version"] = version

        parts.edit(change)


@mutator(0.5)
def odd_json(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    text = json.dumps(parts.config)
    at = rng.randrange(len(text))
    parts.text = rng.choice(
        (
            text[:at],
            text[:at] + rng.choice('{}[]",:0\\') + text[at:],
            text.replace('"class_name"', '"class_name": "Lambda", "class_name"', 1),
            "\ufeff" + text,
            text + text,
            "[" * 50_000,
            text.replace("0", "1e999", 1),
            text.replace('"config"', '"con\\u0000fig"', 1),
        )
    ).encode("utf-8", "surrogateescape")


def amounts(config: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every whole number among the options of the layers, in lists too."""
    found, stack = [], [item["config"] for item in objects(config)]
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        if id(value) not in seen:
            seen.add(id(value))
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                inner = value[key]
                if isinstance(inner, int) and not isinstance(inner, bool) or inner is None:
                    found.append((value, key))
                elif isinstance(inner, (dict, list)) and key != "layers":
                    stack.append(inner)
    return found


AMOUNT = 3 * 10**7  # as a list of Python's: a gigabyte


@mutator(2)
def amount(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    """What counts something counts very many."""
    places = amounts(parts.config)
    if places:
        put(rng.choice(places), AMOUNT)


# --- the weights ---


def nodes_of(file: Any) -> tuple[list[str], list[str]]:
    """The paths of the groups and of the datasets."""
    groups: list[str] = []
    datasets: list[str] = []
    file.visititems(lambda path, item: (datasets if isinstance(item, h5py.Dataset) else groups).append(path))
    return groups, datasets


def in_weights(weight: float = 1.0) -> Callable:
    """A mutator that gets (the open HDF5 file, the path of one of its datasets, rng)."""

    def register(change: Callable) -> Callable:
        def edit(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
            def within(file: Any) -> None:
                groups, datasets = nodes_of(file)
                if datasets:
                    change(file, rng.choice(datasets), rng)

            try:
                parts.edit(within)
            except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError):  # HDF5 will have none of it
                pass

        edit.__name__ = change.__name__
        return mutator(weight)(edit)

    return register


def replaced(file: Any, path: str, **options: Any) -> None:
    del file[path]
    file.create_dataset(path, **options)


@in_weights(2)
def other_values(file: Any, path: str, rng: random.Random) -> None:
    data = file[path]
    if data.dtype.kind == "f" and data.size:
        array = np.array(data[...])
        value = rng.choice((np.nan, np.inf, -np.inf, 1e38, 1e-40, 0.0, -1.0, 65504.0))
        if rng.random() < 0.5 or not array.ndim:
            array[...] = value
        else:
            array.reshape(-1)[rng.randrange(array.size)] = value
        data[...] = array


@in_weights(1.5)
def other_shape(file: Any, path: str, rng: random.Random) -> None:
    shape = list(file[path].shape)
    if shape and rng.random() < 0.8:
        at = rng.randrange(len(shape))
        shape[at] = rng.choice((0, 1, shape[at] + 1, shape[at] * 2, max(shape[at] - 1, 0)))
    else:
        shape = rng.choice(([], [1], [2, 2], [1, 1, 1, 1]))
    if rng.random() < 0.3:
        shape = shape[::-1]
    if np.prod(shape, dtype=float) < 1e6:
        replaced(file, path, shape=tuple(shape), dtype="float32", data=np.zeros(shape, "float32"))


@in_weights(1)
def other_dtype(file: Any, path: str, rng: random.Random) -> None:
    array = np.array(file[path][...])
    dtype = rng.choice(
        ("float64", "float16", "int8", "int64", "uint8", "S4", "bool", "complex64", ">f4", "V8", "object")
    )
    if dtype == "object":
        replaced(file, path, data=[b"words"], dtype=h5py.string_dtype())
    elif dtype == "V8":
        replaced(file, path, data=np.zeros(array.shape, [("a", "f4"), ("b", "f4")]))
    else:
        replaced(file, path, data=np.nan_to_num(array).astype(dtype))


@in_weights(1.5)
def huge_shape(file: Any, path: str, rng: random.Random) -> None:
    shape = rng.choice(((10**9,), (10**5, 10**5), (2**40,), (1, 10**10)))
    chunks = tuple(min(n, 1024) for n in shape) if rng.random() < 0.5 else None
    replaced(file, path, shape=shape, dtype="float32", chunks=chunks)
    if chunks is not None and rng.random() < 0.5:
        file[path][(0,) * len(shape)] = 1.0


@in_weights(1)
def link(file: Any, path: str, rng: random.Random) -> None:
    del file[path]
    target = rng.choice(("soft", "external", "storage", "virtual", "circle", "group"))
    if target == "soft":
        file[path] = h5py.SoftLink("/")
    elif target == "external":
        file[path] = h5py.ExternalLink(SECRET, "/")
    elif target == "storage":
        file.create_dataset(path, (4, 4), "float32", external=[(SECRET, 0, 64)])
    elif target == "virtual":
        layout = h5py.VirtualLayout((4,), "float32")
        layout[:] = h5py.VirtualSource(SECRET, "x", (4,))
        file.create_virtual_dataset(path, layout)
    elif target == "circle":
        file[path] = file["/"]
    else:
        file.create_group(path)


@in_weights(1)
def renamed_group(file: Any, path: str, rng: random.Random) -> None:
    groups, _ = nodes_of(file)
    source = rng.choice([*groups, path])
    name = rng.choice(("other", "vars", "0", "layers", "a/b", "x" * 300, "ü", source.rpartition("/")[2] + "_1"))
    file.move(source, f"{source.rpartition('/')[0]}/{name}")


@in_weights(1)
def without_group(file: Any, path: str, rng: random.Random) -> None:
    del file[rng.choice([*nodes_of(file)[0], path])]


@in_weights(0.7)
def one_for_two(file: Any, path: str, rng: random.Random) -> None:
    """Two names of one dataset, which is no fault, but for what it stands for."""
    other = rng.choice(nodes_of(file)[1])
    if other != path:
        del file[other]
        file[other] = file[path]


@in_weights(1)
def packed(file: Any, path: str, rng: random.Random) -> None:
    array = np.array(file[path][...])
    if array.ndim and array.size:
        replaced(
            file, path, data=array, chunks=True, compression=rng.choice(("gzip", "lzf")), shuffle=rng.random() < 0.5
        )


@in_weights(1)
def attribute(file: Any, path: str, rng: random.Random) -> None:
    groups, _ = nodes_of(file)
    place = file[rng.choice([*groups, path, "/"])]
    names = [name for name in place.attrs if name != "model_config"]
    value = rng.choice(
        (b"x", "words", 7, np.zeros(3), np.array([b"a/kernel:0"]), np.array([b"\xff\xfe"]), h5py.Empty("f"))
    )
    name = rng.choice([*names, "weight_names", "layer_names", "backend", "keras_version", "name"])
    if rng.random() < 0.3 and name in names:
        del place.attrs[name]
    else:
        place.attrs[name] = value


# --- the archive, and the bytes ---


@mutator(0.7, archive=True)
def compressed(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    parts.compression = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))


@mutator(1, archive=True)
def odd_member(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    name = rng.choice(
        ("../out.txt", "/abs.txt", "..\\w.txt", "assets/x.txt", "a/../../b", "C:/x", "config.json", "model.weights.h5")
        + ("model.weights.npz", "model.weights.json", "nul\0.txt", "x" * 60_000, "dir/", "metadata.json", "ü.txt")
    )
    info = zipfile.ZipInfo(name)
    if rng.random() < 0.3:
        info.external_attr = 0o120777 << 16  # a symbolic link
    parts.members.append((info, rng.choice((b"", b"{}", b"x" * 100, SECRET.encode(), b"\0" * 10**6))))


@mutator(0.5, archive=True)
def without_member(parts: Parts, rng: random.Random, corpus: Corpus) -> None:
    if parts.members:
        parts.members.pop(rng.randrange(len(parts.members)))


def on_bytes(weight: float = 1.0) -> Callable:
    """A mutator that changes the file as it is written, after all others."""

    def register(change: Callable) -> Callable:
        LAST[change.__name__] = change
        return mutator(weight)(change)

    return register


@on_bytes(1.5)
def truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


@on_bytes(2.5)
def flipped(data: bytes, rng: random.Random) -> bytes:
    """Bits anywhere, or near the ends, where a format keeps its tables."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        near = rng.choice((len(found), min(4096, len(found))))
        at = rng.randrange(near)
        found[at if rng.random() < 0.6 else -1 - at] ^= 1 << rng.randrange(8)
    return bytes(found)


@on_bytes(0.7)
def moved(data: bytes, rng: random.Random) -> bytes:
    """A piece goes, comes twice, or is zeros."""
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 8, 512, 10_000)))
    return data[:start] + rng.choice((b"", data[start:end] * 2, bytes(end - start))) + data[end:]


# --- the corpus ---


def objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialized object with options in a config."""
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str) and isinstance(value.get("config"), dict):
                yield value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


class Corpus:
    """The valid files of a folder, by name: ``3.dense.keras`` is Keras 3's ``dense`` as .keras."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names = sorted(path.name for path in folder.iterdir() if path.suffix in (".keras", ".h5"))
        self._parts: dict[str, Parts] = {}

    def parts(self, name: str) -> Parts:
        if name not in self._parts:
            self._parts[name] = Parts.read(self.folder / name, f"{name[0]}{Path(name).suffix}")
        return copy.deepcopy(self._parts[name])

    def config(self, name: str) -> Any:
        return self.parts(name).config

    def write(self, wanted: Mutant, path: Path) -> Path:
        """The mutant's file: ``path`` with the suffix of its base."""
        parts = self.parts(wanted.base)
        path = path.with_suffix(parts.suffix)
        steps = [step for step in wanted.steps if step[0] not in LAST]
        for name, seed in steps:
            try:
                MUTATORS[name][0](parts, random.Random(seed), self)
            except (
                TypeError,
                AttributeError,
                KeyError,
                IndexError,
                RecursionError,
            ):  # an earlier step took what it needs
                continue
        try:
            parts.write(path)
        except (ValueError, RecursionError, OverflowError, zipfile.LargeZipFile):  # too deep for Python's JSON
            parts.text = b"[" * 10_000
            parts.write(path)
        data = path.read_bytes()
        for name, seed in wanted.steps:
            if name in LAST and data:
                data = LAST[name](data, random.Random(seed))
        path.write_bytes(data)
        return path


# --- judging ---

GOOD = ("refused", "agrees", "proves nothing")  # how a mutant may end


class Worker:
    """Judges mutants one after another, in a process of its own (see `k2t_core.processes.child`)."""

    CODEC = Codec()

    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras  # noqa: F401
        import tensorflow as tf
        import tf_keras  # noqa: F401
        import torch

        import k2t_core as k2t

        k2t.convert, k2t.verify  # noqa: B018  # they load what they need
        for set_threads in (tf.config.threading.set_intra_op_parallelism_threads, torch.set_num_threads):
            set_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._corpora: dict[str, Corpus] = {}
        self._watch = Watch([Path(tempfile.gettempdir())])
        self._state = global_state()
        self._judged = 0
        gc.collect()
        gc.freeze()

    def judge(self, corpus: str, mutant: list, folder: str) -> dict[str, Any]:
        """How a mutant ends. folder: an empty one of its own; the file stays in it, what was converted goes."""
        wanted, work = Mutant.from_json(mutant), Path(folder)
        with self._watch.aside():
            source = self._corpora.setdefault(corpus, Corpus(Path(corpus)))
            path = source.write(wanted, work / "mutant")
            self._watch.allowed = (folder, tempfile.gettempdir())
            self._watch.taken()
            canaries.forget_memory()
        start = time.perf_counter()
        outcome, words = self._outcome(path, work / "out")
        seconds = time.perf_counter() - start
        with self._watch.aside():
            fired = self._watch.taken()
            if global_state() != self._state:
                fired.append(f"state: {global_state()} instead of {self._state}")
                restore_state(self._state)
            out = work / "out"
            if out.exists():
                fired += [
                    f"read: the secret is in {p.name}"
                    for p in out.rglob("*")
                    if p.is_file() and canaries.secrets_in(p.read_bytes())
                ]
                shutil.rmtree(out)
            left = sorted(p.name for p in work.iterdir() if p != path)
            fired += [f"write: {name}" for name in left]
            self._judged += 1
            if self._judged % 20 == 0:
                tidy()
        return {"outcome": outcome, "words": words, "fired": fired, "seconds": seconds, "memory": canaries.memory()}

    def _outcome(self, path: Path, out: Path) -> tuple[str, str]:
        import k2t_core as k2t

        try:
            traced = read(path)
            k2t.convert(traced, out)
            report = k2t.verify(out, traced, batch=2, edge_cases=False, explain=False)
        except k2t.K2TError as error:
            words = str(error)
            return ("refused", words) if is_one_line(error) else ("raised", f"more than one line: {words!r}")
        except MemoryError as error:
            return "memory", f"{type(error).__name__}: {error}"
        except Exception:
            return "raised", traceback.format_exc()
        return (
            "agrees" if report.passed and report.proves else "proves nothing" if report.passed else "differs"
        ), report.verdict


def is_one_line(error: Exception) -> bool:
    """Whether what a user reads is a line of printable text, of a length that is read, for each problem."""
    problems = getattr(error, "problems", [str(error)])
    return all(problem.isprintable() and len(problem) < 2000 for problem in problems)


def global_state() -> dict[str, Any]:
    """What a file could change for every other model of the process."""
    import keras
    import tf_keras

    return {
        "floatx": (keras.config.floatx(), tf_keras.backend.floatx()),
        "format": (keras.config.image_data_format(), tf_keras.backend.image_data_format()),
        "epsilon": (keras.config.epsilon(), tf_keras.backend.epsilon()),
        "policy": (keras.config.dtype_policy().name, tf_keras.mixed_precision.global_policy().name),
        "registered": sorted(name for name in keras.saving.get_custom_objects() if not name.startswith("k2t")),
    }


def restore_state(state: Mapping[str, Any]) -> None:
    import keras
    import tf_keras

    for package, index in ((keras.config, 0), (tf_keras.backend, 1)):
        package.set_floatx(state["floatx"][index])
        package.set_image_data_format(state["format"][index])
        package.set_epsilon(state["epsilon"][index])
    keras.config.set_dtype_policy(state["policy"][0])


def tidy() -> None:
    """The frameworks count and keep what was made; a process that judges thousands forgets it."""
    import keras
    import tf_keras

    keras.backend.clear_session()
    tf_keras.backend.clear_session()
    gc.collect()
