"""The Plan: what a run will read, compute, write and hold in memory, as one frozen value.

Made from a resolved graph without torch; shown as text or JSON (`plan/text.py`, `plan/encode.py`); run by
`mergegraph.execute`. An infeasible plan can still be built and shown: `validate` raises.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from mergegraph.dtypes import DType
from mergegraph.errors import DoesNotFit, Location, Problem, RecipeError, raise_errors
from mergegraph.expr import Expr, Linear, Read, Space, walk
from mergegraph.plan.compile import Comparison
from mergegraph.plan.memory import DEFAULT_BUDGET, Projection, project, tile_shape
from mergegraph.plan.program import Computation, computation, computes_in_double
from mergegraph.tensors.layout import Layout
from mergegraph.units import format_bytes

NUMERIC_VERSION = 1
"""Changes when the engine would give other bytes for the same plan; part of every result id."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that the run reads, with the identity it must still have then. `label` is the node that loads it."""

    label: str
    path: str
    file_bytes: int
    identity: str


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of an output: what it is made of (`Cast`, or `Read` for a byte copy), and what that reads."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    root: Expr
    reads: tuple[Read, ...]

    @property
    def element_count(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def is_copy(self) -> bool:
        return isinstance(self.root, Read)


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The files beside the weights. `copies` are (name, source path); `config` is config.json as it will be.

    `licence` is what the cards of all inputs agree on, "" where they do not.
    """

    config: Mapping[str, Any]
    copies: tuple[tuple[str, str], ...]
    chat_template: str
    base_models: tuple[str, ...]
    licence: str


@dataclass(frozen=True)
class Output:
    """One save: where it goes, its tensors in storage order, how they lie in its files."""

    node: str
    computed_by: str
    at: Location
    path: Path
    space: Space
    tensors: tuple[OutputTensor, ...]
    layout: Layout
    sidecars: Sidecars


@dataclass(frozen=True, slots=True)
class Group:
    """Output tensors that share reads and so are computed together, tile by tile: (output, tensor) indices."""

    members: tuple[tuple[int, int], ...]
    element_count: int


@dataclass(frozen=True)
class Plan:
    """Everything a run needs. `groups` are in the order they run: by output file, inputs read forward.

    `unread` are load nodes that no output needs a byte of, because they cancel out.
    """

    name: str
    seed: int
    recipe_text: str
    inputs: tuple[InputFile, ...]
    unread: tuple[str, ...]
    outputs: tuple[Output, ...]
    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    projection: Projection
    warnings: tuple[Problem, ...]

    def roots(self, group: Group) -> list[Expr]:
        """The expressions of a group, in order."""
        return [self.outputs[output].tensors[tensor].root for output, tensor in group.members]

    def reads(self, group: Group) -> set[Read]:
        """The stored tensors that a group needs."""
        return {read for output, tensor in group.members for read in self.outputs[output].tensors[tensor].reads}

    def without(self, nodes: Sequence[str]) -> Plan:
        """The plan of the other outputs; the projection stays, since it can only be too large."""
        if not nodes:
            return self
        outputs = tuple(output for output in self.outputs if output.node not in nodes)
        return replace(self, outputs=outputs, groups=group_outputs(outputs))

    @cached_property
    def read_bytes(self) -> int:
        """Bytes of tensors that the run reads: each shared read once."""
        return sum(sum(read.nbytes for read in self.reads(group)) for group in self.groups)

    @cached_property
    def write_bytes(self) -> int:
        return sum(output.layout.total_bytes for output in self.outputs)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why the plan cannot run as it is."""
        needed, budget = self.projection.pool_bytes, self.projection.budget_bytes
        if needed <= budget:
            return ()
        worst = max(self.outputs, key=lambda output: len(output.tensors))
        return (
            Problem(
                f"The plan needs {format_bytes(needed)}; the budget is {format_bytes(budget)}.",
                at=worst.at,
                node=worst.computed_by,
                why=f"one worker with the smallest tile ({self.projection.tile_elements:,} elements) holds that much",
                fix=f"--budget {-(-needed // 2**20)}MiB",
            ),
        )

    def validate(self) -> None:
        """DoesNotFit when the plan cannot run inside its budget."""
        raise_errors(self.problems, DoesNotFit)


def group_outputs(outputs: Sequence[Output]) -> tuple[Group, ...]:
    """Output tensors that share a stored tensor, in any save, form one group: it is read once.

    Copies and computed tensors are grouped apart, and float32 from float64, so that what a tensor's bytes are
    never depends on what else is saved.
    """
    leader: dict[tuple[str, Read], int] = {}
    parent: list[int] = []
    places: list[tuple[int, int]] = []

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for output_index, output in enumerate(outputs):
        for tensor_index, tensor in enumerate(output.tensors):
            index = len(parent)
            parent.append(index)
            places.append((output_index, tensor_index))
            way = "copy" if tensor.is_copy else "double" if computes_in_double(tensor.reads) else "single"
            for read in tensor.reads:
                parent[find(index)] = find(leader.setdefault((way, read), index))
    members: dict[int, list[tuple[int, int]]] = {}
    for index, place in enumerate(places):
        members.setdefault(find(index), []).append(place)
    return tuple(
        Group(tuple(group), outputs[group[0][0]].tensors[group[0][1]].element_count)
        for group in sorted(members.values(), key=lambda group: _position(outputs, group[0]))
    )


def _position(outputs: Sequence[Output], place: tuple[int, int]) -> tuple[int, int, int]:
    """Where a tensor lies: its file and offset, then its output, so that saves advance side by side."""
    output, tensor = place
    layout, name = outputs[output].layout, outputs[output].tensors[tensor].name
    file = layout.file_of[name]
    return file, layout.files[file].offsets[name], output


def default_budget() -> int:
    """The smaller of 2 GiB and a quarter of the memory that is free now, in bytes."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return DEFAULT_BUDGET
    return min(DEFAULT_BUDGET, free // 4)


def default_workers() -> int:
    """One worker for each processor this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def projection(outputs: Sequence[Output], groups: Sequence[Group], budget_bytes: int, workers: int) -> Projection:
    """The tile and worker count for these outputs inside the budget. RecipeError for a number beyond its dtype."""
    largest = max((group.element_count for group in groups), default=1)
    programs = {_computation(outputs, group).program for group in groups}
    return project(tile_shape(programs), budget_bytes, workers, largest)


def _computation(outputs: Sequence[Output], group: Group) -> Computation:
    places = [(outputs[output], outputs[output].tensors[tensor]) for output, tensor in group.members]
    try:
        return computation([tensor.root for _, tensor in places])
    except OverflowError:
        raise RecipeError(_overflow(*max(places, key=lambda place: _largest_coefficient(place[1])))) from None


def _largest_coefficient(tensor: OutputTensor) -> Fraction:
    sums = [expr for expr in walk(tensor.root) if isinstance(expr, Linear)]
    return max((abs(coefficient) for each in sums for coefficient, _ in each.terms), default=Fraction(0))


def _overflow(output: Output, tensor: OutputTensor) -> Problem:
    """A coefficient that its compute dtype cannot hold; Decimal shows it, since it may be beyond a float."""
    number, dtype = _largest_coefficient(tensor), "float64" if computes_in_double(tensor.reads) else "float32"
    return Problem(
        f"A coefficient of {Decimal(number.numerator) / number.denominator:.3g} is beyond {dtype}.",
        at=output.at,
        node=output.computed_by,
        tensor=tensor.name,
        why="the numbers of nested nodes multiply, and a soup divides by the sum of its weights",
        fix="use smaller numbers, or weights whose sum is further from zero",
    )
