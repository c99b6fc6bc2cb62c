"""`plan --workers N`: how long workers of a cluster would take, and what that would cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from mergegraph.cli.terminal import say, say_json
from mergegraph.plan.plan import Plan
from mergegraph.plan.shards import shards_of
from mergegraph.plan.simulate import Machine, Simulated, simulated
from mergegraph.units import format_bytes, format_count, format_seconds


def show_simulated(plan: Plan, workers: int, machine: Machine, storage: int | None, *, as_json: bool) -> None:
    """One row for each doubling of the workers, up to `workers`."""
    rows = simulated(plan, _doublings(workers), machine, storage)
    if as_json:
        say_json({"kind": "simulated", "shards": len(shards_of(plan)), "machine": asdict(machine), "storage": storage,
                  "workers": [asdict(row) for row in rows]})  # fmt: skip
        return
    table = Table(box=None, pad_edge=False)
    for name in ("workers", "wall", "before", "after", "busy", "read", "written", *(["cost"] if machine.price else [])):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row, priced=bool(machine.price)))
    console = Console(width=100, highlight=False)
    with console.capture() as captured:
        console.print(table)
    shared = f", storage {format_bytes(storage)}/s in all" if storage else ""
    say("")
    say(
        f"cluster   {format_count(len(shards_of(plan)), 'shard')}; a worker has {machine.threads} threads and "
        f"{format_bytes(machine.bandwidth)}/s{shared}; calculated, not measured"
    )
    for line in captured.get().rstrip().splitlines():
        say(f"  {line.rstrip()}")


def _doublings(workers: int) -> Iterator[int]:
    count = 1
    while count < workers:
        yield count
        count *= 2
    yield workers


def _cells(row: Simulated, *, priced: bool) -> list[str]:
    cells = [
        str(row.workers), format_seconds(row.seconds), format_seconds(row.gather_seconds),
        format_seconds(row.finish_seconds), f"{row.busy:.0%}", format_bytes(row.read_bytes),
        format_bytes(row.write_bytes),
    ]  # fmt: skip
    return [*cells, f"{row.price:,.2f}"] if priced else cells
