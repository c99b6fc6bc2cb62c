"""`watch` and `tui`: runs and recipes on a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergegraph.cli.options import THEMES
from mergegraph.cli.reporting import reporting
from mergegraph.cli.shell import among, recipes


def watch(
    output: Annotated[
        Path | None, typer.Argument(metavar="OUTPUT", help="The output of the run. Default: the only run in progress.")
    ] = None,
) -> None:
    """Follow a run in another process until it ends, and end as it did. Ctrl-C leaves the run alone."""
    with reporting():
        from mergegraph.cli.watching import watch as watch_run

        watch_run(output)


def tui(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE", help="The recipe or search to open; with --attach, an output.", autocompletion=recipes
        ),
    ] = None,
    attach: Annotated[
        bool,
        typer.Option(
            "--attach", help="Show a run, in progress or ended: the newest, or the one that writes the given output."
        ),
    ] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    theme: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(THEMES),
            help="The colours. Default: your last choice, dark at first.",
            autocompletion=among(THEMES),
        ),
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Open in a browser on this machine; needs mergegraph[web].")
    ] = False,
) -> None:
    """Compose, run and inspect merges in the terminal."""
    with reporting():
        from mergegraph.cli.interface import show_interface

        raise typer.Exit(show_interface(recipe, attach=attach, ascii_only=ascii_only, theme=theme, web=web))
