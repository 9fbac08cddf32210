"""What a model file says of itself, read without Keras: foreign, truncated, hostile files and stored code end here."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k2t_core.errors import ModelFileError, UnsafeModelError, UnsupportedError, one_line
from k2t_core.keras_side.hdf5 import DAMAGE, HARMLESS_BYTES, MAX_RATIO, check_hdf5
from k2t_core.permissions import permissions
from k2t_core.processes.limits import briefly

# A .keras archive is stored, or at most deflated, and weights hardly shrink: a larger ratio is a zip bomb. Small
# archives may shrink more (a config of many equal layers), and do no harm.
MAX_BYTES = 64 * 2**30
# What a config may unpack to: text of a few megabytes is gigabytes as Python's objects.
HARMLESS_TEXT, MAX_TEXT_RATIO = 16 * 2**20, 20
MAX_DEPTH = 400  # of a config; a model within another takes four
MAX_AXES = 64  # lists directly in lists, which become the axes of a tensor
MAX_NAME = 500  # letters
# Seconds of the processor for what is read before anything is loaded, more than any whole file was seen to take: in
# damaged ones HDF5's library goes round in circles (a list of attributes that leads back to itself, for one).
READING = 60
READ_PER_SECOND = 20 * 2**20
MAX_MEMBERS = 10_000  # Keras unpacks all of them into a folder
PLAIN = (0, stat.S_IFREG, stat.S_IFDIR)  # the kinds of member that are no links or devices
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
    readers = {b"PK\x03\x04": _read_keras_archive, b"\x89HDF\r\n\x1a\n": _read_h5}
    reader = next((reader for magic, reader in readers.items() if head.startswith(magic)), None)
    if reader is None:
        raise ModelFileError(
            f"{path.name}: not a Keras model: neither a .keras archive (zip) nor an HDF5 file; "
            "save it with model.save('model.keras')"
        )
    with briefly(READING + size // READ_PER_SECOND):
        info = reader(path)
    if not isinstance(info["config"], dict) or "class_name" not in info["config"]:
        raise ModelFileError(
            f"{path.name}: its config describes no model; save it again with model.save('model.keras')"
        )
    _check_depth(path.name, info["config"])
    _check_words(path.name, info["config"])
    try:
        json.dumps(info["config"], ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError) as error:  # half of a character: no source and no manifest can hold it
        raise ModelFileError(
            f"{path.name}: its config holds text that no file can ({one_line(error, 120)}); the file is damaged"
        ) from error
    suffixes = (".keras",) if info["format"] == ".keras" else (".h5", ".hdf5")
    if path.suffix not in suffixes:
        raise ModelFileError(
            f"{path.name}: holds the {info['format']} format; rename it to {path.stem}{suffixes[0]}, "
            "because Keras goes by the name"
        )
    return {**info, "bytes": size}


def _check_depth(name: str, config: Any) -> None:
    """Refuse what nobody's functions can walk: Python's give up, and TensorFlow ends the process."""
    stack = [(config, 1, 1)]
    while stack:
        value, depth, axes = stack.pop()
        if depth > MAX_DEPTH or axes > MAX_AXES:
            raise ModelFileError(f"{name}: its config is nested too deep, which no model is; the file is not trusted")
        if isinstance(value, dict):
            stack.extend((inner, depth + 1, 1) for inner in value.values())
        elif isinstance(value, list):
            stack.extend((inner, depth + 1, axes + 1) for inner in value)


def _check_words(name: str, config: Any) -> None:
    """Refuse names that are none: whoever looks one up takes a text, and a text of a length that somebody reads."""
    for owner, item in objects(config):
        for words in (item.get("module"), item.get("registered_name")):
            if words is not None and not isinstance(words, str):
                raise ModelFileError(
                    f"{name}: layer {owner[:MAX_NAME]!r} names its class by {words!r:.80}, which is no text; "
                    "the file is damaged"
                )
        given = (owner, item["class_name"], item.get("module"), item.get("registered_name"))
        if longest := next((words for words in given if words and len(words) > MAX_NAME), None):
            raise ModelFileError(
                f"{name}: a name in it, {longest[:40]!r} and so on, has {len(longest):,} letters, and k2t takes "
                f"{MAX_NAME}; give the layer a shorter one"
            )


def _read_keras_archive(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_members(path.name, entries)
            total = sum(entry.file_size for entry in entries)
            if total > MAX_BYTES or total > max(HARMLESS_BYTES, MAX_RATIO * path.stat().st_size):
                raise ModelFileError(f"{path.name}: the archive unpacks to {total:,} bytes; refused as a zip bomb")
            names = {entry.filename for entry in entries}
            if not names >= {"config.json", "model.weights.h5"}:
                raise ModelFileError(
                    f"{path.name}: a zip archive, but not a Keras model (no config.json and model.weights.h5 in it)"
                )
            damaged = archive.testzip()
            if damaged:
                raise ModelFileError(f"{path.name}: the archive is damaged at {damaged}; save or copy it again")
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
            for entry in entries:
                if entry.filename.endswith(".h5"):
                    with archive.open(entry) as file:
                        check_hdf5(file, f"{path.name}, {entry.filename}", entry.file_size)
    except _DAMAGE as error:
        raise ModelFileError(
            f"{path.name}: the archive is truncated or damaged ({one_line(error, 300)}); save or copy it again"
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


def _check_members(name: str, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse what could leave its folder when it is unpacked, or be read as one thing here and another elsewhere."""
    if len(entries) > MAX_MEMBERS:
        raise ModelFileError(f"{name}: the archive holds {len(entries):,} files, and Keras writes a few; not trusted")
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        raw = entry.orig_filename  # zipfile cuts a name off at a NUL
        parts = re.split(r"[/\\]", raw.rstrip("/"))
        if raw.startswith(("/", "\\")) or ".." in parts:
            raise ModelFileError(
                f"{name}: the archive holds the path {raw[:120]!r}, which leaves its folder; the file is not trusted"
            )
        if "\\" in raw or ":" in raw or not raw.isprintable():
            raise ModelFileError(f"{name}: the archive holds the odd name {raw[:120]!r}; the file is not trusted")
        if stat.S_IFMT(entry.external_attr >> 16) not in PLAIN:
            raise ModelFileError(f"{name}: {raw[:120]!r} in the archive is a link or a device; the file is not trusted")
        within = {"/".join(parts[:depth]).casefold() for depth in range(1, len(parts))}
        own = {"/".join(parts).casefold()}
        if own & files or (own & folders and not entry.is_dir()) or within & files:
            raise ModelFileError(
                f"{name}: the archive holds {raw[:120]!r} twice, so that it can be read in two ways; not trusted"
            )
        folders |= within
        if entry.is_dir():
            folders |= own
        else:
            files |= own
        if raw in ("config.json", "metadata.json") and entry.file_size > max(
            HARMLESS_TEXT, MAX_TEXT_RATIO * entry.compress_size
        ):
            raise ModelFileError(f"{name}: {raw} unpacks to {entry.file_size:,} bytes; refused as a zip bomb")


def _read_h5(path: Path) -> dict[str, Any]:
    import h5py

    check_hdf5(path, path.name, path.stat().st_size)
    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version")
    except DAMAGE as error:
        raise ModelFileError(
            f"{path.name}: the HDF5 file is truncated or damaged ({one_line(error, 300)}); save or copy it again"
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
            # How a model was trained is neither read nor built: see `internals.untrained`.
            stack.extend((owner, v) for k, v in reversed(value.items()) if k != "compile_config")
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
        way_out = (
            "if you trust the file, allow it (--allow-unsafe, allow_unsafe=True, or the switch on the Load page)"
            if permissions().unsafe
            else "the owner of this server has not allowed that"
        )
        raise UnsafeModelError(f"{name}: {layers} with Python code in the file, which k2t does not run; {way_out}")
    import keras

    missing = [item for item in foreign_objects(info["config"]) if keras.saving.get_registered_object(item[2]) is None]
    if missing:
        raise UnsupportedError(
            [
                f"{name}: layer {layer!r} {'is of' if kind == 'class' else 'uses'} the custom {kind} {cls!r}, "
                "which is not registered; give the Python file that registers it "
                "(keras.saving.register_keras_serializable) with --rules FILE"
                for layer, kind, cls in missing
            ]
        )


def is_keras2(name: str, info: dict[str, Any]) -> bool:
    """Whether Keras 2 (or 1) wrote the file: Keras 3 reads some of it differently without a word.

    Raises ModelFileError where the version that it says is not the one that it is written in.
    """
    version, forms = info.get("keras_version"), _forms(info["config"])
    said = version.strip().split(".")[0] if isinstance(version, str) else ""
    is_2 = said in ("1", "2") if said else 2 in forms
    if (3 if is_2 else 2) in forms:
        raise ModelFileError(
            f"{name}: says that Keras {version!r} wrote it, and its config is one of Keras {3 if is_2 else 2}; "
            "the file is damaged or not trusted: save it again"
        )
    return is_2


def _forms(config: Any) -> set[int]:
    """The versions of Keras in whose ways a config is written, as far as calls and inputs tell."""
    found = set()
    for item in (item for _, item in objects(config)):
        inner, nodes = item.get("config"), item.get("inbound_nodes")
        if item["class_name"] == "InputLayer" and isinstance(inner, dict):
            found |= {form for key, form in (("batch_shape", 3), ("batch_input_shape", 2)) if key in inner}
        for node in nodes if isinstance(nodes, list) else ():
            found.add(2 if isinstance(node, list) else 3)
    return found


def file_fingerprint(path: Path) -> str:
    """SHA-256 of the file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
