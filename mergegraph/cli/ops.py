"""`ops`: the operations there are, from their classes; nothing about them is written twice."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from mergegraph.cli.signature import field_lines, inputs_text, result_text
from mergegraph.cli.terminal import heading, say, say_styled, say_text
from mergegraph.errors import Problem, RecipeError
from mergegraph.methods.base import Method
from mergegraph.methods.registry import methods
from mergegraph.recipe.correcting import nearest_op


def show_ops() -> None:
    """One line for each: name, the spaces it takes and gives, summary."""
    spaces = {name: f"{inputs_text(cls)} -> {result_text(cls)}" for name, cls in methods().items()}
    names, middle = max(map(len, spaces)), max(map(len, spaces.values()))
    for name, cls in methods().items():
        say_styled(f"{heading(f'{name:<{names}}')}  {spaces[name]:<{middle}}  {_summary(cls)}")
    say()
    say("mergegraph ops NAME describes one in full.")


def show_op(name: str) -> None:
    """Summary, formula, source, fields, example. RecipeError for a name that is no operation."""
    cls = methods().get(name)
    if cls is None:
        raise RecipeError(Problem(f'There is no op "{name}".', fix=nearest_op(name)))
    say_styled(heading(f"{name}: {inputs_text(cls)} -> {result_text(cls)}"))
    say()
    say_text(_documentation(cls))
    say()
    for line in _field_table(cls):
        say(line)
    say()
    say_text(f"example\n  {cls.example}")


def show_markdown() -> None:
    """The page of all operations."""
    from mergegraph.cli.handbook import methods_page

    say_text(methods_page().rstrip())


def _summary(cls: type[Method]) -> str:
    """The first paragraph of the docstring, whole, on one line."""
    return " ".join(_documentation(cls).partition("\n\n")[0].split())


def _documentation(cls: type[Method]) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


def _field_table(cls: type[Method]) -> Iterator[str]:
    """`by  number or schedule  required  description`, in columns."""
    lines = list(field_lines(cls))
    rows = [("field", "takes", "default", ""), *((f.name, f.takes, f.default, f.description) for f in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield "  ".join([*(f"{text:<{width}}" for text, width in zip(row, widths, strict=False)), row[3]]).rstrip()
