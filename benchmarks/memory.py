"""Peak memory, exactness and determinism of whole runs of the command, on inputs of `make_inputs.py`.

    python benchmarks/memory.py INPUTS_DIR

Runs each case in a child process beside INPUTS_DIR, holds its VmHWM against reserved + budget, and compares what it
wrote with float64 arithmetic. Then runs one merge for every pair of threads and budgets: all must give the same
bytes. Needs free disk for one output. Exits 1 when something does not hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from child import Finished, mergegraph
from reference import Formula, compare, soup, task_arithmetic
from table import table

from mergegraph.units import format_bytes, format_seconds

THREADS: Final = ("1", "2", "4")
BUDGETS: Final = ("64MiB", "512MiB", "2GiB")
HEAD: Final = ("case", "budget", "reserved", "VmHWM", "limit", "ok?", "wall", "user+system CPU")
EXACTNESS_HEAD: Final = ("case", "elements", "not nearest", "beyond bound", "frozen", "frozen changed", "ok?")
MATRIX_HEAD: Final = ("threads", "budget", "VmHWM", "wall", "user+system CPU", "sha256", "same?")


@dataclass(frozen=True, slots=True)
class Case:
    """One merge to run: its nodes in YAML, by the names of `models`, and the formula they stand for.

    `exact`: float32 loses nothing in this formula, so every element must be the correctly rounded one. Without a
    formula only memory is measured.
    """

    title: str
    models: dict[str, Path]
    nodes: tuple[str, ...]
    formula: Formula | None
    budget: str
    exact: bool = False

    def recipe(self, output: Path) -> str:
        models = ", ".join(f"{name}: {json.dumps(str(path))}" for name, path in self.models.items())
        save = f"out: {{op: save, input: merged, path: {json.dumps(str(output))}}}"
        nodes = "\n".join(f"  {node}" for node in (*self.nodes, save))
        return f"mergegraph: 1\nname: memory\nmodels: {{{models}}}\nnodes:\n{nodes}\n"


def cases(inputs: Path, budget: str) -> list[Case]:
    """The cases whose inputs exist."""
    base, first, second = (inputs / name for name in ("base", "tune-0", "tune-1"))
    one, other = inputs / "single" / "base", inputs / "single" / "tune-0"
    mean = ("merged: {op: soup, inputs: [a, b]}",)
    deltas = ("merged: base + 0.6*(a - base) + 0.7*(b - base)",)
    ties = ("d: {op: ties, base: base, inputs: [a, b], density: 0.5, scope: model}", "merged: base + 0.5*d")
    every = [
        Case("soup of 2", {"a": base, "b": first}, mean, soup, budget, exact=True),
        Case(
            "base + 2 deltas",
            {"base": base, "a": first, "b": second},
            deltas,
            task_arithmetic(0.6, 0.7),
            budget,
        ),
        Case("TIES, model-wide", {"base": base, "a": first, "b": second}, ties, None, budget),
        Case("single tensor", {"a": one, "b": other}, mean, soup, "64MiB", exact=True),
    ]
    return [case for case in every if all(path.is_dir() for path in case.models.values())]


def run_case(case: Case, folder: Path, *options: str) -> tuple[Finished, Path]:
    """Run a case in `folder`, over whatever is there; how it went, and the output folder."""
    recipe, output = folder / "recipe.yaml", folder / "out"
    recipe.write_text(case.recipe(output))
    arguments = ("--budget", case.budget, "--quiet", "--json", "--overwrite", "-o", output, *options)
    finished = mergegraph("run", recipe, *arguments)
    if finished.exit_code:
        sys.exit(f"{case.title}, {case.budget}: exit code {finished.exit_code}\n{finished.stdout}{finished.stderr}")
    return finished, output


def memory_row(case: Case, finished: Finished) -> tuple[str, ...]:
    report = finished.done_report()
    if not {"reserved_bytes", "budget_bytes"} <= report.keys():
        sys.exit(f'{case.title}: no line of kind "done" with reserved_bytes and budget_bytes in\n{finished.stdout}')
    reserved, budget = int(report["reserved_bytes"]), int(report["budget_bytes"])
    return (
        case.title,
        format_bytes(budget),
        format_bytes(reserved),
        format_bytes(finished.peak_bytes),
        format_bytes(reserved + budget),
        verdict(0 < finished.peak_bytes <= reserved + budget),
        *times(finished),
    )


def exactness_row(case: Case, formula: Formula, output: Path) -> tuple[str, ...]:
    found = compare(output, list(case.models.values()), formula)
    holds = found.beyond_bound == 0 and found.frozen_changed == 0 and not (case.exact and found.not_nearest)
    counts = (found.elements, found.not_nearest, found.beyond_bound, found.frozen, found.frozen_changed)
    return case.title, *(f"{count:,}" for count in counts), verdict(holds)


def matrix_rows(case: Case, folder: Path) -> Iterator[tuple[str, ...]]:
    """One row for every pair of threads and budget; "same?" is against the first."""
    expected = ""
    for threads in THREADS:
        for budget in BUDGETS:
            finished, output = run_case(replace(case, budget=budget), folder, "--threads", threads)
            digest = sha256_of_tensors(output)
            expected = expected or digest
            same = verdict(digest == expected)
            yield threads, budget, format_bytes(finished.peak_bytes), *times(finished), digest[:16], same


def sha256_of_tensors(folder: Path) -> str:
    """Over the names and bytes of the folder's safetensors files, in order of name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def times(finished: Finished) -> tuple[str, str]:
    return format_seconds(finished.wall_seconds), format_seconds(finished.cpu_seconds)


def verdict(holds: bool) -> str:
    return "yes" if holds else "NO"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure memory, exactness and determinism of whole runs.")
    parser.add_argument("inputs", metavar="INPUTS_DIR", type=Path, help="made by make_inputs.py")
    parser.add_argument("--budget", default="512MiB", help="of the whole-model cases (default 512MiB)")
    parser.add_argument("--no-matrix", action="store_true", help="leave out the runs by threads and budget")
    options = parser.parse_args()
    inputs: Path = options.inputs.resolve()
    chosen = cases(inputs, options.budget)
    if not chosen:
        parser.error(f"{inputs} has no models; make them: python benchmarks/make_inputs.py {inputs}")
    with tempfile.TemporaryDirectory(dir=inputs.parent, prefix="mergegraph-memory-") as scratch:
        tables = list(measure(chosen, Path(scratch), matrix=not options.no_matrix))
    if any("NO" in row for rows in tables for row in rows):
        sys.exit("something does not hold: see NO above")


def measure(chosen: list[Case], folder: Path, matrix: bool) -> Iterator[list[tuple[str, ...]]]:
    """Print each table when it is known, and yield its rows."""
    memory: list[tuple[str, ...]] = []
    exactness: list[tuple[str, ...]] = []
    for case in chosen:
        finished, output = run_case(case, folder)
        memory.append(memory_row(case, finished))
        if case.formula is not None:
            exactness.append(exactness_row(case, case.formula, output))
    for head, rows in ((HEAD, memory), (EXACTNESS_HEAD, exactness)):
        print(table(head, rows), end="\n\n", flush=True)
        yield rows
    if matrix:
        case = next((case for case in chosen if case.formula and not case.exact), chosen[0])
        rows = list(matrix_rows(case, folder))
        print(f"{case.title}:\n\n{table(MATRIX_HEAD, rows)}")
        yield rows


if __name__ == "__main__":
    main()
