"""What is known of a snippet of PyTorch code before it is in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from k2t_core.errors import K2TError
from k2t_core.recipe import Override

if TYPE_CHECKING:
    from k2t_core.project.layer_bench import LayerBench
    from k2t_core.verification.alone import Verdict


@dataclass(frozen=True)
class Check:
    """What is known of a snippet that is not in force: why it cannot be, and where; or what it computes.

    Lines and columns count from 1.
    """

    problem: str = ""
    line: int = 1
    column: int = 1
    verdict: Verdict | None = None


def read(code: str) -> Check:
    """Whether a snippet is one Python expression. Nothing of it runs: this is for code that is being typed."""
    lead = len(code) - len(code.lstrip())
    text = code.strip()
    try:
        compile(text, "snippet", "eval")
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        line = getattr(error, "lineno", None) or 1
        first = code[:lead].count("\n")
        column = (getattr(error, "offset", None) or 1) + (lead - code.rfind("\n", 0, lead) - 1 if line == 1 else 0)
        return Check(f"Not one Python expression: {getattr(error, 'msg', error)}", line + first, column)
    except (RecursionError, MemoryError):
        return Check("Too deeply nested for Python to read")
    return Check()


def check(bench: LayerBench, layer: str, code: str) -> Check:
    """Run a snippet alone, on what Keras gives the layer, because a person asks for it. Nothing is put in force."""
    found = read(code)
    if found.problem:
        return found
    try:
        return Check(verdict=bench.probe(layer).judge(bench.recipe.with_override(Override(layer, "snippet", code))))
    except K2TError as error:
        return Check(str(error))
