"""Open a Keras model file that nobody has vouched for.

The archive's own listing and JSON are checked before Keras sees the file, so that a foreign, truncated, hostile or
code-carrying file is refused in one line. Nothing in the file runs unless ``allow_unsafe`` is set.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k2t_core.errors import ModelFileError, UnsafeModelError, UnsupportedError

# A .keras archive is stored, or at most deflated: weights hardly shrink, so a larger ratio is a zip bomb.
MAX_RATIO = 200
MAX_BYTES = 64 * 2**30


@dataclass(frozen=True, eq=False)
class Source:
    """A loaded Keras model and where it came from.

    model: the live ``keras.Model``. Treat it as read-only: it may be shared between sessions.
    path: the file, None for a model that was passed in memory.
    fingerprint: SHA-256 of the file, or of the config and variables of a model in memory.
    """

    model: Any
    path: Path | None
    fingerprint: str
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.name if self.path else self.model.name


def load(model: Any, *, allow_unsafe: bool = False) -> Source:
    """Load a ``.keras`` or ``.h5`` file, or take a ``keras.Model`` as it is.

    allow_unsafe: run Python code stored in the file (Lambda layers, custom classes already registered).

    Raises ModelFileError for anything that is not a whole Keras 3 model, UnsafeModelError for stored code.
    """
    if isinstance(model, Source):
        return model
    if not isinstance(model, (str, Path)):
        return _from_memory(model)
    path = Path(model)
    if path.is_dir():
        raise ModelFileError(f"{path}: is a folder; give the .keras or .h5 file (a SavedModel must be saved again with model.save('x.keras'))")
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    info = read_info(path)
    check_safety(path.name, info, allow_unsafe)
    return Source(_load_with_keras(path, allow_unsafe), path, file_fingerprint(path), info)


def read_info(path: Path) -> dict[str, Any]:
    """What the file says of itself, read without Keras: format, size, Keras version, layer classes, config."""
    with open(path, "rb") as file:
        head = file.read(8)
    size = path.stat().st_size
    if size == 0:
        raise ModelFileError(f"{path.name}: the file is empty")
    if head[:4] == b"PK\x03\x04":
        info = _read_keras_archive(path)
    elif head == b"\x89HDF\r\n\x1a\n":
        info = _read_h5(path)
    else:
        raise ModelFileError(f"{path.name}: not a Keras model: neither a .keras archive (zip) nor an HDF5 file; save it with model.save('model.keras')")
    version = str(info.get("keras_version") or "")
    if version.split(".")[0] in ("1", "2"):
        raise ModelFileError(
            f"{path.name}: written by Keras {version}, which Keras 3 reads differently in places (hard_sigmoid, RNN options); "
            "load it with tf_keras and save it again from Keras 3"
        )
    return {**info, "bytes": size}


def _read_keras_archive(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = {entry.filename for entry in entries}
            for entry in entries:
                if entry.filename.startswith("/") or ".." in Path(entry.filename).parts:
                    raise ModelFileError(f"{path.name}: the archive holds the path {entry.filename!r}, which leaves its folder; the file is not trusted")
            total = sum(entry.file_size for entry in entries)
            if total > MAX_BYTES or total > MAX_RATIO * max(path.stat().st_size, 1):
                raise ModelFileError(f"{path.name}: the archive unpacks to {total:,} bytes; refused as a zip bomb")
            if "config.json" not in names or not names & {"model.weights.h5", "model.weights.json"}:
                raise ModelFileError(f"{path.name}: a zip archive, but not a Keras model (no config.json and model.weights.h5 in it)")
            damaged = archive.testzip()
            if damaged:
                raise ModelFileError(f"{path.name}: the archive is damaged at {damaged}")
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise ModelFileError(f"{path.name}: the archive is truncated or damaged ({_one_line(error)}); save or copy it again") from error
    return {"format": ".keras", "config": config, "keras_version": metadata.get("keras_version"), "saved": metadata.get("date_saved")}


def _read_h5(path: Path) -> dict[str, Any]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            version = file.attrs.get("keras_version")
    except OSError as error:
        raise ModelFileError(f"{path.name}: the HDF5 file is truncated or damaged ({_one_line(error)}); save or copy it again") from error
    if config is None:
        raise ModelFileError(f"{path.name}: holds weights without an architecture; save the whole model with model.save('model.keras')")
    text = config.decode() if isinstance(config, bytes) else str(config)
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise ModelFileError(f"{path.name}: its model_config is not JSON; the file is damaged") from error
    return {"format": ".h5", "config": parsed, "keras_version": version.decode() if isinstance(version, bytes) else version}


def objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialized object (``{"class_name": …, "config": …}``) in a saved config, depth first."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from objects(value)


def object_name(item: dict[str, Any]) -> str:
    """The layer name in a serialized object, or its class."""
    config = item.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return str(name or item.get("name") or item["class_name"])


def stored_code(config: Any) -> list[str]:
    """Names of the objects whose loading would run Python code stored in the file or import a foreign module."""
    found = []
    for item in objects(config):
        module = item.get("module")
        if item["class_name"] in ("Lambda", "__lambda__") and item.get("registered_name") in (None, "Lambda"):
            found.append(object_name(item))
        elif item["class_name"] == "function" and (module or "builtins").split(".")[0] not in ("keras", "builtins"):
            found.append(f"{module}.{item.get('config')}")
    return list(dict.fromkeys(name for name in found if name != "__lambda__")) or found[:1]


def custom_classes(config: Any) -> list[tuple[str, str]]:
    """(layer name, class) of every object that is not Keras's own."""
    return [
        (object_name(item), str(item.get("registered_name") or f"{item.get('module')}.{item['class_name']}"))
        for item in objects(config)
        if "module" in item and (item["module"] or "").split(".")[0] not in ("keras", "builtins") and item["class_name"] != "function"
    ]


def check_safety(name: str, info: dict[str, Any], allow_unsafe: bool) -> None:
    """Refuse stored code that the user has not allowed, and custom classes that nobody has registered."""
    code = stored_code(info["config"])
    if code and not allow_unsafe:
        raise UnsafeModelError(
            f"{name}: layer {', '.join(repr(layer) for layer in code)} is a Lambda that holds Python code, which k2t does not run; "
            "if you trust the file, allow it (--allow-unsafe, allow_unsafe=True, or the switch on the Load page)"
        )
    custom = custom_classes(info["config"])
    if custom:
        import keras

        missing = [(layer, cls) for layer, cls in custom if keras.saving.get_registered_object(cls) is None]
        if missing:
            raise UnsupportedError(
                [f"{name}: layer {layer!r} is of the custom class {cls!r}; import its module with --rules FILE so that it is registered with keras.saving.register_keras_serializable" for layer, cls in missing]
            )


def _load_with_keras(path: Path, allow_unsafe: bool) -> Any:
    import keras

    try:
        return keras.saving.load_model(path if path.suffix in (".keras", ".h5", ".hdf5") else _with_suffix(path), compile=False, safe_mode=not allow_unsafe)
    except (ModelFileError, UnsafeModelError):
        raise
    except Exception as error:  # Keras raises every type there is for a file that it cannot rebuild
        raise ModelFileError(f"{path.name}: Keras cannot rebuild the model: {_one_line(error)}") from error


def _with_suffix(path: Path) -> Path:
    raise ModelFileError(f"{path.name}: rename the file to end in .keras or .h5; Keras goes by the name")


def _from_memory(model: Any) -> Source:
    import keras

    if not isinstance(model, keras.Model):
        raise ModelFileError(f"expected a path or a keras.Model, not {type(model).__name__}")
    digest = hashlib.sha256(model.to_json().encode())
    for variable in model.variables:
        digest.update(variable.numpy().tobytes())
    return Source(model, None, digest.hexdigest(), {"format": "memory", "keras_version": keras.__version__, "config": json.loads(model.to_json()), "bytes": 0})


def file_fingerprint(path: Path) -> str:
    """SHA-256 of the file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: BaseException, limit: int = 300) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
