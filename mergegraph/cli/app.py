"""The app: which commands there are, in the order of `--help`."""

from __future__ import annotations

from typing import Annotated

import typer

from mergegraph.cli.commands import converting, measuring, merging, outputs, planning, reference, watching
from mergegraph.cli.terminal import say
from mergegraph.cli.trying import try_models

# Without markup, typer leaves rich alone: with it, --help takes 0.15 s more.
app = typer.Typer(
    name="mergegraph",
    help="Merge fine-tuned models by a declared graph: checked, planned, and run inside a memory budget.",
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
    """Merge fine-tuned models by a declared graph: checked, planned, and run inside a memory budget."""


app.command()(merging.run)
app.command()(merging.finalize)
app.command()(planning.check)
app.command()(planning.plan)
app.command()(planning.graph)
app.command()(watching.watch)
app.command()(watching.tui)
app.command()(outputs.verify)
app.command()(outputs.push)
app.command()(outputs.info)
app.command()(measuring.stats)
app.command()(measuring.search)
app.command("try")(try_models)
app.command("import")(converting.import_)
app.command()(converting.convert)
app.command()(reference.ops)
app.command()(reference.schema)
app.command()(reference.demo)
