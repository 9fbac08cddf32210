"""model.onnx where it is made and where it is run: what `onnx` calls in its two sandboxes.

The module is exported where its model.py runs. What comes out is run by onnxruntime in a process of its own: that
file is as little to be trusted as the code.
"""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.emit.manifest import Manifest
from k2t_core.emit.module import load_module
from k2t_core.emit.sandbox import Guest
from k2t_core.errors import K2TError, named
from k2t_core.tensors import to_array, to_tensor, torch_to_itself


class Exporter(Guest):
    """The folder's module."""

    def __init__(self) -> None:
        self.module: Any = None
        self.manifest: Manifest

    def load(self, folder: str, manifest: str) -> None:
        self.module, self.manifest = load_module(Path(folder)), Manifest.from_json(json.loads(manifest))

    @torch_to_itself
    def export(self, arrays: Sequence[np.ndarray]) -> tuple[bytes, str | None]:
        """The file, and why torch's present exporter could not make it, None where it did."""
        return _export(self.module, self._inputs(arrays), self.manifest)

    def outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        import torch

        with torch.no_grad():
            outputs = self.module(*self._inputs(arrays))
        return [to_array(y) for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,))]

    def _inputs(self, arrays: Sequence[np.ndarray]) -> tuple[Any, ...]:
        return tuple(to_tensor(side.to_torch(a)) for a, side in zip(arrays, self.manifest.inputs))


class Session(Guest):
    """An ONNX file in onnxruntime."""

    def open(self, path: str) -> list[list[str]]:
        """The names of its inputs and outputs."""
        with _unheard():  # it would keep a number of this device, which it may not here, and says so
            import onnxruntime

        try:
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no base of their own
            raise K2TError(f"no ONNX: onnxruntime cannot open what torch exports: {_reason(error)}") from error
        return [[entry.name for entry in side] for side in (self.session.get_inputs(), self.session.get_outputs())]

    def run(self, inputs: dict[str, np.ndarray], described: str) -> list[np.ndarray]:
        try:
            return self.session.run(None, inputs)
        except Exception as error:
            raise K2TError(
                f"no ONNX: onnxruntime cannot run what torch exports ({described}): {_reason(error)}"
            ) from error


@contextmanager
def _unheard() -> Iterator[None]:
    """While this is in force, what native code writes to stderr goes nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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
