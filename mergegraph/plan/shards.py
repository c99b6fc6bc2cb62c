"""The part of a plan that some of its output files take: what one of several workers, or machines, computes.

A shard is one file of one output, written by one worker. Pure; a part of a plan is a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from mergegraph.expr import Read
from mergegraph.plan.groups import gatherings, group_outputs
from mergegraph.plan.plan import Output, Plan
from mergegraph.tensors.layout import Layout
from mergegraph.walking import reads


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """A file of an output, by their indices: `file` in the layout of `output`."""

    output: int
    file: int


def shards_of(plan: Plan) -> tuple[Shard, ...]:
    """Every file that the plan writes, output by output."""
    return tuple(
        [
            Shard(output, file)
            for output, each in enumerate(plan.outputs)
            for file in range(len(each.layout.files))
        ]
    )  # fmt: skip


def only(plan: Plan, chosen: Collection[Shard]) -> Plan:
    """The plan of some shards: their tensors, what those read, the statistics of populations they need.

    Tensors that share reads with ones of other shards read them anew. The projection stays: it can only be too large.
    Integer tensors are compared, and statistics kept, where the whole is finished.
    """
    files = [{shard.file for shard in chosen if shard.output == index} for index in range(len(plan.outputs))]
    outputs = tuple([_part(output, kept) for output, kept in zip(plan.outputs, files, strict=True) if kept])
    gathered = gatherings([output.tensors for output in outputs])
    groups = group_outputs(outputs)
    needed = {path for read in _all_reads(outputs) for path in read.paths}
    needed |= {path for each in gathered for work, _ in each.members for read in work.reads for path in read.paths}
    return replace(
        plan,
        inputs=tuple([file for file in plan.inputs if file.path in needed]),
        outputs=outputs,
        gatherings=gathered,
        groups=groups,
        comparisons=(),
        surveys=(),
    )


def _all_reads(outputs: Sequence[Output]) -> list[Read]:
    return list(reads(*[tensor.root for output in outputs for tensor in output.tensors]))


def _part(output: Output, files: set[int]) -> Output:
    """The output with some of its files; their names and headers are those of the whole."""
    whole = output.layout
    order = sorted(files)
    position = {file: index for index, file in enumerate(order)}
    file_of = {name: position[file] for name, file in whole.file_of.items() if file in position}
    specs = {name: whole.specs[name] for name in file_of}
    total = sum([spec.nbytes for spec in specs.values()])
    layout = Layout(tuple([whole.files[file] for file in order]), file_of, specs, total, whole.index_name)
    return replace(output, layout=layout, tensors=tuple([each for each in output.tensors if each.name in file_of]))
