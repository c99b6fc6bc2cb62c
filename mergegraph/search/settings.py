"""What a search tries for places of a recipe: values and ranges as they are written, read before it begins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mergegraph.errors import Location, Problem, RecipeError, raise_errors
from mergegraph.recipe.sweep import read_sweep
from mergegraph.search.candidates import Candidate
from mergegraph.search.document import Loaded
from mergegraph.search.kinds import Grid, Tune
from mergegraph.search.variants import Variants

_MOST = 1_000
Tried = Mapping[str, Sequence[object]]
"""Place to the values that are tried there."""


def grid(search: Grid, variants: Variants, loaded: Loaded) -> tuple[list[Candidate], list[Candidate]]:
    """Every combination, the last place fastest; and those that show whether each value fits. RecipeError with every
    value that does not."""
    tried, problems = dict[str, Sequence[object]](), list[Problem]()
    for place, given in search.over.items():
        read = _listed(given, place, loaded.where("over", place))
        if isinstance(read, Problem):
            problems.append(read)
        else:
            tried[place] = read
    raise_errors(problems, RecipeError)
    count = math.prod(len(values) for values in tried.values())
    if count > _MOST:
        fact = f"The grid has {count:,} candidates; at most {_MOST:,} are built."
        fix = "take larger steps, or search: optuna"
        raise RecipeError(Problem(fact, loaded.where("over"), fix=fix))
    probes = probed(tried, variants)
    points = (dict(zip(tried, point, strict=True)) for point in itertools.product(*tried.values()))
    return [variants.with_settings(point) for point in points], probes


def tuned(search: Tune, variants: Variants) -> list[Candidate]:
    """Candidates that show whether the ends of every range and all choices fit. RecipeError with what does not."""
    return probed({place: values.ends for place, values in search.over.items()}, variants)


def probed(tried: Tried, variants: Variants) -> list[Candidate]:
    """Every value of each place once, the others at their first."""
    first = {place: values[0] for place, values in tried.items()}
    made, problems = list[Candidate](), dict[str, Problem]()
    for settings in _once(tried, first):
        try:
            made.append(variants.with_settings(settings))
        except RecipeError as error:
            problems |= {str(problem): problem for problem in error.problems}
    raise_errors(list(problems.values()), RecipeError)
    return made


def _once(tried: Tried, first: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    yield first
    for place, values in tried.items():
        for value in values[1:]:
            yield {**first, place: value}


def _listed(given: Sequence[object] | str, place: str, at: Location) -> Sequence[object] | Problem:
    """The values of a list, or of a range "START:STOP:STEP"."""
    if not isinstance(given, str):
        if not given:
            return Problem(f"There is no value to try for {place}.", at, fix=f"{place}: [0.2, 0.5]")
        if twice := [value for index, value in enumerate(given) if value in given[:index]]:
            return Problem(f"{place} has the value {twice[0]} twice.", at, fix="list each value once")
        return given
    if given.count(":") != 2:
        return Problem(f'"{given}" is no range for {place}.', at, fix=f'{place}: "0:1:0.1", or {place}: [0.2, 0.5]')
    try:
        return read_sweep(f"{place}={given}").values
    except RecipeError as error:
        problem = error.problems[0]
        fix = problem.fix if problem.fix.startswith(("write", "take")) else f'{place}: "0:1:0.1"'
        return replace(problem, at=at, fix=fix)
