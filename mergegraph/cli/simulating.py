"""`plan --workers N`: how long workers of a cluster would take, and what that would cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mergegraph.cli.terminal import note, say, say_json
from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.units import format_bytes, format_count, format_seconds, parse_bandwidth

if TYPE_CHECKING:
    from mergegraph.plan.plan import Plan
    from mergegraph.plan.simulate import Simulated

_BANDWIDTH = 1e9
_THREADS = 4


@dataclass(frozen=True)
class Cluster:
    """What was asked about; `bandwidth` of a worker and `storage` of all are bytes a second."""

    workers: int
    bandwidth: float
    storage: float | None
    price: float
    threads: int


def cluster_of(
    workers: int | None, *, bandwidth: str | None, storage: str | None, price: float | None, threads: int | None
) -> Cluster | None:
    """None where nobody asks. RecipeError for values that mean nothing, and for those that nobody would look at."""
    given = {"--bandwidth": bandwidth, "--storage": storage, "--price": price}
    paces = {option: _pace(option, given[option]) for option in ("--bandwidth", "--storage")}
    unasked = [option for option, value in given.items() if value is not None] if workers is None else []
    if unasked:
        raise RecipeError(
            *[
                Problem(f"{option} means nothing without --workers.", Location(option), fix="--workers 8")
                for option in unasked
            ]
        )
    if workers is None:
        return None
    return Cluster(workers, paces["--bandwidth"] or _BANDWIDTH, paces["--storage"], price or 0.0, threads or _THREADS)


def _pace(option: str, text: str | float | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_bandwidth(str(text))
    except ValueError as error:
        fix = f"{option} 2GB/s, or {option} 10Gbit/s"
        raise RecipeError(Problem(f"{error}.", Location(f"{option} {text}"), fix=fix)) from error


def show_simulated(plan: Plan, cluster: Cluster, *, as_json: bool) -> None:
    """One row for each doubling of the workers, up to as many as there are shards."""
    from mergegraph.plan.shards import shards_of
    from mergegraph.plan.simulate import Machine, simulated

    shards = len(shards_of(plan))
    if cluster.workers > shards:
        note(str(_more_than_shards(cluster.workers, shards)))
    machine = Machine(cluster.bandwidth, cluster.threads, price=cluster.price)
    rows = simulated(plan, _doublings(min(cluster.workers, shards)), machine, cluster.storage)
    if as_json:
        say_json({"kind": "simulated", "shards": shards, "machine": asdict(machine), "storage": cluster.storage,
                  "workers": [asdict(row) for row in rows]})  # fmt: skip
        return
    shared = f", storage {format_bytes(cluster.storage)}/s in all" if cluster.storage else ""
    say("")
    say(
        f"cluster   {format_count(shards, 'shard')}; a worker has {machine.threads} threads and "
        f"{format_bytes(machine.bandwidth)}/s{shared}; calculated, not measured"
    )
    for line in _table(rows, priced=bool(machine.price)):
        say(f"  {line}")


def _more_than_shards(workers: int, shards: int) -> Problem:
    return Problem(
        f"{format_count(workers, 'worker')} would have {format_count(shards, 'shard')} to make.",
        Location(f"--workers {workers}"),
        why="one worker writes a shard, so the others would wait; the table ends at the shards",
        fix="a smaller max_shard_size in the save makes more of them",
        severity="warning",
    )


def _table(rows: list[Simulated], *, priced: bool) -> list[str]:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("workers", "wall", "before", "after", "busy", "read", "written", *(["cost"] if priced else [])):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row, priced=priced))
    console = Console(width=100, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().rstrip().splitlines()]


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
