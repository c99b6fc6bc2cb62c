"""The stages in a row: what the command, the Python builder and the terminal interface call.

Each function goes one stage further than the one before; none imports torch before `execute`.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mergegraph.errors import InputError, Problem, raise_errors
from mergegraph.graph import Graph, build
from mergegraph.lineage import check_lineage
from mergegraph.opening import Opening, open_adapters, open_inputs
from mergegraph.plan.outputs import Stats, make_plan, plan_of_models
from mergegraph.plan.plan import Plan
from mergegraph.plan.survey import model_source
from mergegraph.recipe.model import Recipe
from mergegraph.resolve import Resolved, resolve
from mergegraph.tensors.adapter import Adapter
from mergegraph.tensors.checkpoint import Checkpoint, open_checkpoint
from mergegraph.tensors.header import DEFAULT_HEADER_BYTES, header_cap

if TYPE_CHECKING:
    from mergegraph.execute.control import Control
    from mergegraph.execute.events import Publisher
    from mergegraph.execute.run import Options, Report
    from mergegraph.execute.surveying import Surveyed

T = TypeVar("T")


def wire(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> Graph:
    """The checked graph; each load node has the space its checkpoint is stored in."""
    return build(recipe, {name: checkpoint.space for name, checkpoint in checkpoints.items()})


def check(
    recipe: Recipe,
    *,
    allow_unrelated: bool = False,
    max_header_bytes: int = DEFAULT_HEADER_BYTES,
    opening: Opening = open_checkpoint,
    seen: Callable[[Graph | Resolved], None] = lambda stage: None,
) -> Resolved:
    """Everything that can be found out without reading more than headers and a few pages of weights.

    What a plan would refuse is refused here too, but not for memory, nor for a path that `-o` may still give.
    RecipeError and InputError list all problems of the stage that finds them. `opening` opens the checkpoints; `seen`
    is told what each stage gave, for whoever wants it where a later one refuses.
    """
    with collector_paused():
        resolved = _resolved(recipe, allow_unrelated, max_header_bytes, opening, seen)
        drafted = make_plan(resolved, may_lack_path=True)
        return Resolved(resolved.graph, resolved.nodes, drafted.warnings)


def _resolved(
    recipe: Recipe,
    allow_unrelated: bool,
    max_header_bytes: int,
    opening: Opening = open_checkpoint,
    seen: Callable[[Graph | Resolved], None] = lambda stage: None,
) -> Resolved:
    checkpoints, adapters = _opened(recipe, max_header_bytes, opening, seen)
    graph = wire(recipe, checkpoints)
    seen(graph)
    resolved = resolve(graph, checkpoints, adapters)
    seen(resolved)
    lineage = check_lineage(resolved, allow_unrelated=allow_unrelated)
    return Resolved(resolved.graph, resolved.nodes, (*resolved.warnings, *lineage))


def _opened(
    recipe: Recipe, max_header_bytes: int, opening: Opening, seen: Callable[[Graph | Resolved], None]
) -> tuple[Mapping[str, Checkpoint], Mapping[str, Adapter]]:
    """The checkpoints and adapters. Where some cannot be opened, what is wrong with the wiring is said first.

    The wiring alone cannot be judged before: only a checkpoint says that it is a delta.
    """
    problems: list[Problem] = []
    checkpoints = _attempted(partial(open_inputs, recipe, max_header_bytes, opening), problems)
    adapters = _attempted(partial(open_adapters, recipe, max_header_bytes), problems)
    if problems:
        seen(build(recipe))
        raise_errors(problems, InputError)
    return checkpoints, adapters


def _attempted(opening: Callable[[], dict[str, T]], problems: list[Problem]) -> dict[str, T]:
    """What was opened; nothing, and the problems, where something cannot be."""
    try:
        return opening()
    except InputError as error:
        problems += error.problems
        return {}


def plan(
    recipe: Recipe,
    *,
    budget_bytes: int | None = None,
    workers: int | None = None,
    output: Path | None = None,
    allow_unrelated: bool = False,
    max_header_bytes: int = DEFAULT_HEADER_BYTES,
    stats: Stats | None = None,
    seen: Callable[[Graph | Resolved], None] = lambda stage: None,
) -> Plan:
    """What a run of `recipe` will do; see `mergegraph.plan.outputs.make_plan`.

    Headers above `max_header_bytes`, or too long to be read within the budget, are refused. `seen` is told what each
    stage gave, as in `check`.
    """
    with collector_paused():
        cap = header_cap(max_header_bytes, budget_bytes)
        resolved = _resolved(recipe, allow_unrelated, cap, seen=seen)
        lacks_path = stats is not None and not stats.writes
        return make_plan(
            resolved, budget_bytes=budget_bytes, workers=workers, output=output, may_lack_path=lacks_path, stats=stats
        )


def plan_models(
    models: Mapping[str, str],
    base: str | None = None,
    *,
    budget_bytes: int | None = None,
    workers: int | None = None,
    max_header_bytes: int = DEFAULT_HEADER_BYTES,
) -> Plan:
    """What it takes to look at models, against a base or as they are. `models`: name to path or reference, relative
    to the current folder, as `base` is. InputError with the problems of all that cannot be opened."""
    problems: list[Problem] = []
    cap = header_cap(max_header_bytes, budget_bytes)

    def opened(reference: str) -> Checkpoint | None:
        try:
            return open_checkpoint(reference, Path.cwd(), max_header_bytes=cap)
        except InputError as error:
            problems.extend(error.problems)
            return None

    known = {name: opened(reference) for name, reference in models.items()}
    against = opened(base) if base is not None else None
    raise_errors(problems, InputError)
    found = {name: checkpoint for name, checkpoint in known.items() if checkpoint is not None}
    sources = [model_source(name, checkpoint) for name, checkpoint in found.items()]
    before = model_source(model_name(against.reference), against) if against is not None else None
    checkpoints = [*([against] if against else []), *found.values()]
    return plan_of_models(before, sources, checkpoints, budget_bytes=budget_bytes, workers=workers)


def model_name(reference: str) -> str:
    """The last part of a model's reference, without the suffix of a file."""
    return Path(os.path.normpath(Path.cwd() / reference)).name.removesuffix(".safetensors") or "model"


_planning = threading.RLock()


@contextmanager
def collector_paused() -> Generator[None]:
    """Planning, and writing a plan out, makes many small objects and keeps nearly all: the cycle collector would
    look at them again and again for nothing (a third of the time for 20,000 tensors).

    One thread at a time: equal expressions must be one object, and the table of them knows no threads.
    """
    with _planning:
        enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if enabled:
                gc.enable()


def execute(
    planned: Plan,
    options: Options | None = None,
    publisher: Publisher | None = None,
    control: Control | None = None,
) -> Report:
    """Run a plan; see `mergegraph.execute.run.run`."""
    from mergegraph.execute.run import Options, run

    if any(output.destination for output in planned.outputs):
        from mergegraph.execute.delivering import run_and_deliver

        return run_and_deliver(planned, options or Options(), publisher, control)
    return run(planned, options or Options(), publisher, control)


def look(
    planned: Plan, *, every_element: bool = False, tier: int = 1, on_tick: Callable[[Publisher], None] | None = None
) -> Surveyed:
    """Measure a plan that writes nothing; see `mergegraph.execute.surveying.survey_plan`."""
    from mergegraph.execute.events import Publisher
    from mergegraph.execute.surveying import survey_plan

    publisher = Publisher()
    tick = (lambda: on_tick(publisher)) if on_tick else lambda: None
    return survey_plan(planned, every_element=every_element, tier=tier, publisher=publisher, on_tick=tick)
