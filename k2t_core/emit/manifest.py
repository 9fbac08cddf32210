"""manifest.json: what a folder of a conversion holds, as it is written and as it is read again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.emit.code import Code, Tap, forward_hashes
from k2t_core.emit.committing import recover
from k2t_core.errors import RAISED, K2TError, OutputError, one_line
from k2t_core.graph import Shape
from k2t_core.keras_side.keras2 import original as keras2
from k2t_core.layout import Layout
from k2t_core.planning.plan import Plan, PlannedScope
from k2t_core.transforms import Transform, chain_shape, describe, from_json

FILES = ("model.py", "model.safetensors", "manifest.json", "recipe.json")
MANIFEST_VERSION = 1


@dataclass(frozen=True)
class Side:
    """An input or output of the model. ``permutation``: torch = keras.transpose(permutation), None where they agree."""

    name: str
    keras_shape: Shape
    torch_shape: Shape
    dtype: str
    permutation: tuple[int, ...] | None

    @classmethod
    def of(cls, name: str, shape: Shape, dtype: str, layout: Layout) -> Side:
        return cls(name, shape, layout.shape(shape), dtype, None if layout.is_identity else layout.perm)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """A Keras array in torch's order of axes."""
        return array.transpose(self.permutation) if self.permutation else array

    def to_keras(self, array: np.ndarray) -> np.ndarray:
        """A torch array in Keras's order of axes; one of another rank, which a changed model.py may give, as it is."""
        if self.permutation is None or array.ndim != len(self.permutation):
            return array
        return array.transpose(np.argsort(self.permutation))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "keras_shape": list(self.keras_shape),
            "torch_shape": list(self.torch_shape),
            "dtype": self.dtype,
            "permutation": None if self.permutation is None else list(self.permutation),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Side:
        shapes = tuple(data["keras_shape"]), tuple(data["torch_shape"])
        return cls(data["name"], *shapes, data["dtype"], _tuple(data["permutation"]))


@dataclass(frozen=True)
class Variable:
    """A state_dict entry: what becomes of the Keras variable ``source``; None where no variable feeds it."""

    source: str | None
    layer: str
    keras_shape: tuple[int, ...] | None
    torch_shape: tuple[int, ...]
    steps: tuple[Transform, ...]

    @property
    def transform(self) -> str:
        return describe(self.steps)

    def to_json(self) -> dict[str, Any]:
        return {
            "keras": [self.source] if self.source else [],
            "layer": self.layer,
            "transform": self.transform,
            "keras_shape": None if self.keras_shape is None else list(self.keras_shape),
            "torch_shape": list(self.torch_shape),
            "steps": [step.to_json() for step in self.steps],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Variable:
        return cls(
            next(iter(data["keras"]), None),
            data["layer"],
            _tuple(data["keras_shape"]),
            tuple(data["torch_shape"]),
            tuple(map(from_json, data["steps"])),
        )


@dataclass(frozen=True)
class Manifest:
    """What a conversion promises of its files.

    fingerprint: of the Keras file. source_sha256: of model.py as k2t wrote it.
    reference: what computed on Keras's side.
    cut, closed: layers that were cut off, and layers that were not opened. variables: by key of the state_dict.
    scopes: module path of each class instance → the Keras scopes it stands for, in order of its calls.
    forwards: class name → hash of what its forward() assigns (`forward_hashes`).
    """

    model: str
    class_name: str
    fingerprint: str | None
    source_sha256: str
    reference: dict[str, str]
    inputs: tuple[Side, ...]
    cut: tuple[str, ...]
    closed: tuple[str, ...]
    outputs: tuple[Side, ...]
    variables: dict[str, Variable]
    scopes: dict[str, tuple[str, ...]]
    forwards: dict[str, str]
    taps: tuple[Tap, ...]

    @classmethod
    def of(cls, plan: Plan, code: Code) -> Manifest:
        """The manifest of a conversion of ``plan``, whose source is ``code``."""
        import keras

        root, graph = plan.root, plan.root.graph

        def sides(tensors: tuple[str, ...], names: tuple[str, ...], layouts: tuple[Layout, ...]) -> tuple[Side, ...]:
            specs = [graph.tensors[t] for t in tensors]
            return tuple(Side.of(n, spec.shape, spec.dtype, layout) for spec, n, layout in zip(specs, names, layouts))

        return cls(
            model=plan.source.name,
            class_name=root.class_name,
            fingerprint=plan.source.fingerprint,
            source_sha256=hashlib.sha256(code.text.encode()).hexdigest(),
            reference=keras2.reference()
            if plan.source.original
            else {"package": "keras", "version": keras.__version__, "backend": keras.backend.backend()},
            inputs=sides(graph.inputs, graph.input_names, root.input_layouts),
            cut=tuple(cut.layer.path for cut in plan.traced.cuts),
            closed=tuple(sorted(plan.traced.closed)),
            outputs=sides(graph.outputs, graph.output_names, root.output_layouts),
            variables={w.key: Variable(w.source, w.layer, w.keras_shape, w.shape, w.steps) for w in plan.weights},
            scopes=_scopes(root),
            forwards=forward_hashes(code.text),
            taps=code.taps,
        )

    @property
    def text(self) -> str:
        """manifest.json as it is written."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"

    def to_json(self) -> dict[str, Any]:
        """The content of manifest.json: see section 3 of the design."""
        return {
            "k2t_manifest": MANIFEST_VERSION,
            "model": self.model,
            "class": self.class_name,
            "fingerprint": self.fingerprint,
            "source_sha256": self.source_sha256,
            "reference": self.reference,
            "inputs": [side.to_json() for side in self.inputs],
            "cut": list(self.cut),
            "closed": list(self.closed),
            "outputs": [side.to_json() for side in self.outputs],
            "variables": {key: variable.to_json() for key, variable in self.variables.items()},
            "scopes": {path: list(scopes) for path, scopes in self.scopes.items()},
            "forwards": self.forwards,
            "taps": [tap.to_json() for tap in self.taps],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Manifest:
        """The manifest that `to_json` wrote."""
        return cls(
            model=data["model"],
            class_name=data["class"],
            fingerprint=data["fingerprint"],
            source_sha256=data["source_sha256"],
            reference=data["reference"],
            inputs=tuple(map(Side.from_json, data["inputs"])),
            cut=tuple(data["cut"]),
            closed=tuple(data["closed"]),
            outputs=tuple(map(Side.from_json, data["outputs"])),
            variables={key: Variable.from_json(entry) for key, entry in data["variables"].items()},
            scopes={path: tuple(scopes) for path, scopes in data["scopes"].items()},
            forwards=data["forwards"],
            taps=tuple(map(Tap.from_json, data["taps"])),
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a conversion. Raises OutputError where it, or a file beside it, is missing or damaged."""
        folder = Path(folder)
        path = folder / "manifest.json"
        try:
            recover(folder)
        except OSError as error:
            raise OutputError(
                f"{folder}: a conversion into it was interrupted, and cannot be finished: {error.strerror or error}; "
                "convert the model again"
            ) from error
        for name in ("manifest.json", "model.py", "model.safetensors"):
            if not (folder / name).is_file():
                raise OutputError(f"{folder / name}: no such file; run `k2t convert MODEL -o {folder}` first")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            json.dumps(data, ensure_ascii=False).encode()  # half of a character of two cannot be shown
        except (OSError, ValueError, RecursionError) as error:
            raise OutputError(f"{path}: damaged ({error}); convert the model again") from error
        wrong = _mismatch(data, _MANIFEST)
        if wrong is None:
            try:
                if not data["outputs"]:
                    raise KeyError("no outputs")
                found = cls.from_json(data)
                for key, variable in found.variables.items():
                    if chain_shape(variable.steps, variable.keras_shape) != variable.torch_shape:
                        raise K2TError(f"the transform of {key!r} gives another shape")
                return found
            except RAISED as error:  # a weight transform that is not known, not whole, or of no such shape
                wrong = one_line(error, 200)
        raise OutputError(f"{path}: damaged or not a k2t manifest ({wrong}); convert the model again")


def _scopes(root: PlannedScope) -> dict[str, tuple[str, ...]]:
    """Module path of each class instance → the Keras scopes it stands for, in order of its calls."""
    found: dict[str, list[str]] = {}

    def visit(planned_scope: PlannedScope, keras: str, prefix: str) -> None:
        for path in dict.fromkeys([prefix.rstrip("."), *(f"{prefix}{use.attr}" for use in planned_scope.instances)]):
            found.setdefault(path, []).append(keras)
        for planned in planned_scope.nodes:
            if planned.child is not None:
                visit(planned.child, f"{keras}{planned.node.id}/", f"{prefix}{planned.attr}.")

    visit(root, "", "")
    return {path: tuple(scopes) for path, scopes in found.items()}


def _tuple(values: list[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)


# What a manifest must look like. A type, a tuple of choices, a list of one item, a dict of keys that must be there, or
# {str: …} for any keys.
_NONE = type(None)
_NUMBERS = (_NONE, [int])
_SIDE = {
    "name": str,
    "keras_shape": [(_NONE, int)],
    "torch_shape": [(_NONE, int)],
    "dtype": str,
    "permutation": _NUMBERS,
}
_VARIABLE = {"keras": [str], "layer": str, "keras_shape": _NUMBERS, "torch_shape": [int], "steps": [{"name": str}]}
_TAP = {
    "module": str,
    "class": str,
    "statement": int,
    "variable": str,
    "tensor": str,
    "layer": str,
    "permutation": _NUMBERS,
}
_MANIFEST = {
    "class": str,
    "source_sha256": str,
    "reference": {str: str},
    "cut": [str],
    "closed": [str],
    "inputs": [_SIDE],
    "outputs": [_SIDE],
    "variables": {str: _VARIABLE},
    "scopes": {str: [str]},
    "forwards": {str: str},
    "taps": [_TAP],
    "model": str,
    "fingerprint": (_NONE, str),
}


def _mismatch(value: Any, wanted: Any, place: str = "manifest") -> str | None:
    """Where ``value`` is not as ``wanted``, None where it is."""
    if isinstance(wanted, tuple):
        return None if any(_mismatch(value, choice) is None for choice in wanted) else f"{place} is wrong"
    kind = type(wanted) if isinstance(wanted, (list, dict)) else wanted
    if not isinstance(value, kind):
        return f"{place} is {type(value).__name__}"
    if isinstance(wanted, list):
        return next((wrong for item in value if (wrong := _mismatch(item, wanted[0], f"{place}[]"))), None)
    if isinstance(wanted, dict):
        pairs = [(key, wanted[str]) for key in value] if str in wanted else list(wanted.items())
        missing = next((key for key, _ in pairs if key not in value), None)
        if missing is not None:
            return f"{place} has no {missing!r}"
        return next((wrong for key, inner in pairs if (wrong := _mismatch(value[key], inner, f"{place}.{key}"))), None)
    return None
