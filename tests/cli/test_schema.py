"""The JSON Schema accepts what the recipes of the repository say, and what an editor should mark it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from mergegraph.cli import main
from mergegraph.cli.schema import recipe_schema
from mergegraph.cli.search_schema import search_schema
from mergegraph.methods.registry import methods

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))
SCHEMA = recipe_schema()
_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
    "null": type(None),
}  # fmt: skip


def accepts(schema: Any, value: Any) -> bool:
    """The part of JSON Schema that `recipe_schema` uses; fails on a keyword it does not know."""
    return all(_CHECKS[key](schema, value) for key in schema.keys() - _NOTES)


def _has_type(schema: Any, value: Any) -> bool:
    wanted = schema["type"]
    return isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))


def _resolved(schema: Any, value: Any) -> bool:
    return accepts(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], value)


def _members(schema: Any, value: Any) -> bool:
    if not isinstance(value, dict):
        return True
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, item in cast("dict[str, Any]", value).items():
        rule = properties.get(key, others)
        if not (rule if isinstance(rule, bool) else accepts(rule, item)):
            return False
    return True


_NOTES = {"$schema", "$defs", "title", "description", "default", "discriminator"}
_CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "type": _has_type,
    "$ref": _resolved,
    "properties": _members,
    "additionalProperties": _members,
    "required": lambda s, v: not isinstance(v, dict) or all(key in v for key in s["required"]),
    "propertyNames": lambda s, v: (
        not isinstance(v, dict) or all(accepts(s["propertyNames"], key) for key in cast("Any", v))
    ),
    "items": lambda s, v: not isinstance(v, list) or all(accepts(s["items"], item) for item in cast("Any", v)),
    "oneOf": lambda s, v: sum(accepts(each, v) for each in s["oneOf"]) == 1,
    "anyOf": lambda s, v: any(accepts(each, v) for each in s["anyOf"]),
    "const": lambda s, v: v == s["const"] and type(v) is type(s["const"]),
    "enum": lambda s, v: v in s["enum"],
    "pattern": lambda s, v: not isinstance(v, str) or re.search(s["pattern"], v) is not None,
    "minLength": lambda s, v: not isinstance(v, str) or len(v) >= s["minLength"],
    "minItems": lambda s, v: not isinstance(v, list) or len(cast("Any", v)) >= s["minItems"],
    "maxItems": lambda s, v: not isinstance(v, list) or len(cast("Any", v)) <= s["maxItems"],
    "maximum": lambda s, v: not isinstance(v, int | float) or v <= s["maximum"],
    "exclusiveMinimum": lambda s, v: not isinstance(v, int | float) or v > s["exclusiveMinimum"],
    "exclusiveMaximum": lambda s, v: not isinstance(v, int | float) or v < s["exclusiveMaximum"],
    "minimum": lambda s, v: not isinstance(v, int | float) or v >= s["minimum"],
}


def with_node(fields: Any) -> dict[str, Any]:
    return {"mergegraph": 1, "nodes": {"x": fields}}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_repository_are_accepted(recipe: Path) -> None:
    assert accepts(SCHEMA, yaml.safe_load(recipe.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", methods())
def test_the_example_of_every_operation_is_accepted(name: str) -> None:
    assert accepts(SCHEMA, {"mergegraph": 1, "nodes": yaml.safe_load(methods()[name].example)})


@pytest.mark.parametrize(
    "node",
    [
        "base + 0.5*(a - base)",
        {"op": "scale", "input": "d", "by": [0.1, 0.9]},
        {"op": "scale", "input": "d", "by": [{"kind": "mlp", "value": [0.1, 0.2]}, {"value": 1}]},
        {"op": "scale", "input": "d", "by": "${t}"},  # a parameter
        {"op": "soup", "inputs": ["a", {"from": "b", "weight": 2}]},
    ],
)
def test_what_a_recipe_may_say_is_accepted(node: Any) -> None:
    assert accepts(SCHEMA, with_node(node))


@pytest.mark.parametrize(
    "node",
    [
        "",
        {"op": "scal", "input": "d", "by": 1},
        {"input": "d", "by": 1},  # no op
        {"op": "scale", "input": "d"},  # no number
        {"op": "scale", "input": "d", "by": "much"},
        {"op": "scale", "input": "d", "by": True},
        {"op": "scale", "input": "d", "by": 1, "bye": 2},
        {"op": "scale", "input": "d", "by": [{"kind": "mlpp", "value": 1}]},
        {"op": "soup", "inputs": [{"weight": 2}]},
        {"op": "delta", "model": "a", "base": ["b"]},
    ],
)
def test_what_a_recipe_may_not_say_is_refused(node: Any) -> None:
    assert not accepts(SCHEMA, with_node(node))


@pytest.mark.parametrize(
    "document",
    [
        {"nodes": {}},  # no version
        {"mergegraph": 2, "nodes": {}},
        {"mergegraph": 1, "node": {}},
        {"mergegraph": 1, "nodes": {"a b": "x + y"}},
        {"mergegraph": 1, "models": {"a": 3}},
    ],
)
def test_wrong_documents_are_refused(document: Any) -> None:
    assert not accepts(SCHEMA, document)


@pytest.mark.parametrize(("option", "title"), [([], "recipe"), (["--search"], "search")])
def test_the_command_prints_the_schema_alone(option: list[str], title: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", *option]) == 0
    wanted = {"recipe": recipe_schema, "search": search_schema}[title]()
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(wanted))
    assert main(["schema", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("# ")
