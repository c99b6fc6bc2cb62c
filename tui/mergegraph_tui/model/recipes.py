"""Recipes that can be opened: those that were open before (`recent`), and those of a folder; what is known of each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mergegraph.errors import MergegraphError, RecipeError
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import Recipe
from mergegraph_tui.model import runs
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.document import UNTITLED
from mergegraph_tui.model.files import read_text, stamp, typed_path
from mergegraph_tui.model.fit import Layouts, Room
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.headers import Headers
from mergegraph_tui.model.reading import graph_of
from mergegraph_tui.model.recent import recent, short
from mergegraph_tui.model.text import painted_lines

_MOST_LISTED = 300
_DEEPEST = 2
_HEAD_BYTES = 4096
_IS_SEARCH = re.compile(r"^search\s*:", re.MULTILINE)
_IS_RECIPE = re.compile(rb"^(?:\xef\xbb\xbf)?mergegraph\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Listed:
    """A recipe that is there. `shown`: its path as short as it can be said; `modified`: seconds since 1970."""

    path: Path
    shown: str
    modified: float
    is_recent: bool = False


@dataclass(frozen=True)
class Looked:
    """What was found in a recipe, or that it is a search. `problem`: why it cannot be read; `run`: how far a run of it
    that lives is."""

    nodes: int = 0
    errors: int = 0
    warnings: int = 0
    picture: tuple[str, ...] = ()
    run: str = ""
    problem: str = ""
    is_search: bool = False


def recipes(folder: Path) -> list[Listed]:
    """The recent ones, then those in `folder` and two levels below it, by name."""
    near = {path: _listed(path, folder) for path in sorted(_recipes_below(folder, _DEEPEST))}
    before = [_listed(path, folder, is_recent=True) for path in recent()]
    known = [each for each in before if each is not None]
    names = {each.path for each in known}
    return [*known, *(each for path, each in near.items() if each is not None and path not in names)][:_MOST_LISTED]


def entries_at(typed: str, folder: Path) -> list[Listed]:
    """Folders and recipes that a path which is being typed could become; a folder's `shown` ends with a slash."""
    whole = typed_path(typed, folder)
    parent, begun = (whole, "") if typed.endswith("/") else (whole.parent, whole.name)
    found: list[Listed] = []
    with suppress(OSError, ValueError):
        for entry in sorted(os.scandir(parent), key=lambda each: (not each.is_dir(), each.name)):
            is_wanted = entry.name.startswith(begun) and (begun.startswith(".") or not entry.name.startswith("."))
            is_there = is_wanted and (entry.is_dir() or entry.name.endswith((".yaml", ".yml")))
            known = stamp(Path(entry.path)) if is_there else None
            if known is not None:  # a link may lead nowhere
                shown = f"{entry.name}/" if entry.is_dir() else entry.name
                found.append(Listed(Path(entry.path), shown, known.modified_ns / 1e9))
    return found[:_MOST_LISTED]


def look(path: Path, headers: Headers, room: tuple[int, int], *, ascii_only: bool = False) -> Looked:
    """What is in the recipe at `path`, as the check finds it; its picture fits `room`, columns and rows."""
    found = read_text(path)
    if not isinstance(found, tuple):
        return Looked(problem=found.fact)
    if _IS_SEARCH.search(found[0]):
        return _look_at_search(path)
    checked = check_text(found[0], path, headers=headers)
    count = len(checked.outline.nodes) if checked.outline else 0
    drawn = _picture(checked.recipe, *room, ascii_only=ascii_only)
    return Looked(count, len(checked.errors), len(checked.warnings), drawn, _run_of(path))


def _look_at_search(path: Path) -> Looked:
    from mergegraph_tui.model.searches import search_at

    try:
        found = search_at(path)
    except MergegraphError as error:
        return Looked(errors=len(error.problems), problem=str(error), is_search=True)
    if found is None:
        return Looked(is_search=True)
    best = found.view.summary.best
    lines = (found.view.summary.kind or "a search", found.view.state, "", best.label if best is not None else "")
    return Looked(picture=lines, run=found.view.note, is_search=True)


def picture(text: str, width: int, height: int, *, ascii_only: bool = False) -> tuple[str, ...]:
    """The graph of a recipe's text in a few lines; nothing where there is none. Looks at no model."""
    try:
        recipe = parse_recipe(text, file=UNTITLED, folder=Path("/"))
    except RecipeError:
        return ()
    return _picture(recipe, width, height, ascii_only=ascii_only)


def _picture(recipe: Recipe | None, width: int, height: int, *, ascii_only: bool) -> tuple[str, ...]:
    if recipe is None or not recipe.nodes:
        return ()
    drawn = graph_of(recipe)
    lines = painted_lines(drawn, Layouts(drawn).fit(Room(width, height)), ascii_only=ascii_only)
    cut = glyphs_of(ascii_only=ascii_only).cut
    shown = [line if len(line) <= width else line[: width - 1] + cut for line in lines[:height]]
    return (*shown[:-1], cut) if len(lines) > height else tuple(shown)


def ago(seconds: float) -> str:
    """How long ago something was: `just now`, `12 min ago`, `yesterday`, `3 weeks ago`."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 1:
        return "just now"
    if hours < 1:
        return f"{minutes} min ago"
    if days < 1:
        return f"{hours} h ago"
    if days < 14:
        return "yesterday" if days == 1 else f"{days} days ago"
    return f"{days // 7} weeks ago"


def _run_of(path: Path) -> str:
    for run in runs.living():
        arguments = run.arguments
        if arguments and Path(run.started_in, arguments[-1]).absolute() == path.absolute():
            progress = run.progress()
            return f"run {progress.tensors_done}/{progress.tensors_total}" if progress else "run"
    return ""


def _listed(path: Path, folder: Path, *, is_recent: bool = False) -> Listed | None:
    found = stamp(path)
    return None if found is None else Listed(path, short(path, folder), found.modified_ns / 1e9, is_recent)


def _recipes_below(folder: Path, depth: int) -> Iterator[Path]:
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and depth:
                yield from _recipes_below(Path(entry.path), depth - 1)
            elif entry.name.endswith((".yaml", ".yml")) and entry.is_file() and _is_recipe(Path(entry.path)):
                yield Path(entry.path).absolute()


def _is_recipe(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return bool(_IS_RECIPE.search(file.read(_HEAD_BYTES)))
    return False
