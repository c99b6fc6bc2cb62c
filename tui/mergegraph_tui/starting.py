"""`mergegraph tui`: what the command gives to the interface, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mergegraph.cli.terminal import say_text
from mergegraph.errors import OutputError, Problem, RecipeError
from mergegraph_tui.model import runs
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.followed import recipe_of_run
from mergegraph_tui.model.recipes import remember
from mergegraph_tui.theme import ThemeName
from mergegraph_tui.workspace import Workspace

if TYPE_CHECKING:
    from mergegraph_tui.model.searches import FollowedSearch


def start(recipe: Path | None, *, attach: str | None, ascii_only: bool, theme: ThemeName, web: bool) -> int:
    """Show the interface until it is left; the exit code. RecipeError for a file that is no text, and for a search with
    faults. `recipe` may be a search, or the folder of one.

    `attach`: show a run that lives, that of an output, or with "" the newest.
    """
    workspace = workspace_of(recipe, attach=attach, ascii_only=ascii_only)
    if web:
        from mergegraph_tui.web import serve

        return serve(recipe, attach=attach, ascii_only=ascii_only, theme=theme)
    from mergegraph_tui.app import MergegraphApp

    mode = "run" if attach is not None else "search" if workspace.search is not None else "edit"
    app = MergegraphApp(workspace, theme=theme, mode=mode)
    code = app.run() or 0
    for left in (app.run_that_goes_on(), app.search_that_goes_on()):
        if left is not None:
            say_text(str(left))
    return code


def workspace_of(recipe: Path | None, *, attach: str | None = None, ascii_only: bool = False) -> Workspace:
    """What the interface begins with."""
    if attach is None:
        search = _search(recipe) if recipe is not None and recipe.exists() else None
        if search is not None:
            folder = search.view.file.parent if search.view.file is not None else search.place
            return Workspace(Document.new(folder=folder.absolute()), search=search, ascii_only=ascii_only)
        return Workspace(_document(recipe), ascii_only=ascii_only)
    run = runs.find(Path(attach)) if attach else next(iter(runs.living()), None)
    if run is None:
        raise OutputError(_nothing_to_attach(attach))
    of_run = recipe or recipe_of_run(run)
    document = _document(of_run if of_run is not None and of_run.is_file() else None)
    return Workspace(document, ascii_only=ascii_only, run=run)


def _search(path: Path) -> FollowedSearch | None:
    """Read only where there is one: a recipe does not wait for it."""
    from mergegraph_tui.model.searches import search_at

    found = search_at(path)
    if found is not None:
        remember(path)
    return found


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
