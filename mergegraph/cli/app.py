"""The commands: their options and help. Each does its work in a module that it imports when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergegraph.cli.options import (
    AllowUnrelated,
    Budget,
    Device,
    DeviceBudget,
    FixKnownFaults,
    Json,
    Local,
    MaxHeader,
    Output,
    Quiet,
    RecipeFile,
    Sets,
    Sweeps,
    Threads,
    budget_bytes,
    device_name,
    one_of,
    refuse_together,
    share_of,
)
from mergegraph.cli.reporting import reporting
from mergegraph.cli.source import recipe_from_expression, recipe_from_file
from mergegraph.cli.terminal import say, say_text
from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.tensors.sources.access import accessing

# Without markup, typer leaves rich alone: with it, --help takes 0.15 s more.
app = typer.Typer(
    name="mergegraph",
    help="Merge fine-tuned models by a declared graph: checked, planned, and run inside a memory budget.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"mergegraph {version('mergegraph')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Merge fine-tuned models by a declared graph: checked, planned, and run inside a memory budget."""


@app.command()
def run(
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="The recipe; none with -e.")] = None,
    expression: Annotated[
        str | None, typer.Option("-e", "--expression", metavar="EXPR", help='Instead of a recipe: "0.5*a + 0.5*b".')
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("-m", "--model", metavar="NAME=REF", help="A model that -e names.")
    ] = None,
    output: Output = None,
    budget: Budget = None,
    device: Device = "auto",
    device_budget: DeviceBudget = None,
    threads: Threads = None,
    sets: Sets = None,
    sweeps: Sweeps = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    no_sync: Annotated[bool, typer.Option("--no-sync", help="Faster; a power cut may then lose the output.")] = False,
    allow_non_finite: Annotated[
        bool, typer.Option("--allow-non-finite", help="Count NaN and Inf instead of stopping.")
    ] = False,
    allow_unrelated: AllowUnrelated = False,
    max_header_mb: MaxHeader = 25,
    fix_known_faults: FixKnownFaults = False,
    strict_integers: Annotated[
        bool, typer.Option("--strict-integers", help="Stop where integer tensors differ, instead of warning.")
    ] = False,
    verify_output: Annotated[
        bool, typer.Option("--verify-output", help="Read everything back from disk before publishing; compute sha256.")
    ] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Measure every tensor in the same pass: stats.json beside the output.")
    ] = False,
    shards: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Make only the I-th of N parts of the output files; `finalize` ends it."),
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="threads|ray", help="Who computes: this process, or the workers of a Ray cluster.")
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|auto", help="The Ray cluster. Default: a new one on this machine alone."),
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, metavar="N", help="Devices that each Ray worker takes.")] = 0,
    no_read_back: Annotated[
        bool, typer.Option("--no-read-back", help="Believe the records of Ray's workers: compare lengths and headers.")
    ] = False,
    local: Local = False,
    download: Annotated[
        bool, typer.Option("--download", help="Put what is read of the Hub into its cache, and check the sha256.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Merge: read the inputs, compute, and write every output of the recipe."""
    with reporting(as_json=as_json), accessing(local=local):
        device = _for_stats(device) if stats else device
        device = device_name(device)
        one_of("--executor", executor, ("threads", "ray"))
        refuse_together(
            shards=shards, executor=executor, stats=stats, sync=not no_sync,
            verify_output=verify_output, expression=expression, address=address, gpus=gpus, device=device,
            reads_back=not no_read_back,
        )  # fmt: skip
        share = share_of(shards) if shards is not None else None
        budgeted, device_budgeted = budget_bytes(budget), budget_bytes(device_budget, "--device-budget")
        if expression is None:
            source = recipe_from_file(_given(recipe), sets or (), sweeps or (), fix_known_faults=fix_known_faults)
        else:
            _only_expression(recipe, sets, sweeps)
            source = recipe_from_expression(expression, model or (), output)
        from mergegraph.cli.running import execute_plan
        from mergegraph.pipeline import plan as make_plan
        from mergegraph.plan.outputs import Stats

        planned = make_plan(
            source,
            budget_bytes=budgeted,
            workers=threads,
            output=output,
            allow_unrelated=allow_unrelated,
            max_header_bytes=max_header_mb * 1_000_000,
            stats=Stats() if stats else None,
        )
        if download:
            from mergegraph.tensors.sources.downloads import download_inputs

            download_inputs({file.path: file.identity for file in planned.inputs})
        if executor == "ray" or share is not None:
            from mergegraph.cli.parts import kind_here, parts_to_make

            remaining = parts_to_make(
                planned, kind_here(device, executor), overwrite=overwrite, as_json=as_json, quiet=quiet,
                by_several=share is not None or address is not None,
            )  # fmt: skip
            if remaining is None:
                return
            planned = remaining
        if executor == "ray":
            from mergegraph.cli.clustering import Clustering, run_on_cluster

            clustering = Clustering(
                address, threads or 0, gpus or float(device == "cuda"), device, device_budgeted, overwrite=overwrite,
                allow_non_finite=allow_non_finite, verify_output=verify_output, strict_integers=strict_integers,
                reads_back=not no_read_back,
            )  # fmt: skip
            run_on_cluster(planned, clustering, as_json=as_json, quiet=quiet)
            return
        if share is not None:
            from mergegraph.cli.sharding import Making, make_share

            making = Making(
                share, device, device_budgeted, overwrite=overwrite, allow_non_finite=allow_non_finite,
                strict_integers=strict_integers,
            )  # fmt: skip
            make_share(planned, making, as_json=as_json, quiet=quiet)
            return
        execute_plan(
            planned,
            as_json=as_json,
            quiet=quiet,
            overwrite=overwrite,
            sync=not no_sync,
            allow_non_finite=allow_non_finite,
            strict_integers=strict_integers,
            verify_output=verify_output,
            device=device,
            device_budget_bytes=device_budgeted,
        )


@app.command()
def finalize(
    recipe: RecipeFile,
    output: Output = None,
    sets: Sets = None,
    sweeps: Sweeps = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    allow_non_finite: Annotated[
        bool, typer.Option("--allow-non-finite", help="Accept parts that hold NaN and Inf.")
    ] = False,
    allow_unrelated: AllowUnrelated = False,
    max_header_mb: MaxHeader = 25,
    fix_known_faults: FixKnownFaults = False,
    strict_integers: Annotated[
        bool, typer.Option("--strict-integers", help="Stop where integer tensors differ, instead of warning.")
    ] = False,
    no_read_back: Annotated[
        bool, typer.Option("--no-read-back", help="Believe the parts' records: compare lengths and headers only.")
    ] = False,
    verify_output: Annotated[
        bool, typer.Option("--verify-output", help="Compute the sha256 of every file before publishing.")
    ] = False,
    local: Local = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put together what `run --shards` made on one machine or many: check every shard, and publish the outputs."""
    with reporting(as_json=as_json), accessing(local=local):
        source = recipe_from_file(recipe, sets or (), sweeps or (), fix_known_faults=fix_known_faults)
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
        finishing = Finishing(
            overwrite=overwrite, allow_non_finite=allow_non_finite, reads_back=not no_read_back,
            verify_output=verify_output, strict_integers=strict_integers,
        )  # fmt: skip
        put_together(planned, finishing, as_json=as_json, quiet=quiet)


@app.command()
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
    """Find everything that is wrong with a recipe, from the headers of its models. Exit code 0 or 2."""
    with reporting(as_json=as_json), accessing(local=local):
        source = recipe_from_file(recipe, sets or (), sweeps or (), fix_known_faults=fix_known_faults)
        from mergegraph.cli.checking import show_check

        show_check(source, allow_unrelated=allow_unrelated, max_header_bytes=max_header_mb * 1_000_000, as_json=as_json)


@app.command()
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
    explain: Annotated[bool, typer.Option("--explain", help="Every tensor with its formula and numbers.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=100_000, help="Also how long up to N workers of a cluster would take."),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Of each worker to and from the storage: 2GB/s, 10Gbit/s. Default: 1GB/s."),
    ] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the storage for all workers, a second. Default: no limit.")
    ] = None,
    price: Annotated[float | None, typer.Option(metavar="P", min=0, max=1e9, help="Of a worker, an hour.")] = None,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Show what a run would read, compute, write and hold in memory. Exit code 3 when it does not fit."""
    with reporting(as_json=as_json), accessing(local=local, headers_only=True):
        budgeted = budget_bytes(budget)
        from mergegraph.cli.simulating import cluster_of, show_simulated

        cluster = cluster_of(workers, bandwidth=bandwidth, storage=storage, price=price, threads=threads)
        source = recipe_from_file(recipe, sets or (), sweeps or (), fix_known_faults=fix_known_faults)
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


@app.command()
def graph(
    recipe: RecipeFile,
    sets: Sets = None,
    sweeps: Sweeps = None,
    max_header_mb: MaxHeader = 25,
    fix_known_faults: FixKnownFaults = False,
    rail: Annotated[bool, typer.Option("--rail", help="One node a line, with what it does.")] = False,
    direction: Annotated[
        str | None, typer.Option(metavar="down|right", help="Where wires lead. Default: what fits the terminal.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="pill|box|card", help="How much of a node is shown. Default: what fits.")
    ] = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters alone.")] = False,
) -> None:
    """Draw the graph of a recipe: boxes and wires, or one node a line where they do not fit."""
    with reporting():
        one_of("--direction", direction, ("down", "right"))
        one_of("--size", size, ("pill", "box", "card"))
        source = recipe_from_file(recipe, sets or (), sweeps or (), fix_known_faults=fix_known_faults)
        from mergegraph.cli.drawing import Look, show_graph

        show_graph(source, Look(rail, direction, size, ascii_only), max_header_bytes=max_header_mb * 1_000_000)


@app.command()
def watch(
    output: Annotated[
        Path | None, typer.Argument(metavar="OUTPUT", help="What the run writes. Default: the only run there is.")
    ] = None,
) -> None:
    """Follow a run that goes on in another process. Ends as the run does; Ctrl-C leaves it alone."""
    with reporting():
        from mergegraph.cli.watching import watch as watch_run

        watch_run(output)


@app.command()
def tui(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE]", help="The recipe or search; with --attach an output.")
    ] = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="Show a run, gone on or ended: the newest, or that of OUTPUT.")
    ] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters alone.")] = False,
    theme: Annotated[
        str | None, typer.Option(metavar="dark|light", help="The colours. Default: those chosen last, at first dark.")
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="In a browser of this machine; needs mergegraph[web].")] = False,
) -> None:
    """Compose, run and inspect merges in the terminal."""
    with reporting():
        from mergegraph.cli.interface import show_interface

        raise typer.Exit(show_interface(recipe, attach=attach, ascii_only=ascii_only, theme=theme, web=web))


@app.command()
def verify(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The folder that a run wrote, or its .partial.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read an output back and compare every tensor and file with what was written. Exit code 0, 1 or 2."""
    with reporting(as_json=as_json):
        from mergegraph.cli.verifying import show_verified

        show_verified(output, as_json=as_json, quiet=quiet)


@app.command()
def push(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The folder that a run wrote.")],
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The model of the Hub; made where there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="BRANCH", help="The branch. Default: main.")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", metavar="TEXT", help="Of the commit.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify an output, and put it on the Hugging Face Hub with its model card."""
    with reporting(as_json=as_json):
        from mergegraph.cli.pushing import show_pushed

        show_pushed(output, repo, private=private, revision=revision, message=message, as_json=as_json, quiet=quiet)


@app.command()
def info(
    model: Annotated[Path, typer.Argument(metavar="OUTPUT|MODEL", help="The folder of an output, or of any model.")],
    in_toto: Annotated[
        bool, typer.Option("--in-toto", help="Verify an output, and print its provenance as an in-toto statement.")
    ] = False,
    max_header_mb: MaxHeader = 25,
    as_json: Json = False,
) -> None:
    """Show how an output was made, or what the headers of a model say."""
    with reporting(as_json=as_json):
        from mergegraph.cli.info import show_info, show_statement

        if in_toto:
            show_statement(model)
        else:
            show_info(model, max_header_bytes=max_header_mb * 1_000_000, as_json=as_json)


@app.command()
def stats(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE|MODEL…|STATS…", help="A recipe; models; or one or two outputs, or stats.json."),
    ],
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="What changes are against: a model, or a load node.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count every element of large tensors, not a sample; slower.")
    ] = False,
    tier: Annotated[
        int,
        typer.Option(
            "--tier", metavar="1|2", min=1, max=2, help="2: the leading singular values of every matrix too; slower."
        ),
    ] = 1,
    metric: Annotated[str, typer.Option("--metric", metavar="NAME", help="What the heat map shows.")] = "",
    tensor: Annotated[str, typer.Option("--tensor", metavar="NAME", help="Show one tensor in full.")] = "",
    sort: Annotated[str, typer.Option("--sort", metavar="METRIC", help="Show the tensors, largest first.")] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Rows of a table.")] = 20,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report to look at.")] = None,
    to_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers as JSON.")] = None,
    to_csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a row for each tensor.")] = None,
    budget: Budget = None,
    threads: Threads = None,
    sets: Sets = None,
    allow_unrelated: AllowUnrelated = False,
    max_header_mb: MaxHeader = 25,
    quiet: Quiet = False,
) -> None:
    """Measure, layer by layer, what a recipe would make, what models changed, or compare two records."""
    with reporting():
        from mergegraph.cli.stats import Asked, Files, Shown, show_stats

        asked = Asked(tuple(sources), base, exact, budget_bytes(budget), threads, tuple(sets or ()), allow_unrelated,
                      max_header_mb * 1_000_000, tier)  # fmt: skip
        show_stats(asked, Files(html, to_json, to_csv), Shown(metric, tensor, sort, limit), quiet=quiet)


@app.command()
def search(
    file: Annotated[Path, typer.Argument(metavar="SEARCH", help="The search, a YAML file.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="The search's folder. Default: beside its file."),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw the plots; needs mergegraph[search].")
    ] = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Ask again where the evaluator crashed or took too long.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose what to merge, or with which numbers, by an evaluator; ends by writing a plain recipe."""
    with reporting(as_json=as_json):
        from mergegraph.cli.searching import show_search

        show_search(file, output, png, retry_rejected=retry_rejected, as_json=as_json, quiet=quiet)


@app.command("import")
def import_(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration of mergekit, a YAML file.")],
    recipe: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RECIPE", help="The recipe to write. Default: stdout.")
    ] = None,
    fix_known_faults: FixKnownFaults = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a recipe that exists.")] = False,
) -> None:
    """Write a mergekit configuration as a recipe that gives the same numbers."""
    with reporting():
        from mergegraph.cli.importing import import_recipe

        import_recipe(config, recipe, fix_known_faults=fix_known_faults, overwrite=overwrite)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="A pickled file, or a model's folder.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Default: beside it, named -safetensors.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="NAME", help="Where in the pickle the model is. Default: found.")
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="keep", help="Tensors keep their dtypes.")] = "keep",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Write a pickled checkpoint (.bin, .pt, .pth, .ckpt) as a safetensors folder, bit for bit."""
    with reporting():
        from mergegraph.cli.converting import show_converted

        show_converted(source, output, key=key, dtype=dtype, overwrite=overwrite)


@app.command()
def ops(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One operation, in full.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="All operations as one page of Markdown.")] = False,
) -> None:
    """List the operations, or describe one in full."""
    with reporting():
        from mergegraph.cli.ops import show_markdown, show_op, show_ops

        show_markdown() if markdown else show_ops() if name is None else show_op(name)


@app.command()
def schema(
    search: Annotated[bool, typer.Option("--search", help="Of a search, not of a recipe.")] = False,
) -> None:
    """Print the JSON Schema of a recipe, for editors."""
    with reporting():
        import json

        if search:
            from mergegraph.cli.search_schema import search_schema

            say_text(json.dumps(search_schema(), indent=2))
            return
        from mergegraph.cli.schema import recipe_schema

        say_text(json.dumps(recipe_schema(), indent=2))


@app.command()
def demo(
    search: Annotated[bool, typer.Option("--search", help="Run the searches of the repository instead.")] = False,
) -> None:
    """Run recipes of the repository on real checkpoints, and measure what they made."""
    with reporting():
        if search:
            from mergegraph.cli.demo_search import show_search_demo

            show_search_demo()
            return
        from mergegraph.cli.demo import show_demo

        show_demo()


def _given(recipe: Path | None) -> Path:
    if recipe is None:
        fix = 'mergegraph run merge.yaml, or mergegraph run -e "0.5*a + 0.5*b" -m a=DIR -m b=DIR -o out'
        raise RecipeError(Problem("Nothing says what to run.", fix=fix))
    return recipe


def _for_stats(device: str) -> str:
    """Statistics are counted by the processor."""
    if device in ("auto", "cpu"):
        return "cpu"
    why = "the processor counts them while it computes the tiles"
    at = Location(f"--device {device}")
    raise RecipeError(Problem("--stats does not go with a device.", at, why=why, fix="--device cpu"))


def _only_expression(recipe: Path | None, sets: Sets, sweeps: Sweeps) -> None:
    """An expression stands alone: there is no file to change."""
    if recipe is not None:
        raise RecipeError(Problem(f"Both {recipe} and -e say what to run.", fix="leave one of them out"))
    if sets or sweeps:
        raise RecipeError(
            Problem("--set and --sweep change a recipe file.", fix="write the numbers into the expression")
        )
