"""A mergekit configuration to the text of a recipe, or straight to the Recipe that a run takes.

The recipe gives the numbers of mergekit 0.1.5, with every difference from the plain meaning written into it as a
comment. Both ways read the same text; only where its lines are said to stand differs.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from mergegraph.errors import Location, Problem, RecipeError, on_one_line, raise_errors
from mergegraph.mergekit.config import Merge, read_merge
from mergegraph.mergekit.documents import is_configuration as is_configuration
from mergegraph.mergekit.documents import parse_documents
from mergegraph.mergekit.multi import write_nodes
from mergegraph.mergekit.parameters import Findings
from mergegraph.mergekit.places import Places, identifier
from mergegraph.mergekit.writing import Line, string_text, write_recipe
from mergegraph.recipe.document import parse_document
from mergegraph.recipe.load import recipe_of
from mergegraph.recipe.model import Recipe
from mergegraph.recipe.text import decode, read_raw

VERSION = "0.1.5"
"""The version of mergekit whose numbers are reproduced."""


@dataclass(frozen=True)
class Imported:
    """A recipe. `lines`: where in the configuration each of its lines comes from; `files`: to write beside it."""

    text: str
    lines: tuple[Location, ...]
    warnings: tuple[Problem, ...]
    files: Mapping[str, str]


def import_configuration(text: str, file: str, places: Places, *, fix: bool = False, templates: str = "./") -> Imported:
    """The recipe that the configuration `text`, shown as `file`, means.

    `fix` changes the known faults of mergekit. `templates` is what stands before the name of a chat template's file.
    RecipeError carries everything that is wrong, each with its line.
    """
    findings, problems = Findings(), list[Problem]()
    documents = parse_documents(text, file)
    merges = [merge for document in documents if (merge := read_merge(document, problems))]
    if not documents:
        problems.append(Problem("The configuration is empty.", Location(file), fix="write merge_method: …"))
    raise_errors(problems, RecipeError)
    name = _name(merges, file)
    nodes, files = write_nodes(merges, places, name, templates, findings, fix=fix)
    findings.say_what_fits_nothing()
    warnings = raise_errors(findings.problems, RecipeError)
    lines = write_recipe(_head(name, file, merges[0].at, fix=fix), nodes)
    return Imported("".join(f"{line.text}\n" for line in lines), tuple(line.at for line in lines), warnings, files)


def load_configuration(
    path: FilePath, *, sets: Sequence[str] = (), sweeps: Sequence[str] = (), fix: bool = False
) -> Recipe:
    """The Recipe of the configuration in the file at `path`; what is wrong with it is said with the file's lines."""
    folder = path.absolute().parent
    places = Places(FilePath.cwd(), folder, folder)
    text = decode(read_raw(path), str(path))
    imported = import_configuration(text, str(path), places, fix=fix)
    if imported.files:
        written = _kept_until_exit(imported.files)
        imported = import_configuration(text, str(path), places, fix=fix, templates=f"{written}/")
    document = parse_document(imported.text, str(path))
    document.lines = {inner: imported.lines[at.line - 1] for inner, at in document.lines.items()}
    recipe = recipe_of(document, folder, (path.resolve(),), sets, sweeps)
    return replace(recipe, warnings=(*imported.warnings, *recipe.warnings))


def _kept_until_exit(files: Mapping[str, str]) -> str:
    """A folder with `files` that is there as long as this process is."""
    folder = tempfile.mkdtemp(prefix="mergegraph-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, text in files.items():
        (FilePath(folder) / name).write_text(text, "utf-8")
    return folder


def _name(merges: Sequence[Merge], file: str) -> str:
    """The name of the recipe: that of the one document, or of the document without one, else the file's."""
    return (merges[0].name if len(merges) == 1 else "") or FilePath(file).stem or identifier(file)


def _head(name: str, file: str, at: Location, *, fix: bool) -> list[Line]:
    what = "its known faults changed" if fix else f"with the numbers of mergekit {VERSION}"
    first = Location(at.file, 1)
    return [
        Line(f"# Imported from the mergekit configuration {on_one_line(FilePath(file).name)}, {what}.", first),
        Line("mergegraph: 1", first),
        Line(f"name: {string_text(name)}", first),
    ]
