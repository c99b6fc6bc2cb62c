"""A run before it begins: what it is asked, its plan, and what stands in its way. Takes its time: for a thread.

The plan is of the text that is shown, and the run reads the file; whoever starts one saves first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mergegraph import pipeline
from mergegraph.cli.options import device_name
from mergegraph.errors import Location, MergegraphError, Problem
from mergegraph.graph import Graph
from mergegraph.plan.outputs import Stats
from mergegraph.recipe.document import parse_document
from mergegraph.recipe.load import recipe_of
from mergegraph.resolve import Resolved
from mergegraph.units import format_bytes, format_count, parse_bytes
from mergegraph_tui.model.document import UNTITLED
from mergegraph_tui.model.graph import DrawnGraph
from mergegraph_tui.model.planned import (
    BeingWritten,
    Exists,
    Nothing,
    OtherPartial,
    Planned,
    PlannedOutput,
    Resumes,
    planned,
)
from mergegraph_tui.model.reading import graph_of
from mergegraph_tui.model.runs import Options


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked, as it was typed; "" is the default."""

    threads: str = ""
    budget: str = ""
    device: str = ""
    stats: bool = False
    verify: bool = False
    non_finite: bool = False
    unrelated: bool = False

    def problems(self) -> Iterator[Problem]:
        """What is not understood."""
        if self.threads and not (self.threads.isascii() and self.threads.isdigit() and 0 < int(self.threads) < 10_000):
            yield Problem(f'"{self.threads}" is no number of threads.', Location("threads"), fix="a number such as 2")
        if self.budget:
            try:
                parse_bytes(self.budget)
            except ValueError as error:
                yield Problem(f"{error}.", Location("budget"), fix="2GiB")
        try:
            device_name(self.device or "auto")
        except MergegraphError as error:
            yield from error.problems
        if self.stats and self.device not in ("", "auto", "cpu"):
            why = "the processor counts them while it computes the tiles"
            yield Problem(
                "Statistics do not go with a device.", Location("device"), why=why, fix="cpu, or no statistics"
            )

    def options(self, *, overwrite: bool = False) -> Options:
        """Those of the command. There must be no problems."""
        return Options(
            budget=self.budget,
            device=self.device,
            threads=int(self.threads) if self.threads else None,
            overwrite=overwrite,
            stats=self.stats,
            verify_output=self.verify,
            allow_non_finite=self.non_finite,
            allow_unrelated=self.unrelated,
        )


DEFAULTS = Asked()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be planned: a text that belongs to the file at `path`, or into `folder`."""

    text: str
    path: Path | None
    folder: Path
    asked: Asked = DEFAULTS


@dataclass(frozen=True)
class Prepared:
    """What was found out. `planned` is None where there is no plan, and `problems` say why; else they are warnings, and
    errors where the plan does not fit."""

    wanted: Wanted
    planned: Planned | None = None
    problems: tuple[Problem, ...] = ()
    drawn: DrawnGraph = field(default_factory=DrawnGraph)
    seconds: float = 0.0

    @property
    def outputs(self) -> Mapping[str, Path]:
        return {output.node: output.path for output in self.planned.outputs} if self.planned else {}

    @property
    def is_possible(self) -> bool:
        """Whether a run of it could go well, if nothing is in its way."""
        if self.planned is None or any(problem.severity == "error" for problem in self.problems):
            return False
        return all(out.fits and not isinstance(out.standing, BeingWritten) for out in self.planned.outputs)

    @property
    def may_go_on(self) -> bool:
        """Whether a run would begin without replacing anything."""
        return self.is_possible and not any(map(is_in_the_way, self._outputs))

    @property
    def may_begin_anew(self) -> bool:
        """Whether there is something to replace, and a run could do it."""
        return self.is_possible and any(not isinstance(out.standing, Nothing) for out in self._outputs)

    @property
    def _outputs(self) -> tuple[PlannedOutput, ...]:
        return self.planned.outputs if self.planned else ()


def is_in_the_way(output: PlannedOutput) -> bool:
    """Whether a run is refused that may not overwrite."""
    match output.standing:
        case Exists(is_same_plan=is_same):
            return not is_same
        case OtherPartial() | BeingWritten():
            return True
        case Nothing() | Resumes():
            return False


def prepare(wanted: Wanted) -> Prepared:
    """The plan of a text. Never raises: what goes wrong is among the problems."""
    try:
        problems = tuple(wanted.asked.problems())
        return Prepared(wanted, problems=problems) if problems else _prepared(wanted)
    except MergegraphError as error:
        return Prepared(wanted, problems=error.problems)
    except OSError as error:
        return Prepared(wanted, problems=(Problem("The plan could not be made.", why=str(error)),))
    except Exception as error:
        why, fix = f"{type(error).__name__}: {error}", "this is a fault of mergegraph: please report it with the recipe"
        return Prepared(wanted, problems=(Problem("The plan itself failed.", why=why, fix=fix),))


def _prepared(wanted: Wanted) -> Prepared:
    path, asked = wanted.path, wanted.asked
    document = parse_document(wanted.text, str(path) if path else UNTITLED)
    around = path.absolute().parent if path else wanted.folder
    recipe = recipe_of(document, around, (path.resolve(),) if path else (), (), ())
    graphs: list[Graph] = []

    def see(stage: Graph | Resolved) -> None:
        graphs.append(stage.graph if isinstance(stage, Resolved) else stage)

    made = pipeline.plan(
        recipe,
        budget_bytes=parse_bytes(asked.budget) if asked.budget else None,
        workers=int(asked.threads) if asked.threads else None,
        stats=Stats() if asked.stats else None,
        allow_unrelated=asked.unrelated,
        seen=see,
    )
    problems = (*made.problems, *made.warnings)
    return Prepared(wanted, planned(made, graphs[-1]), problems, graph_of(graphs[-1]))


def standing_text(output: PlannedOutput) -> str:
    """What stands at the path of an output, and what a run does about it."""
    match output.standing:
        case Nothing():
            return "nothing is there yet"
        case Resumes(tensors=tensors, expected=expected, bytes_kept=kept):
            share = f"{tensors:,} of {format_count(expected, 'tensor')}, {format_bytes(kept)}"
            return f"{share}, are there from an earlier run: this one goes on behind them"
        case OtherPartial(why=why):
            return f"an unfinished output is in the way: {why}"
        case Exists(is_same_plan=True):
            return "the output of this plan is there: it stays, unless its inputs changed since"
        case Exists():
            return "something else is there: it must be replaced, or the path changed"
        case BeingWritten(pid=pid):
            return f"process {pid} writes it now"
