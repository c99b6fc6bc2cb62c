"""Everything that can be found out before a search leaves anything behind: its models, its candidates, their plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.search.candidates import Asking, Candidate
from mergegraph.search.document import Loaded
from mergegraph.search.greedy import Chosen, greedy_soup, uniform
from mergegraph.search.kinds import GreedySoup, Uniform
from mergegraph.search.making import Maker
from mergegraph.search.recipes import Kitchen, Model, models
from mergegraph.search.scoring import Rule
from mergegraph.units import parse_bytes

Strategy = Callable[[Asking], Chosen]


@dataclass(frozen=True)
class Prepared:
    """A search that can begin. `probe`: candidates whose plans show what is wrong with the models."""

    loaded: Loaded
    place: Path
    rule: Rule
    maker: Maker
    strategy: Strategy
    probe: tuple[Candidate, ...]


def prepare(loaded: Loaded, output: Path | None) -> Prepared:
    """RecipeError or InputError with what is wrong; nothing is written."""
    search, place = loaded.search, loaded.place(output)
    rule = Rule(search.metrics, search.accept.noise, getattr(search, "strict", False))
    kitchen = Kitchen(loaded.name, loaded.folder, place.absolute(), loaded.document.file)
    planned = _soups(loaded, kitchen, rule)
    budget = parse_bytes(search.budget) if search.budget else None
    maker = Maker(place.absolute(), loaded.folder, planned.references, budget, search.allow_unrelated)
    for candidate in planned.probe:
        maker.planned(candidate.recipe)
    return Prepared(loaded, place, rule, maker, planned.strategy, planned.probe)


@dataclass(frozen=True)
class _Planned:
    strategy: Strategy
    probe: tuple[Candidate, ...]
    references: Mapping[str, str]


def _soups(loaded: Loaded, kitchen: Kitchen, rule: Rule) -> _Planned:
    search = loaded.search
    assert isinstance(search, Uniform | GreedySoup)
    found = models(search.candidates, loaded.folder, loaded.where("candidates"))
    if len(found) < 2:
        fix = "name two or more: folders, or a glob such as ./models/run-*"
        raise RecipeError(Problem("A soup needs two models.", loaded.where("candidates"), fix=fix))
    by_name = {model.name: model for model in found}

    def soup_of(names: tuple[str, ...]) -> Candidate:
        return kitchen.soup([by_name[name] for name in names])

    every = kitchen.soup(found, f"the average of {len(found)}")
    references = {model.name: model.reference for model in found}
    if isinstance(search, Uniform):
        return _Planned(lambda asking: uniform(replace(every, grown=None), asking, rule), (every,), references)
    refine = search.refine is not None
    return _Planned(
        lambda asking: greedy_soup(tuple(by_name), soup_of, asking, rule, refine=refine), (every,), references
    )
