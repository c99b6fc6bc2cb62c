"""`import`: a mergekit configuration is written out as a recipe. Never imports torch."""

from __future__ import annotations

import shlex
from pathlib import Path

from mergegraph.cli.checking import show_warnings
from mergegraph.cli.source import require_file
from mergegraph.cli.terminal import note, say, say_text
from mergegraph.errors import Location, OutputError, Problem, RecipeError
from mergegraph.mergekit.documents import is_configuration
from mergegraph.mergekit.importing import Imported, import_configuration
from mergegraph.mergekit.places import Places
from mergegraph.recipe.text import decode, read_raw
from mergegraph.search.document import is_search


def import_recipe(config: Path, recipe: Path | None, *, fix_known_faults: bool, overwrite: bool) -> None:
    """The recipe on stdout, or in the file `recipe`, which must not exist unless `overwrite`. Warnings on stderr."""
    text = _read(config)
    started_in = Path.cwd()
    lies_in = (recipe.absolute() if recipe else started_in / "-").parent
    places = Places(started_in, config.absolute().parent, lies_in)
    imported = import_configuration(text, str(config), places, fix=fix_known_faults)
    show_warnings(imported.warnings)
    if recipe is None:
        say_text(imported.text.removesuffix("\n"))
        for name in imported.files:
            note(f"The recipe needs {name} beside it, which -o writes.")
        return
    _write(imported, recipe, overwrite=overwrite)
    say(f"{recipe}: written; `mergegraph check {recipe}` checks it")


def _read(config: Path) -> str:
    at = Location(str(config))
    require_file(config, "configuration")
    text = decode(read_raw(config), str(config))
    if not is_configuration(text):
        fact = f"{config} is no mergekit configuration: it has no `merge_method:`."
        raise RecipeError(Problem(fact, at, fix=f"{_instead(config)} {shlex.quote(str(config))}"))
    return text


def _instead(config: Path) -> str:
    """The command for a file that is no configuration."""
    return "mergegraph search" if is_search(config) else "a recipe needs no import: mergegraph run"


def _write(imported: Imported, recipe: Path, *, overwrite: bool) -> None:
    wanted = {recipe: imported.text, **{recipe.parent / name: text for name, text in imported.files.items()}}
    there = [path for path in wanted if path.exists()]
    if there and not overwrite:
        fact = f"{there[0]} is there already."
        raise OutputError(Problem(fact, fix="choose another name, or add --overwrite"))
    recipe.parent.mkdir(parents=True, exist_ok=True)
    for path, text in wanted.items():
        path.write_text(text, "utf-8")
