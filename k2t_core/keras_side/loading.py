"""Open a Keras model file that nobody has vouched for.

Three gates stand before Keras builds the model. The file's own listing and JSON are read without Keras: foreign,
truncated, hostile and code-carrying files end there. The architecture is then built without memory: what would not fit
is refused before it is allocated. Only then are the weights read. Nothing in the file runs without ``allow_unsafe``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k2t_core.errors import RAISED, K2TError, ModelFileError, one_line
from k2t_core.keras_side.allowed import check_calls, check_names
from k2t_core.keras_side.internals import names_from_the_start, sketch, untrained
from k2t_core.keras_side.model_file import check_safety, file_fingerprint, is_keras2, objects, read_info
from k2t_core.keras_side.sizes import bytes_of, check_sizes, check_steps, tensor_shapes
from k2t_core.permissions import permissions

if TYPE_CHECKING:
    from k2t_core.keras_side.keras2.original import Original


@dataclass(frozen=True, eq=False)
class Source:
    """A loaded Keras model and where it came from.

    model: the live ``keras.Model``. Treat it as read-only: it may be shared between sessions.
    path: the file, None for a model that was passed in memory.
    fingerprint: SHA-256 of the file, or of the config and variables of a model in memory.
    lock: held while the model runs: a comparison changes its layers for a moment.
    original: for a file of Keras 2, the model as tf_keras has it; ``model`` is the same in Keras 3.
    compiled: id of a layer or operation that has no kernel on this processor → its form compiled by XLA
    (`compiling.run`).
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
    if allow_unsafe:
        permissions().need("unsafe", f"{path.name}: code that a model holds does not run")
    if path.is_dir():
        raise ModelFileError(
            f"{path}: is a folder; give the .keras or .h5 file "
            "(a SavedModel must be saved again with model.save('x.keras'))"
        )
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    info = read_info(path)
    if is_keras2(path.name, info):
        from k2t_core.keras_side.keras2 import original as keras2

        keras2.need_package(path, info)
        keras2.check_config(path.name, objects(info["config"]))
        check_names(path.name, objects(info["config"]), 2)
        check_calls(path.name, info["config"], 2)
        original = keras2.load(
            path, info, lambda need, shapes: check_sizes(path.name, need, shapes, info["weight_bytes"])
        )
        model = original.twin
    else:
        check_safety(path.name, info, allow_unsafe)
        check_names(path.name, objects(info["config"]), 3)
        check_calls(path.name, info["config"], 3)
        model, original = _load_with_keras(path, info, allow_unsafe), None
    return Source(model, path, file_fingerprint(path), info, original=original)


def check_backend() -> None:
    """Keras on TensorFlow is the reference. Raises K2TError where Keras runs on something else."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise K2TError(
            f"Keras runs on {keras.backend.backend()}, but k2t compares with Keras on TensorFlow; "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )


def _load_with_keras(path: Path, info: dict[str, Any], allow_unsafe: bool) -> Any:
    import keras

    try:
        config = copy.deepcopy(info["config"])  # Keras changes what it reads
        with untrained():
            planned = sketch(config, h5=info["format"] != ".keras", safe=not allow_unsafe)
            check_sizes(path.name, bytes_of(planned), tensor_shapes(planned), info["weight_bytes"])
            check_steps(path.name, planned)
            with names_from_the_start():
                model = keras.saving.load_model(path, compile=False, safe_mode=not allow_unsafe)
    except K2TError:
        raise
    except RAISED as error:  # Keras raises every type there is for a file that it cannot rebuild
        hint = (
            "; .h5 files lose operators such as x + 1 and the homes of custom classes, so save the model as .keras"
            if info["format"] == ".h5"
            else ""
        )
        raise ModelFileError(f"{path.name}: Keras cannot rebuild the model: {one_line(error, 300)}{hint}") from error
    if not isinstance(model, keras.Model):
        raise ModelFileError(f"{path.name}: holds a {type(model).__name__}, not a model")
    return model


def _from_memory(model: Any) -> Source:
    import keras

    if not isinstance(model, keras.Model):
        raise ModelFileError(f"expected a path or a keras.Model, not {type(model).__name__}")
    try:
        config = model.to_json()
    except Exception as error:  # a layer of the user's own without get_config()
        raise ModelFileError(
            f"{model.name}: Keras cannot save this model ({one_line(error, 300)}); "
            "give the layer it names a get_config()"
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
