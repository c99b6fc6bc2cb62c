"""What a handle is saved as: a run, and the Recipe that it is. Names the nodes that were not given a name."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from mergegraph.builder.handle import Handle, refused, unique
from mergegraph.errors import RecipeError
from mergegraph.recipe.checkpoints import NoCheckpoints, expanded
from mergegraph.recipe.model import Node, Recipe, dump_recipe
from mergegraph.recipe.wiring import renamed

if TYPE_CHECKING:
    from mergegraph.execute.run import Options, Report
    from mergegraph.plan.plan import Plan
    from mergegraph.stats.record import Record


@dataclass(frozen=True, eq=False)
class Merge:
    """One run: the saves, in order. Made by `save`, and by `merge` for several at once."""

    saves: tuple[Handle, ...]
    name: str = ""
    seed: int = 0

    def recipe(self) -> Recipe:
        """The Recipe, as from a file in the current folder."""
        names = _named(self.saves)
        nodes = [node for handle in names for node in _nodes(handle, names)]
        called = self.name or Path(str(dict(self.saves[0].method)["path"])).name
        return Recipe(called, self.seed, {node.name: node for node in nodes}, Path.cwd(), "python")

    def plan(
        self, *, budget: str | int | None = None, threads: int | None = None, allow_unrelated: bool = False
    ) -> Plan:
        """What a run would do. `budget` as `"2GiB"`, or bytes."""
        from mergegraph.pipeline import plan

        budget_bytes, workers = _limits(budget, threads)
        return plan(self.recipe(), budget_bytes=budget_bytes, workers=workers, allow_unrelated=allow_unrelated)

    def run(
        self,
        *,
        budget: str | int | None = None,
        threads: int | None = None,
        allow_unrelated: bool = False,
        options: Options | None = None,
        overwrite: bool = False,
    ) -> Report:
        """Merge, and report. `overwrite` replaces outputs that exist; `options` holds everything else."""
        from mergegraph.execute.run import Options
        from mergegraph.pipeline import execute

        planned = self.plan(budget=budget, threads=threads, allow_unrelated=allow_unrelated)
        options = options or Options()
        return execute(planned, replace(options, overwrite=overwrite or options.overwrite))

    def stats(
        self,
        *,
        budget: str | int | None = None,
        threads: int | None = None,
        allow_unrelated: bool = False,
        every_element: bool = False,
    ) -> tuple[Record, ...]:
        """What the merge would do, tensor by tensor, one record for each save. Nothing is written.

        `every_element`: count all of a large tensor, not a sample; sums of products are of all either way.
        """
        from mergegraph.pipeline import look, plan
        from mergegraph.plan.outputs import Stats

        budget_bytes, workers = _limits(budget, threads)
        planned = plan(
            self.recipe(), budget_bytes=budget_bytes, workers=workers, allow_unrelated=allow_unrelated,
            stats=Stats(writes=False),
        )  # fmt: skip
        return look(planned, every_element=every_element).records

    def __str__(self) -> str:
        """The recipe as YAML."""
        return dump_recipe(self.recipe())


def _limits(budget: str | int | None, threads: int | None) -> tuple[int | None, int | None]:
    """Bytes and worker threads, None for the defaults. RecipeError for a budget that is no size, and for no threads."""
    from mergegraph.units import parse_bytes

    if threads is not None and threads < 1:
        raise refused(f"There cannot be {threads} threads.", "threads=1, or more")
    try:
        return None if budget is None else parse_bytes(budget), threads
    except ValueError as error:
        raise refused(f"{error}.", 'budget="2GiB"') from error


def _named(saves: Sequence[Handle]) -> dict[Handle, str]:
    """Every handle that the saves need, inputs before users, with its name. RecipeError when two share a given one."""
    ordered = list(_inputs_first(saves))
    given = [handle.name for handle in ordered if handle.name]
    for name in given:
        if given.count(name) > 1:
            raise refused(f'Two nodes are called "{name}".', "give one of them another `name=`")
    taken = set(given)
    names: dict[Handle, str] = {}
    for handle in ordered:
        names[handle] = handle.name or (unique(handle.called, taken) if handle.called else _numbered(taken))
        taken.add(names[handle])
    return names


def _inputs_first(saves: Sequence[Handle]) -> Iterator[Handle]:
    """Each handle once, after its inputs. Not recursive: a graph may be deep."""
    seen: set[Handle] = set()
    pending = [(handle, False) for handle in reversed(saves)]
    while pending:
        handle, are_inputs_done = pending.pop()
        if are_inputs_done:
            yield handle
        elif handle not in seen:
            seen.add(handle)
            pending.append((handle, True))
            pending += [(each, False) for each in reversed(list(handle.inputs.values()))]


def _nodes(handle: Handle, names: Mapping[Handle, str]) -> tuple[Node, ...]:
    """The handle's node; a soup over a glob after the checkpoints that it matches now."""
    method = renamed(handle.method, lambda key: names[handle.inputs[key]])
    try:
        return expanded(Node(names[handle], method, handle.at, {}, handle.folder))
    except NoCheckpoints as error:
        raise RecipeError(error.problem) from error


def _numbered(taken: Container[str]) -> str:
    return next(name for number in count(1) if (name := f"n{number}") not in taken)
