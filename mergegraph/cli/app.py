"""The app: which commands there are, in the order of `--help`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from mergegraph.cli.commands import converting, measuring, merging, outputs, planning, reference, watching
from mergegraph.cli.terminal import say
from mergegraph.cli.trying import try_models

# Without markup, typer leaves rich alone: with it, --help takes 0.15 s more.
app = typer.Typer(
    name="mergegraph",
    help="Merge fine-tuned models as a declared graph: checked, planned, and run within a memory budget.",
    no_args_is_help=True,
    add_completion=True,
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
    """Merge fine-tuned models as a declared graph: checked, planned, and run within a memory budget."""


def _add(function: Callable[..., None], short_help: str, *examples: str, name: str | None = None) -> None:
    """One command. `examples`, without its name, stand below its options as they are typed."""
    typed = [f"  mergegraph {name or function.__name__} {example}".rstrip() for example in examples]
    app.command(name, short_help=short_help, epilog="\n".join(["\b", "Examples:", *typed]))(function)


_add(
    merging.run,
    "Merge: read, compute, and write every output of a recipe.",
    "merge.yaml",
    "merge.yaml --budget 4GiB --set boost.by=0.4",
    "merge.yaml --sweep boost.by=0.2:0.8:0.2",
    '-e "0.5*a + 0.5*b" -m a=./model-a -m b=org/model-b -o out',
)
_add(merging.finalize, "Combine the parts that `run --shards` made, and publish them.", "merge.yaml")
_add(planning.check, "Find everything that is wrong with a recipe.", "merge.yaml", "merge.yaml --set boost.by=0.4")
_add(
    planning.plan,
    "Show what a run would read, compute, write and hold.",
    "merge.yaml",
    "merge.yaml --explain",
    "merge.yaml --workers 32 --bandwidth 2GB --price 2.50",
)
_add(planning.graph, "Draw the graph of a recipe.", "merge.yaml", "merge.yaml --rail --ascii")
_add(watching.watch, "Follow a run in another process.", "", "out/merged")
_add(watching.tui, "Compose, run and inspect merges in the terminal.", "", "merge.yaml", "--attach out/merged")
_add(outputs.verify, "Read an output back, and report what has changed.", "out/merged")
_add(outputs.push, "Upload an output to the Hugging Face Hub.", "out/merged my-org/merged --private")
_add(outputs.info, "Show how an output was made, or what a model contains.", "out/merged", "./model-a", "org/model-b")
_add(
    measuring.stats,
    "Measure what a merge changes, or how models differ from a base.",
    "merge.yaml",
    "merge.yaml --html report.html",
    "./model-a ./model-b --base ./base",
    "out/one out/other",
)
_add(measuring.search, "Search for what to merge, using an evaluator.", "search.yaml", "search.yaml --retry-rejected")
_add(try_models, "See how models continue a text.", "out/merged", name="try")
_add(converting.import_, "Turn a mergekit configuration into a recipe.", "config.yml -o merge.yaml", name="import")
_add(
    converting.convert,
    "Convert a pickled checkpoint to safetensors.",
    "pytorch_model.bin",
    "./model-a -o ./model-a-safetensors",
)
_add(reference.ops, "List the operations, or describe one in full.", "", "soup")
_add(reference.schema, "Print the JSON Schema of a recipe, for editors.", "> recipe.schema.json")
_add(reference.demo, "Merge the repository's checkpoints, and measure the results.", "", "--search")
