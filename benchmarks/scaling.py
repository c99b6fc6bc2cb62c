"""How planning, running and starting cost grow: many tensors, deep graphs, and a command that does nothing.

    python benchmarks/scaling.py [--folder DIR]

Makes its own small inputs in a temporary folder. Every time is of a whole process, interpreter included, except
that of `--help`, which is what it takes beyond `python -c pass`. Exits 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from child import REPOSITORY, Finished, mergegraph, run_child
from table import table

from mergegraph.units import format_bytes

HEAD: Final = ("what", "wall s", "CPU s", "VmHWM", "limit s", "ok?")
COUNTS: Final = (300, 3_000, 20_000)
ELEMENTS_EACH: Final = 1_200
PLAN_LIMIT_SECONDS: Final = 3.0
DIAMOND_LEVELS: Final = 60
DIAMOND_LIMIT_SECONDS: Final = 1.0
BOOKKEEPING_LIMIT_SECONDS: Final = 5.0
HELP_LIMIT_SECONDS: Final = 0.2
HELP_REPEATS: Final = 9


def make_family(folder: Path, tensor_count: int, elements_each: int) -> Path:
    """A base and a fine-tune of `tensor_count` tensors; the folder that holds them."""
    script = REPOSITORY / "benchmarks" / "make_inputs.py"
    sizes = ("--many", str(tensor_count), "--elements", str(elements_each))
    succeeded(run_child([sys.executable, str(script), str(folder), *sizes]))
    return folder / "many"


def succeeded(finished: Finished) -> Finished:
    """What it was given; ends the program with the child's words when it failed."""
    if finished.exit_code:
        sys.exit(f"exit code {finished.exit_code}\n{finished.stdout}{finished.stderr}")
    return finished


def write_recipe(family: Path, nodes: Sequence[str]) -> Path:
    """A recipe over `base` and `tune` whose last weights are called `merged`; its path."""
    models = f"base: {json.dumps(str(family / 'base'))}, tune: {json.dumps(str(family / 'tune-0'))}"
    lines = [*nodes, "out: {op: save, input: merged, path: out}"]
    path = family / "recipe.yaml"
    path.write_text(
        f"mergegraph: 1\nname: scaling\nmodels: {{{models}}}\nnodes:\n" + "".join(f"  {n}\n" for n in lines)
    )
    return path


def linear_diamond() -> list[str]:
    """Every level is the sum of the one below with itself: 2^60 paths, which fold into one coefficient."""
    levels = [f"d{i}: {{op: sum, inputs: [d{i - 1}, d{i - 1}]}}" for i in range(1, DIAMOND_LEVELS + 1)]
    return [
        "d0: {op: delta, model: tune, base: base}",
        *levels,
        f"whole: {{op: scale, input: d{DIAMOND_LEVELS}, by: {2.0**-DIAMOND_LEVELS!r}}}",
        "merged: {op: sum, inputs: [base, whole]}",
    ]


def kernel_diamond() -> list[str]:
    """Every level uses the one below twice in a method that no rewrite folds."""
    names = ["base", *(f"x{i}" for i in range(1, DIAMOND_LEVELS)), "merged"]
    levels = (f"{name}: {{op: clamp, input: {below}, within: [{below}, tune]}}" for below, name in pairwise(names))
    return list(levels)


def nested_interpolations() -> list[str]:
    """Every level moves the one below a little towards the fine-tune: differences of differences, 60 deep."""
    names = ["base", *(f"x{i}" for i in range(1, DIAMOND_LEVELS)), "merged"]
    return [f"{name}: {below} + 0.3*(tune - {below})" for below, name in pairwise(names)]


def row(what: str, finished: Finished, limit_seconds: float | None = None) -> tuple[str, ...]:
    held = "" if limit_seconds is None else verdict(finished.wall_seconds < limit_seconds)
    limit = "" if limit_seconds is None else f"{limit_seconds:.1f}"
    wall, cpu = f"{finished.wall_seconds:.2f}", f"{finished.cpu_seconds:.2f}"
    return what, wall, cpu, format_bytes(finished.peak_bytes), limit, held


def verdict(holds: bool) -> str:
    return "yes" if holds else "NO"


def plan_rows(families: dict[int, Path]) -> Iterator[tuple[str, ...]]:
    soup = ["merged: {op: soup, inputs: [base, tune]}"]
    for count, family in families.items():
        finished = succeeded(mergegraph("plan", write_recipe(family, soup), "--json"))
        yield row(f"plan, {count:,} tensors", finished, PLAN_LIMIT_SECONDS)
    shapes: tuple[tuple[str, Callable[[], list[str]]], ...] = (
        ("linear diamond", linear_diamond),
        ("kernel diamond", kernel_diamond),
        ("chain of interpolations", nested_interpolations),
    )
    for kind, levels in shapes:
        recipe = write_recipe(families[COUNTS[0]], levels())
        finished = succeeded(mergegraph("plan", recipe, "--json"))
        limit = DIAMOND_LIMIT_SECONDS if kind.endswith("diamond") else None
        yield row(f"plan, {DIAMOND_LEVELS}-level {kind}", finished, limit)


def run_rows(many: Path, few: Path) -> Iterator[tuple[str, ...]]:
    """The same bytes in many tensors and in few; the difference is what a tensor costs beyond its bytes.

    Planning has a limit of its own, so it is taken off: a plan of each is timed beside the run.
    """
    plans: list[Finished] = []
    runs: list[Finished] = []
    for count, family in ((COUNTS[-1], many), (COUNTS[0], few)):
        recipe = write_recipe(family, ["merged: {op: soup, inputs: [base, tune]}"])
        plans.append(succeeded(mergegraph("plan", recipe)))
        runs.append(succeeded(mergegraph("run", recipe, "--quiet", "--json", "--overwrite", "-o", family / "out")))
        yield row(f"run, {count:,} tensors", runs[-1])
    rest = [(r.wall_seconds - p.wall_seconds, r.cpu_seconds - p.cpu_seconds) for r, p in zip(runs, plans, strict=True)]
    wall, cpu = rest[0][0] - rest[1][0], rest[0][1] - rest[1][1]
    held = verdict(wall < BOOKKEEPING_LIMIT_SECONDS)
    yield "run less plan, difference", f"{wall:.2f}", f"{cpu:.2f}", "", f"{BOOKKEEPING_LIMIT_SECONDS:.1f}", held


def help_row() -> tuple[str, ...]:
    """CPU seconds of `--help` beyond an interpreter that does nothing; medians, taken in turns."""
    helps: list[float] = []
    passes: list[float] = []
    for _ in range(HELP_REPEATS):
        helps.append(succeeded(mergegraph("--help")).cpu_seconds)
        passes.append(succeeded(run_child([sys.executable, "-c", "pass"])).cpu_seconds)
    beyond = statistics.median(helps) - statistics.median(passes)
    held = verdict(beyond <= HELP_LIMIT_SECONDS)
    return "--help, beyond `python -c pass`", "", f"{beyond:.3f}", "", f"{HELP_LIMIT_SECONDS:.1f} CPU", held


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how planning, running and starting grow.")
    parser.add_argument("--folder", metavar="DIR", type=Path, help="where to put the temporary folder (0.5 GB)")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mergegraph-scaling-") as scratch:
        folder = Path(scratch).resolve()
        families = {count: make_family(folder / str(count), count, ELEMENTS_EACH) for count in COUNTS}
        few = make_family(folder / "few", COUNTS[0], ELEMENTS_EACH * COUNTS[-1] // COUNTS[0])
        rows = [*plan_rows(families), *run_rows(families[COUNTS[-1]], few), help_row()]
    print(table(HEAD, rows))
    if any("NO" in cells for cells in rows):
        sys.exit("a limit is passed: see NO above")


if __name__ == "__main__":
    main()
