"""What a conversion writes on demand, beside its four files.

A format is a module, an entry of `FORMATS`, an option of `convert` and of the command line, a button of the page
Convert, and its test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k2t_core.emit import onnx
from k2t_core.emit.committing import KNOWN
from k2t_core.graph import Graph
from k2t_core.progress import Progress


@dataclass(frozen=True)
class Format:
    """A file that is made of the four and proven against them.

    need: raises K2TError where a package is missing.
    write: puts the file into the folder of a conversion of the graph, or raises K2TError.
    """

    file: str
    need: Callable[[], None]
    write: Callable[[Path, Graph, Progress], Any]

    def __post_init__(self) -> None:
        KNOWN.add(self.file)


# By the option of `convert` that asks for it.
FORMATS = {"onnx": Format(onnx.ONNX, onnx.need_packages, onnx.write_onnx)}
