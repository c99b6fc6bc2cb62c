"""Output tensors that share stored tensors are computed together; so are the members of a population, in advance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from mergegraph.dtypes import DType
from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.expr import Expr, Linear, Part, Read, Stat
from mergegraph.plan.extent import Extent, extent
from mergegraph.plan.program import Computation, computation, computes_in_double, extent_of
from mergegraph.plan.steps import reads_of
from mergegraph.plan.survey import Looked, Survey
from mergegraph.statistic import phases
from mergegraph.tensors.layout import Layout
from mergegraph.walking import populations, reads, walk, walk_parts

Place = tuple[int, int]
"""(output, tensor) indices."""


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of an output: what it is made of (`Cast`, or `Read` for a byte copy), and what that takes.

    `shared` are the statistics of populations that it looks at itself. `made_by`: the node that made each part of the
    expression below its cast, in the order of `walk_parts`; empty where that is not known.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    root: Expr
    reads: tuple[Read, ...]
    shared: tuple[Stat, ...] = ()
    cut: Extent = field(default_factory=lambda: extent((), "element"))
    made_by: tuple[str, ...] = ()

    @property
    def element_count(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def is_copy(self) -> bool:
        return isinstance(self.root, Read)


def output_tensor(
    name: str, dtype: DType, shape: tuple[int, ...], root: Expr, made_by: tuple[str, ...] = ()
) -> OutputTensor:
    """The tensor with what its expression takes."""
    below: list[Part] = list(walk_parts(root))
    needed = tuple([part for part in below if isinstance(part, Read)])
    shared = tuple([part for part in below if isinstance(part, Stat) and part.population is not None])
    return OutputTensor(name, dtype, shape, root, needed, shared, extent_of(root, shape, *below), made_by)


@dataclass(frozen=True, slots=True)
class Group:
    """Output tensors that share reads and so are computed together, tile by tile. `measured`: those whose statistics
    are kept, each of which feeds accumulators of its own (`Looked.feeds`)."""

    members: tuple[Place, ...]
    extent: Extent
    computation: Computation
    measured: tuple[Place, ...] = ()

    @property
    def element_count(self) -> int:
        return self.extent.elements


@dataclass(frozen=True, slots=True)
class Gathering:
    """A statistic of a population: what each member is computed by, and how often all are gone through."""

    stat: Stat
    passes: int
    members: tuple[tuple[Computation, Extent], ...]


def read_bytes(work: Computation) -> int:
    """Bytes that a computation reads: each stored tensor once in every pass that needs it."""
    total = 0
    for steps in work.program.passes:
        total += sum(work.reads[n].fetched_bytes for n in {n for step in steps for n in reads_of(step)})
    return total


def gatherings(outputs: Sequence[Sequence[OutputTensor]]) -> tuple[Gathering, ...]:
    """The statistics of populations that tensors need, those that others need first."""
    wanted = dict.fromkeys(stat for tensors in outputs for tensor in tensors for stat in tensor.shared)
    ordered: dict[Stat, None] = {}
    for stat in wanted:
        assert stat.population is not None
        ordered |= dict.fromkeys(populations(*(expr for expr, _ in stat.population.members)))
        ordered[stat] = None
    return tuple([_gathering(stat) for stat in ordered])


def _gathering(stat: Stat) -> Gathering:
    """One compute dtype for all members: a rank is found among equal bits."""
    assert stat.population is not None
    exprs = [expr for expr, _ in stat.population.members]
    double = computes_in_double(reads(*exprs))
    members = [
        (computation([], [(expr,)], double=double), extent_of(expr, shape)) for expr, shape in stat.population.members
    ]
    return Gathering(stat, phases(stat.kind, 64 if double else 32), tuple(members))


class Grouped(Protocol):
    """What `group_outputs` needs of an output (`mergegraph.plan.plan.Output`)."""

    @property
    def computed_by(self) -> str: ...
    @property
    def at(self) -> Location: ...
    @property
    def tensors(self) -> tuple[OutputTensor, ...]: ...
    @property
    def layout(self) -> Layout: ...


def group_outputs(
    outputs: Sequence[Grouped], surveys: Sequence[Survey] = (), *, writes: bool = True
) -> tuple[Group, ...]:
    """Output tensors that share a stored tensor, in any save, form one group: it is read once.

    Copies and computed tensors are grouped apart, and so are float32 and float64, elements, rows and matrices, and
    tensors that are cut in other ways: what a tensor's bytes are never depends on what else is saved. RecipeError for
    a number beyond its dtype.

    `surveys`, one for each output, are fed in the last pass; not `writes`, and nothing else happens there.
    """
    leader: dict[tuple[object, Read], int] = {}
    parent: list[int] = []
    places: list[Place] = []

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
            way = "copy" if tensor.is_copy else (computes_in_double(tensor.reads), tensor.cut)
            for read in tensor.reads:
                parent[find(index)] = find(leader.setdefault((way, read), index))
    members: dict[int, list[Place]] = {}
    for index, place in enumerate(places):
        members.setdefault(find(index), []).append(place)
    ordered = sorted(members.values(), key=lambda group: _position(outputs, group[0]))
    groups = [_group(outputs, tuple(group), surveys, writes) for group in ordered]
    return tuple([group for group in groups if writes or group.measured])


def _group(outputs: Sequence[Grouped], members: tuple[Place, ...], surveys: Sequence[Survey], writes: bool) -> Group:
    tensors = [outputs[output].tensors[tensor] for output, tensor in members]
    measured = tuple([place for place in members if surveys and not looked_at(surveys, place).skipped])
    feeds = [feed for place in measured for feed in looked_at(surveys, place).feeds]
    try:
        work = computation([tensor.root for tensor in tensors] if writes else [], feeds)
    except OverflowError:
        worst = max(members, key=lambda place: _largest_coefficient(outputs[place[0]].tensors[place[1]]))
        raise RecipeError(_overflow(outputs[worst[0]], outputs[worst[0]].tensors[worst[1]])) from None
    return Group(members, tensors[0].cut, work, measured)


def looked_at(surveys: Sequence[Survey], place: Place) -> Looked:
    """What the statistics of a tensor look at."""
    return surveys[place[0]].tensors[place[1]]


def model_groups(survey: Survey) -> tuple[Group, ...]:
    """The tensors of models that are only looked at, one after the other."""
    return tuple(
        [
            Group((), extent(looked.shape, "element"), computation([], [looked.feed]), ((0, index),))
            for index, looked in enumerate(survey.tensors)
            if not looked.skipped
        ]
    )


def _position(outputs: Sequence[Grouped], place: Place) -> tuple[int, int, int]:
    """Where a tensor lies: its file and offset, then its output, so that saves advance side by side."""
    output, tensor = place
    layout, name = outputs[output].layout, outputs[output].tensors[tensor].name
    file = layout.file_of[name]
    return file, layout.files[file].offsets[name], output


def _largest_coefficient(tensor: OutputTensor) -> Fraction:
    sums = [expr for expr in walk(tensor.root) if isinstance(expr, Linear)]
    return max((abs(coefficient) for each in sums for coefficient, _ in each.terms), default=Fraction(0))


def _overflow(output: Grouped, tensor: OutputTensor) -> Problem:
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
