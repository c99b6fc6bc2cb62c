"""A part of a plan as JSON and back: what a worker elsewhere gets. Kilobytes a shard: no tensor and no credential.

What follows from the rest (groups, tiles) is computed again there; inputs carry the identities they must still have.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from mergegraph.dtypes import BY_CODE
from mergegraph.errors import Location
from mergegraph.expr import Expr, Stat
from mergegraph.plan.encode import decode_expressions, encode_expressions
from mergegraph.plan.groups import OutputTensor, gatherings, group_outputs, output_tensor
from mergegraph.plan.plan import InputFile, Output, Plan, Sidecars, default_workers
from mergegraph.plan.projecting import projection
from mergegraph.statistic import Found, Threshold
from mergegraph.tensors.layout import FileLayout, Layout, TensorSpec

VERSION = 1


@dataclass(frozen=True)
class Task:
    """A plan of some shards, with the key of each output, and the statistics of whole models that are known."""

    plan: Plan
    keys: tuple[Mapping[str, object], ...]
    populations: Mapping[Stat, Found] = field(default_factory=dict[Stat, Found])


def task_json(task: Task) -> dict[str, Any]:
    """The task as JSON values. Statistics of whole models are left out where their numbers are known: their members
    stay, which say what the numbers are of."""
    plan = task.plan
    files = [file.path for file in plan.inputs]
    table, roots = encode_expressions([t.root for output in plan.outputs for t in output.tensors], files)
    remaining = iter(roots)
    return {
        "mergegraph_task": VERSION,
        "name": plan.name,
        "seed": plan.seed,
        "inputs": [[f.label, f.path, f.file_bytes, f.identity, f.reference] for f in plan.inputs],
        "expressions": table,
        "outputs": [_output_json(output, [next(remaining) for _ in output.tensors]) for output in plan.outputs],
        "keys": [dict(key) for key in task.keys],
        "budget_bytes": plan.projection.budget_bytes,
        "populations": [_found_json(task.populations.get(each.stat)) for each in plan.gatherings],
    }


def task_from_json(said: Mapping[str, Any], *, workers: int | None = None, budget_bytes: int | None = None) -> Task:
    """The task that `task_json` wrote. ValueError for another version; `workers` threads, of this machine unless
    given."""
    if said.get("mergegraph_task") != VERSION:
        raise ValueError(f"a task of version {said.get('mergegraph_task')}, and this engine takes {VERSION}")
    inputs = tuple([InputFile(*each) for each in said["inputs"]])
    roots = [root for output in said["outputs"] for root in output["roots"]]
    expressions = iter(decode_expressions(said["expressions"], roots, [file.path for file in inputs]))
    outputs = tuple([_output(each, [next(expressions) for _ in each["roots"]]) for each in said["outputs"]])
    groups, gathered = group_outputs(outputs), gatherings([output.tensors for output in outputs])
    budget = said["budget_bytes"] if budget_bytes is None else budget_bytes
    plan = Plan(
        name=said["name"],
        seed=said["seed"],
        recipe_text="",
        inputs=inputs,
        unread=(),
        outputs=outputs,
        gatherings=gathered,
        groups=groups,
        comparisons=(),
        projection=projection(groups, gathered, budget, workers or default_workers(groups)),
        warnings=(),
    )
    found = {each.stat: _found(value) for each, value in zip(gathered, said["populations"], strict=True) if value}
    return Task(plan, tuple(said["keys"]), found)


def _output_json(output: Output, roots: Sequence[int]) -> dict[str, Any]:
    layout = output.layout
    return {
        "node": output.node,
        "computed_by": output.computed_by,
        "at": [output.at.file, output.at.line],
        "path": str(output.path),
        "space": output.space,
        "index_name": layout.index_name,
        "files": [
            [file.name, base64.b64encode(file.header).decode(), file.file_bytes, dict(file.offsets)]
            for file in layout.files
        ],
        "stored": [[name, layout.file_of[name], s.dtype.code, list(s.shape)] for name, s in layout.specs.items()],
        "tensors": [[t.name, t.dtype.code, list(t.shape)] for t in output.tensors],
        "roots": list(roots),
    }


def _output(said: Mapping[str, Any], roots: Sequence[Expr]) -> Output:
    specs = {name: TensorSpec(name, BY_CODE[code], tuple(shape)) for name, _, code, shape in said["stored"]}
    files = tuple([FileLayout(name, base64.b64decode(head), size, at) for name, head, size, at in said["files"]])
    layout = Layout(
        files=files,
        file_of={name: file for name, file, _, _ in said["stored"]},
        specs=specs,
        total_bytes=sum([spec.nbytes for spec in specs.values()]),
        index_name=said["index_name"],
    )
    return Output(
        node=said["node"],
        computed_by=said["computed_by"],
        at=Location(*said["at"]),
        path=Path(said["path"]),
        space=said["space"],
        tensors=tuple([_tensor(each, root) for each, root in zip(said["tensors"], roots, strict=True)]),
        layout=layout,
        sidecars=Sidecars({}, (), "", (), ""),
    )


def _tensor(said: Sequence[Any], root: Expr) -> OutputTensor:
    name, code, shape = said
    return output_tensor(name, BY_CODE[code], tuple(shape), root)


def _found_json(found: Found | None) -> list[Any] | None:
    """A number as it is, exactly: a float's shortest text is read back as the same float."""
    if found is None:
        return None
    if isinstance(found, Threshold):
        value = "inf" if found.value == inf else found.value
        return ["threshold", value, found.above, found.equal, found.wanted]
    return ["number", found]


def _found(said: Sequence[Any]) -> Found:
    if said[0] == "threshold":
        return Threshold(float(said[1]), *[int(count) for count in said[2:]])
    return float(said[1])
