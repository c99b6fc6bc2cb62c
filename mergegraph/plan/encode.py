"""A plan as JSON and back: what a worker elsewhere gets, and what result ids are hashed from.

Expressions are a table in which each refers to earlier ones by index; fractions are `[numerator, denominator]`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from mergegraph.expr import Apply, Cast, Expr, Linear, Read, apply, cast, linear, read, reads, walk
from mergegraph.plan.plan import NUMERIC_VERSION, Output, Plan

Entry = list[Any]


def encode_expressions(roots: Sequence[Expr], files: Sequence[str]) -> tuple[list[Entry], list[int]]:
    """(table, index of each root). `files` are the paths that reads may name."""
    file_index = {path: index for index, path in enumerate(files)}
    table: list[Entry] = []
    index: dict[Expr, int] = {}
    for expr in walk(*roots):
        index[expr] = len(table)
        table.append(_encode(expr, index, file_index))
    return table, [index[root] for root in roots]


def decode_expressions(table: Iterable[Entry], roots: Iterable[int], files: Sequence[str]) -> list[Expr]:
    """The expressions that `encode_expressions` wrote; the same objects within one process."""
    made: list[Expr] = []
    for entry in table:
        made.append(_decode(entry, made, files))
    return [made[root] for root in roots]


def _encode(expr: Expr, index: Mapping[Expr, int], files: Mapping[str, int]) -> Entry:
    match expr:
        case Read():
            place = [files[expr.path], expr.offset, expr.nbytes]
            return ["read", *place, expr.name, expr.dtype, list(expr.shape), expr.space]
        case Linear():
            terms = [[c.numerator, c.denominator, index[x]] for c, x in expr.terms]
            return ["linear", terms, expr.space]
        case Apply():
            operands = [index[x] for x in expr.operands]
            return ["apply", expr.kernel, operands, [list(pair) for pair in expr.parameters], expr.space]
        case Cast():
            return ["cast", index[expr.operand], expr.dtype]


def _decode(entry: Entry, made: list[Expr], files: Sequence[str]) -> Expr:
    kind = entry[0]
    if kind == "read":
        _, file, offset, nbytes, name, dtype, shape, space = entry
        return read(files[int(file)], name, dtype, tuple(shape), offset, nbytes, space)
    if kind == "linear":
        _, terms, space = entry
        return linear([(Fraction(n, d), made[int(x)]) for n, d, x in terms], space)
    if kind == "apply":
        _, kernel, operands, parameters, space = entry
        return apply(kernel, [made[int(x)] for x in operands], [(name, value) for name, value in parameters], space)
    assert kind == "cast", kind
    _, operand, dtype = entry
    return cast(made[int(operand)], dtype)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The whole plan as JSON values."""
    files = [file.path for file in plan.inputs]
    table, roots = encode_expressions([t.root for output in plan.outputs for t in output.tensors], files)
    remaining = iter(roots)
    return {
        "mergegraph_plan": 1,
        "name": plan.name,
        "seed": plan.seed,
        "inputs": [{"path": f.path, "bytes": f.file_bytes, "identity": f.identity} for f in plan.inputs],
        "expressions": table,
        "outputs": [_output_json(output, [next(remaining) for _ in output.tensors]) for output in plan.outputs],
        "read_bytes": plan.read_bytes,
        "write_bytes": plan.write_bytes,
        "memory": {
            "budget_bytes": plan.projection.budget_bytes,
            "pool_bytes": plan.projection.pool_bytes,
            "tile_elements": plan.projection.tile_elements,
            "workers": plan.projection.workers,
        },
        "warnings": [str(problem) for problem in plan.warnings],
        "problems": [str(problem) for problem in plan.problems],
    }


def _output_json(output: Output, roots: Sequence[int]) -> dict[str, Any]:
    layout = output.layout
    return {
        "node": output.node,
        "path": str(output.path),
        "space": output.space,
        "files": [{"name": file.name, "bytes": file.file_bytes} for file in layout.files],
        "tensors": [
            {
                "name": t.name,
                "dtype": t.dtype.code,
                "shape": list(t.shape),
                "expression": root,
                "file": layout.file_of[t.name],
                "offset": layout.files[layout.file_of[t.name]].offsets[t.name],
            }
            for t, root in zip(output.tensors, roots, strict=True)
        ],
    }


def result_digest(plan: Plan, output: Output) -> str:
    """What the bytes of one output depend on, hashed: expressions, seed, layout, input identities.

    Paths, budget, tiles, threads and executor are not in it. The executor adds the torch version and the
    device, which the plan does not know.
    """
    expressions = [tensor.root for tensor in output.tensors]
    files = list(dict.fromkeys(read.path for read in reads(*expressions)))
    identities = {file.path: file.identity for file in plan.inputs}
    table, roots = encode_expressions(expressions, files)
    described = {
        "numeric_version": NUMERIC_VERSION,
        "seed": plan.seed,
        "identities": [identities[path] for path in files],
        "expressions": table,
        "roots": roots,
        "files": [[file.name, hashlib.sha256(file.header).hexdigest()] for file in output.layout.files],
        "config": output.sidecars.config,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
