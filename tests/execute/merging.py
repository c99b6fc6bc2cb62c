"""Recipes over small checkpoints, planned and run in a folder, for the tests of the executors."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mergegraph import pipeline
from mergegraph.execute.control import Control
from mergegraph.execute.executors import Executor
from mergegraph.execute.executors.threads import threads
from mergegraph.execute.jobs import Tile
from mergegraph.execute.run import Options, Report, run
from mergegraph.execute.work import Work
from mergegraph.plan.plan import Plan
from mergegraph.recipe.load import parse_recipe
from mergegraph.tensors.completed import RUN_RECORD

BLOCK = 65_536
"""The smallest tile."""


def planned(folder: Path, nodes: str, *, output: str | None = None, budget_bytes: int | None = None) -> Plan:
    """The plan of a recipe whose nodes are the YAML lines `nodes`; `output` is relative to `folder`."""
    text = "mergegraph: 1\nname: tested\nnodes:\n" + "".join(f"  {line}\n" for line in nodes.strip().splitlines())
    recipe = parse_recipe(text, file="merge.yaml", folder=folder)
    path = folder / output if output is not None else None
    return pipeline.plan(recipe, budget_bytes=budget_bytes, workers=2, output=path)


def tiled(plan: Plan, workers: int, tile_elements: int = BLOCK) -> Plan:
    """The same plan on so many workers, in tiles of so many elements."""
    return replace(plan, projection=replace(plan.projection, workers=workers, tile_elements=tile_elements))


def merged(plan: Plan, **options: object) -> Report:
    """Run without syncing: no test here needs to survive a power cut."""
    return run(plan, Options(sync=False, **options))  # type: ignore[arg-type]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes, but for the record of the run, which says when and where it was."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != RUN_RECORD]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def after_tiles(count: int, act: Callable[[Control], None], executor: Executor = threads) -> Executor:
    """An executor that calls `act` in the worker that has just finished the `count`-th tile."""

    def executing(work: Work, control: Control, tick: Callable[[], None]) -> None:
        perform, performed = work.perform, list[Tile]()

        def counted(tile: Tile, memory: object) -> None:
            perform(tile, memory)  # type: ignore[arg-type]
            performed.append(tile)
            if len(performed) == count:
                act(control)

        work.perform = counted  # type: ignore[method-assign,assignment]
        executor(work, control, tick)

    return executing


def stopped_after(count: int, signum: int = signal.SIGINT) -> Executor:
    """The threads, asked to stop once `count` tiles are done."""
    return after_tiles(count, lambda control: control.stop(signum))
