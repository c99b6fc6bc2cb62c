"""Everything that can be found out before a search leaves anything behind: its models, its candidates, their plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mergegraph.errors import Location, OutputError, Problem, RecipeError, did_you_mean
from mergegraph.methods.linear import Delta, Scale, Sum
from mergegraph.search.ablation import Pair, Part, Rules, ablate, parts
from mergegraph.search.candidates import Asking, Candidate, Chosen
from mergegraph.search.comparison import compare
from mergegraph.search.document import Loaded
from mergegraph.search.greedy import greedy_soup
from mergegraph.search.grid import best_of
from mergegraph.search.kinds import Ablate, Compare, GreedySoup, Grid, Line, Search, Tune, Uniform
from mergegraph.search.ledger import LEDGER, LOCK
from mergegraph.search.line import along
from mergegraph.search.making import Maker, are_alike
from mergegraph.search.recipes import Kitchen, Model, models, node_name
from mergegraph.search.scoring import Rule
from mergegraph.search.settings import grid, tuned
from mergegraph.search.tuning import require_optuna, tune
from mergegraph.search.variants import Variants
from mergegraph.units import parse_bytes

Strategy = Callable[[Asking], Chosen]


@dataclass(frozen=True)
class Planned:
    """A strategy, and candidates whose plans show what is wrong with the models. `references`: of models, by name;
    `count`: how many candidates there are, where that does not depend on their scores."""

    strategy: Strategy
    probe: Sequence[Candidate]
    references: Mapping[str, str] = field(default_factory=dict[str, str])
    count: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A search that can begin."""

    loaded: Loaded
    place: Path
    shown: Path
    """The same folder, as it is said."""
    rule: Rule
    maker: Maker
    strategy: Strategy
    probe: Sequence[Candidate]
    count: int | None
    warnings: tuple[Problem, ...]


def prepare(loaded: Loaded, output: Path | None) -> Prepared:
    """RecipeError or InputError with what is wrong; nothing is written."""
    search, place = loaded.search, loaded.place(output).absolute()
    _require_own(place, loaded)
    rule = Rule(search.metrics, search.accept.noise, isinstance(search, GreedySoup) and search.strict)
    kitchen = Kitchen(loaded.name, loaded.folder, place, loaded.document.file)
    budget = parse_bytes(search.budget) if search.budget else None
    planned = _planned(
        search, loaded, kitchen, rule, partial(Maker, place, loaded.folder, {}, budget, search.allow_unrelated)
    )
    maker = Maker(place, loaded.folder, planned.references, budget, search.allow_unrelated)
    said = [*loaded.document.problems]
    for candidate in planned.probe:
        plan = maker.planned(candidate.recipe)
        plan.validate()
        said += [*candidate.recipe.warnings, *plan.warnings]
    warnings = tuple(dict.fromkeys(said))
    return Prepared(
        loaded, place, loaded.place(output), rule, maker, planned.strategy, planned.probe, planned.count, warnings
    )


def _require_own(place: Path, loaded: Loaded) -> None:
    """OutputError unless the folder is a search's, empty, or not there: a search replaces and deletes in it."""
    at, fix = loaded.where("path"), "path: another folder, or -o DIR"
    if place.exists() and not place.is_dir():
        raise OutputError(Problem(f"{place} is a file, not the folder of a search.", at, fix=fix))
    there = {path.name for path in place.iterdir()} if place.is_dir() else set[str]()
    if there - {LOCK} and LEDGER not in there:
        fact, why = f"{place} is not the folder of a search.", "it has other things in it, and no ledger"
        raise OutputError(Problem(fact, at, why=why, fix=fix))


def _planned(search: Search, loaded: Loaded, kitchen: Kitchen, rule: Rule, maker: Callable[[], Maker]) -> Planned:
    match search:
        case Uniform():
            found = _members(loaded, search.candidates)
            every = kitchen.soup(found, f"the average of {len(found)}")
            return Planned(lambda asking: best_of([every], asking, rule), [every], count=1)
        case GreedySoup():
            return _greedy(search, loaded, kitchen, rule)
        case Grid():
            candidates, probes = grid(search, Variants.of(loaded, kitchen, search.recipe), loaded)
            count = len(candidates)
            return Planned(lambda asking: best_of(candidates, asking, rule), probes, count=count)
        case Line():
            return _line(search, loaded, kitchen, rule)
        case Ablate():
            return _ablation(search, loaded, kitchen, rule, maker())
        case Compare():
            return _comparison(search, loaded, kitchen, rule)
        case Tune():
            variants = Variants.of(loaded, kitchen, search.recipe)
            require_optuna(search.sampler)
            probes = tuned(search, variants)
            return Planned(partial(tune, search, variants.with_settings, rule=rule), probes, count=search.trials)
        case _:
            raise AssertionError(search.search)


def _members(loaded: Loaded, candidates: Sequence[str]) -> tuple[Model, ...]:
    found = models(candidates, loaded.folder, lambda index: loaded.where("candidates", index))
    if len(found) < 2:
        fix = "name two or more: folders, or a glob such as ./models/run-*"
        raise RecipeError(Problem("A soup needs two models.", loaded.where("candidates"), fix=fix))
    return found


def _greedy(search: GreedySoup, loaded: Loaded, kitchen: Kitchen, rule: Rule) -> Planned:
    by_name = {model.name: model for model in _members(loaded, search.candidates)}
    references = {name: model.reference for name, model in by_name.items()}
    kitchen = replace(kitchen, may_grow=are_alike(references.values(), loaded.folder))

    def soup_of(names: tuple[str, ...]) -> Candidate:
        return kitchen.soup([by_name[name] for name in names])

    def strategy(asking: Asking) -> Chosen:
        return greedy_soup(tuple(by_name), soup_of, asking, rule, refine=search.refine is not None)

    return Planned(strategy, [soup_of(tuple(by_name))], references)


def _line(search: Line, loaded: Loaded, kitchen: Kitchen, rule: Rule) -> Planned:
    if search.recipe is not None:
        variants = Variants.of(loaded, kitchen, search.recipe)
        nodes, seed = variants.unsaved()
        for name in search.between:
            variants.require(name, nodes, "between")
        ends, singles = (search.between[0], search.between[1]), ("", "")
    else:
        found = models(search.between, loaded.folder, lambda index: loaded.where("between", index))
        if len(found) != 2:
            fact = f"A line is between two models, and {len(found)} are named."
            raise RecipeError(Problem(fact, loaded.where("between"), fix="between: [./models/a, ./models/b]"))
        nodes, seed = [node for model in found for node in kitchen.load(model)], 0
        ends, singles = (found[0].name, found[1].name), (found[0].reference, found[1].reference)
    steps = search.points - 1
    candidates: list[tuple[float, Candidate]] = []
    for step in range(search.points):
        recipe = kitchen.mixed(nodes, ends, (steps - step, step), seed)
        single = singles[0] if step == 0 else singles[1] if step == steps else ""
        label = f"{step / steps:.4g} of the way from {ends[0]} to {ends[1]}"
        candidates.append((step / steps, Candidate(label, recipe, single=single, facts={"share": step / steps})))
    middle = candidates[steps // 2][1]
    return Planned(lambda asking: along(ends, candidates, asking, rule), [middle], count=search.points)


def _ablation(search: Ablate, loaded: Loaded, kitchen: Kitchen, rule: Rule, maker: Maker) -> Planned:
    scaled, none = _taken_apart(search, loaded, kitchen)
    full = scaled(None, "all of it")
    (output,) = maker.planned(full.recipe).outputs
    names = [tensor.name for tensor in output.tensors if tensor.dtype.is_float]
    pairs = [_pair(part, scaled) for part in parts(names)]
    count = 2 + 2 * len(pairs)
    return Planned(lambda asking: ablate(full, none, pairs, asking, rule), [full, none], count=count)


def _pair(part: Part, scaled: Callable[[Rules | None, str], Candidate]) -> Pair:
    only = scaled(part.rules(inside=1.0, outside=0.0), f"only {part.label}")
    without = scaled(part.rules(inside=0.0, outside=1.0), f"without {part.label}")
    return Pair(part, only, without)


def _taken_apart(
    search: Ablate, loaded: Loaded, kitchen: Kitchen
) -> tuple[Callable[[Rules | None, str], Candidate], Candidate]:
    """What makes a candidate of rules for the delta, and the candidate without any of it."""
    if search.recipe is not None and search.delta is not None:
        variants = Variants.of(loaded, kitchen, search.recipe)
        nodes, seed = variants.unsaved()
        variants.require(search.delta, nodes, "delta")
        variants.require(search.base, nodes, "base")
        delta = search.delta
        variants.require_delta(delta, "delta")
        none = Candidate("none of it", kitchen.recipe(nodes, search.base, seed), facts={"part": "none of it"})
        return (lambda rules, label: variants.scaled(delta, rules, label)), none
    assert search.model is not None
    found = models((search.base, search.model), loaded.folder, lambda index: loaded.where(("base", "model")[index]))
    if len(found) != 2:
        fact = f"A delta is that of one model to one base, and {len(found)} are named."
        raise RecipeError(Problem(fact, loaded.where("model"), fix="model: ./models/tuned, base: ./models/base"))
    base, model = found

    def scaled(rules: Rules | None, label: str) -> Candidate:
        loads = [*kitchen.load(base), *kitchen.load(model)]
        if rules is None:
            single = model.reference if len(kitchen.load(model)) == 1 else ""
            return Candidate(label, kitchen.recipe(kitchen.load(model), model.name), single, facts={"part": label})
        delta = kitchen.node("learnt", Delta.model_validate({"model": model.name, "base": base.name}))
        part = kitchen.node("part", Scale.model_validate({"input": "learnt", "by": rules}))
        merged = kitchen.node("merged", Sum.model_validate({"inputs": (base.name, "part")}))
        return Candidate(label, kitchen.recipe([*loads, delta, part, merged], "merged"), facts={"part": label})

    return scaled, replace(kitchen.single(base), label="none of it", facts={"part": "none of it"})


def _line_of(loaded: Loaded, name: str, _: int) -> Location:
    return loaded.where("models", name)


def _comparison(search: Compare, loaded: Loaded, kitchen: Kitchen, rule: Rule) -> Planned:
    candidates: dict[str, Candidate] = {}
    groups: dict[str, list[str]] = {}
    for name, reference in search.models.items():
        if reference.endswith((".yaml", ".yml")):
            variants = Variants.of(loaded, kitchen, reference, "models")
            candidates[name] = replace(variants.with_settings({}), label=name)
            continue
        found = models([reference], loaded.folder, partial(_line_of, loaded, name))
        for model in found:
            called = name if len(found) == 1 else model.name
            if called in candidates:
                fact = f'Two models are called "{called}".'
                raise RecipeError(Problem(fact, loaded.where("models", name), fix="rename one of them"))
            candidates[called] = replace(kitchen.single(replace(model, name=node_name(called))), label=called)
        if len(found) > 1:
            groups[name] = [model.name for model in found]
    if search.against not in candidates:
        fact = f'There is no model "{search.against}" to hold the others against.'
        fix = did_you_mean(search.against, candidates, "there are")
        raise RecipeError(Problem(fact, loaded.where("against"), fix=fix))
    ensembles = {
        name: [each for member in members for each in groups.get(member, [member])]
        for name, members in search.ensembles.items()
    }
    for name, members in ensembles.items():
        if len(set(members)) < 2:
            at = loaded.where("ensembles", name)
            raise RecipeError(Problem(f'The ensemble "{name}" has one member.', at, fix="name two models or more"))
        for member in members:
            if member not in candidates:
                fix = did_you_mean(member, [*candidates, *groups], "there are")
                at = loaded.where("ensembles", name)
                raise RecipeError(Problem(f'The ensemble "{name}" has no model "{member}".', at, fix=fix))
    every = list(candidates.values())
    return Planned(
        lambda asking: compare(candidates, groups, search.against, ensembles, asking, rule), every, count=len(every)
    )
