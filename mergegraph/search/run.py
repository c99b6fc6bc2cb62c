"""A search from its file to what it found: prepared, run under its ledger, and written as a plain recipe."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergegraph.errors import Interrupted, MergegraphError, Problem, RunError, on_one_line
from mergegraph.recipe.load import load_recipe
from mergegraph.recipe.model import dump_recipe
from mergegraph.search.asking import LOG, Worker
from mergegraph.search.candidates import Candidate
from mergegraph.search.document import Loaded
from mergegraph.search.driver import Driver, Tell
from mergegraph.search.evaluators import fingerprint
from mergegraph.search.known import Known
from mergegraph.search.ledger import Ledger
from mergegraph.search.making import RUNNING, WORK
from mergegraph.search.outcome import Outcome
from mergegraph.search.preparing import Prepared, prepare
from mergegraph.search.recipes import MODEL
from mergegraph.tensors.disk import delete, replace_file
from mergegraph.units import format_count

FOUND = "found.yaml"


@dataclass(frozen=True)
class Result:
    """`recipe` is None where nothing was chosen. `evaluated`: how many evaluations this process made."""

    place: Path
    recipe: Path | None
    label: str
    command: str
    """What runs the recipe."""
    selected: Mapping[str, float]
    reported: Mapping[str, float]
    evaluated: int
    ended: str
    findings: Mapping[str, object]


def run_search(
    loaded: Loaded,
    output: Path | None = None,
    tell: Tell = lambda entry: None,
    warn: Callable[[Problem], None] = lambda problem: None,
    *,
    retry_rejected: bool = False,
) -> Result:
    """Run the search, or go on with it. RecipeError and InputError before anything is written; RunError when no
    candidate could be evaluated; Interrupted when it is stopped, and the same call goes on.

    `tell` hears every entry of the search's ledger, `warn` what is to be said of the models before it begins.
    `retry_rejected`: candidates of which the evaluator said nothing are evaluated once more.
    """
    prepared = prepare(loaded, output)
    for problem in prepared.warnings:
        warn(problem)
    evaluator = fingerprint(loaded.search.evaluator, loaded.folder)
    with Ledger(prepared.place) as ledger, Worker(prepared.place / LOG) as worker:
        known = Known(ledger, evaluator, loaded.search.evaluator.timeout_seconds, retry_rejected)
        driver = Driver(loaded, ledger, prepared.maker, worker, prepared.rule, known, tell)
        _begin(driver, prepared)
        for entry in ledger.current():
            tell(entry)
        try:
            return _searched(prepared, driver)
        except KeyboardInterrupt as error:
            raise Interrupted(_stopped(driver)) from error
        except Interrupted as error:
            raise Interrupted(_stopped(driver), by_system=error.exit_code != Interrupted.exit_code) from error
        except MergegraphError as error:
            _end(prepared, driver, f"failed: {error.problems[0].fact}", "")
            raise


def _begin(driver: Driver, prepared: Prepared) -> None:
    """Say what begins, unless the ledger's last search is this one: the same words, evaluator and models."""
    search, evaluator = driver.loaded.search, driver.known.evaluator
    said = search.model_dump(mode="json", exclude={"path", "description"})
    models = [prepared.maker.recipe_id(candidate.recipe) for candidate in prepared.probe]
    content = hashlib.sha256(json.dumps([said, evaluator, models], sort_keys=True).encode()).hexdigest()
    current = driver.ledger.current()
    if not current or current[0]["content"] != content:
        metrics = {name: metric.model_dump(mode="json") for name, metric in search.metrics.items()}
        driver.ledger.append(
            "begun", search=search.search, name=driver.loaded.name, content=content, evaluator=evaluator,
            metrics=metrics, splits=list(search.splits), limits=search.limits.model_dump(mode="json"),
            file=os.path.relpath(driver.loaded.path, driver.ledger.folder), count=prepared.count,
        )  # fmt: skip
        driver.recall()


def _searched(prepared: Prepared, driver: Driver) -> Result:
    chosen = prepared.strategy(driver)
    if all(asked.reason for asked in driver.asked.values()) or not (chosen.outcome or chosen.findings):
        raise RunError(_nothing(driver, chosen.ended))
    findings: dict[str, object] = json.loads(json.dumps(dict(chosen.findings)))
    if findings and findings != driver.found():
        driver.append("found", findings=findings)
    recipe = None
    selected: Mapping[str, float] = {}
    reported: Mapping[str, float] = {}
    if chosen.candidate is not None and chosen.outcome is not None:
        recipe = _write(driver, chosen.candidate, chosen.outcome)
        selected, reported = chosen.outcome.metrics, _report(driver, chosen.candidate, recipe)
    label, state = chosen.candidate.label if chosen.candidate else "", chosen.ended or "done"
    _end(prepared, driver, state, label)
    command = "" if recipe is None else _command(driver, prepared.shown / FOUND)
    return Result(prepared.place, recipe, label, command, selected, reported, driver.evaluated, state, chosen.findings)


def _command(driver: Driver, recipe: Path) -> str:
    """What runs the recipe: what the search was allowed must be allowed again."""
    return f"mergegraph run {recipe}" + (" --allow-unrelated" if driver.loaded.search.allow_unrelated else "")


def _write(driver: Driver, candidate: Candidate, outcome: Outcome) -> Path:
    """The found recipe: a plain one, which runs without any evaluator."""
    search = driver.loaded.search
    numbers = ", ".join(f"{name} {outcome.metrics[name]:.6g}" for name in search.metrics)
    path = driver.ledger.folder / FOUND
    said = [
        f"Found by the search {driver.loaded.name} ({search.search}): {candidate.label}",
        f'On the split "{search.splits[0]}": {numbers}',
        *([_command(driver, Path(FOUND))] if search.allow_unrelated else []),
    ]
    head = "".join(f"# {on_one_line(line)}\n" for line in said)
    replace_file(path, (head + dump_recipe(candidate.recipe)).encode(), sync=True)
    return path


def _report(driver: Driver, candidate: Candidate, recipe: Path) -> Mapping[str, float]:
    """Make the model from the recipe as it was written, and evaluate it once on the other split."""
    made = driver.maker.run(load_recipe(recipe), driver.ledger.folder / MODEL)
    split = driver.loaded.search.splits[-1]
    if len(driver.loaded.search.splits) == 1:
        return {}
    outcome = driver.on_split(candidate, split, made)
    if outcome.rejected:
        raise RunError(
            Problem(
                f'What was found could not be evaluated on the split "{split}".',
                why=outcome.rejected, fix=f"{recipe} is written all the same; see {driver.ledger.folder / LOG}",
            )
        )  # fmt: skip
    if not any(entry["event"] == "reported" and entry["label"] == candidate.label for entry in driver.ledger.current()):
        driver.append("reported", label=candidate.label, split=split, metrics=dict(outcome.metrics))
    return outcome.metrics


def _end(prepared: Prepared, driver: Driver, state: str, label: str) -> None:
    """Say how it ended, and leave nothing behind that only its steps needed."""
    for name in (WORK, RUNNING):
        if (prepared.place / name).exists():
            delete(prepared.place / name)
    if driver.ledger.entries[-1].get("state") != state:
        driver.append("ended", state=state, label=label)


def _nothing(driver: Driver, ended: str) -> Problem:
    """Why no candidate was chosen: each reason once."""
    if not driver.asked:
        fact, at = "The search ended before a candidate was evaluated.", driver.loaded.where("limits")
        return Problem(fact, at, why=ended, fix="raise the limit, and run the same command again")
    reasons = [f"{asked.label}: {asked.reason}" for asked in driver.asked.values() if asked.reason]
    if len(reasons) < len(driver.asked):
        outcomes = {asked.label: driver.known.outcome(key) for key, asked in driver.asked.items()}
        low = [f"{label}: {driver.rule.below_floor(each)}" for label, each in outcomes.items()
               if each is not None and not driver.rule.judged(each).rejected]  # fmt: skip
        fact, fix = "No candidate meets the floors of the metrics.", "lower the floors, or give better candidates"
        return Problem(fact, driver.loaded.where("metrics"), why=_first(low + reasons), fix=fix)
    fix = f"what the evaluator printed is in {driver.ledger.folder / LOG}; --retry-rejected asks it once more"
    fact = "No candidate could be evaluated."
    return Problem(fact, driver.loaded.where("evaluator"), why=_first(reasons), fix=fix)


def _first(reasons: Sequence[str]) -> str:
    return "\n".join([*reasons[:8], *([f"and {len(reasons) - 8} more"] if len(reasons) > 8 else [])])


def _stopped(driver: Driver) -> Problem:
    done = len(driver.known.entries)
    return Problem(
        f"Stopped: {format_count(done, 'evaluation')} {'is' if done == 1 else 'are'} in the ledger.",
        why=f"they are kept in {driver.ledger.folder}",
        fix="run the same command again to go on",
    )
