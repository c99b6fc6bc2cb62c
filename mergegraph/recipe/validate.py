"""One mapping of a document to what it describes, a node to its method; what does not fit is said in plain words, with
the nearest right spelling.

Validation itself is pydantic's, in strict mode; none of its wording, its classes or its union tags reaches a person.
Also knows which field names may stand at a place inside a method, for whoever changes a recipe before it is validated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from mergegraph.errors import Location, Problem, did_you_mean
from mergegraph.fields import Described, EdgeTo, FieldModel, Input
from mergegraph.methods.base import Method, Path
from mergegraph.methods.registry import methods
from mergegraph.recipe.correcting import (
    beside_its_input,
    choices,
    decimal_comma,
    described,
    fields_called,
    in_place_of,
    instead,
    op_problem,
    with_its_weight,
)
from mergegraph.recipe.scalars import Value, as_text

Where = Callable[[Path], Location]
D = TypeVar("D", bound=Described)


def read_method(node: str, fields: dict[str, Value], where: Where) -> Method | tuple[Problem, ...]:
    """The method that `fields` (with their `op`) describe, or everything that is wrong with them."""
    cls = method_class(fields)
    if cls is None:
        return (op_problem(fields.get("op")).located(where(("op",)), node),)
    read = read_described(cls, fields, where)
    return tuple(problem.located(None, node) for problem in read) if isinstance(read, tuple) else read


def read_described(cls: type[D], fields: dict[str, Value], where: Where) -> D | tuple[Problem, ...]:
    """The `cls` that `fields` describe, or everything that is wrong with them."""
    try:
        return cls.model_validate(_with_tuples(fields), strict=True)
    except ValidationError as error:
        found = _problems(cls, fields, error.errors(include_url=False, include_input=False))
        return tuple(problem.located(where(path)) for path, problem in found)


def _with_tuples(value: Value) -> Any:
    """`value` with tuples for lists: what the frozen fields of a method hold, and all that strict mode takes there."""
    if isinstance(value, list):
        return tuple(map(_with_tuples, value))
    return {key: _with_tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def method_class(fields: dict[str, Value]) -> type[Method] | None:
    """The class of the op that `fields` name; None when there is none."""
    op = fields.get("op")
    return methods().get(op) if isinstance(op, str) else None


def field_names(cls: type[Described], path: Path) -> tuple[str, ...]:
    """The names that may stand in the mapping at `path` of a method; () where any may, or where there is no mapping."""
    return tuple(dict.fromkeys(name for model in _models_at(cls, path) for name in _names(model)))


def takes_bare_names(cls: type[Described], path: Path) -> bool:
    """Whether a node name alone may stand at `path` for `{from: NAME}`."""
    return any(issubclass(model, Input) for model in _models_at(cls, path))


def dotted(path: Path) -> str:
    """`by.0.value`: a place inside a node, as `--set` takes it."""
    return ".".join(map(str, path))


def shown(value: Value) -> str:
    """`value` in a sentence that says what was found."""
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, list | dict):
        what = "list" if isinstance(value, list) else "mapping"
        return f"a {what}" if value else f"an empty {what}"
    text = "nothing" if value is None else as_text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _models_at(cls: type[FieldModel], path: Path) -> list[type[FieldModel]]:
    annotations: list[Any] = [cls]
    for part in path:
        if isinstance(part, str):
            annotations = [inner for each in annotations for inner in _at_key(each, part)]
    return [model for each in annotations for model in _pieces(each) if not get_origin(model)]


def _at_key(annotation: Any, key: str) -> Iterator[Any]:
    """What may stand at `key` in what `annotation` describes: a field of a model, or a value of a mapping."""
    for piece in _pieces(annotation):
        if get_origin(piece) is dict:
            yield get_args(piece)[1]
        else:
            yield from (info.annotation for name, info in piece.model_fields.items() if key in (info.alias, name))


def _pieces(annotation: Any) -> Iterator[Any]:
    """The field models and the mappings that an annotation mentions, not looking inside them."""
    if (isinstance(annotation, type) and issubclass(annotation, FieldModel)) or get_origin(annotation) is dict:
        yield annotation
    elif get_origin(annotation) is not None:
        for argument in get_args(annotation):
            yield from _pieces(argument)


def _names(model: type[FieldModel]) -> Iterator[str]:
    return (info.alias or name for name, info in model.model_fields.items())


def _problems(cls: type[Described], fields: dict[str, Value], errors: Iterable[Any]) -> Iterator[tuple[Path, Problem]]:
    """One problem for each place that is wrong: the deepest ones, alternatives of a union joined in one sentence."""
    by_path: dict[Path, list[tuple[str, Any]]] = {}
    for error in errors:
        path, tag = _path(fields, error)
        by_path.setdefault(path, []).append((tag, error))
    missing = [path for path, found in by_path.items() if found[0][1]["type"] == "missing"]
    unknown = [path for path, found in by_path.items() if found[0][1]["type"] == "extra_forbidden"]
    near = {path: (*path[:-1], name) for path in unknown if (name := _suggestion(cls, path))}
    suggested = set(near.values())
    renamed = _renamed(cls, fields, unknown, [path for path in missing if path not in suggested])
    for path, found in by_path.items():
        is_outer = path and any(other[: len(path)] == path and other != path for other in by_path)
        is_told_elsewhere = path in missing and (path in suggested or path in renamed.values())
        if path in renamed:
            yield path, _problem_of_name(cls, fields, path, str(renamed[path][-1]))
        elif not is_outer and not is_told_elsewhere:
            yield path, _problem(cls, fields, path, found)


def _renamed(
    cls: type[Described], fields: dict[str, Value], unknown: list[Path], missing: list[Path]
) -> dict[Path, Path]:
    """Keys that are not known, and the one missing field that other tools call so."""
    found: dict[Path, Path] = {}
    for path in unknown:
        beside = [str(other[-1]) for other in missing if other[:-1] == path[:-1]]
        called = fields_called(str(path[-1]), beside)
        is_number = isinstance(_value_at(fields, path), int | float)
        if len(called) == 1 and not (is_number and is_edge(cls, (*path[:-1], called[0]))):
            found[path] = (*path[:-1], called[0])
    return found


def _problem_of_name(cls: type[Described], fields: dict[str, Value], path: Path, needed: str) -> Problem:
    key = str(path[-1])
    fact = f'{cls.op_name()} has no "{key}"{_in_mapping(path)}, and needs "{needed}".'
    return Problem(fact, fix=in_place_of(key, _value_at(fields, path), needed))


def _path(fields: dict[str, Value], error: Any) -> tuple[Path, str]:
    """The place in the recipe that the `loc` of a pydantic error means, and the last union tag on the way there.

    A part that is not in the value there is a tag, unless it is the field that is missing.
    """
    path: list[str | int] = []
    value: Value = fields
    tag = ""
    for index, part in enumerate(error["loc"], 1):
        is_there = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if is_there or (error["type"] == "missing" and index == len(error["loc"])):
            path.append(part)
            value = _value_at(value, (part,))
        else:
            tag = str(part)
    return tuple(path), tag


def _in_mapping(path: Path) -> str:
    """` in inputs.0`: the mapping that the last part of `path` belongs to, where it is not the node itself."""
    around = dotted(path[:-1])
    return f" in {around}" if around else ""


def _suggestion(cls: type[Described], path: Path) -> str:
    fix = did_you_mean(str(path[-1]), [name for name in field_names(cls, path[:-1]) if name != "op"])
    return fix.removeprefix("Did you mean ").removesuffix("?") if fix.startswith("Did") else ""


def _problem(cls: type[Described], fields: dict[str, Value], path: Path, found: list[tuple[str, Any]]) -> Problem:
    error = found[0][1]
    op, value = cls.op_name(), _value_at(fields, path)
    match error["type"]:
        case "extra_forbidden":
            return Problem(f'{op} has no "{path[-1]}"{_in_mapping(path)}.', fix=_for_unknown(cls, fields, path))
        case "missing":
            return Problem(
                f'{op} needs "{path[-1]}"{_in_mapping(path)}.', fix=f"add `{path[-1]}:`, as in {cls.example}"
            )
        case "value_error" | "assertion_error":
            said = str(error["ctx"]["error"]).rstrip(".")
            fix = getattr(error["ctx"]["error"], "fix", "") or described(cls, path)
            return Problem(f"{dotted(path)}: {said}." if path else f"{said}.", fix=fix)
        case _:
            expected = " or ".join(dict.fromkeys(_expected(cls, path, tag, each) for tag, each in found))
            fact = f'"{dotted(path)}" takes {expected}, not {shown(value)}.'
            weighted = with_its_weight(dotted(path), value, field_names(cls, path))
            return Problem(fact, fix=weighted or instead(cls, path, value, error))


def _for_unknown(cls: type[Described], fields: dict[str, Value], path: Path) -> str:
    """What to type in place of the key at the end of `path`: half a number, a key of an input, or the nearest."""
    key, around = str(path[-1]), _value_at(fields, path[:-1])
    if isinstance(around, dict) and (number := decimal_comma(around, key)):
        return number
    if key in ("lambda", "lambda_", "scaling_coefficient"):
        by = as_text(_value_at(fields, path))
        return f"the strength of the result is a node after this one: {{op: scale, input: NODE, by: {by}}}"
    names = [name for name in field_names(cls, path[:-1]) if name != "op"]
    nested = {field: [name for name in field_names(cls, (*path[:-1], field)) if name != "from"] for field in names}
    free = fields_called(key, [name for name in names if not isinstance(around, dict) or name not in around])
    called = in_place_of(key, _value_at(fields, path), free[0]) if len(free) == 1 else ""
    return beside_its_input(key, nested) or called or did_you_mean(key, names, f"{cls.op_name()} takes")


def _value_at(fields: Value, path: Path) -> Value:
    for part in path:
        if isinstance(fields, dict):
            fields = fields.get(str(part))
        elif isinstance(fields, list) and isinstance(part, int):
            fields = fields[part]
    return fields


_EXPECTED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "model": "a mapping",
    "dict": "a mapping",
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge}",
    "greater_than": "a number above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "a number below {lt}",
    "string_too_short": "text that is not empty",
    "string_pattern_mismatch": "text of another form",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or fewer",
}


def _expected(cls: type[Described], path: Path, tag: str, error: Any) -> str:
    """What belongs at `path`, from the type of pydantic's error; words for a type not listed are general but true."""
    kind: str = error["type"]
    if kind in ("literal_error", "enum"):
        return f"one of {', '.join(choices(error))}"
    if kind.startswith("string_type"):
        return "the name of a node" if is_edge(cls, path) else "text"
    if tag == "number" and kind == "float_type":
        return "a number, a list of numbers (a gradient over the layers) or a list of rules"
    if kind.startswith("model") and takes_bare_names(cls, path):
        return "the name of a node or a mapping with `from:`"
    sentence = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0], "another kind of value")
    return sentence.format(**error.get("ctx", {}))


def is_edge(cls: type[Described], path: Path) -> bool:
    """Whether the field at `path` names a node."""
    names = [part for part in path if isinstance(part, str)]
    if not names:
        return False
    infos = [
        info
        for model in _models_at(cls, tuple(names[:-1]))
        for name, info in model.model_fields.items()
        if names[-1] in (info.alias, name)
    ]
    return any(_mentions_edge([*info.metadata, info.annotation]) for info in infos)


def _mentions_edge(parts: list[Any]) -> bool:
    for part in parts:
        if isinstance(part, EdgeTo):
            return True
        inner = [*getattr(part, "__metadata__", ()), *(get_args(part) if get_origin(part) is not None else ())]
        if _mentions_edge(inner):
            return True
    return False
