"""A handle as a person would write it in Python, for messages: `base + 0.5 * (code - base)`.

A model is shown under the name of its node. What would take more than a line, or has no short way, is a word in
capitals for the reader to replace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from mergegraph.methods.linear import Delta, Negate, Scale, Soup, Sum

if TYPE_CHECKING:
    from mergegraph.builder.handle import Handle

_LONGEST = 60
"""Characters."""
_DEEPEST = 8
"""Nodes inside each other."""
_WRITTEN_FIELDS: Mapping[str, frozenset[str]] = {
    "delta": frozenset({"op", "model", "base"}),
    "negate": frozenset({"op", "input"}),
    "scale": frozenset({"op", "input", "by"}),
    "sum": frozenset({"op", "inputs"}),
    "soup": frozenset({"op", "inputs"}),
}
"""The fields that an expression says; a node that was given others is no expression."""
_SUM, _PRODUCT, _ATOM = range(3)
_Text: TypeAlias = "tuple[str, int]"
"""An expression and how tightly it binds: as a sum, as a product, or as a name or call."""


def written(handle: Handle) -> str:
    """`handle` as an expression."""
    return _text(handle, 0)[0]


def as_soup(handles: Iterable[Handle]) -> str:
    """The average that was meant by adding `handles`, some of them multiplied by a number."""
    parts = [unscaled(handle) for handle in handles]
    models = ", ".join(written(model) for _, model in parts)
    if all(weight == 1 for weight, _ in parts):
        return f"mg.soup([{models}])"
    return f"mg.soup([{models}], weights=[{', '.join(_number(weight) for weight, _ in parts)}])"


def as_change(handle: Handle) -> str:
    """What training changed in a model, of a base that the reader names; times the number it was multiplied by."""
    weight, model = unscaled(handle)
    return f"{'' if weight == 1 else f'{_number(weight)} * '}({written(model)} - BASE)"


def unscaled(handle: Handle) -> tuple[float, Handle]:
    """The number that a handle was multiplied by, 1 where it was not, and what was multiplied."""
    method = handle.method
    if isinstance(method, Scale) and isinstance(method.by, float) and _says_all(handle) and not handle.name:
        return method.by, handle.inputs[method.input]
    return 1, handle


def _text(handle: Handle, depth: int) -> _Text:
    if handle.name or handle.called:
        return handle.name or handle.called, _ATOM
    text, binding = _expression(handle, depth + 1) if depth < _DEEPEST and _says_all(handle) else ("", _ATOM)
    return (text, binding) if 0 < len(text) <= _LONGEST else (handle.method.op.upper(), _ATOM)


def _expression(handle: Handle, depth: int) -> _Text:
    """Empty for what has numbers that differ by tensor or input."""
    method = handle.method
    parts = [_text(handle.inputs[edge.node], depth) for edge in method.edges()]
    match method:
        case Delta():
            return f"{parts[0][0]} - {_within(parts[1], _PRODUCT)}", _SUM
        case Negate():
            return f"-{_within(parts[0], _ATOM)}", _PRODUCT
        case Scale(by=float(by)):
            return f"{_number(by)} * {_within(parts[0], _ATOM)}", _PRODUCT
        case Sum():
            terms = [_within(part, _PRODUCT if index else _SUM) for index, part in enumerate(parts)]
            return " + ".join(terms).replace(" + -", " - "), _SUM
        case Soup() if all(each.weight == 1 for each in method.inputs):
            return f"mg.soup([{', '.join(text for text, _ in parts)}])", _ATOM
        case _:
            return "", _ATOM


def _says_all(handle: Handle) -> bool:
    """Whether an expression can say everything that the node was given."""
    return handle.method.model_fields_set <= _WRITTEN_FIELDS.get(handle.method.op, frozenset())


def _within(part: _Text, binding: int) -> str:
    """A part of a larger expression, in parentheses where it binds less than is needed."""
    text, bound = part
    return text if bound >= binding else f"({text})"


def _number(number: float) -> str:
    return f"{number:.15g}"
