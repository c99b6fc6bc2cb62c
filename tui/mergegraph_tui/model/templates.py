"""Recipes to begin with, as files of this package. Their models are examples, which the check will miss."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from mergegraph_tui.model.document import TEMPLATE

_NAMES = ("soup", "task-arithmetic", "ties", "dare", "slerp", "negate", "stack")


@dataclass(frozen=True, slots=True)
class Template:
    """`says`: what it is for, in one line."""

    name: str
    says: str
    text: str


def templates() -> tuple[Template, ...]:
    """The empty one first."""
    return (Template("empty", "nothing yet", TEMPLATE), *map(_read, _NAMES))


def _read(name: str) -> Template:
    text = files("mergegraph_tui").joinpath("templates", f"{name}.yaml").read_text("utf-8")
    return Template(name, text.partition("\n")[0].lstrip("# "), text)
