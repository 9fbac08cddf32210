"""manifest.json: what a folder of a conversion holds, as it is written and as it is read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k2t_core.emit.code import Code, forward_hashes
from k2t_core.errors import OutputError
from k2t_core.keras_side.keras2 import original as keras2
from k2t_core.layout import Flat, Layout
from k2t_core.planning.plan import Plan, PlannedScope

FILES = ("model.py", "model.safetensors", "manifest.json", "recipe.json")
ONNX = "model.onnx"  # on demand
MANIFEST_VERSION = 1


def root_class(folder: Path) -> str:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["class"]


def manifest(plan: Plan, code: Code) -> dict[str, Any]:
    """manifest.json: see section 3 of the design. Permutations are null where Keras and torch agree."""
    import keras

    root = plan.root
    graph = root.graph

    def side(tensor: str, name: str, layout: Layout) -> dict[str, Any]:
        spec = graph.tensors[tensor]
        return {
            "name": name,
            "keras_shape": list(spec.shape),
            "torch_shape": list(layout.shape(spec.shape)),
            "dtype": spec.dtype,
            "permutation": None if layout.is_identity else list(layout.perm),
        }

    return {
        "k2t_manifest": MANIFEST_VERSION,
        "model": plan.source.name,
        "class": root.class_name,
        "fingerprint": plan.source.fingerprint,
        "source_sha256": hashlib.sha256(code.text.encode()).hexdigest(),
        "reference": keras2.reference()
        if plan.source.original
        else {"package": "keras", "version": keras.__version__, "backend": keras.backend.backend()},
        "inputs": [side(t, n, layout) for t, n, layout in zip(graph.inputs, graph.input_names, root.input_layouts)],
        "cut": [c.layer.path for c in plan.traced.cuts],
        "closed": sorted(plan.traced.closed),
        "outputs": [side(t, n, layout) for t, n, layout in zip(graph.outputs, graph.output_names, root.output_layouts)],
        "variables": {
            w.key: {
                "keras": [w.source] if w.source else [],
                "layer": w.layer,
                "transform": w.transform,
                "keras_shape": list(w.keras_shape) if w.keras_shape is not None else None,
                "torch_shape": list(w.shape),
                "steps": [step.to_json() for step in w.steps],
            }
            for w in plan.weights
        },
        "scopes": scopes(root),
        "forwards": forward_hashes(code.text),
        "taps": [
            {
                "module": tap.module,
                "class": tap.class_name,
                "statement": tap.statement,
                "variable": tap.variable,
                "tensor": tap.tensor,
                "layer": tap.layer,
                **_layout_json(tap.layout),
            }
            for tap in code.taps
        ],
    }


def scopes(root: PlannedScope) -> dict[str, list[str]]:
    """Module path of each class instance → the Keras scopes it stands for, in order of its calls."""
    found: dict[str, list[str]] = {}

    def visit(planned_scope: PlannedScope, keras: str, prefix: str) -> None:
        for path in dict.fromkeys([prefix.rstrip("."), *(f"{prefix}{use.attr}" for use in planned_scope.instances)]):
            found.setdefault(path, []).append(keras)
        for planned in planned_scope.nodes:
            if planned.child is not None:
                visit(planned.child, f"{keras}{planned.node.id}/", f"{prefix}{planned.attr}.")

    visit(root, "", "")
    return found


def _layout_json(layout: Layout) -> dict[str, Any]:
    data: dict[str, Any] = {"permutation": None if layout.perm == tuple(range(layout.rank)) else list(layout.perm)}
    if layout.flat:
        data["flat"] = {"shape": list(layout.flat.shape), "permutation": list(layout.flat.perm)}
    return data


_NONE = type(None)
_PERMUTATION = (_NONE, [int])
_SIDE = {
    "name": str,
    "keras_shape": [(_NONE, int)],
    "torch_shape": [(_NONE, int)],
    "dtype": str,
    "permutation": _PERMUTATION,
}
_VARIABLE = {"keras": [str], "layer": str, "transform": str, "torch_shape": [int], "steps": [{"name": str}]}
_TAP = {
    "module": str,
    "class": str,
    "statement": int,
    "variable": str,
    "tensor": str,
    "layer": str,
    "permutation": _PERMUTATION,
}
# A type, a tuple of choices, a list of one item, a dict of keys that must be there, or {str: …} for any keys.
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
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a conversion. Raises OutputError where it, or a file beside it, is missing or damaged."""
    folder = Path(folder)
    path = folder / "manifest.json"
    for name in ("manifest.json", "model.py", "model.safetensors"):
        if not (folder / name).is_file():
            raise OutputError(f"{folder / name}: no such file; run `k2t convert MODEL -o {folder}` first")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{path}: damaged ({error}); convert the model again") from error
    wrong = _mismatch(data, _MANIFEST)
    if wrong is not None:
        raise OutputError(f"{path}: damaged or not a k2t manifest ({wrong}); convert the model again")
    return data


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


def tap_layout(tap: Mapping[str, Any], rank: int) -> Layout:
    perm = tuple(tap["permutation"] or range(rank))
    flat = tap.get("flat")
    return Layout(perm, Flat(tuple(flat["shape"]), tuple(flat["permutation"])) if flat else None)
