"""Candidates from a recipe file: with other settings, with a delta taken apart, or a line between two of its nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mergegraph.errors import Problem, RecipeError, did_you_mean
from mergegraph.methods.linear import Scale
from mergegraph.methods.save import Save
from mergegraph.pipeline import check
from mergegraph.recipe.load import load_recipe
from mergegraph.recipe.model import Node, Recipe
from mergegraph.recipe.saves import saves
from mergegraph.recipe.scalars import as_text
from mergegraph.recipe.wiring import renamed
from mergegraph.search.ablation import Rules
from mergegraph.search.candidates import Candidate
from mergegraph.search.document import Loaded
from mergegraph.search.recipes import MODEL, Kitchen


@dataclass(frozen=True)
class Variants:
    """The recipe that a search names at `field`, and what can be made of it."""

    loaded: Loaded
    kitchen: Kitchen
    field: str
    path: Path

    @classmethod
    def of(cls, loaded: Loaded, kitchen: Kitchen, reference: str, field: str = "recipe") -> Variants:
        path = loaded.folder / reference
        if not path.is_file():
            why = f"there is no file {path}"
            fix = "correct the path; it is relative to the folder of the search"
            raise RecipeError(Problem(f'The recipe "{reference}" is not there.', loaded.where(field), why=why, fix=fix))
        return cls(loaded, kitchen, field, path)

    def with_settings(self, settings: Mapping[str, object]) -> Candidate:
        """The recipe after `--set` of each place. RecipeError with the lines of the search."""
        sets = {place: f"{place}={json.dumps(value)}" for place, value in settings.items()}
        try:
            recipe = load_recipe(self.path, sets=list(sets.values()))
        except RecipeError as error:
            raise RecipeError(*(self._placed(problem, sets) for problem in error.problems)) from error
        label = ", ".join(f"{place}={_shown(value)}" for place, value in settings.items())
        return Candidate(label or self.path.stem, self.saved(recipe), facts={"settings": dict(settings)})

    def _placed(self, problem: Problem, sets: Mapping[str, str]) -> Problem:
        """At the line of the search that says it, not at an option that nobody typed."""
        said = problem.at.file if problem.at is not None else ""
        place = next((place for place, text in sets.items() if said == f"--set {text}"), None)
        return problem if place is None else replace(problem, at=self.loaded.where("over", place))

    def saved(self, recipe: Recipe) -> Recipe:
        """The recipe with its one save beside the search. RecipeError where it has several."""
        found = list(saves(recipe.nodes.values()))
        if len(found) != 1:
            fact = f"{self.path.name} has {len(found)} saves, and a candidate is one model."
            raise RecipeError(Problem(fact, self.loaded.where(self.field), fix="leave one save in it"))
        ((node, save),) = found
        template = str(node.folder / save.chat_template) if save.chat_template is not None else None
        moved = self.kitchen.node(node.name, save.model_copy(update={"path": MODEL, "chat_template": template}))
        kept = {**recipe.nodes, node.name: moved}
        return Recipe(self.kitchen.name, recipe.seed, kept, self.kitchen.place, recipe.file, recipe.warnings)

    def unsaved(self) -> tuple[list[Node], int]:
        """The nodes without the saves, and the seed."""
        recipe = load_recipe(self.path)
        return [node for node in recipe.nodes.values() if not isinstance(node.method, Save)], recipe.seed

    def require(self, name: str, nodes: Iterable[Node], field: str) -> None:
        known = [node.name for node in nodes]
        if name not in known:
            fix = did_you_mean(name, known, "nodes")
            raise RecipeError(Problem(f'{self.path.name} has no node "{name}".', self.loaded.where(field), fix=fix))

    def require_delta(self, name: str, field: str) -> None:
        """Parts of a model that is no delta would be models of zeros."""
        node = check(self.saved(load_recipe(self.path)), allow_unrelated=True).graph.nodes[name]
        if node.space != "delta":
            fact = f'The node "{name}" is a model, and only a delta can be taken apart.'
            fix = "name a node such as {op: delta, model: tuned, base: base}"
            raise RecipeError(Problem(fact, self.loaded.where(field), fix=fix))

    def scaled(self, delta: str, rules: Rules | None, label: str) -> Candidate:
        """The recipe with its node `delta` scaled by rules; without rules as it is."""
        recipe = self.saved(load_recipe(self.path))
        if rules is None:
            return Candidate(label, recipe, facts={"part": label})
        part = _free("part", recipe.nodes)
        nodes = {
            name: Node(
                name, renamed(node.method, lambda other: part if other == delta else other),
                node.at, node.lines, node.folder, node.within,
            )
            for name, node in recipe.nodes.items()
        }  # fmt: skip
        nodes[part] = self.kitchen.node(part, Scale.model_validate({"input": delta, "by": rules}))
        return Candidate(
            label, Recipe(recipe.name, recipe.seed, nodes, recipe.folder, recipe.file), facts={"part": label}
        )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value) + "]"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return as_text(value) if isinstance(value, bool | int | float | str) else str(value)


def _free(name: str, taken: Mapping[str, object]) -> str:
    return name if name not in taken else _free(f"{name}_", taken)
