"""model.onnx of a conversion, on demand: the written module as torch exports it, proven by onnxruntime."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from k2t_core.difference import OUTPUT_TOLERANCE, Difference, output_passes
from k2t_core.emit.manifest import Manifest
from k2t_core.emit.sandbox import Sandbox
from k2t_core.errors import K2TError, OutputError, one_line
from k2t_core.graph import Graph
from k2t_core.keras_side.batches import edge_batches, random_batch
from k2t_core.progress import Progress, silent

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MOST_BYTES = 2**31 - 2**20  # of weights: a protobuf file holds no more than 2 GiB
TRACED, OTHER = 3, 5  # batch sizes: of the trace, and of another batch to prove it on
EXPORTER, SESSION = (f"k2t_core.emit.onnx_process:{name}" for name in ("Exporter", "Session"))


def need_packages() -> None:
    """Raises K2TError where the extra is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise K2TError(f"ONNX needs {', '.join(missing)}: pip install 'k2t[onnx]'")


def write(path: Path, graph: Graph, progress: Progress | None = None) -> float:
    """Write an ONNX file beside the conversion of ``graph``.

    Returns the largest relative difference of an output.
    The file appears only if onnxruntime gives what the module gives, in other batch sizes and free dimensions too. Both
    run in processes of their own, and what they give is compared here.
    Raises K2TError where the packages are missing, torch cannot export the module, or the two differ.
    """
    need_packages()
    say = progress or silent
    folder = path.parent
    manifest = Manifest.read(folder)
    if (folder / "model.safetensors").stat().st_size > MOST_BYTES:
        raise K2TError("no ONNX: an ONNX file holds no more than 2 GiB, and the weights are larger")
    say(0.0, "Exporting to ONNX")
    batches = [(f"batch of {n}", random_batch(graph, n, seed=n)) for n in (TRACED, OTHER)] + edge_batches(graph)
    with Sandbox(str(folder / "model.py"), EXPORTER, (str(folder), "no ONNX: ")) as module:
        module.call("load", str(folder), manifest.text)
        data, reason = _exported(module.call("export", random_batch(graph, TRACED)))
        say(0.6, "Running it in onnxruntime")
        try:
            handle, staging = tempfile.mkstemp(prefix=".k2t-", suffix=".onnx", dir=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.chmod(staging, (folder / "model.py").stat().st_mode & 0o777)
                worst = _prove(module, Path(staging), manifest, batches, say)
                os.replace(staging, path)
            except K2TError as error:
                if reason is None:
                    raise
                raise K2TError(
                    f"no ONNX: torch cannot export this model: {reason}; "
                    f"nor does its earlier exporter help ({str(error).removeprefix('no ONNX: ')})"
                ) from error
            finally:
                Path(staging).unlink(missing_ok=True)
        except OSError as error:
            raise K2TError(f"{path}: cannot be written: {error.strerror or error}") from error
    say(1.0, "Done")
    return worst


def _exported(found: Any) -> tuple[bytes, str | None]:
    """What came from where model.py runs, if it is a file and a reason."""
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], bytes):
        _nonsense()
    return found[0], None if found[1] is None else one_line(found[1])


def _prove(
    module: Sandbox, path: Path, manifest: Manifest, batches: list[tuple[str, list[np.ndarray]]], say: Progress
) -> float:
    worst = 0.0
    names = [[side.name for side in sides] for sides in (manifest.inputs, manifest.outputs)]
    with Sandbox("no ONNX: onnxruntime", SESSION, ("no ONNX: ",)) as session:
        found = session.call("open", str(path))
        if found != names:
            raise K2TError(one_line(f"no ONNX: torch exports inputs and outputs {found}, not {names}", 500))
        for index, (described, arrays) in enumerate(batches):
            say(0.6 + 0.4 * index / len(batches), f"Running it in onnxruntime: {described}")
            inputs = {side.name: side.to_torch(a) for a, side in zip(arrays, manifest.inputs)}
            wanted = _arrays(module.call("outputs", arrays), len(names[1]))
            got = _arrays(session.call("run", inputs, described), len(names[1]))
            for name, want, other in zip(names[1], wanted, got):
                difference = Difference.of(want, other)
                if not output_passes(difference, None, want.dtype, OUTPUT_TOLERANCE, False):
                    raise K2TError(
                        f"no ONNX: what torch exports differs from the module: "
                        f"output {name!r} by {difference.relative:.1e} ({described})"
                    )
                worst = max(worst, difference.relative)
    return worst


def _arrays(found: Any, count: int) -> list[np.ndarray]:
    if not isinstance(found, list) or len(found) != count or not all(isinstance(one, np.ndarray) for one in found):
        _nonsense()
    return found


def _nonsense() -> NoReturn:
    raise OutputError("no ONNX: the process that runs model.py gives what is no answer to k2t")
