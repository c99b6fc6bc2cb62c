"""What the fields of an operation take, read from its class: for `mergegraph ops`, and whoever draws a form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from mergegraph.fields import Accepts, CoefficientField, EdgeTo, FieldModel, Input
from mergegraph.methods.base import Method

_PLAIN = {str: "text", bool: "true or false", int: "whole number", float: "number"}


@dataclass(frozen=True, slots=True)
class FieldLine:
    """One field as a person sees it. `accepts`: the space of the node that it names, None when it names none."""

    name: str
    takes: str
    default: str
    description: str
    accepts: Accepts | None
    is_list: bool


def field_lines(cls: type[Method]) -> Iterator[FieldLine]:
    """Every field but `op`, edges and parameters in the order of the class, inherited ones last."""
    own = [name for name in cls.model_fields if name in cls.__annotations__]
    inherited = [name for name in cls.model_fields if name not in own]
    for name in (*own, *inherited):
        if name != "op":
            yield _line(name, cls.model_fields[name])


def piece_lines(cls: type[FieldModel]) -> Iterator[FieldLine]:
    """The fields of a piece that stands inside a field: of a rule, say."""
    return (_line(name, info) for name, info in cls.model_fields.items())


def inputs_text(cls: type[Method]) -> str:
    """`weights, delta…`: the spaces of the nodes an operation takes, `…` where it takes any number of them."""
    lines = [line for line in field_lines(cls) if line.accepts]
    return ", ".join(
        f"{line.accepts}{'…' if line.is_list else ''}" for line in lines if line.default == "required"
    ) or (", ".join(f"{line.accepts}…" for line in lines if line.is_list) or "-")


def result_text(cls: type[Method]) -> str:
    """The space of the result; `same` when it is that of the inputs."""
    return "weights" if cls.gives == "same" and not any(line.accepts for line in field_lines(cls)) else cls.gives


def _line(name: str, info: FieldInfo) -> FieldLine:
    annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    edges = [part for part in _parts(annotation) if isinstance(part, EdgeTo)]
    return FieldLine(
        name=info.alias or name,
        takes=_takes(annotation),
        default="required" if info.is_required() else _shown(info.get_default(call_default_factory=True)),
        description=info.description or "",
        accepts=edges[0].accepts if edges else None,
        is_list=any(part is tuple for part in _parts(annotation)),
    )


def _parts(annotation: Any) -> Iterator[Any]:
    """An annotation with everything inside it: origins, arguments, metadata, fields of nested pieces."""
    yield get_origin(annotation) or annotation
    yield from getattr(annotation, "__metadata__", ())
    for argument in get_args(annotation):
        yield from _parts(argument)
    if isinstance(annotation, type) and issubclass(annotation, FieldModel):
        for info in annotation.model_fields.values():
            yield from info.metadata
            yield from _parts(info.annotation)


def _takes(annotation: Any) -> str:
    """An annotation in words."""
    metadata = getattr(annotation, "__metadata__", ())
    for mark in metadata:
        if isinstance(mark, EdgeTo):
            return "node" if mark.accepts == "any" else f"node ({mark.accepts})"
        if isinstance(mark, CoefficientField):
            return "number or schedule"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _takes(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_takes(each) for each in arguments if each is not type(None))
    if origin is tuple:
        return f"list of {_takes(arguments[0])}"
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is dict:
        return f"mapping of {_takes(arguments[0])} to {_takes(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, FieldModel):
        return _piece(annotation)
    return next((words for kind, words in _PLAIN.items() if kind is annotation), _name(annotation))


def _name(annotation: Any) -> str:
    return str(annotation)


def _piece(cls: type[FieldModel]) -> str:
    """`{match, kind, from}`; `node or {from, weight}` where a name alone is enough."""
    names = [info.alias or name for name, info in cls.model_fields.items()]
    if issubclass(cls, Input):
        return "node" if len(names) == 1 else f"node or {{{', '.join(names)}}}"
    return f"{{{', '.join(names)}}}"


def _shown(value: Any) -> str:
    """A default as it would be written."""
    if value is None or value == () or value == {} or value == "":
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
