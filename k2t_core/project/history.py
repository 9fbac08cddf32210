"""The recipe and its undo history."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from k2t_core.errors import OverrideError
from k2t_core.keras_side.traced import Traced
from k2t_core.planning.planner import merge
from k2t_core.recipe import Override, Recipe, parsed_recipe


@dataclass(frozen=True)
class History:
    """Every recipe that was in force, oldest first, and the place of the one that is: a value, so that no thread sees
    half of a change."""

    recipes: tuple[Recipe, ...] = (Recipe(),)
    position: int = 0

    @property
    def recipe(self) -> Recipe:
        """The recipe in force."""
        return self.recipes[self.position]

    @property
    def can_undo(self) -> bool:
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        return self.position < len(self.recipes) - 1

    def then(self, recipe: Recipe) -> History:
        """With another recipe in force. What was undone is gone."""
        return History((*self.recipes[: self.position + 1], recipe), self.position + 1)

    def undone(self) -> History:
        """One step back; the same where there is none."""
        return replace(self, position=self.position - 1) if self.can_undo else self

    def redone(self) -> History:
        """One step forward; the same where there is none."""
        return replace(self, position=self.position + 1) if self.can_redo else self

    def to_json(self) -> dict[str, Any]:
        return {
            "history": [[asdict(override) for override in recipe.overrides] for recipe in self.recipes],
            "position": self.position,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> History:
        recipes = (Recipe(tuple(Override(**item) for item in items)) for items in data["history"])
        return History(tuple(recipes), data["position"])


def as_replayed(override: Override) -> Override:
    """The override as recipe.json gives it back (a tuple is a list), so that a replay writes the same bytes."""
    return replace(override, value=json.loads(json.dumps(override.value)))


def imported(text: str | bytes, traced: Traced) -> tuple[Recipe, list[str]]:
    """The recipe of a recipe.json for this model, and why overrides were left out.

    Of a recipe that was made for another model, or for another version of this one, those are taken that fit. Raises
    OverrideError for what is no recipe, and where nothing of one for another model fits.
    """
    recipe = parsed_recipe(text)
    if recipe.fingerprint in (None, traced.source.fingerprint):
        return Recipe(recipe.overrides), []
    recipe, left = merge(recipe, traced)
    if left and not recipe.overrides:
        raise OverrideError(
            f"the recipe was made for another model, and none of its overrides fits this one: {left[0]}"
        )
    return Recipe(recipe.overrides), left
