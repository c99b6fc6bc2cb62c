"""The reference of recipes, from the schema, the classes of the fields and what the modules say of themselves:
`mergegraph schema --markdown > docs/recipe.md`. The operations have a page of their own."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from mergegraph.cli.handbook import fields_table
from mergegraph.cli.schema import recipe_schema
from mergegraph.cli.signature import field_lines, piece_lines
from mergegraph.fields import Case, FieldModel, Rule, Slice, WeightedInput
from mergegraph.methods.load import Load, Vocab
from mergegraph.methods.save import Save

_HEAD = """# Recipes

Written by `mergegraph schema --markdown` from the classes that read recipes; `mergegraph schema` prints the same as
JSON Schema, for editors. The operations are in [methods.md](methods.md), one by one.

A recipe is a page of YAML 1.2: models, and nodes that are made of them. A node is a *model* (weights) or a *delta*
(what training changed: a model minus its base). The order of nodes does not matter; every name is used once.

```yaml
mergegraph: 1
models:
  base: ./models/base
  code: org/coder@main
nodes:
  merged: base + 0.6*(code - base)
  out: {op: save, input: merged, path: out/merged}
```

## At the top
"""

_MODELS = """## Models

`models:` is short for load nodes: `base: ./models/base` is `base: {op: load, model: ./models/base}`. A reference is a
folder or a `.safetensors` file relative to the recipe, `org/name@revision` on the Hub, or a location
([remote.md](remote.md)). `BASE+ADAPTER` is a base with a LoRA adapter in it. Under `nodes:` a load has more fields:
"""

_VOCAB = """`vocab:` gives a model the vocabulary of another, row by row:
"""

_NODES = """## Nodes

A node is an operation with its fields, or an expression. Where a field takes a node, its name stands there; where it
takes several, a list of names, or of `{from: NAME, …}` where a number belongs to each:

```yaml
mergegraph: 1
models: {base: ./base, code: ./code, chat: ./chat}
nodes:
  d_code: {op: delta, model: code, base: base}
  d_chat: {op: delta, model: chat, base: base}
  both: {op: soup, inputs: [d_code, {from: d_chat, weight: 2}]}
  merged: {op: sum, inputs: [base, both]}
  out: {op: save, input: merged, path: out/both}
```
"""

_INPUTS = """An entry of `inputs:` in a `soup` and its relatives:
"""
_CASES = """An entry of `cases:` in a `select` (with no condition it is for every tensor):
"""
_SLICES = """An entry of `slices:` in a `stack`:
"""

_EXPRESSIONS = """## Expressions

A node that is text is arithmetic on other nodes:
"""
_MEANING = """A name is that of a node, with the dots of an include. Numbers are exact: `0.1` is a tenth. Differences
of models are deltas; a model plus deltas is a model; numbers times models that add up to 1 are an average. Nothing
else has a meaning for models, and is refused: `a + b`, `2*a`.

```yaml
mergegraph: 1
models: {base: ./base, a: ./a, b: ./b}
nodes:
  average: 0.5*a + 0.5*b
  addition: base + 0.4*(a - base) + 0.4*(b - base)
  forgetting: a - 0.5*(b - base)
  out: {op: save, input: addition, path: out/addition}
```
"""

_SCHEDULES = """## Schedules

A field that takes a *number or schedule* (the strength `by`, a `weight`, a `density`, `t`) may differ from tensor to
tensor:
"""
_RULES = """A rule; conditions that are left out hold for every tensor, those that are given must all hold:
"""
_RULES_EXAMPLE = """```yaml
mergegraph: 1
models: {base: ./base, code: ./code}
nodes:
  d: {op: delta, model: code, base: base}
  boost:
    op: scale
    input: d
    by:
      - {kind: embedding, value: 0}
      - {kind: attention, part: q, layers: "0:16", value: [0.4, 0.8]}
      - {match: "*.mlp.*", value: 0.6}
      - {value: 0.5}
  merged: {op: sum, inputs: [base, boost]}
  out: {op: save, input: merged, path: out/boost}
```

A rule that fits no tensor is an error or a warning, as is one that earlier rules leave nothing for. The same conditions
stand in `except:` and in the cases of `select`. Kinds are told by the names of tensors, the first that fits:
"""

_REST = """## Parameters

`parameters:` declares names with defaults, and `${name}` stands for the value anywhere else in the recipe: alone it
is the value of whatever kind, inside text its text. `null` is no default: the value must be given, with `--set
parameters.t=0.3` or by an include. `$${` is the text `${`.

```yaml
mergegraph: 1
parameters: {strength: 0.5, tuned: ./code}
models: {base: ./base, code: "${tuned}"}
nodes:
  d: {op: delta, model: code, base: base}
  boost: {op: scale, input: d, by: "${strength}"}
  merged: {op: sum, inputs: [base, boost]}
  out: {op: save, input: merged, path: "out/${strength}"}
```

## Includes

`include:` brings the nodes of another recipe in, under a name: those of `addition.yaml` below are `first.merged`, … Its
saves are left out. Each include has parameters of its own, so one file serves as a template many times:

    include:
      first: {recipe: addition.yaml, with: {strength: 0.3}}
      second: {recipe: addition.yaml, with: {strength: 0.7}}
    nodes:
      both: 0.5*first.merged + 0.5*second.merged
      out: {op: save, input: both, path: out/both}

## From the command line

`--set NODE.FIELD=VALUE` changes one place: `--set boost.by=0.4`, `--set boost.by.0.value=0.4` (the first rule),
`--set models.code=./other`, `--set seed=7`, `--set first.boost.by=0.2` (of an include).

`--sweep NODE.FIELD=START:STOP:STEP`, or `=A,B,C`, makes an output for each value, and reads every input once; several
sweeps make every combination. `{boost.by}` in a save's path is the value: `path: "out/{boost.by}"`.

`mergegraph run -e "0.5*a + 0.5*b" -m a=DIR -m b=DIR -o out` needs no file. `mergegraph search` looks for the numbers
with an evaluator, and takes a file of its own: [search.md](search.md).

## Saves

A recipe has one save or several, each a folder of its own; inputs that they share are read once. `-o DIR` is the path
of the only one.
"""
_AFTER = """The folder has `config.json`, the tokenizer's files, `generation_config.json` and a model card beside the
weights, and the records of how it was made ([provenance.md](provenance.md)).
"""


def recipe_page() -> str:
    """The whole page, as Markdown."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield _HEAD
    yield from _top()
    yield _MODELS
    yield from fields_table([line for line in field_lines(Load) if line.name != "skip"])
    yield from _piece(_VOCAB, Vocab)
    yield _NODES
    yield from _piece(_INPUTS, WeightedInput)
    yield from _piece(_CASES, Case)
    yield from _piece(_SLICES, Slice)
    yield _EXPRESSIONS
    yield from _said_by("mergegraph.recipe.grammar", "sum ", with_rest=False)
    yield _MEANING
    yield _SCHEDULES
    yield from _said_by("mergegraph.schedule", "number ")
    yield from _piece(_RULES, Rule)
    yield _RULES_EXAMPLE
    yield from _said_by("mergegraph.naming", "norm ")
    yield _REST
    yield from fields_table([line for line in field_lines(Save) if line.name != "skip"])
    yield _AFTER.rstrip()


def _top() -> Iterator[str]:
    schema = recipe_schema()
    yield "| key | takes | |"
    yield "|---|---|---|"
    for name, each in schema["properties"].items():
        required = ", required" if name in schema["required"] else ""
        yield f"| `{name}` | {_takes(each)}{required} | {each['description']} |"
    yield ""


def _takes(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"{schema['const']}"
    return {"string": "text", "integer": "whole number", "object": "mapping"}[schema["type"]]


def _piece(words: str, cls: type[FieldModel]) -> Iterator[str]:
    yield words
    yield from fields_table(list(piece_lines(cls)))


def _said_by(module: str, begins: str, *, with_rest: bool = True) -> Iterator[str]:
    """The indented lines of a module's docstring whose first begins so; `with_rest`: and the paragraph after them."""
    paragraphs = (import_module(module).__doc__ or "").split("\n\n")
    number = next(at for at, text in enumerate(paragraphs) if text.startswith(f"    {begins}"))
    yield textwrap.indent(textwrap.dedent(paragraphs[number]), "    ")
    yield ""
    if with_rest:
        yield paragraphs[number + 1].strip()
        yield ""
