"""`check`, `plan` and `graph`: what a recipe would do."""

from __future__ import annotations

from typing import Annotated

import typer

from mergegraph.cli.options import (
    DIRECTIONS,
    SIZES,
    AllowUnrelated,
    Budget,
    FixKnownFaults,
    Json,
    Local,
    MaxHeader,
    Output,
    RecipeFile,
    Sets,
    Sweeps,
    Threads,
    budget_bytes,
    one_of,
)
from mergegraph.cli.reporting import reporting
from mergegraph.cli.shell import among
from mergegraph.cli.source import recipe_from_file
from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.tensors.sources.access import accessing


def check(
    recipe: RecipeFile,
    sets: Sets = None,
    sweeps: Sweeps = None,
    allow_unrelated: AllowUnrelated = False,
    max_header_mb: MaxHeader = 25,
    fix_known_faults: FixKnownFaults = False,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Find everything that is wrong with a recipe, using the headers of its models. Exit code 0 or 2."""
    with reporting(as_json=as_json), accessing(local=local):
        source = recipe_from_file(recipe, sets or (), sweeps or (), fix_known_faults=fix_known_faults)
        from mergegraph.cli.checking import show_check

        show_check(source, allow_unrelated=allow_unrelated, max_header_bytes=max_header_mb * 1_000_000, as_json=as_json)


def plan(
    recipe: RecipeFile,
    output: Output = None,
    budget: Budget = None,
    threads: Threads = None,
    sets: Sets = None,
    sweeps: Sweeps = None,
    allow_unrelated: AllowUnrelated = False,
    max_header_mb: MaxHeader = 25,
    fix_known_faults: FixKnownFaults = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show every tensor with its formula and numbers.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=100_000, help="Also estimate how long up to N workers of a cluster would take."
        ),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --workers: a worker's bandwidth to and from storage: 2GB/s, 10Gbit/s. Default: 1GB/s.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="With --workers: bandwidth of the shared storage: 20GB/s. Default: no limit."
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option(metavar="P", min=0, max=1e9, help="With --workers: what one worker costs per hour.")
    ] = None,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Show what a run would read, compute, write and hold in memory. Exit code 3 if it does not fit."""
    with reporting(as_json=as_json), accessing(local=local, headers_only=True):
        budgeted = budget_bytes(budget)
        from mergegraph.cli.simulating import cluster_of, show_simulated

        cluster = cluster_of(workers, bandwidth=bandwidth, storage=storage, price=price, threads=threads)
        source = recipe_from_file(recipe, sets or (), sweeps or (), output=output, fix_known_faults=fix_known_faults)
        from mergegraph.cli.checking import show_plan
        from mergegraph.pipeline import plan as make_plan

        planned = make_plan(
            source,
            budget_bytes=budgeted,
            workers=threads,
            output=output,
            allow_unrelated=allow_unrelated,
            max_header_bytes=max_header_mb * 1_000_000,
        )
        show_plan(planned, explained=explain, as_json=as_json)
        if cluster is not None:
            show_simulated(planned, cluster, as_json=as_json)


def graph(
    recipe: RecipeFile,
    sets: Sets = None,
    sweeps: Sweeps = None,
    max_header_mb: MaxHeader = 25,
    fix_known_faults: FixKnownFaults = False,
    local: Local = False,
    rail: Annotated[bool, typer.Option("--rail", help="Draw one node per line, with what it does.")] = False,
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(DIRECTIONS),
            help="Which way the wires lead. Default: what fits the terminal.",
            autocompletion=among(DIRECTIONS),
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(SIZES),
            help="How much of each node to show. Default: what fits.",
            autocompletion=among(SIZES),
        ),
    ] = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
) -> None:
    """Draw the graph of a recipe: boxes and wires, or one node per line if they do not fit."""
    with reporting(), accessing(local=local, headers_only=True):
        one_of("--direction", direction, DIRECTIONS)
        one_of("--size", size, SIZES)
        if rail and (option := "--size" if size else "--direction" if direction else ""):
            fact, fix = f"{option} means nothing beside --rail.", "leave one of them out"
            raise RecipeError(Problem(fact, Location(option), fix=fix))
        source = recipe_from_file(recipe, sets or (), sweeps or (), fix_known_faults=fix_known_faults)
        from mergegraph.cli.drawing import Look, show_graph

        show_graph(source, Look(rail, direction, size, ascii_only), max_header_bytes=max_header_mb * 1_000_000)
