"""Read manifest.json, the one file of a conversion that verification trusts to tell what is what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from k2t_core.errors import OutputError

_NONE = type(None)
_PERMUTATION = (_NONE, [int])
_SIDE = {"name": str, "keras_shape": [(_NONE, int)], "torch_shape": [(_NONE, int)], "dtype": str, "permutation": _PERMUTATION}
_VARIABLE = {"keras": [str], "layer": str, "transform": str, "torch_shape": [int], "steps": [{"name": str}]}
_TAP = {"module": str, "class": str, "statement": int, "variable": str, "tensor": str, "layer": str, "permutation": _PERMUTATION}
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
