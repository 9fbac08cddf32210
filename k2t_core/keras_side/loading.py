"""Open a Keras model file that nobody has vouched for.

Three gates stand before Keras builds the model. The file's own listing and JSON are read without Keras: foreign,
truncated, hostile and code-carrying files end there. The architecture is then built without memory: what would not fit
is refused before it is allocated. Only then are the weights read. Nothing in the file runs unless ``allow_unsafe`` is set.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import lzma
import math
import re
import struct
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k2t_core.errors import RAISED, K2TError, ModelFileError, UnsafeModelError, UnsupportedError

if TYPE_CHECKING:
    from k2t_core.keras_side.keras2.original import Original

# A .keras archive is stored, or at most deflated, and weights hardly shrink: a larger ratio is a zip bomb. Small
# archives may shrink more (a config of many equal layers), and do no harm.
MAX_RATIO = 200
MAX_BYTES = 64 * 2**30
HARMLESS_BYTES = 64 * 2**20
# What an architecture may ask for beyond the weights that the file holds.
MAX_GROWTH = 4
# Elements of one tensor for one sample: 8 GiB in float32.
MAX_ELEMENTS = 2**31

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True, eq=False)
class Source:
    """A loaded Keras model and where it came from.

    model: the live ``keras.Model``. Treat it as read-only: it may be shared between sessions.
    path: the file, None for a model that was passed in memory.
    fingerprint: SHA-256 of the file, or of the config and variables of a model in memory.
    lock: held while the model runs: a comparison changes its layers for a moment.
    original: for a file of Keras 2, the model as tf_keras has it; ``model`` is the same in Keras 3.
    compiled: id of a layer or operation of the model that has no kernel on this processor → its form compiled by XLA (`compiling.run`).
    """

    model: Any
    path: Path | None
    fingerprint: str
    info: dict[str, Any] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock, repr=False)
    original: Original | None = None
    compiled: dict[int, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.path.name if self.path else self.model.name


def load(model: Any, *, allow_unsafe: bool = False) -> Source:
    """Load a ``.keras`` or ``.h5`` file, or take a ``keras.Model`` as it is.

    allow_unsafe: run Python code stored in the file (Lambda layers).

    Raises ModelFileError for anything that is not a whole model of Keras 2 or 3, UnsafeModelError for stored code,
    UnsupportedError for classes that nobody has registered.
    """
    if isinstance(model, Source):
        return model
    check_backend()
    if not isinstance(model, (str, Path)):
        return _from_memory(model)
    path = Path(model)
    if path.is_dir():
        raise ModelFileError(
            f"{path}: is a folder; give the .keras or .h5 file (a SavedModel must be saved again with model.save('x.keras'))"
        )
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    info = read_info(path)
    if is_keras2(info):
        from k2t_core.keras_side.keras2 import original as keras2

        keras2.check_config(path.name, objects(info["config"]))
        original = keras2.load(
            path, info, lambda need, shapes: _check_sizes(path.name, need, shapes, info["weight_bytes"])
        )
        model = original.twin
    else:
        check_safety(path.name, info, allow_unsafe)
        model, original = _load_with_keras(path, info, allow_unsafe), None
    return Source(model, path, file_fingerprint(path), info, original=original)


def is_keras2(info: dict[str, Any]) -> bool:
    """Whether Keras 2 (or 1) wrote the file: Keras 3 reads some of it differently without a word."""
    return str(info.get("keras_version") or "").split(".")[0] in ("1", "2")


def check_backend() -> None:
    """Keras on TensorFlow is the reference. Raises K2TError where Keras runs on something else."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise K2TError(
            f"Keras runs on {keras.backend.backend()}, but k2t compares with Keras on TensorFlow; set KERAS_BACKEND=tensorflow before Keras is imported"
        )


def load_rules(path: str | Path) -> None:
    """Import a Python file that registers rules (``from k2t_core import rule``) and custom Keras classes.

    It is imported once, under its own name, so that its classes have the kind ``file_name.ClassName``. Raises K2TError
    where it is missing, fails, or hides another module.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise K2TError(f"rules {path}: no such file")
    known = sys.modules.get(path.stem)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return
        raise K2TError(f"rules {path}: a module called {path.stem!r} is loaded already; rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None:
        raise K2TError(f"rules {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except RAISED as error:  # the user's own code can raise anything
        del sys.modules[path.stem]
        raise K2TError(f"rules {path.name}: {type(error).__name__}: {_one_line(error)}") from error


def read_info(path: Path) -> dict[str, Any]:
    """What the file says of itself, read without Keras: format, size, Keras version, config, bytes of weights."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelFileError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise ModelFileError(f"{path.name}: the file is empty")
    if head[:4] == b"PK\x03\x04":
        info = _read_keras_archive(path)
    elif head == b"\x89HDF\r\n\x1a\n":
        info = _read_h5(path)
    else:
        raise ModelFileError(
            f"{path.name}: not a Keras model: neither a .keras archive (zip) nor an HDF5 file; save it with model.save('model.keras')"
        )
    if not isinstance(info["config"], dict) or "class_name" not in info["config"]:
        raise ModelFileError(
            f"{path.name}: its config describes no model; save it again with model.save('model.keras')"
        )
    suffixes = (".keras",) if info["format"] == ".keras" else (".h5", ".hdf5")
    if path.suffix not in suffixes:
        raise ModelFileError(
            f"{path.name}: holds the {info['format']} format; rename it to {path.stem}{suffixes[0]}, because Keras goes by the name"
        )
    return {**info, "bytes": size}


def _read_keras_archive(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            for entry in entries:
                if entry.filename.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", entry.filename):
                    raise ModelFileError(
                        f"{path.name}: the archive holds the path {entry.filename!r}, which leaves its folder; the file is not trusted"
                    )
            total = sum(entry.file_size for entry in entries)
            if total > MAX_BYTES or total > max(HARMLESS_BYTES, MAX_RATIO * path.stat().st_size):
                raise ModelFileError(f"{path.name}: the archive unpacks to {total:,} bytes; refused as a zip bomb")
            names = {entry.filename for entry in entries}
            if "config.json" not in names or not names & {"model.weights.h5", "model.weights.json"}:
                raise ModelFileError(
                    f"{path.name}: a zip archive, but not a Keras model (no config.json and model.weights.h5 in it)"
                )
            damaged = archive.testzip()
            if damaged:
                raise ModelFileError(f"{path.name}: the archive is damaged at {damaged}; save or copy it again")
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
    except _DAMAGE as error:
        raise ModelFileError(
            f"{path.name}: the archive is truncated or damaged ({_one_line(error)}); save or copy it again"
        ) from error
    metadata = metadata if isinstance(metadata, dict) else {}
    stored = sum(entry.file_size for entry in entries if entry.filename.endswith(".h5"))
    return {
        "format": ".keras",
        "config": config,
        "keras_version": metadata.get("keras_version"),
        "saved": metadata.get("date_saved"),
        "weight_bytes": stored,
    }


def _read_h5(path: Path) -> dict[str, Any]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version")
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"{path.name}: the HDF5 file is truncated or damaged ({_one_line(error)}); save or copy it again"
        ) from error
    if config is None:
        raise ModelFileError(
            f"{path.name}: holds weights without an architecture; save the whole model with model.save('model.keras')"
        )
    try:
        parsed = json.loads(config)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path.name}: its model_config is not JSON; the file is damaged") from error
    return {
        "format": ".h5",
        "config": parsed,
        "keras_version": version.decode("utf-8", "replace") if isinstance(version, bytes) else version,
        "saved": None,
        "weight_bytes": path.stat().st_size,
    }


def objects(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(layer name, object) for every serialized object (``{"class_name": …, "config": …}``) in a saved config.

    The name is that of the object, or of the nearest one around it that has a name.
    """
    stack: list[tuple[str, Any]] = [("model", config)]
    while stack:
        owner, value = stack.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                inner = value.get("config")
                name = inner.get("name") if isinstance(inner, dict) else None
                if isinstance(name, str) and value["class_name"] not in ("DTypePolicy", "__keras_tensor__"):
                    owner = name
                yield owner, value
            stack.extend((owner, v) for v in reversed(value.values()))
        elif isinstance(value, list):
            stack.extend((owner, v) for v in reversed(value))


def stored_code(config: Any) -> list[str]:
    """Names of the layers that hold Python code (a Lambda made from a lambda)."""
    return list(dict.fromkeys(owner for owner, item in objects(config) if item["class_name"] == "__lambda__"))


def foreign_objects(config: Any) -> list[tuple[str, str, str]]:
    """(layer name, "class" or "function", registered name) of everything that is not Keras's own."""
    found = []
    for owner, item in objects(config):
        kind = "function" if item["class_name"] == "function" else "class"
        home = str(item.get("module") or "").split(".")[0]
        if kind == "function" and home != "keras":
            found.append((owner, kind, str(item.get("config"))))
        elif kind == "class" and ("module" in item and home not in ("keras", "builtins") or ">" in item["class_name"]):
            found.append((owner, kind, str(item.get("registered_name") or item["class_name"])))
    return list(dict.fromkeys(found))


def check_safety(name: str, info: dict[str, Any], allow_unsafe: bool) -> None:
    """Refuse stored code that the user has not allowed, and custom objects that nobody has registered."""
    code = stored_code(info["config"])
    if code and not allow_unsafe:
        layers = (
            f"layers {', '.join(map(repr, code))} are Lambdas" if len(code) > 1 else f"layer {code[0]!r} is a Lambda"
        )
        raise UnsafeModelError(
            f"{name}: {layers} with Python code in the file, which k2t does not run; "
            "if you trust the file, allow it (--allow-unsafe, allow_unsafe=True, or the switch on the Load page)"
        )
    import keras

    missing = [item for item in foreign_objects(info["config"]) if keras.saving.get_registered_object(item[2]) is None]
    if missing:
        raise UnsupportedError(
            [
                f"{name}: layer {layer!r} {'is of' if kind == 'class' else 'uses'} the custom {kind} {cls!r}, which is not registered; "
                "give the Python file that registers it (keras.saving.register_keras_serializable) with --rules FILE"
                for layer, kind, cls in missing
            ]
        )


def _load_with_keras(path: Path, info: dict[str, Any], allow_unsafe: bool) -> Any:
    import keras

    try:
        sketch = _build_without_memory(info, safe_mode=not allow_unsafe)
        _check_sizes(path.name, _bytes_of(sketch), _tensor_shapes(sketch), info["weight_bytes"])
        model = keras.saving.load_model(path, compile=False, safe_mode=not allow_unsafe)
    except K2TError:
        raise
    except RAISED as error:  # Keras raises every type there is for a file that it cannot rebuild
        hint = (
            "; .h5 files lose operators such as x + 1 and the homes of custom classes, so save the model as .keras"
            if info["format"] == ".h5"
            else ""
        )
        raise ModelFileError(f"{path.name}: Keras cannot rebuild the model: {_one_line(error)}{hint}") from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(f"{path.name}: holds a {type(model).__name__}, not a model")
    return model


def _build_without_memory(info: dict[str, Any], safe_mode: bool) -> Any:
    """The architecture with variables that have shapes but no values: Keras creates none in a stateless scope."""
    import keras
    from keras.src.backend.common import global_state
    from keras.src.legacy.saving import saving_options, saving_utils
    from keras.src.saving.serialization_lib import SafeModeScope

    config = copy.deepcopy(info["config"])  # Keras changes what it reads
    try:
        with keras.StatelessScope(initialize_variables=False):
            if info["format"] == ".keras":
                return keras.saving.deserialize_keras_object(config, safe_mode=safe_mode)
            with saving_options.keras_option_scope(use_legacy_config=True), SafeModeScope(safe_mode):
                return saving_utils.model_from_config(config)
    finally:
        # The scope leaves a list of variables that the next one would fill.
        global_state.set_global_attribute("uninitialized_variables", [])


def _bytes_of(model: Any) -> dict[str, int]:
    import numpy as np

    return {
        v.path: math.prod(v.shape) * (2 if v.dtype == "bfloat16" else np.dtype(v.dtype).itemsize)
        for v in getattr(model, "variables", [])
    }


def _check_sizes(name: str, need: dict[str, int], shapes: Iterator[tuple[str, tuple]], stored: int) -> None:
    """Refuse an architecture that asks for far more weights than the file holds, or for a tensor that no machine has.

    need: variable → bytes. shapes: (layer, shape of a tensor that it computes). stored: the bytes of weights in the file.
    """
    total = sum(need.values())
    if total > max(HARMLESS_BYTES, MAX_GROWTH * stored):
        largest = max(need, key=need.__getitem__)
        raise ModelFileError(
            f"{name}: an absurd shape: its layers ask for {total:,} bytes of weights, but the file holds {stored:,}; the largest is {largest!r}"
        )
    for layer, shape in shapes:
        if math.prod(n for n in shape if n is not None) > MAX_ELEMENTS:
            raise ModelFileError(f"{name}: an absurd shape: layer {layer!r} computes a tensor of shape {tuple(shape)}")


def _tensor_shapes(model: Any) -> Iterator[tuple[str, tuple]]:
    functional = getattr(model, "_functional", model)
    for nodes in getattr(functional, "_nodes_by_depth", {}).values():
        for node in nodes:
            yield from ((node.operation.name, y.shape) for y in node.outputs)
            yield from _tensor_shapes(node.operation)


def _from_memory(model: Any) -> Source:
    import keras

    if not isinstance(model, keras.Model):
        raise ModelFileError(f"expected a path or a keras.Model, not {type(model).__name__}")
    try:
        config = model.to_json()
    except Exception as error:  # a layer of the user's own without get_config()
        raise ModelFileError(
            f"{model.name}: Keras cannot save this model ({_one_line(error)}); give the layer it names a get_config()"
        ) from error
    digest = hashlib.sha256(config.encode())
    for variable in model.variables:
        digest.update(variable.numpy().tobytes())
    return Source(
        model,
        None,
        digest.hexdigest(),
        {"format": "memory", "keras_version": keras.__version__, "config": json.loads(config), "bytes": 0},
    )


def file_fingerprint(path: Path) -> str:
    """SHA-256 of the file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: BaseException, limit: int = 300) -> str:
    """The message on one line, without the colours that Keras puts into it."""
    text = re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", str(error))).strip() or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
