"""A verification report on disk: report.json with the numbers, and the .npz that it names with outputs and batch.

A process may die at any moment, and the machine may: the arrays are there, under a name of their own, before
report.json names them in place of the old ones.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from k2t_core.emit.committing import flush
from k2t_core.transforms import float_dtype
from k2t_core.verification.report import Report

REPORT_VERSION = 12


def write_report(report: Report, folder: Path, key: str) -> None:
    """Write a report, so that `read_report` gives an equal one. ``key`` says what it was a report on."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = report.arrays()
    exotic = {
        name: str(array.dtype)
        for name, array in arrays.items()
        if array.dtype.kind == "V" or array.dtype.name == "bfloat16"
    }
    kept: dict[str, Any] = {name: a.astype("float32") if name in exotic else a for name, a in arrays.items()}
    path = folder / f"arrays-{secrets.token_hex(8)}.npz"
    np.savez(path, **kept)
    flush(path)
    data = {"k2t_report": REPORT_VERSION, "key": key, "arrays": path.name, "dtypes": exotic, **report.to_json()}
    staging = folder / "report.json.new"
    staging.write_text(json.dumps(data, indent=2, ensure_ascii=False), encoding="utf-8")
    flush(staging)
    os.replace(staging, folder / "report.json")
    flush(folder)
    for other in folder.glob("arrays*.npz"):  # of the report before, and of one whose writing was cut short
        if other != path:
            other.unlink()


def read_report(folder: Path) -> Report | None:
    """The report in a folder, None where there is none of this version."""
    data = _read_json(folder)
    if data is None:
        return None
    with np.load(folder / data["arrays"], allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name, dtype in data["dtypes"].items():
        arrays[name] = arrays[name].astype(float_dtype(dtype))
    return Report.from_json(data, arrays)


def report_key(folder: Path) -> str | None:
    """What the report in a folder was a report on."""
    data = _read_json(folder)
    return None if data is None else data["key"]


def _read_json(folder: Path) -> dict[str, Any] | None:
    path = folder / "report.json"
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return data if data.get("k2t_report") == REPORT_VERSION else None
