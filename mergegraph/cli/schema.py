"""`schema`: what may stand in a recipe, as JSON Schema (draft 2020-12), made from the method classes.

For editors: it knows every op with its fields, not which nodes fit together; that is what `mergegraph check` is for.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic.json_schema import models_json_schema

from mergegraph.fields import Input
from mergegraph.methods.registry import methods

Schema = dict[str, Any]

_NAME = "^[^\\W\\d]\\w*$"
_PARAMETER: Schema = {"type": "string", "pattern": "^\\$\\{[^{}]+\\}$", "description": "a parameter: ${name}"}


def recipe_schema() -> Schema:
    """The schema of a whole recipe document."""
    definitions = _definitions()
    nodes = {name: {"$ref": f"#/$defs/{cls.__name__}"} for name, cls in methods().items()}
    mapping = {name: each["$ref"] for name, each in nodes.items()}
    definitions["parameter"] = _PARAMETER
    definitions["node"] = {
        "oneOf": [
            {"type": "string", "minLength": 1, "description": "an expression, as base + 0.6*(code - base)"},
            {
                "type": "object",
                "required": ["op"],
                "properties": {"op": {"enum": list(nodes)}},
                "discriminator": {"propertyName": "op", "mapping": mapping},
                "oneOf": list(nodes.values()),
            },
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mergegraph recipe",
        "type": "object",
        "required": ["mergegraph"],
        "additionalProperties": False,
        "properties": _top_level(),
        "$defs": dict(sorted(definitions.items())),
    }


def _top_level() -> dict[str, Schema]:
    include = {
        "type": "object",
        "required": ["recipe"],
        "additionalProperties": False,
        "properties": {
            "recipe": {"type": "string", "description": "the file, relative to this recipe"},
            "with": {"type": "object", "description": "values for its parameters"},
        },
    }
    return {
        "mergegraph": {"const": 1, "description": "the version of the format: 1"},
        "name": {"type": "string", "description": "what plan and model card call the merge; default: the file's name"},
        "description": {"type": "string", "description": "a text for people; it changes nothing"},
        "seed": {"type": "integer", "default": 0, "description": "the seed of every random choice"},
        "parameters": {"type": "object", "description": "names for ${name}, with defaults; null has none"},
        "models": _named({"type": "string"}, "load nodes in short: a name and a reference"),
        "include": _named(include, "other recipes, whose nodes are called NAME.node here"),
        "nodes": _named({"$ref": "#/$defs/node"}, "the operations, by name"),
    }


def _named(values: Schema, description: str) -> Schema:
    """A mapping from names to `values`."""
    return {
        "type": "object",
        "propertyNames": {"pattern": _NAME},
        "additionalProperties": values,
        "description": description,
    }


def _definitions() -> dict[str, Schema]:
    """The schema of every method and of the pieces that they are made of, by class name."""
    classes = [(cls, "validation") for cls in methods().values()]
    _, document = models_json_schema(cast("Any", classes), ref_template="#/$defs/{model}")
    definitions: dict[str, Schema] = document.get("$defs", {})
    for cls in methods().values():
        described = definitions[cls.__name__]
        described["required"] = ["op", *described.get("required", ())]
    for name in {cls.__name__ for cls in _inputs(Input)} & definitions.keys():
        definitions[name] = {"anyOf": [{"type": "string", "description": "the name of a node"}, definitions[name]]}
    return {name: _with_parameters(described) for name, described in definitions.items()}


def _inputs(cls: type[Input]) -> list[type[Input]]:
    """The class with its subclasses: where a node's name alone may stand."""
    return [cls, *(each for child in cls.__subclasses__() for each in _inputs(child))]


def _with_parameters(schema: Any) -> Any:
    """The same schema, where a number or a truth value may also be a `${parameter}`."""
    if isinstance(schema, list):
        return [_with_parameters(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    changed: Schema = {key: _with_parameters(value) for key, value in cast("Schema", schema).items()}
    if changed.get("type") in ("number", "integer", "boolean"):
        notes = {key: changed.pop(key) for key in ("title", "default", "description") if key in changed}
        return {**notes, "anyOf": [changed, {"$ref": "#/$defs/parameter"}]}
    return changed
