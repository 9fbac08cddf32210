"""The recipe: every override a person has made, by layer path, as JSON that replays to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from keyword import iskeyword
from pathlib import Path
from typing import Any

from k2t_core.errors import OverrideError, one_line

VERSION = 1


def _whole(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(n, int) for n in value)


def _named(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


@dataclass(frozen=True)
class Kind:
    """What overrides of a kind look like; what they do to a mapping stands in `planning.overrides`.

    fits: whether a value is well formed; whether it is possible in a model is the planner's to say.
    text: a value in words. part: what of the layer a value decides; overrides of other parts stand beside each other.
    """

    fits: Callable[[Any], bool]
    text: Callable[[Any], str]
    part: Callable[[Any], str] = lambda value: ""


KINDS = {
    "alternative": Kind(
        fits=lambda value: isinstance(value, str),
        text=lambda value: f"alternative {value}",
    ),
    "permutation": Kind(
        fits=lambda value: _named(value) and isinstance(value.get("key"), str) and _whole(value.get("axes")),
        text=lambda value: f"{value['key']} permuted by {tuple(value['axes'])}",
        part=lambda value: value.get("key", ""),
    ),
    "arguments": Kind(
        fits=lambda value: _named(value) and all(name.isidentifier() and not iskeyword(name) for name in value),
        text=lambda value: ", ".join(f"{k}={v!r}" for k, v in value.items()),
    ),
    "weights": Kind(
        fits=lambda value: _named(value) and all(isinstance(source, str) for source in value.values()),
        text=lambda value: ", ".join(f"{key} from {source}" for key, source in value.items()),
    ),
    "gates": Kind(
        fits=_whole,
        text=lambda value: f"gates in the order {tuple(value)}",
    ),
    "snippet": Kind(
        fits=lambda value: isinstance(value, str),
        text=lambda value: f"snippet {value}",
    ),
    "cut": Kind(
        fits=lambda value: value is None,
        text=lambda value: "cut off, left to the data pipeline",
    ),
}


@dataclass(frozen=True)
class Override:
    """One decision about one layer.

    kind and value:
        alternative: the name of one of the rule's alternatives.
        permutation: {"key": state_dict key relative to the layer ("weight"), "axes": [...]}.
        arguments:   {argument of the torch module's constructor, or of a function in the layer's code: value}.
        weights:     {state_dict key relative to the layer: the layer's Keras variable that feeds it}.
        gates:       the order in which the blocks of Keras's gates are put behind each other.
        cut:         None. The model starts behind this layer; what it and the layers before it do is left to the data
                     pipeline.
        snippet:     PyTorch code over the inputs ``x`` (or ``x0``, ``x1``, …) in Keras's axis order, for a layer
                     without a rule.
    """

    layer: str
    kind: str
    value: Any
    reason: str = ""

    def __post_init__(self):
        if not isinstance(self.layer, str) or not isinstance(self.reason, str):
            raise OverrideError(
                f"recipe: an override names its layer and its reason in words, not {self.layer!r} and {self.reason!r}"
            )
        if self.kind not in KINDS:
            raise OverrideError(
                f"layer {self.layer!r}: unknown kind of override {self.kind!r}; one of {', '.join(KINDS)}"
            )
        if not KINDS[self.kind].fits(self.value):
            raise OverrideError(
                f"layer {self.layer!r}: an override of kind {self.kind!r} cannot be {self.value!r}; "
                "see the recipes that the app exports"
            )

    @property
    def target(self) -> tuple[str, str, str]:
        """What it decides; a later override of the same target replaces this one."""
        return (self.layer, self.kind, KINDS[self.kind].part(self.value))

    def describe(self) -> str:
        return f"{self.layer}: {KINDS[self.kind].text(self.value)}"


@dataclass(frozen=True)
class Recipe:
    """An immutable list of overrides, bound to a model by its fingerprint."""

    overrides: tuple[Override, ...] = ()
    fingerprint: str | None = None

    def with_override(self, override: Override) -> Recipe:
        """The recipe with this override in force; one for the same target is replaced."""
        kept = tuple(o for o in self.overrides if o.target != override.target)
        return replace(self, overrides=(*kept, override))

    def without(self, index: int) -> Recipe:
        """The recipe with override number ``index`` taken back."""
        return replace(self, overrides=self.overrides[:index] + self.overrides[index + 1 :])

    def of(self, layer: str) -> list[Override]:
        return [o for o in self.overrides if o.layer == layer]

    @property
    def cuts(self) -> list[str]:
        """The layers that are cut off."""
        return [o.layer for o in self.overrides if o.kind == "cut"]

    @property
    def snippets(self) -> list[Override]:
        """The overrides whose value is Python code: it runs when its layer is looked at, converted or verified."""
        return [o for o in self.overrides if o.kind == "snippet"]

    def get(self, layer: str, kind: str) -> Any:
        """The value of the override of this kind for a layer, None where there is none."""
        return next((o.value for o in self.overrides if (o.layer, o.kind) == (layer, kind)), None)

    def to_json(self) -> str:
        data = {
            "k2t_recipe": VERSION,
            "fingerprint": self.fingerprint,
            "overrides": [asdict(o) for o in self.overrides],
        }
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def read_recipe(recipe: Recipe | str | Path | dict | Iterable[Override] | None) -> Recipe:
    """A recipe from a file, parsed JSON, a list of overrides, or nothing. Raises OverrideError for a foreign file."""
    if recipe is None:
        return Recipe()
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, (str, Path)):
        path = Path(recipe)
        if path.exists() and not path.is_file():  # a pipe would hold whoever reads it
            raise OverrideError(f"recipe {path}: is no file; give a recipe.json")
        try:
            recipe = json.loads(path.read_text(encoding="utf-8"))
            json.dumps(recipe, ensure_ascii=False).encode()  # half of a character of two cannot be shown
        except OSError as error:
            raise OverrideError(f"recipe {path}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise OverrideError(f"recipe {path}: not JSON ({one_line(error, 200)})") from error
        recipe = recipe if isinstance(recipe, dict) else {}
    if isinstance(recipe, dict):
        if recipe.get("k2t_recipe") != VERSION or not isinstance(recipe.get("overrides"), list):
            raise OverrideError(
                f"not a k2t recipe of version {VERSION}: export one from the app or take recipe.json from a conversion"
            )
        try:
            overrides = tuple(Override(**item) for item in recipe["overrides"])
        except TypeError as error:
            raise OverrideError(f"recipe: an override is malformed ({error})") from error
        return Recipe(overrides, recipe.get("fingerprint"))
    return Recipe(tuple(recipe))


def parsed_recipe(text: str | bytes) -> Recipe:
    """The recipe that is the content of a recipe.json. Raises OverrideError."""
    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise OverrideError(f"the recipe is not JSON ({one_line(error, 200)})") from error
    if not isinstance(data, dict):
        raise OverrideError(
            "the file is JSON, but not a recipe; export one from the app or take recipe.json from a conversion"
        )
    return read_recipe(data)
