"""Two verifications of one model side by side, layer by layer: what an override changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerChange:
    """A Keras tensor in two runs: the relative differences, accumulated and alone, None where a run has none."""

    tensor: str
    layer: str
    before: float | None
    after: float | None
    before_alone: float | None
    after_alone: float | None

    @property
    def factor(self) -> float | None:
        """How many times larger the accumulated difference became; infinite from 0, None without both."""
        if self.before is None or self.after is None:
            return None
        return self.after / self.before if self.before else 1.0 if not self.after else float("inf")


def comparisons(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(weights, inputs) of the comparisons that both reports hold, in the order of the later one.

    Only those say what changed.
    """
    known = {(run["weights"], run["inputs"]) for run in before["runs"]}
    return [(run["weights"], run["inputs"]) for run in after["runs"] if (run["weights"], run["inputs"]) in known]


def changes(before: Mapping[str, Any], after: Mapping[str, Any], which: tuple[str, str]) -> list[LayerChange]:
    """Every layer of either run in one comparison of `comparisons`, in the order of the later one."""
    old, new = ({layer["tensor"]: layer for layer in _run(report, which)["layers"]} for report in (before, after))
    order = [*new, *(tensor for tensor in old if tensor not in new)]
    return [
        LayerChange(
            tensor,
            (new.get(tensor) or old[tensor])["layer"],
            _relative(old.get(tensor), "cumulative"),
            _relative(new.get(tensor), "cumulative"),
            _relative(old.get(tensor), "isolated"),
            _relative(new.get(tensor), "isolated"),
        )
        for tensor in order
    ]


def worst_output(report: Mapping[str, Any], which: tuple[str, str]) -> float:
    """The largest relative difference of an output in one comparison."""
    return max((output["relative"] for output in _run(report, which)["outputs"]), default=0.0)


def _run(report: Mapping[str, Any], which: tuple[str, str]) -> Mapping[str, Any]:
    return next(run for run in report["runs"] if (run["weights"], run["inputs"]) == which)


def _relative(layer: Mapping[str, Any] | None, kind: str) -> float | None:
    return layer[kind]["relative"] if layer is not None and layer[kind] is not None else None
