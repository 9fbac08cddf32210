"""The first of the two proofs: every entry of the written state_dict is what its Keras variable becomes, bit for bit.

What a comparison of outputs cannot see (a kernel behind a dead ReLU, a bias that a softmax takes away, one wrong digit
in a half-precision weight) is seen here, because nothing is computed. The transforms are those that planning gives for
the recipe in the folder, and not those that its manifest tells, which could have been edited along with the weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k2t_core.difference import Difference
from k2t_core.errors import K2TError, OutputError, one_line
from k2t_core.keras_side.tracing import Traced
from k2t_core.planning.plan import PlannedWeight
from k2t_core.planning.planner import plan
from k2t_core.progress import check
from k2t_core.recipe import Recipe
from k2t_core.tensors import to_array, to_tensor
from k2t_core.transforms import apply_chain

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Unequal:
    """An entry of the state_dict that is not what the model's weights give.

    difference: None where the two sides cannot be compared.
    """

    key: str
    layer: str
    reason: str
    difference: Difference | None = None

    def describe(self) -> str:
        """One line for a person."""
        return f"{self.key} (layer {self.layer!r}): {self.reason}" if self.layer else f"{self.key}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "layer": self.layer,
            "reason": self.reason,
            "difference": self.difference and asdict(self.difference),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Unequal:
        difference = data["difference"]
        return cls(data["key"], data["layer"], data["reason"], difference and Difference(**difference))


@dataclass(frozen=True)
class WeightsProof:
    """How many of the entries were compared and which of them are not equal."""

    entries: int
    unequal: tuple[Unequal, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.unequal

    def describe(self) -> str:
        """One sentence for a person, without its full stop."""
        equal = self.entries - len(self.unequal)
        told = f"{equal} of {self.entries} entries equal the model's weights bit for bit"
        if self.passed:
            return told if self.entries else "there are no weights to compare"
        more = f" and {len(self.unequal) - 1} more" if len(self.unequal) > 1 else ""
        return f"{told}; not {self.unequal[0].describe()}{more}"

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "entries": self.entries, "unequal": [one.to_json() for one in self.unequal]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WeightsProof:
        return cls(data["entries"], tuple(map(Unequal.from_json, data["unequal"])))


def prove_weights(folder: Path, traced: Traced, recipe: Recipe, listed: Collection[str] | None = None) -> WeightsProof:
    """Compare model.safetensors in ``folder`` with the model's weights, one entry in memory at a time.

    recipe: the overrides in force, which say what becomes of a variable. listed: the entries that the folder's manifest
    has, which decide what else is compared; None where there is none.

    Raises OutputError where the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        planned = plan(traced, recipe)
        planned.raise_for_problems()
    except K2TError as error:
        return WeightsProof(0, (Unequal("recipe.json", "", f"cannot be replayed: {one_line(error)}"),))
    path = folder / "model.safetensors"
    unequal = []
    try:
        with safe_open(path, "pt") as file:
            written = set(file.keys())
            for weight in planned.weights:
                check()
                if weight.key not in written:
                    unequal.append(Unequal(weight.key, weight.layer, "is not in model.safetensors"))
                    continue
                if listed is not None and weight.key not in listed:
                    unequal.append(Unequal(weight.key, weight.layer, "is not in manifest.json"))
                unequal += _compared(weight, file.get_tensor(weight.key), traced)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be read ({one_line(error)}); convert the model again") from error
    unequal += [
        Unequal(key, "", "no variable of the model gives it")
        for key in sorted(written - {w.key for w in planned.weights})
    ]
    return WeightsProof(len(written | {w.key for w in planned.weights}), tuple(unequal))


def _compared(weight: PlannedWeight, got: torch.Tensor, traced: Traced) -> Iterator[Unequal]:
    array = apply_chain(weight.steps, traced.value(weight.source) if weight.source else None)
    want = to_tensor(array)
    if got.dtype != want.dtype or got.shape != want.shape:
        yield Unequal(weight.key, weight.layer, f"is {_kind(got)}, and must be {_kind(want)}")
    elif not _same_bits(got, want):
        difference = Difference.of(array, to_array(got))
        how = f"differs by up to {difference.max_abs:.3g} ({difference.relative:.2g} of its largest value)"
        yield Unequal(
            weight.key,
            weight.layer,
            how if difference.max_abs else "differs in its bits alone (a zero's sign, a NaN's payload, a subnormal)",
            difference,
        )


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors of one dtype and shape are alike to the last bit: 0 is not −0, NaN has a payload."""
    import torch

    if not a.numel():
        return True
    return torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8))


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
