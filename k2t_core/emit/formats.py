"""What a conversion writes on demand, beside its four files.

A format is its module, its entry of `FORMATS` and its test. From the entry come the option of `convert`, the switch of
the command line, and the buttons of the page Convert. It costs nothing to import: the command line does for ``--help``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from k2t_core.emit.committing import KNOWN

if TYPE_CHECKING:
    from pathlib import Path

    from k2t_core.graph import Graph
    from k2t_core.progress import Progress


class Maker(Protocol):
    """What the module of a format has."""

    def need_packages(self) -> None:
        """Raises K2TError where a package is missing."""

    def write(self, path: Path, graph: Graph, progress: Progress | None = None) -> object:
        """Write the file beside the conversion of ``graph`` and prove it, or raise K2TError and leave none."""


@dataclass(frozen=True)
class Format:
    """A file that is made of the four and proven against them.

    title: its name for people. proof: how it was compared. extra: of k2t's, with the packages. use: what it is for.
    maker: imports its module.
    """

    file: str
    title: str
    proof: str
    extra: str
    use: str
    maker: Callable[[], Maker]

    def __post_init__(self) -> None:
        KNOWN.add(self.file)


def _onnx() -> Maker:
    from k2t_core.emit import onnx

    return onnx


# By the option of `convert` that asks for it.
FORMATS = {
    "onnx": Format(
        file="model.onnx",
        title="ONNX",
        proof="compared with the module in onnxruntime",
        extra="k2t[onnx]",
        use="runs without Python; onnxruntime gave the same as the module",
        maker=_onnx,
    ),
}
