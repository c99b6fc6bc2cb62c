"""What statistics cost: `run` without and with `--stats`, `stats` alone, and the floor of reading the same inputs.

    python benchmarks/make_inputs.py DIR --shape 1.1b
    python benchmarks/stats_cost.py DIR [--rounds 5]

In turn, medians; seconds of whole processes, and of the work alone. The floor is `floor.py` without the copy that it
writes: every tensor of base, tune-0 and tune-1 read into buffers. VmHWM must be at most reserved + budget; exits 1
where it is not. Needs free disk for one output.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from child import Finished, mergegraph, run_child
from table import table

_READ = """
import sys, time
sys.path.insert(0, {here!r})
from contextlib import ExitStack
from pathlib import Path
import floor
began = time.monotonic()
class Nothing:
    def write(self, buffer, offset, finished): pass
with ExitStack() as stack:
    models = [floor.open_model(Path(each), stack)[0] for each in {inputs!r}]
    floor.move(floor.tiles(models, dict.fromkeys(models[0], 0)), [Nothing()], 2)
print(time.monotonic() - began)
"""
_MEBI = 1 << 20


def recipe(inputs: Path, output: Path) -> str:
    loads = {"base": "base", "a": "tune-0", "b": "tune-1"}
    models = ", ".join(f"{name}: {json.dumps(str(inputs / folder))}" for name, folder in loads.items())
    save = f"out: {{op: save, input: merged, path: {json.dumps(str(output))}}}"
    merged = "merged: base + 0.6*(a - base) + 0.7*(b - base)"
    return f"mergegraph: 1\nname: cost\nmodels: {{{models}}}\nnodes:\n  {merged}\n  {save}\n"


def measured(ran: Finished) -> tuple[float, float, float, float]:
    """(seconds of the process, of the work, VmHWM, what it may be)."""
    if ran.exit_code:
        sys.exit(ran.stderr)
    report = ran.done_report()
    if report:
        limit = report["reserved_bytes"] + report["budget_bytes"]
        return ran.wall_seconds, report["seconds"], ran.peak_bytes, limit
    if cost := re.search(r" in ([0-9.]+) s; memory .* measured, of ([0-9.]+) MiB reserved \+ ([0-9]+)", ran.stdout):
        return ran.wall_seconds, float(cost[1]), ran.peak_bytes, (float(cost[2]) + float(cost[3])) * _MEBI
    return ran.wall_seconds, float(ran.stdout.split()[-1]), ran.peak_bytes, 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what statistics cost.")
    parser.add_argument("inputs", metavar="DIR", type=Path, help="made by make_inputs.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-mib", type=int, default=256)
    options = parser.parse_args()
    inputs: Path = options.inputs.resolve()
    models = [str(inputs / name) for name in ("base", "tune-0", "tune-1")]
    budget = f"--budget={options.budget_mib}MiB"
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    with tempfile.TemporaryDirectory(dir=inputs.parent, prefix="mergegraph-stats-") as scratch:
        file, output = Path(scratch) / "cost.yaml", Path(scratch) / "out"
        file.write_text(recipe(inputs, output))
        merge = ("run", file, "--no-sync", "--json", "--quiet", budget)
        floor = [sys.executable, "-c", _READ.format(here=str(Path(__file__).parent), inputs=models)]
        for _ in range(options.rounds):
            for title, command in (("run", merge), ("run --stats", (*merge, "--stats"))):
                found.setdefault(title, []).append(measured(mergegraph(*command)))
                shutil.rmtree(output)
            looking = ("stats", *models[1:], "--base", models[0], budget)
            found.setdefault("stats", []).append(measured(mergegraph(*looking)))
            found.setdefault("floor of reading", []).append(measured(run_child(floor)))
    middle = {title: [statistics.median(column) for column in zip(*rows, strict=True)] for title, rows in found.items()}
    against = {"run --stats": "run", "stats": "floor of reading"}
    rows: list[list[str]] = []
    for title, (process, work, peak, limit) in middle.items():
        other = middle[against[title]] if title in against else None
        ratio = f"{process / other[0]:.2f} / {work / other[1]:.2f} of {against[title]}" if other else ""
        held = [f"{limit / _MEBI:.0f}", "yes" if peak <= limit else "NO"] if limit else ["", ""]
        rows.append([title, f"{process:.2f}", f"{work:.2f}", ratio, f"{peak / _MEBI:.0f}", *held])
    print(table(("case", "process s", "work s", "ratio: process / work", "VmHWM MiB", "limit MiB", "ok?"), rows))
    if any("NO" in row for row in rows):
        sys.exit("memory does not hold: see NO above")


if __name__ == "__main__":
    main()
