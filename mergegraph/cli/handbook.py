"""The page of all operations, from their classes: `mergegraph ops --markdown > docs/methods.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence

from mergegraph.cli.signature import FieldLine, field_lines, inputs_text, result_text
from mergegraph.methods.base import Method
from mergegraph.methods.registry import methods

_HEAD = """# Operations

Written by `mergegraph ops --markdown` from the classes in `mergegraph/methods/`; `mergegraph ops NAME` says the same.

`x` is a model's weights, `d` a delta (task vector). Arithmetic is float32 (float64 where an input is), rounded once at
the end. "number or schedule": a number, a list over the layers, or rules `{match, kind, part, layers, value}`. Every
operation on tensors takes `except: {match, kind, part, layers}`: those tensors pass through. Operations on deltas also
take models, with `base: NODE`.
"""
_EVERYWHERE = ("skip", "except", "missing", "extra")
"""Fields that all operations on tensors have: described once."""


def methods_page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([_HEAD, *_contents(methods()), *(line for cls in methods().values() for line in _section(cls))])


def _contents(found: Mapping[str, type[Method]]) -> Iterator[str]:
    yield "| op | inputs → result | |"
    yield "|---|---|---|"
    for name, cls in found.items():
        summary = _documentation(cls)[0].replace("\n", " ")
        yield f"| [`{name}`](#{name}) | {inputs_text(cls)} → {result_text(cls)} | {summary} |"
    yield ""
    yield "Fields that most operations have:"
    yield ""
    yield from _table(methods()["delta"], common=True)


def _section(cls: type[Method]) -> Iterator[str]:
    summary, formula, *rest = _documentation(cls)
    yield f"## {cls.op_name()}"
    yield ""
    yield f"{inputs_text(cls)} → {result_text(cls)}. {_line(summary)}"
    yield ""
    yield from ("    " + line for line in formula.splitlines())
    yield ""
    for paragraph in rest:
        yield _line(paragraph)
        yield ""
    yield from _table(cls, common=False)
    yield f"    {cls.example}"
    yield ""


def _table(cls: type[Method], *, common: bool) -> Iterator[str]:
    yield from fields_table([line for line in field_lines(cls) if (line.name in _EVERYWHERE) == common])


def fields_table(lines: Sequence[FieldLine]) -> Iterator[str]:
    """A table of fields, with an empty line after it; nothing where there are none."""
    if not lines:
        return
    yield "| field | takes | default | |"
    yield "|---|---|---|---|"
    for line in lines:
        cells = (f"`{line.name}`", line.takes, line.default, line.description)
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
    yield ""


def _documentation(cls: type[Method]) -> list[str]:
    """The paragraphs of the docstring: summary, formula, options, source."""
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")


def _line(paragraph: str) -> str:
    return " ".join(paragraph.split())
