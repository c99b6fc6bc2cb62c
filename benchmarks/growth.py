"""How time and memory of a merge grow with what it is given, beside the I/O floor of the same work.

    python benchmarks/growth.py DIR [--series inputs,size] [--plots benchmarks/results]

Against the number of inputs, of tensors and of parameters, the budget, the threads, and the outputs of a sweep. Prints
for each a table, and for each cost the least-squares line with the largest distance from it. DIR is that of
`speed.py`: its models are the 1.1 B of these tables; what else is needed is made in DIR/growth.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from cases import chosen
from child import Finished
from contest import Contestant, floor_command, mergegraph_command, rounds
from families import made
from make_inputs import SHAPES
from plots import MissingLibrary, draw
from speed import as_json, machine
from spread import line, spread
from table import table

from mergegraph.units import format_bytes, parse_bytes

COUNTS: Final = (2, 4, 8, 16)
TENSORS: Final = (300, 3_000, 20_000)
TENSOR_ELEMENTS: Final = 120_000_000
"""Of all tensors of a model together, whatever their number."""
SIZES: Final = ("0.1b", "0.3b", "1.1b", "2.2b", "4b")
BUDGETS: Final = ("64MiB", "128MiB", "256MiB", "512MiB", "1GiB", "2GiB", "4GiB")
THREADS: Final = (1, 2, 4)
SWEPT: Final = (1, 2, 4, 8)
ROOM: Final = 40_000_000_000
"""Free bytes of disk from which on the largest size is run: its two inputs and its output take 25 GB."""


@dataclass(frozen=True, slots=True)
class Work:
    """One point of a series: what the x axis shows there, and the two commands."""

    x: float
    ours: Callable[[Path], Sequence[str]]
    floor: Callable[[Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Point:
    """What a point cost in every measured round."""

    x: float
    ours: Sequence[Finished]
    floor: Sequence[Finished]


Measure = Callable[[Sequence[Work]], list[Point]]


def soup(models: Sequence[Path], scratch: Path, *options: str) -> list[str]:
    """The mean of the models, not synced."""
    named = {f"m{index}": str(path) for index, path in enumerate(models)}
    merged = f"{{op: soup, inputs: [{', '.join(named)}]}}"
    return mergegraph_command(_recipe(named, {"merged": merged}, scratch / "out"), scratch, "--no-sync", *options)


def deltas(family: Path, options: Sequence[str], scratch: Path) -> list[str]:
    """The base and two task vectors, not synced."""
    (case,) = chosen(["deltas"])
    return mergegraph_command(case.recipe(family, scratch / "out"), scratch, "--no-sync", *options)


def sweep(family: Path, count: int, scratch: Path) -> list[str]:
    """`count` outputs of one run: the base and a task vector by 0.1, 0.2 …"""
    models = {"base": str(family / "base"), "a": str(family / "tune-0")}
    nodes = {
        "learnt": "{op: delta, model: a, base: base}",
        "moved": "{op: scale, input: learnt, by: 0.1}",
        "merged": "{op: sum, inputs: [base, moved]}",
    }
    options = () if count == 1 else ("--sweep", f"moved.by=0.1:{count / 10}:0.1")
    output = scratch / ("out" if count == 1 else "out-{moved.by}")
    return mergegraph_command(_recipe(models, nodes, output), scratch, "--no-sync", *options)


def _recipe(models: Mapping[str, str], nodes: Mapping[str, str], output: Path) -> str:
    save = f"{{op: save, input: merged, path: {json.dumps(str(output))}}}"
    lines = "".join(f"  {name}: {node}\n" for name, node in {**nodes, "out": save}.items())
    return f"mergegraph: 1\nname: growth\nmodels: {json.dumps(models)}\nnodes:\n{lines}"


def floor(models: Sequence[Path], scratch: Path, *options: str) -> list[str]:
    return floor_command(models, scratch, "--no-sync", *options)


def _soup_work(x: float, models: Sequence[Path]) -> Work:
    return Work(x, partial(soup, models), partial(floor, models))


def inputs_points(options: argparse.Namespace, measure: Measure) -> list[Point]:
    """Soups of 2 to 16 models of 0.1 B."""
    family = made(options.family / "growth" / "many-models", max(COUNTS) - 1, "--shape", options.inputs_shape)
    models = [family / "base", *(family / f"tune-{index}" for index in range(max(COUNTS) - 1))]
    return measure([_soup_work(count, models[:count]) for count in COUNTS])


def tensors_points(options: argparse.Namespace, measure: Measure) -> list[Point]:
    """The same bytes in few tensors and in many."""
    work: list[Work] = []
    for count in TENSORS:
        folder = options.family / "growth" / str(count) / "many"
        each = str(TENSOR_ELEMENTS // count)
        family = made(folder, 1, "--many", str(count), "--elements", each)
        work.append(_soup_work(count, [family / "base", family / "tune-0"]))
    return measure(work)


def size_points(options: argparse.Namespace, measure: Measure) -> list[Point]:
    """Soups of two models of each size. A size is measured by itself and deleted: all would not stay in memory."""
    points: list[Point] = []
    for shape in options.sizes:
        if shape == SIZES[-1] and shutil.disk_usage(options.family).free < ROOM:
            print(f"{shape} left out: less than {format_bytes(ROOM)} of disk are free\n")
            continue
        folder = options.family / "growth" / shape
        try:
            family = options.family if shape == options.shape else made(folder, 1, "--shape", shape)
            parameters = sum(tensor.element_count for tensor in SHAPES[shape].tensors())
            points += measure([_soup_work(parameters, [family / "base", family / "tune-0"])])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return points


def budget_points(options: argparse.Namespace, measure: Measure) -> list[Point]:
    """Base and two task vectors."""
    works = [_deltas_work(options.family, parse_bytes(size), ("--budget", size)) for size in BUDGETS]
    return measure(works)


def threads_points(options: argparse.Namespace, measure: Measure) -> list[Point]:
    """Base and two task vectors; the floor has as many threads."""
    family: Path = options.family
    models = [family / name for name in ("base", "tune-0", "tune-1")]
    work: list[Work] = []
    for count in THREADS:
        given = ("--threads", str(count))
        work.append(Work(count, partial(deltas, family, given), lambda at, given=given: floor(models, at, *given)))
    return measure(work)


def sweep_points(options: argparse.Namespace, measure: Measure) -> list[Point]:
    """1 to 8 coefficients in one run: the inputs are read once, every output is written."""
    family: Path = options.family
    models = [family / "base", family / "tune-0"]
    work: list[Work] = []
    for count in SWEPT:
        given = ("--outputs", str(count))
        work.append(Work(count, partial(sweep, family, count), lambda at, given=given: floor(models, at, *given)))
    return measure(work)


def _deltas_work(family: Path, x: float, options: Sequence[str]) -> Work:
    models = [family / name for name in ("base", "tune-0", "tune-1")]
    return Work(x, partial(deltas, family, options), partial(floor, models))


SERIES: Final[Mapping[str, tuple[str, Callable[[argparse.Namespace, Measure], list[Point]]]]] = {
    "inputs": ("inputs", inputs_points),
    "tensors": ("tensors", tensors_points),
    "size": ("parameters", size_points),
    "budget": ("bytes of budget", budget_points),
    "threads": ("threads", threads_points),
    "sweep": ("outputs", sweep_points),
}
"""By name: what the x axis shows, and what measures the points."""

COSTS: Final[Mapping[str, Callable[[Finished], float]]] = {
    "wall s": lambda finished: finished.wall_seconds,
    "CPU s": lambda finished: finished.cpu_seconds,
    "VmHWM MiB": lambda finished: finished.peak_bytes / 2**20,
}


def points_of(work: Sequence[Work], *, repeats: int, folder: Path) -> list[Point]:
    """Every point once a round, ours and the floor in turn."""
    contestants: list[Contestant] = []
    for each in work:
        contestants += [Contestant(f"{each.x:g}", each.ours), Contestant(f"{each.x:g}, floor", each.floor)]
    log = partial(print, file=sys.stderr, flush=True)
    results = rounds(contestants, repeats, folder, cold=False, log=log)
    return [Point(each.x, results[f"{each.x:g}"], results[f"{each.x:g}, floor"]) for each in work]


def point_rows(points: Sequence[Point]) -> Iterator[tuple[str, ...]]:
    for point in points:
        costs = [spread([cost(each) for each in point.ours]).text(1) for cost in COSTS.values()]
        fetched = spread([float(each.traffic.fetched) for each in point.ours]).median
        yield f"{point.x:,.0f}", *costs, format_bytes(round(fetched)), spread(_walls(point.floor)).text(1)


def line_rows(points: Sequence[Point]) -> Iterator[tuple[str, ...]]:
    """The line through the medians of each cost."""
    for name, cost in COSTS.items():
        medians = [spread([cost(each) for each in point.ours]).median for point in points]
        fit = line([point.x for point in points], medians)
        yield name, f"{fit.intercept:.3g} + {fit.slope:.3g} x", f"{fit.deviation:.1%}"


def against_first(points: Sequence[Point]) -> tuple[float, float]:
    """Median wall of the last point over that of the first: ours, and of the floor."""
    ours, under = ([spread(_walls(side)).median for side in sides] for sides in _sides(points))
    return ours[-1] / ours[0], under[-1] / under[0]


def _sides(points: Sequence[Point]) -> tuple[list[Sequence[Finished]], list[Sequence[Finished]]]:
    return [point.ours for point in points], [point.floor for point in points]


def _walls(finished: Sequence[Finished]) -> list[float]:
    return [each.wall_seconds for each in finished]


def document_of(points: Sequence[Point]) -> list[dict[str, Any]]:
    return [{"x": point.x, **as_json({"ours": point.ours, "floor": point.floor})} for point in points]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how time and memory of a merge grow.")
    parser.add_argument("family", metavar="DIR", type=Path, help="the models of make_inputs.py; made when missing")
    parser.add_argument("--shape", default="1.1b", choices=list(SHAPES), help="of the models in DIR (default 1.1b)")
    parser.add_argument("--inputs-shape", default="0.1b", choices=list(SHAPES), help="of the 16 (default 0.1b)")
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"default {','.join(SIZES)}")
    parser.add_argument("--series", default=",".join(SERIES), help=f"default {','.join(SERIES)}")
    parser.add_argument("--repeats", type=int, default=5, help="measured rounds after the warm-up (default 5)")
    parser.add_argument("--plots", metavar="FOLDER", type=Path, help="write growth.json and the plots there")
    options = parser.parse_args()
    options.family = options.family.resolve()
    options.series, options.sizes = options.series.split(","), options.sizes.split(",")
    for given, known in ((options.series, SERIES), (options.sizes, SHAPES)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"{unknown[0]!r}: there are {', '.join(known)}")
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: at least 1")
    return options


def main() -> None:
    options = arguments()
    made(options.family, 3, "--shape", options.shape)
    document: dict[str, Any] = {"machine": machine(), "series": {}}
    print(f"{document['machine']}\n")
    with tempfile.TemporaryDirectory(dir=options.family.parent, prefix="mergegraph-growth-") as folder:
        measure = partial(points_of, repeats=options.repeats, folder=Path(folder))
        for name in options.series:
            axis, points = SERIES[name][0], SERIES[name][1](options, measure)
            document["series"][name] = {"axis": axis, "points": document_of(points)}
            report(name, axis, points)
            if options.plots:
                save(document, options.plots)
    if options.plots:
        try:
            draw(document, options.plots)
        except MissingLibrary as missing:
            sys.exit(str(missing))


def report(name: str, axis: str, points: Sequence[Point]) -> None:
    print(f"{name}\n\n{table((axis, *COSTS, 'from disk', 'floor wall s'), list(point_rows(points)))}\n")
    if len(points) > 1:
        ours, under = against_first(points)
        print(f"last against first: {ours:.2f} times the wall; the floor {under:.2f} times\n")
        print(f"{table(('cost', 'line', 'farthest from it'), list(line_rows(points)))}\n", flush=True)


def save(document: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
