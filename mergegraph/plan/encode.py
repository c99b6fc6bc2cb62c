"""A plan as JSON and back: what a worker elsewhere gets, and what result ids are hashed from.

Expressions are a table in which each refers to earlier ones by index; fractions are `[numerator, denominator]`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from mergegraph.expr import (
    Apply,
    Cast,
    Expr,
    Factor,
    Joined,
    Linear,
    Noise,
    Part,
    Population,
    Product,
    Read,
    Stat,
    apply,
    cast,
    factor,
    joined,
    linear,
    model_stat,
    noise,
    population,
    product,
    read,
    stat,
)
from mergegraph.plan.plan import NUMERIC_VERSION, Output, Plan
from mergegraph.views import BlockScale, RowMap, row_runs
from mergegraph.walking import parts, walk_parts

Entry = list[Any]


Encoded = Part | Population


def encode_expressions(roots: Sequence[Expr], files: Sequence[str]) -> tuple[list[Entry], list[int]]:
    """(table, index of each root). `files` are the paths that reads may name."""
    file_index = {path: index for index, path in enumerate(files)}
    table: list[Entry] = []
    index: dict[Encoded, int] = {}
    for part in _with_populations(roots, set()):
        index[part] = len(table)
        table.append(_encode(part, index, file_index))
    return table, [index[root] for root in roots]


def _with_populations(roots: Iterable[Expr], seen: set[Encoded]) -> Iterator[Encoded]:
    """Every part once, what it refers to before it; the members of a population before the statistic over it."""
    for part in walk_parts(*roots):
        if part in seen:
            continue
        if isinstance(part, Stat) and part.population is not None and part.population not in seen:
            yield from _with_populations([expr for expr, _ in part.population.members], seen)
            seen.add(part.population)
            yield part.population
        seen.add(part)
        yield part


def decode_expressions(table: Iterable[Entry], roots: Iterable[int], files: Sequence[str]) -> list[Expr]:
    """The expressions that `encode_expressions` wrote; the same objects within one process."""
    made: list[Any] = []
    for entry in table:
        made.append(_decode(entry, made, files))
    return [made[root] for root in roots]


def _encode(part: Encoded, index: Mapping[Encoded, int], files: Mapping[str, int]) -> Entry:
    match part:
        case Read():
            place = [files[part.path], part.offset, part.nbytes]
            return ["read", *place, part.name, part.dtype, list(part.shape), part.space, *_view(part, files)]
        case Linear():
            terms = [[c.numerator, c.denominator, index[x]] for c, x in part.terms]
            return ["linear", terms, part.space]
        case Apply():
            operands = [index[x] for x in part.operands]
            beside = [index[x] for x in parts(part)[len(operands) :]]
            return ["apply", part.kernel, operands, [list(pair) for pair in part.parameters], part.space, beside]
        case Stat():
            over = None if part.population is None else index[part.population]
            return ["stat", part.kind, [index[x] for x in part.operands], [list(p) for p in part.parameters], over]
        case Noise():
            return ["noise", part.key]
        case Population():
            return ["population", [[index[expr], list(shape)] for expr, shape in part.members]]
        case Cast():
            return ["cast", index[part.operand], part.dtype]
        case Product():
            return ["product", index[part.left], index[part.right], part.space, part.is_transposed]
        case Factor():
            return ["factor", index[part.operand], part.rank, part.side, list(part.shape)]
        case Joined():
            return ["joined", [[c.numerator, c.denominator, index[x]] for c, x in part.terms], part.axis]


def _view(part: Read, files: Mapping[str, int]) -> Entry:
    """What a read has beyond its bytes; nothing, mostly."""
    if part.rows is None and part.scale is None:
        return []
    rows = None if part.rows is None else [[list(run) for run in part.rows.runs], part.rows.own]
    scale = part.scale
    blocks = scale and [files[scale.path], scale.dtype, scale.offset, list(scale.shape), list(scale.block)]
    return [rows, blocks]


def _viewed(view: Entry, files: Sequence[str]) -> tuple[RowMap | None, BlockScale | None]:
    if not view:
        return None, None
    rows, blocks = view
    scale = blocks and BlockScale(files[int(blocks[0])], blocks[1], blocks[2], tuple(blocks[3]), tuple(blocks[4]))
    return rows and row_runs([(first, count) for first, count in rows[0]], rows[1]), scale


def _decode(entry: Entry, made: list[Any], files: Sequence[str]) -> Encoded:
    match entry:
        case ["read", file, offset, nbytes, name, dtype, shape, space, *view]:
            return read(files[int(file)], name, dtype, tuple(shape), offset, nbytes, space, *_viewed(view, files))
        case ["linear", terms, space]:
            return linear([(Fraction(n, d), made[x]) for n, d, x in terms], space)
        case ["apply", kernel, operands, parameters, space, beside]:
            stats = [made[x] for x in beside if isinstance(made[x], Stat)]
            drawn = next((made[x] for x in beside if isinstance(made[x], Noise)), None)
            return apply(kernel, [made[x] for x in operands], [tuple(p) for p in parameters], space, stats, drawn)
        case ["stat", kind, operands, parameters, None]:
            return stat(kind, [made[x] for x in operands], [tuple(p) for p in parameters])
        case ["stat", kind, [], parameters, over]:
            return model_stat(kind, made[over], [tuple(p) for p in parameters])
        case ["noise", key]:
            return noise(key)
        case ["population", members]:
            return population([(made[x], tuple(shape)) for x, shape in members])
        case ["cast", operand, dtype]:
            return cast(made[operand], dtype)
        case ["product", left, right, space, is_transposed]:
            return product(made[left], made[right], space, is_transposed=is_transposed)
        case ["factor", operand, rank, side, shape]:
            return factor(made[operand], rank, side, tuple(shape))
        case ["joined", terms, axis]:
            return joined([(Fraction(n, d), made[x]) for n, d, x in terms], axis)
        case _:
            raise ValueError(f"unknown entry {entry[:1]}")


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
        "path": output.place,
        "space": output.space,
        "files": [{"name": file.name, "bytes": file.file_bytes} for file in layout.files],
        "tensors": [
            {
                "name": t.name,
                "dtype": t.dtype.code,
                "shape": list(layout.specs[t.name].shape),
                "expression": root,
                "file": layout.file_of[t.name],
                "offset": layout.files[layout.file_of[t.name]].offsets[t.name],
            }
            for t, root in zip(output.tensors, roots, strict=True)
        ],
    }


def output_digests(plan: Plan, output: Output) -> tuple[str, str]:
    """What is computed, hashed, which is the same wherever the inputs lie; and what the bytes of the output depend on,
    hashed: that, and the identities of the inputs.

    Paths, budget, tiles, threads and executor are in neither. The executor adds the torch version and the device, which
    the plan does not know.
    """
    expressions = [tensor.root for tensor in output.tensors]
    below = _with_populations(expressions, set())
    files = list(dict.fromkeys(path for part in below if isinstance(part, Read) for path in part.paths))
    identities = {file.path: file.identity for file in plan.inputs}
    table, roots = encode_expressions(expressions, files)
    described = {
        "numeric_version": NUMERIC_VERSION,
        "seed": plan.seed,
        "expressions": table,
        "roots": roots,
        "files": [[file.name, hashlib.sha256(file.header).hexdigest()] for file in output.layout.files],
        "config": output.sidecars.config,
    }
    computed = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    named = [computed, *(identities[path] for path in files)]
    return computed, hashlib.sha256(json.dumps(named).encode()).hexdigest()
