"""The text of a configuration file to its YAML documents, each with the lines it has in the file; and whether a
text is a mergekit configuration at all.
"""

from __future__ import annotations

import re
from pathlib import Path as FilePath

from mergegraph.errors import Problem, RecipeError
from mergegraph.recipe.document import Document, parse_document
from mergegraph.recipe.text import MAX_BYTES

_MARKER = re.compile(r"(?:---|\.\.\.)(?=\s|$)")
_CONTENT = re.compile(r"^(?!\s*(?:#|$))", re.MULTILINE)
_SIGNS = re.compile(r"^[{\"']*(?:merge_method|slices|base_model)[\"']?\s*:", re.MULTILINE)
_RECIPE = re.compile(r"^[{\"']*mergegraph[\"']?\s*:", re.MULTILINE)


def is_configuration(text: str) -> bool:
    """Whether `text` has the keys of a mergekit configuration at its top, and not those of a recipe."""
    return bool(_SIGNS.search(text)) and not _RECIPE.search(text)


def is_configuration_file(path: FilePath) -> bool:
    """Whether a mergekit configuration is in the file at `path`; not where it is no file, or cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return False
        return is_configuration(path.read_bytes().decode("utf-8-sig", "replace"))
    except OSError:
        return False


def parse_documents(text: str, file: str) -> list[Document]:
    """Every document in `text` that holds something. RecipeError with the syntax errors of all of them."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for part in _parts(text.removeprefix("\ufeff")):
        try:
            documents.append(parse_document(part, file))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(*problems)
    return documents


def _parts(text: str) -> list[str]:
    """The documents' texts. What stands before one is left empty, so that its lines keep their numbers."""
    parts: list[list[str]] = [[]]
    for index, line in enumerate(text.splitlines()):
        if _MARKER.match(line):
            parts.append([""] * index)
            line = "   " + line[3:]
        parts[-1].append(line)
    return [part for lines in parts if _CONTENT.search(part := "\n".join(lines) + "\n")]
