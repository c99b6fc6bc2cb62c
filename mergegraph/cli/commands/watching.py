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
        Path | None, typer.Argument(metavar="OUTPUT", help="What the run writes. Default: the only run there is.")
    ] = None,
) -> None:
    """Follow a run that goes on in another process. Ends as the run does; Ctrl-C leaves it alone."""
    with reporting():
        from mergegraph.cli.watching import watch as watch_run

        watch_run(output)


def tui(
    recipe: Annotated[
        Path | None,
        typer.Argument(metavar="RECIPE", help="The recipe or search; with --attach an output.", autocompletion=recipes),
    ] = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="Show a run, gone on or ended: the newest, or that of OUTPUT.")
    ] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters alone.")] = False,
    theme: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(THEMES),
            help="The colours. Default: those chosen last, at first dark.",
            autocompletion=among(THEMES),
        ),
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="In a browser of this machine; needs mergegraph[web].")] = False,
) -> None:
    """Compose, run and inspect merges in the terminal."""
    with reporting():
        from mergegraph.cli.interface import show_interface

        raise typer.Exit(show_interface(recipe, attach=attach, ascii_only=ascii_only, theme=theme, web=web))
