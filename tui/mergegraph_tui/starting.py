"""`mergegraph tui`: what the command gives to the interface, and what comes back."""

from __future__ import annotations

from pathlib import Path

from mergegraph.cli.terminal import say_text
from mergegraph.errors import OutputError, Problem, RecipeError
from mergegraph_tui.model import runs
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.followed import recipe_of_run
from mergegraph_tui.model.recipes import remember
from mergegraph_tui.theme import ThemeName
from mergegraph_tui.workspace import Workspace


def start(recipe: Path | None, *, attach: str | None, ascii_only: bool, theme: ThemeName, web: bool) -> int:
    """Show the interface until it is left; the exit code. RecipeError for a file that is no text.

    `attach`: show a run that lives, that of an output, or with "" the newest.
    """
    workspace = workspace_of(recipe, attach=attach, ascii_only=ascii_only)
    if web:
        from mergegraph_tui.web import serve

        return serve(recipe, attach=attach, ascii_only=ascii_only, theme=theme)
    from mergegraph_tui.app import MergegraphApp

    mode = "run" if attach is not None else "edit"
    app = MergegraphApp(workspace, theme=theme, mode=mode)
    code = app.run() or 0
    left = app.run_that_goes_on()
    if left is not None:
        say_text(str(left))
    return code


def workspace_of(recipe: Path | None, *, attach: str | None = None, ascii_only: bool = False) -> Workspace:
    """What the interface begins with."""
    if attach is None:
        return Workspace(_document(recipe), ascii_only=ascii_only)
    run = runs.find(Path(attach)) if attach else next(iter(runs.living()), None)
    if run is None:
        raise OutputError(_nothing_to_attach(attach))
    return Workspace(_document(recipe) if recipe else _document_of(run), run=run, ascii_only=ascii_only)


def _document_of(run: runs.Run) -> Document:
    """The recipe that it was started with, as the file is now; an empty one where there is none to read."""
    recipe = recipe_of_run(run)
    found = Document.open(recipe) if recipe is not None else None
    return found if isinstance(found, Document) else Document.new()


def _document(recipe: Path | None) -> Document:
    """A file that is not there yet is begun: it is made by the first save."""
    if recipe is None:
        return Document.new()
    if not recipe.exists():
        document = Document.new(folder=recipe.absolute().parent)
        document.path = recipe
        return document
    found = Document.open(recipe)
    if isinstance(found, Problem):
        raise RecipeError(found)
    remember(recipe)
    return found


def _nothing_to_attach(output: str) -> Problem:
    what = f"No run writes {output}." if output else "No run lives on this machine."
    return Problem(what, fix="start one: mergegraph tui RECIPE, then p")
