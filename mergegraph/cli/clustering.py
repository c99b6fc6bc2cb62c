"""`run --executor ray`: workers of a cluster make the shards, this process puts them together."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from mergegraph.cli.checking import show_warnings
from mergegraph.cli.sharding import Finishing, put_together
from mergegraph.cli.terminal import note, say, say_json
from mergegraph.cluster.driver import Asked, Progress, drive, kind_of_workers
from mergegraph.cluster.ray_pool import ray_pool
from mergegraph.execute.sharing import compare, refuse_standing
from mergegraph.plan.output_paths import require_shared_staging
from mergegraph.plan.plan import Plan
from mergegraph.units import format_bytes, format_count, format_seconds

_MOST_THREADS = 4
"""Of a worker, unless asked: more workers of a few threads use a node better than one of many."""


@dataclass(frozen=True)
class Clustering:
    """How the cluster is used; `threads` 0 is a few of a worker's node."""

    address: str | None
    threads: int
    gpus: float
    device: str
    device_budget_bytes: int | None
    overwrite: bool
    allow_non_finite: bool
    verify_output: bool
    strict_integers: bool
    reads_back: bool


def run_on_cluster(plan: Plan, clustering: Clustering, *, as_json: bool, quiet: bool) -> None:
    """Make every shard on the cluster, then adopt and publish them here."""
    show_warnings(plan.warnings)
    plan.validate()
    if clustering.address is not None:
        require_shared_staging(plan.outputs)
    show_warnings(compare(plan, strict_integers=clustering.strict_integers))
    threads = clustering.threads or min(_MOST_THREADS, os.cpu_count() or 1)
    began = time.monotonic()
    with ExitStack() as stack:
        pool = stack.enter_context(
            ray_pool(
                clustering.address,
                threads=threads,
                gpus=clustering.gpus,
                budget_bytes=plan.projection.pool_bytes,
            )
        )
        kind = kind_of_workers(pool, clustering.device)
        if not clustering.overwrite:
            refuse_standing(plan, kind)
        asked = Asked(
            threads,
            clustering.device,
            kind,
            clustering.device_budget_bytes,
            clustering.allow_non_finite,
            clustering.overwrite,
        )
        telling = _Telling(quiet=quiet or as_json)
        made = drive(plan, pool, asked, on_tick=telling.tick)
    if as_json:
        say_json(_json(made, time.monotonic() - began))
    elif not quiet:
        say(*_summary(made, time.monotonic() - began))
    finishing = Finishing(
        overwrite=clustering.overwrite,
        allow_non_finite=clustering.allow_non_finite,
        reads_back=clustering.reads_back,
        verify_output=clustering.verify_output,
        strict_integers=clustering.strict_integers,
    )
    put_together(plan, finishing, as_json=as_json, quiet=quiet)


class _Telling:
    """A line where a shard is made again, or the cluster has no node left; on a terminal one for each that is done."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._shows_done = quiet, sys.stderr.isatty()
        self._done: int = -1
        self._again: int = 0
        self._waits: float = 0.0

    def tick(self, progress: Progress) -> None:
        again = sum(progress.again.values())
        if not self._quiet and again != self._again:
            note(f"{format_count(again - self._again, 'shard')} made again: {progress.trouble}")
        if not self._quiet and progress.waits_for != self._waits:
            wait = f"no node of the cluster can make a shard: waiting {progress.waits_for:.0f} s for one to come"
            note(wait if progress.waits_for else "the cluster has nodes again")
        if not self._quiet and self._shows_done and progress.done != self._done:
            note(f"{progress.done + progress.already} of {progress.total} shards, {progress.running} running")
        self._done, self._again, self._waits = progress.done, again, progress.waits_for


def _json(made: Progress, seconds: float) -> dict[str, object]:
    return {
        "kind": "shards done",
        "shards": made.total,
        "made": made.done,
        "already": made.already,
        "tried_again": sum(made.again.values()),
        "second_attempts": made.second,
        "read_bytes": made.read_bytes,
        "write_bytes": made.write_bytes,
        "measured_bytes": made.measured_bytes,
        "hosts": dict(made.hosts),
        "seconds": seconds,
    }


def _summary(made: Progress, seconds: float) -> list[str]:
    """What the cluster did."""
    found = f"; {made.already} were complete before" if made.already else ""
    lines = [f"{format_count(made.done, 'shard')} on {format_count(len(made.hosts), 'host')}{found}"]
    megabytes = made.write_bytes / max(seconds, 1e-9) / 1e6
    lines.append(
        f"  {format_seconds(seconds)}, {megabytes:,.0f} MB/s written; read {format_bytes(made.read_bytes)}; "
        f"the largest worker held {format_bytes(made.measured_bytes)}"
    )
    if made.again or made.second:
        lines.append(f"  tried again {sum(made.again.values())} times; {made.second} second attempts")
    return lines
