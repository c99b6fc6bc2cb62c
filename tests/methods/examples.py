"""The example of each operation as a method, read from its class."""

from __future__ import annotations

from functools import cache

import yaml

from mergegraph.methods.base import Method
from mergegraph.methods.registry import methods

OPS = sorted(methods())


@cache
def example(op: str) -> tuple[str, Method]:
    """The name and the method of the node that the class `op` shows as its example."""
    ((name, fields),) = yaml.safe_load(methods()[op].example).items()
    return name, methods()[op].model_validate(fields)
