"""What to type in place of a value, a key or an op that does not fit, as far as it can be guessed from what was typed.

`validate.py` says what is wrong. Nothing here looks at other nodes, or at a model.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, get_args

from mergegraph.errors import Problem, did_you_mean
from mergegraph.fields import Described, Kind
from mergegraph.methods.base import Path
from mergegraph.methods.registry import methods
from mergegraph.recipe.scalars import FLOAT, Value, as_text, plain_decimal

_KINDS = frozenset(get_args(Kind))
_DECIMAL_COMMA = re.compile(r"([-+]?[0-9]*),([0-9]+)", re.ASCII)
_PERCENT = re.compile(r"([-+]?[0-9]+(?:[.,][0-9]+)?) ?%", re.ASCII)


def op_problem(op: Value) -> Problem:
    """`op` is not the name of an operation: the nearest one, or the one that is called so elsewhere."""
    if isinstance(op, str):
        return Problem(f'There is no op "{op}".', fix=nearest_op(op))
    if op is None:
        return Problem("The node does not say which operation it is.", fix="add `op:`; `mergegraph ops` lists them")
    return Problem(f"`op` takes the name of an operation, not {as_text(op)}.", fix="`mergegraph ops` lists them")


def nearest_op(word: str) -> str:
    """What papers and other tools call `word`, else the op that is spelt nearly so, else where all are listed."""
    plain = re.sub(r"[^a-z0-9]+", "_", word.lower()).strip("_")
    if plain in CALLED_ELSEWHERE:
        return CALLED_ELSEWHERE[plain]
    said = did_you_mean(word, methods())
    return said if said.startswith("Did") else f"`mergegraph ops` lists all {len(methods())}"


_MEAN = "it is called soup here: {op: soup, inputs: [a, b]}"
_ADDED = "deltas are added to a model by sum: {op: sum, inputs: [base, d]}, or write base + 0.5*(a - base)"
_DIFFERENCE = "it is called delta here: {op: delta, model: a, base: base}"
_STRENGTH = "it is called scale here: {op: scale, input: d, by: 0.5}"
CALLED_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("linear", "average", "avg", "mean", "lerp", "weighted_average", "weighted_sum", "merge"), _MEAN),
    **dict.fromkeys(("task_arithmetic", "add", "plus", "add_difference", "apply"), _ADDED),
    **dict.fromkeys(("task_vector", "subtract", "minus", "difference", "diff"), _DIFFERENCE),
    **dict.fromkeys(("multiply", "mul", "times", "strength", "weight"), _STRENGTH),
    **dict.fromkeys(("passthrough", "frankenmerge", "layers"), "layers of models are put together by stack"),
    **dict.fromkeys(("dare_ties", "dare_linear", "della_linear"),
                    "two nodes: dare (or della) drops elements, and elect (or sum) puts the deltas together"),
    "breadcrumbs": "it is called outliers here",
    **dict.fromkeys(("magnitude", "prune", "sparsify", "top_k"), "it is called trim here"),
    **dict.fromkeys(("model", "checkpoint", "input"), "a model is {op: load, model: REF}"),
    **dict.fromkeys(("output", "write", "export"), "it is called save here: {op: save, input: NODE, path: out}"),
}  # fmt: skip
"""Names that papers, other tools and habit give to an operation, and what to write for it."""


def instead_of_function(name: str) -> str:
    """What to write for `name(a, b)` in an expression, where `name` is an op or is called so elsewhere. Else ""."""
    if name in methods():
        return f"make a node of it, in a recipe: {methods()[name].example}"
    called = CALLED_ELSEWHERE.get(name.lower(), "")
    return "an average is 0.5*a + 0.5*b" if called == _MEAN else called


def decimal_comma(around: Mapping[str, Value], key: str) -> str:
    """Of `by: 0,5` YAML makes two keys, `by: 0` and `5`: the number that was meant. "" where it was not so."""
    keys = list(around)
    before = keys[keys.index(key) - 1] if keys.index(key) else ""
    whole = around.get(before)
    if not (key.isdecimal() and around[key] is None and isinstance(whole, int) and not isinstance(whole, bool)):
        return ""
    return f"a number takes a point, not a comma: `{before}: {whole}.{key}`"


_CALLED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("path", "folder", "checkpoint", "file", "ref"), ("model", "path")),
    **dict.fromkeys(("tuned", "finetuned", "fine_tuned", "fine_tune"), ("model",)),
    **dict.fromkeys(("base_model", "pretrained"), ("base",)),
    **dict.fromkeys(("model", "node", "source"), ("input", "from")),
    **dict.fromkeys(("models", "nodes", "sources", "deltas"), ("inputs",)),
    **dict.fromkeys(("factor", "alpha", "strength", "coefficient", "weight"), ("by",)),
    **dict.fromkeys(("output", "out", "to"), ("path",)),
    **dict.fromkeys(("precision", "torch_dtype", "out_dtype"), ("dtype",)),
    **dict.fromkeys(("p", "drop", "drop_p", "drop_rate", "dropout", "sparsity"), ("density",)),
}  # fmt: skip
"""Names that papers, other tools and habit give to fields, where they mean the same; of density, the rest of it."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_MOST_INPUTS = 12


def fields_called(key: str, names: Iterable[str]) -> list[str]:
    """Which of the fields `names` other tools call `key`."""
    return [name for name in names if name in _CALLED.get(key, ())]


def in_place_of(key: str, value: Value, name: str) -> str:
    """What to write for `key`, which other tools call the field `name`."""
    if name != "density":
        return f"it is called `{name}` here: write `{name}:` in place of `{key}:`"
    is_share = isinstance(value, int | float) and 0 < value < 1
    kept = plain_decimal(1 - Decimal(as_text(value))) if is_share else "…"
    return f"`density` is the share that is kept: `density: {kept}`"


def with_its_weight(field: str, value: Value, names: Sequence[str]) -> str:
    """What to write for `{a: 0.5, b: 0.5}` as inputs that have a weight, where it is that. Else ""."""
    if "weight" not in names or not isinstance(value, dict) or not 0 < len(value) <= _MOST_INPUTS:
        return ""
    if not all(_NAME.fullmatch(name) and name not in names and _is_plain_number(value[name]) for name in value):
        return ""
    inputs = ", ".join(f"{{from: {name}, weight: {as_text(weight)}}}" for name, weight in value.items())
    return f"a weight stands with its input: `{field}: [{inputs}]`"


def _is_plain_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def beside_its_input(key: str, nested: Mapping[str, Sequence[str]]) -> str:
    """Where `key` is spelt as one that stands with every input: `inputs: [{from: NODE, weight: …}]`. Else ""."""
    for field, names in nested.items():
        for near in difflib.get_close_matches(key, names, n=1, cutoff=0.8):
            return f"`{near}` stands with each input: `{field}: [{{from: NODE, {near}: …}}, …]`"
    return ""


def instead(cls: type[Described], path: Path, value: Value, error: Any) -> str:
    """Something to type in place of `value`, which pydantic refused with `error`."""
    kind: str = error["type"]
    field = str(path[-1]) if path and isinstance(path[-1], str) else "value"
    if kind in ("literal_error", "enum"):
        if str(value).lower() == "gguf":
            return f"`{field}: weights`, and convert the output with llama.cpp: python convert_hf_to_gguf.py OUTPUT"
        return did_you_mean(str(value), choices(error), "choices")
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'to mean the text, put it in quotes: `{field}: "{as_text(value)}"`'
    if kind == "bool_type" and str(value).lower() in ("yes", "on", "y", "1", "no", "off", "n", "0"):
        return f"write `{field}: {'true' if str(value).lower() in ('yes', 'on', 'y', '1') else 'false'}`"
    if kind == "float_type" and isinstance(value, dict) and "value" in value:
        rule = ", ".join(f"{key}: {as_text(item)}" for key, item in value.items())
        return f"rules are a list, and the last has no condition: `{field}: [{{{rule}}}, {{value: 1}}]`"
    if kind == "float_type" and isinstance(value, dict) and value and set(value) <= _KINDS:
        rules = ", ".join(f"{{kind: {key}, value: {_in_flow(item)}}}" for key, item in value.items())
        return f"rules are a list, and the last has no condition: `{field}: [{rules}, {{value: 1}}]`"
    if kind in ("float_type", "int_type") and isinstance(value, str):
        return _number(field, value, whole=kind == "int_type")
    if kind == "tuple_type" and isinstance(value, str):
        return f"write `{field}: [{value}]`"
    if kind == "string_type" and isinstance(value, list) and len(value) == 1:
        return f"write `{field}: {as_text(value)}`"
    return described(cls, path)


def _in_flow(value: Value) -> str:
    """A number, or a list of numbers, as it stands inside braces."""
    return f"[{', '.join(map(as_text, value))}]" if isinstance(value, list) else as_text(value)


def choices(error: Any) -> list[str]:
    """The words that a literal takes, from pydantic's sentence about them."""
    return [word.strip("'") for word in str(error["ctx"]["expected"]).replace(" or ", ", ").split(", ")]


def described(cls: type[Described], path: Path) -> str:
    """The description of the field at `path`, else the example of the op."""
    info = cls.model_fields.get(str(path[0])) if path else None
    if info is not None and info.description:
        return f"`{path[0]}`: {info.description}"
    return f"an example: {cls.example}" if cls.example else f"`mergegraph ops {cls.op_name()}` shows its fields"


def _number(field: str, text: str, *, whole: bool) -> str:
    """What was typed for a number, as one: quotes off, a point for a comma, a share for a percentage."""
    plain = text.strip()
    if FLOAT.fullmatch(plain):
        return f"write it without quotes: `{field}: {plain}`"
    if comma := _DECIMAL_COMMA.fullmatch(plain):
        return f"a number takes a point, not a comma: `{field}: {comma[1] or 0}.{comma[2]}`"
    if percent := _PERCENT.fullmatch(plain):
        share = plain_decimal(Decimal(percent[1].replace(",", ".")) / 100)
        return f"a percentage is written as a share of 1: `{field}: {share}`"
    return f"write a plain number: `{field}: {'1' if whole else '0.5'}`"
