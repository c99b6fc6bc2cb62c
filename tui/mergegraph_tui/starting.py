"""`mergegraph tui`: what the command gives to the interface, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mergegraph.cli.terminal import say_text
from mergegraph.errors import OutputError, Problem, RecipeError
from mergegraph_tui.model.chosen_theme import chosen_theme
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.files import is_there, read_text
from mergegraph_tui.model.recent import remember
from mergegraph_tui.terminal import HUNG_UP, TerminalWatch, is_of_a_server, refuse_without
from mergegraph_tui.theme import THEMES, ThemeName
from mergegraph_tui.workspace import Workspace

if TYPE_CHECKING:
    from mergegraph_tui.model.searches import FollowedSearch


def start(recipe: Path | None, *, attach: str | None, ascii_only: bool, theme: ThemeName | None, web: bool) -> int:
    """Show the interface until it is left; the exit code. RecipeError for a file that is no text, and for a search with
    faults. `recipe` may be a search, or the folder of one.

    `attach`: show the run of an output; with "" the newest that lives, else the one that was begun last. `theme`: None
    for the one chosen last.
    """
    if not web:
        refuse_without()
    workspace = workspace_of(recipe, attach=attach, ascii_only=ascii_only)
    if web:
        from mergegraph_tui.web import serve

        return serve(recipe, attach=attach, ascii_only=ascii_only, theme=theme)
    from mergegraph_tui.app import MergegraphApp

    mode = "run" if attach is not None else "search" if workspace.search is not None else "edit"
    app = MergegraphApp(workspace, theme=theme or theme_of_user(), mode=mode)
    terminal = TerminalWatch(lambda: app.call_later(app.exit, 0))
    if not is_of_a_server():
        terminal.begin()
    code = app.run() or app.return_code or 0
    if terminal.is_gone:
        return HUNG_UP
    for left in (app.run_that_goes_on(), app.search_that_goes_on()):
        if left is not None:
            say_text(str(left))
    return code


def theme_of_user() -> ThemeName:
    """The one that was chosen last, at first the dark one."""
    return "light" if chosen_theme(THEMES) == "light" else "dark"


def workspace_of(recipe: Path | None, *, attach: str | None = None, ascii_only: bool = False) -> Workspace:
    """What the interface begins with."""
    _refuse_nowhere()
    if attach is None:
        search = _search(recipe) if recipe is not None and recipe.exists() else None
        if search is not None:
            folder = search.view.file.parent if search.view.file is not None else search.place
            return Workspace(Document.new(folder=folder.absolute()), search=search, ascii_only=ascii_only)
        return Workspace(_document(recipe), ascii_only=ascii_only)
    from mergegraph_tui.model import runs
    from mergegraph_tui.model.followed import recipe_of_run

    run = runs.find(Path(attach)) if attach else next(iter([*runs.living(), *runs.known()]), None)
    if run is None:
        raise OutputError(_nothing_to_attach(attach))
    of_run = recipe or recipe_of_run(run)
    document = _document(of_run if of_run is not None and of_run.is_file() else None)
    return Workspace(document, ascii_only=ascii_only, run=run)


def _search(path: Path) -> FollowedSearch | None:
    """What reads searches is loaded only where there may be one: the first frame of a recipe does not wait for it."""
    if path.is_file():
        read = read_text(path)
        if isinstance(read, Problem) or "search" not in read[0]:
            return None
    from mergegraph_tui.model.searches import search_at

    found = search_at(path)
    if found is not None:
        remember(path)
    return found


def _document(recipe: Path | None) -> Document:
    """A file that is not there yet is begun: it is made by the first save."""
    if recipe is None:
        return Document.new()
    if not is_there(recipe):
        document = Document.new(folder=recipe.absolute().parent)
        document.path = recipe.absolute()
        return document
    found = Document.open(recipe)
    if isinstance(found, Problem):
        raise RecipeError(found)
    return found


def _refuse_nowhere() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise OutputError(Problem("The folder that you are in is gone.", fix="cd to one that is there")) from error


def _nothing_to_attach(output: str) -> Problem:
    what = f"No run writes {output}." if output else "No run of this machine is known."
    return Problem(what, fix="start one: mergegraph tui RECIPE, then p")
