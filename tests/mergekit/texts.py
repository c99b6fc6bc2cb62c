"""Configurations for the tests, read from a folder in which there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.errors import RecipeError
from mergegraph.mergekit.importing import Imported, import_configuration
from mergegraph.mergekit.places import Places
from mergegraph.methods.load import Load
from mergegraph.methods.registry import methods
from mergegraph.methods.save import Save
from mergegraph.recipe.document import parse_document

NOWHERE = Places(Path("/nowhere"), Path("/nowhere"), Path("/nowhere"))


def imported(text: str, *, fix: bool = False) -> Imported:
    """What the configuration `text` is written as; no model of it is on this machine."""
    return import_configuration(text, "merge.yml", NOWHERE, fix=fix)


def refusal(text: str) -> RecipeError:
    """How `text` is refused."""
    with pytest.raises(RecipeError) as caught:
        imported(text)
    return caught.value


def lacking(text: str) -> set[str]:
    """What the recipe `text` needs of mergegraph and does not find: operations, and fields of `load` and `save`."""
    top = parse_document(text, "recipe.yaml").value
    assert isinstance(top, dict)
    nodes = top["nodes"]
    assert isinstance(nodes, dict)
    known = {"load": set(Load.model_fields), "save": set(Save.model_fields)}
    missing: set[str] = set()
    for node in nodes.values():
        assert isinstance(node, dict)
        op = str(node["op"])
        if op not in methods():
            missing.add(op)
        missing |= {f"{op}.{field}" for field in node.keys() - known.get(op, node.keys())}
    return missing
