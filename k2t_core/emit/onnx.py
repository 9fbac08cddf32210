"""model.onnx of a conversion, on demand: the written module as torch exports it, proven by onnxruntime."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.difference import OUTPUT_TOLERANCE, Difference, output_passes
from k2t_core.emit.manifest import Manifest
from k2t_core.emit.module import load_module
from k2t_core.errors import K2TError, named
from k2t_core.graph import Graph
from k2t_core.keras_side.batches import edge_batches, random_batch
from k2t_core.progress import Progress, silent
from k2t_core.tensors import to_array, to_tensor, torch_to_itself

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MOST_BYTES = 2**31 - 2**20  # of weights: a protobuf file holds no more than 2 GiB
TRACED, OTHER = 3, 5  # batch sizes: of the trace, and of another batch to prove it on


def need_packages() -> None:
    """Raises K2TError where the extra is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise K2TError(f"ONNX needs {', '.join(missing)}: pip install 'k2t[onnx]'")


@torch_to_itself
def write(path: Path, graph: Graph, progress: Progress | None = None) -> float:
    """Write an ONNX file beside the conversion of ``graph``.

    Returns the largest relative difference of an output.
    The file appears only if onnxruntime gives what the module gives, in other batch sizes and free dimensions too.
    Raises K2TError where the packages are missing, torch cannot export the module, or the two differ.
    """
    need_packages()
    say = progress or silent
    folder = path.parent
    manifest = Manifest.read(folder)
    if (folder / "model.safetensors").stat().st_size > MOST_BYTES:
        raise K2TError("no ONNX: an ONNX file holds no more than 2 GiB, and the weights are larger")
    say(0.0, "Exporting to ONNX")
    module = load_module(folder)
    data, reason = _export(module, _inputs(manifest, random_batch(graph, TRACED)), manifest)
    say(0.6, "Running it in onnxruntime")
    batches = [(f"batch of {n}", random_batch(graph, n, seed=n)) for n in (TRACED, OTHER)] + edge_batches(graph)
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


def _inputs(manifest: Manifest, arrays: list[np.ndarray]) -> tuple[Any, ...]:
    return tuple(to_tensor(side.to_torch(a)) for a, side in zip(arrays, manifest.inputs))


def _export(module: Any, inputs: tuple[Any, ...], manifest: Manifest) -> tuple[bytes, str | None]:
    """The file, and why torch's present exporter could not make it, None where it did."""
    import torch

    free = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(side.torch_shape) if size is None}
        for side in manifest.inputs
    )
    names: list[list[str]] = [[side.name for side in sides] for sides in (manifest.inputs, manifest.outputs)]
    reason = None
    with _quiet(), _in_other_words(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                dynamic_shapes=free,
                verbose=False,
                input_names=names[0],
                output_names=names[1],
            )
            assert program is not None  # of an export by dynamo
            proto = program.model_proto
        except Exception as error:  # torch.export raises whatever its parts raise
            reason = _reason(error)
            try:  # it unrolls recurrent layers, which fixes the number of steps; torch's earlier exporter does not
                proto = _traced(module, inputs, manifest, names)
            except Exception as second:
                raise K2TError(
                    f"no ONNX: torch cannot export this model: {reason}; "
                    f"its earlier exporter neither: {_reason(second)}"
                ) from error
    for part in (proto.graph, *proto.functions):  # traces with paths of this machine, and counters
        for item in (
            part,
            *part.node,
            *part.value_info,
            *(getattr(part, "input", ()) if part is proto.graph else ()),
            *(part.output if part is proto.graph else ()),
            *getattr(part, "initializer", ()),
        ):
            item.ClearField("metadata_props")
            if hasattr(item, "doc_string"):
                item.ClearField("doc_string")
    return proto.SerializeToString(deterministic=True), reason


def _traced(module: Any, inputs: tuple[Any, ...], manifest: Manifest, names: list[list[str]]) -> Any:
    import onnx
    import torch

    axes = {
        side.name: {axis: f"{side.name}_{axis}" for axis, size in enumerate(side.torch_shape) if size is None}
        for side in manifest.inputs + manifest.outputs
    }
    file: Any = io.BytesIO()  # torch takes it, and its annotation a path alone
    torch.onnx.export(
        module,
        inputs,
        file,
        dynamo=False,
        dynamic_axes=axes,
        opset_version=18,
        input_names=names[0],
        output_names=names[1],
    )
    return onnx.load_model_from_string(file.getvalue())


def _prove(
    module: Any, path: Path, manifest: Manifest, batches: list[tuple[str, list[np.ndarray]]], say: Progress
) -> float:
    import onnxruntime
    import torch

    worst = 0.0
    names = [[side.name for side in sides] for sides in (manifest.inputs, manifest.outputs)]
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise K2TError(f"no ONNX: onnxruntime cannot open what torch exports: {_reason(error)}") from error
    found = [[entry.name for entry in side] for side in (session.get_inputs(), session.get_outputs())]
    if found != names:
        raise K2TError(f"no ONNX: torch exports inputs and outputs {found}, not {names}")
    for index, (described, arrays) in enumerate(batches):
        say(0.6 + 0.4 * index / len(batches), f"Running it in onnxruntime: {described}")
        inputs = _inputs(manifest, arrays)
        with torch.no_grad():
            outputs = module(*inputs)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        try:
            got = session.run(None, {name: to_array(x) for name, x in zip(names[0], inputs)})
        except Exception as error:
            raise K2TError(
                f"no ONNX: onnxruntime cannot run what torch exports ({described}): {_reason(error)}"
            ) from error
        for name, output, other in zip(names[1], outputs, got):
            wanted = to_array(output)
            difference = Difference.of(wanted, other)
            if not output_passes(difference, None, wanted.dtype, OUTPUT_TOLERANCE, False):
                raise K2TError(
                    f"no ONNX: what torch exports differs from the module: "
                    f"output {name!r} by {difference.relative:.1e} ({described})"
                )
            worst = max(worst, difference.relative)
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on its own exporter."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _in_other_words() -> Any:
    """A context in which three functions are said in a way that torch exports; the result is compared with the module.

    take_along_dim is exported for the traced sizes alone: it becomes a gather. A stable argsort is not exported: an
    ordinary one becomes ONNX's TopK, which puts the lower index first among equals. ONNX adds up no bools: they become
    integers.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    def gather(input, indices, dim):
        axis = dim % input.ndim
        shape = [size if k == axis else other for k, (size, other) in enumerate(zip(indices.shape, input.shape))]
        return torch.gather(input, axis, indices.expand(shape))

    def argsort(input, dim=-1, descending=False, stable=False):
        return torch.sort(input if input.is_floating_point() else input.long(), dim=dim, descending=descending)[1]

    def cumsum(input, dim, **options):
        return torch.cumsum(input.long() if input.dtype == torch.bool else input, dim, **options)

    said = {
        torch.cumsum: cumsum,
        torch.Tensor.cumsum: cumsum,
        torch.take_along_dim: gather,
        torch.Tensor.take_along_dim: gather,
        torch.argsort: argsort,
        torch.Tensor.argsort: argsort,
    }

    class InOtherWords(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return said.get(function, function)(*args, **(kwargs or {}))

    return InOtherWords()


def _reason(error: BaseException) -> str:
    """In one line what is at the bottom of an error: torch wraps it in advice to its own developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{named(error, 240)}"
