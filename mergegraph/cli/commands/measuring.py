"""`stats` and `search`: what merges changed, and which merge to choose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergegraph.cli.options import AllowUnrelated, Budget, Json, Local, MaxHeader, Quiet, Sets, Threads, budget_bytes
from mergegraph.cli.reporting import reporting
from mergegraph.cli.shell import metrics, recipes
from mergegraph.tensors.sources.access import accessing


def stats(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE", help="A recipe; one or more models; or one or two outputs, or their stats.json files."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="MODEL", help="What to measure changes against: a model, or a load node."),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count every element of large tensors, not only a sample; slower.")
    ] = False,
    tier: Annotated[
        int,
        typer.Option(
            "--tier",
            metavar="1|2",
            min=1,
            max=2,
            help="2 also finds the leading singular values of every matrix; slower.",
        ),
    ] = 1,
    metric: Annotated[
        str,
        typer.Option("--metric", metavar="NAME", help="The metric that the heat map shows.", autocompletion=metrics),
    ] = "",
    tensor: Annotated[str, typer.Option("--tensor", metavar="NAME", help="Show one tensor in full.")] = "",
    sort: Annotated[
        str,
        typer.Option(
            "--sort", metavar="METRIC", help="List the tensors by this metric, largest first.", autocompletion=metrics
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The most rows to show in a table.")] = 20,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report to view in a browser.")
    ] = None,
    to_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers as JSON.")] = None,
    to_csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write one row per tensor, as CSV.")
    ] = None,
    budget: Budget = None,
    threads: Threads = None,
    sets: Sets = None,
    allow_unrelated: AllowUnrelated = False,
    max_header_mb: MaxHeader = 25,
    local: Local = False,
    quiet: Quiet = False,
) -> None:
    """Measure, layer by layer, what a recipe would make or how models differ from a base, or compare two records."""
    with reporting(), accessing(local=local):
        from mergegraph.cli.stats import Asked, Files, Shown, show_stats

        asked = Asked(tuple(sources), base, exact, budget_bytes(budget), threads, tuple(sets or ()), allow_unrelated,
                      max_header_mb * 1_000_000, tier)  # fmt: skip
        show_stats(asked, Files(html, to_json, to_csv), Shown(metric, tensor, sort, limit), quiet=quiet)


def search(
    file: Annotated[Path, typer.Argument(metavar="SEARCH", help="The search, a YAML file.", autocompletion=recipes)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="The folder of the search. Default: beside its file."),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw the plots; needs mergegraph[search].")
    ] = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Evaluate candidates again if the evaluator crashed or timed out.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search for what to merge, or with which numbers, using an evaluator; ends by writing a plain recipe."""
    with reporting(as_json=as_json):
        from mergegraph.cli.searching import show_search

        show_search(file, output, png, retry_rejected=retry_rejected, as_json=as_json, quiet=quiet)
