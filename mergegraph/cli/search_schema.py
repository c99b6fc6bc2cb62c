"""The JSON Schema of SEARCH.yaml, made from the classes of the kinds."""

from __future__ import annotations

from typing import Any, cast

from pydantic.json_schema import models_json_schema

from mergegraph.search.kinds import KINDS
from mergegraph.search.scoring import Metric

Schema = dict[str, Any]


def search_schema() -> Schema:
    """The schema of a whole search document: one of the kinds, told apart by `search`."""
    classes = [(kind, "validation") for kind in KINDS.values()]
    _, document = models_json_schema(cast("Any", classes), ref_template="#/$defs/{model}")
    definitions: dict[str, Schema] = document["$defs"]
    bare: Schema = {"enum": ["max", "min"], "description": "which way is better"}
    definitions[Metric.__name__] = {"anyOf": [bare, definitions[Metric.__name__]]}
    references = {name: f"#/$defs/{kind.__name__}" for name, kind in KINDS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mergegraph search",
        "type": "object",
        "required": ["mergegraph", "search"],
        "properties": {"search": {"enum": list(KINDS)}},
        "discriminator": {"propertyName": "search", "mapping": references},
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "$defs": dict(sorted(definitions.items())),
    }
