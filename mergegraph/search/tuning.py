"""Places of a recipe tuned by optuna (extra `search`): TPE, CMA-ES, random, or several objectives at once.

The study lives in memory and is asked and told in order, so that a search which goes on gets the same candidates
again, with answers that stand in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mergegraph.errors import Problem, RecipeError
from mergegraph.search.candidates import Asking, Candidate, Chosen, Spent
from mergegraph.search.grid import Best
from mergegraph.search.kinds import Range, Tune
from mergegraph.search.outcome import Outcome
from mergegraph.search.scoring import Rule

Settings = Mapping[str, object]


def require_optuna(sampler: str) -> Any:
    """The module. RecipeError says what to install."""
    try:
        optuna: Any = import_module("optuna")
        if sampler == "cma_es":
            import_module("cmaes")
    except ImportError as error:
        fact = f"This search needs {error.name}, which is not installed."
        raise RecipeError(Problem(fact, fix="pip install 'mergegraph[search]'")) from error
    return optuna


@dataclass(frozen=True)
class Tried:
    """A candidate of the study, and what it gave."""

    candidate: Candidate
    settings: Settings
    outcome: Outcome


def tune(search: Tune, candidate_of: Callable[[Settings], Candidate], asking: Asking, rule: Rule) -> Chosen:
    """The best of `search.trials` candidates; with several objectives also those that no other beats in all of them."""
    study = _study(search, rule)
    best, tried, ended = Best(asking, rule), list[Tried](), ""
    try:
        for _ in range(search.trials):
            trial = study.ask()
            settings = {place: _suggested(trial, place, values) for place, values in search.over.items()}
            candidate = candidate_of(settings)
            outcome = best.consider(candidate)
            _tell(study, trial, outcome, search, rule)
            tried.append(Tried(candidate, settings, outcome))
    except Spent as spent:
        ended = str(spent)
    found: dict[str, object] = {}
    if search.multi_objective:
        found["front"] = [
            {"label": each.candidate.label, "settings": dict(each.settings), "metrics": dict(each.outcome.metrics)}
            for each in front(tried, rule)
        ]
    return Chosen(best.candidate, best.outcome, ended, findings=found)


def front(tried: Sequence[Tried], rule: Rule) -> list[Tried]:
    """Those that no other beats: at least as good in every objective and better in one. Each settings once."""
    able = [each for each in tried if not each.outcome.rejected and not rule.below_floor(each.outcome)]
    values = [tuple(m.sign * each.outcome.metrics[n] for n, m in _objectives(rule).items()) for each in able]
    kept = [
        each
        for each, own in zip(able, values, strict=True)
        if not any(all(o >= v for o, v in zip(other, own, strict=True)) and other != own for other in values)
    ]
    return list({each.candidate.label: each for each in kept}.values())


def _study(search: Tune, rule: Rule) -> Any:
    optuna = require_optuna(search.sampler)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = optuna.samplers
    sampler = {
        "tpe": lambda: samplers.TPESampler(seed=search.seed),
        "cma_es": lambda: samplers.CmaEsSampler(seed=search.seed),
        "random": lambda: samplers.RandomSampler(seed=search.seed),
    }[search.sampler]()
    if search.multi_objective:
        directions = ["maximize" if m.sign > 0 else "minimize" for m in _objectives(rule).values()]
        return optuna.create_study(directions=directions, sampler=sampler)
    return optuna.create_study(direction="maximize", sampler=sampler)


def _objectives(rule: Rule) -> dict[str, Any]:
    return {name: metric for name, metric in rule.metrics.items() if metric.weight}


def _suggested(trial: Any, place: str, values: Range) -> object:
    if values.choices is not None:
        return trial.suggest_categorical(place, list(values.choices))
    if values.points is not None:
        return [_number(trial, f"{place}.{index}", values) for index in range(values.points)]
    return _number(trial, place, values)


def _number(trial: Any, name: str, values: Range) -> float:
    """Whole where only such are meant; else rounded to six significant digits: what is evaluated is what the recipe
    says."""
    if values.is_whole:
        low, high, step = (int(number or 0) for number in (values.low, values.high, values.step))
        return int(trial.suggest_int(name, low, high, step=step))
    return float(f"{trial.suggest_float(name, values.low, values.high, log=values.log, step=values.step):.6g}")


def _tell(study: Any, trial: Any, outcome: Outcome, search: Tune, rule: Rule) -> None:
    if outcome.rejected:
        study.tell(trial, state=import_module("optuna").trial.TrialState.FAIL)
    elif search.multi_objective:
        study.tell(trial, [outcome.metrics[name] for name in _objectives(rule)])
    else:
        study.tell(trial, rule.score(outcome))
