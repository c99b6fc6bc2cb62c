"""`run` and `finalize`: outputs are made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergegraph.cli.options import (
    EXECUTORS,
    AllowUnrelated,
    Budget,
    Device,
    DeviceBudget,
    FixKnownFaults,
    Json,
    Local,
    MaxHeader,
    Output,
    Overwrite,
    Quiet,
    RecipeFile,
    Sets,
    StrictIntegers,
    Sweeps,
    Threads,
    budget_bytes,
    device_for,
    one_of,
    refuse_together,
    share_of,
    typed_again,
)
from mergegraph.cli.reporting import reporting
from mergegraph.cli.shell import among, recipes
from mergegraph.cli.source import chosen_recipe, recipe_from_file
from mergegraph.tensors.sources.access import accessing


def run(
    recipe: Annotated[
        Path | None,
        typer.Argument(metavar="RECIPE", help="The recipe, a YAML file; not needed with -e.", autocompletion=recipes),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            "-e",
            "--expression",
            metavar="EXPR",
            help='A formula instead of a recipe: "0.5*a + 0.5*b"; needs -m and -o.',
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", metavar="NAME=REF", help="A model named in -e: a=./model-a. May be repeated."),
    ] = None,
    output: Output = None,
    budget: Budget = None,
    device: Device = "auto",
    device_budget: DeviceBudget = None,
    threads: Threads = None,
    sets: Sets = None,
    sweeps: Sweeps = None,
    overwrite: Overwrite = False,
    no_sync: Annotated[bool, typer.Option("--no-sync", help="Faster, but a power cut may lose the output.")] = False,
    allow_non_finite: Annotated[
        bool, typer.Option("--allow-non-finite", help="Write NaN and Inf, and count them, instead of stopping.")
    ] = False,
    allow_unrelated: AllowUnrelated = False,
    max_header_mb: MaxHeader = 25,
    fix_known_faults: FixKnownFaults = False,
    strict_integers: StrictIntegers = False,
    verify_output: Annotated[
        bool,
        typer.Option("--verify-output", help="Read everything back from disk before publishing, and compute sha256."),
    ] = False,
    stats: Annotated[
        bool,
        typer.Option(
            "--stats", help="Also measure every tensor in the same pass; written to stats.json beside the weights."
        ),
    ] = False,
    shards: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Make only part I of N of the output files; `finalize` combines the parts."),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            metavar="|".join(EXECUTORS),
            help="Compute in this process, or on the workers of a Ray cluster.",
            autocompletion=among(EXECUTORS),
        ),
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|auto", help="The Ray cluster to use. Default: a new one on this machine only."),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, metavar="N", help="Number of devices for each Ray worker.")] = 0,
    no_read_back: Annotated[
        bool,
        typer.Option("--no-read-back", help="Trust the records of the Ray workers; compare only lengths and headers."),
    ] = False,
    local: Local = False,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="Download what is read from the Hub into its cache first, and check the sha256."
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Merge: read the inputs, compute, and write every output of the recipe."""
    with reporting(as_json=as_json), accessing(local=local):
        device = device_for(device, stats=stats)
        one_of("--executor", executor, EXECUTORS)
        refuse_together(
            shards=shards, executor=executor, stats=stats, sync=not no_sync,
            verify_output=verify_output, expression=expression, address=address, gpus=gpus, device=device,
            reads_back=not no_read_back, device_budget=device_budget,
        )  # fmt: skip
        share = share_of(shards) if shards is not None else None
        limits = budget_bytes(budget), budget_bytes(device_budget, "--device-budget")
        source = chosen_recipe(
            recipe, expression, model or (), output, sets or (), sweeps or (), fix_known_faults=fix_known_faults
        )
        from mergegraph.cli.making import Making, make
        from mergegraph.pipeline import plan
        from mergegraph.plan.outputs import Stats

        planned = plan(
            source, budget_bytes=limits[0], workers=threads, output=output, allow_unrelated=allow_unrelated,
            max_header_bytes=max_header_mb * 1_000_000, stats=Stats() if stats else None,
        )  # fmt: skip
        typed = typed_again(
            recipe, output, sets, sweeps, max_header_mb=max_header_mb, switches={
                "--allow-non-finite": allow_non_finite, "--allow-unrelated": allow_unrelated,
                "--fix-known-faults": fix_known_faults, "--strict-integers": strict_integers, "--local": local,
            },
        )  # fmt: skip
        making = Making(
            typed, executor, share, address, threads or 0, gpus, device, limits[1], download=download,
            overwrite=overwrite, sync=not no_sync, allow_non_finite=allow_non_finite, strict_integers=strict_integers,
            verify_output=verify_output, reads_back=not no_read_back, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        make(planned, making)


def finalize(
    recipe: RecipeFile,
    output: Output = None,
    sets: Sets = None,
    sweeps: Sweeps = None,
    overwrite: Overwrite = False,
    allow_non_finite: Annotated[
        bool, typer.Option("--allow-non-finite", help="Accept parts that contain NaN or Inf.")
    ] = False,
    allow_unrelated: AllowUnrelated = False,
    max_header_mb: MaxHeader = 25,
    fix_known_faults: FixKnownFaults = False,
    strict_integers: StrictIntegers = False,
    no_read_back: Annotated[
        bool, typer.Option("--no-read-back", help="Trust the records of the parts; compare only lengths and headers.")
    ] = False,
    verify_output: Annotated[
        bool, typer.Option("--verify-output", help="Compute the sha256 of every file before publishing.")
    ] = False,
    local: Local = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Combine the parts that `run --shards` made, on one machine or many: check every shard, publish the outputs."""
    with reporting(as_json=as_json), accessing(local=local):
        source = recipe_from_file(recipe, sets or (), sweeps or (), output=output, fix_known_faults=fix_known_faults)
        from mergegraph.cli.parts import parts_to_make
        from mergegraph.cli.sharding import Finishing, put_together
        from mergegraph.execute.adopting import kind_of_attempts
        from mergegraph.pipeline import plan as make_plan

        planned = make_plan(
            source, output=output, allow_unrelated=allow_unrelated, max_header_bytes=max_header_mb * 1_000_000
        )
        planned = parts_to_make(planned, kind_of_attempts(planned), overwrite=overwrite, as_json=as_json, quiet=quiet)
        if planned is None:
            return
        typed = typed_again(
            recipe, output, sets, sweeps, max_header_mb=max_header_mb, switches={
                "--allow-non-finite": allow_non_finite, "--allow-unrelated": allow_unrelated,
                "--fix-known-faults": fix_known_faults, "--strict-integers": strict_integers, "--local": local,
            },
        )  # fmt: skip
        finishing = Finishing(
            typed=typed, overwrite=overwrite, allow_non_finite=allow_non_finite, reads_back=not no_read_back,
            verify_output=verify_output, strict_integers=strict_integers,
        )  # fmt: skip
        put_together(planned, finishing, as_json=as_json, quiet=quiet)
