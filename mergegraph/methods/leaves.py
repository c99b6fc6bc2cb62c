"""The marked values of a method's fields, nested pieces included: its edges and its coefficients, with their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast, get_args, get_origin

from mergegraph.fields import CoefficientField, EdgeTo, FieldModel

Path = tuple[str | int, ...]


@cache
def _marker(cls: type[FieldModel], name: str) -> EdgeTo | CoefficientField | None:
    """The marker of a field, wherever it stands in the annotation (`Weights | None`, `tuple[Weights, ...]`)."""
    info = cls.model_fields[name]
    pending: list[Any] = [*info.metadata, info.annotation]
    while pending:
        part = pending.pop(0)
        if isinstance(part, EdgeTo | CoefficientField):
            return part
        pending += getattr(part, "__metadata__", ())
        pending += get_args(part) if get_origin(part) is not None else ()
    return None


def leaves(model: FieldModel, path: Path = ()) -> Iterator[tuple[Path, Any, EdgeTo | CoefficientField]]:
    """Every marked value of a method, nested pieces included, with its path and marker, as written."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if value is None:
            continue
        here = (*path, name.removesuffix("_"))
        marker = _marker(type(model), name)
        if isinstance(marker, EdgeTo) and isinstance(value, tuple):
            yield from (((*here, index), node, marker) for index, node in enumerate(cast("tuple[str, ...]", value)))
        elif marker is not None:
            yield here, value, marker
        elif isinstance(value, FieldModel):
            yield from leaves(value, here)
        elif isinstance(value, tuple):
            for index, item in enumerate(cast("tuple[object, ...]", value)):
                if isinstance(item, FieldModel):
                    yield from leaves(item, (*here, index))


def replaced(model: FieldModel, values: Mapping[Path, str]) -> FieldModel:
    """`model` with the values at some paths replaced, nested pieces rebuilt."""
    changed: dict[str, Any] = {}
    for name in type(model).model_fields:
        key, value = name.removesuffix("_"), getattr(model, name)
        below = {path[1:]: new for path, new in values.items() if path[0] == key}
        if not below:
            continue
        if isinstance(value, FieldModel):
            changed[name] = replaced(value, below)
        elif isinstance(value, tuple):
            items = list(cast("tuple[Any, ...]", value))
            for index in {path[0] for path in below}:
                inner = {path[1:]: new for path, new in below.items() if path[0] == index}
                items[int(index)] = inner[()] if () in inner else replaced(items[int(index)], inner)
            changed[name] = tuple(items)
        else:
            changed[name] = below[()]
    return model.model_copy(update=changed)
