"""Which singular values are found, tensor by tensor, and what that takes of the budget. Computes nothing.

A pass of its own after the other statistics: every worker holds one matrix, the change of one source after the other
and last that of the result, and for each source that was looked at the leading directions. A matrix that does not fit
is left out with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from mergegraph.dtypes import BY_CODE
from mergegraph.expr import Expr, Product, Read, linear
from mergegraph.plan.extent import Extent, extent
from mergegraph.plan.groups import Place
from mergegraph.plan.groups import read_bytes as bytes_read
from mergegraph.plan.memory import WORKER_BYTES, histogram_bytes, record_bytes, tile_shape
from mergegraph.plan.plan import Plan
from mergegraph.plan.program import Computation, computation, granularity_of
from mergegraph.plan.projecting import workspace_bytes
from mergegraph.plan.survey import Looked
from mergegraph.stats.floors import ROUNDING
from mergegraph.stats.spectral import DIRECTIONS, SKETCH
from mergegraph.units import format_bytes
from mergegraph.walking import reads, walk_parts

BLOCK_ELEMENTS = 1 << 20
"""Of the matrix so many elements, or one row, are converted to float64 at a time."""
PACKED_BYTES = 8 << 20
"""What products of matrices take for themselves."""
_SINGLE, _DOUBLE = 4, 8
_FACTORS = 4
"""Tall matrices of `SKETCH` columns that are held at once, at most, for each side: the one that is worked on, and the
copies that a QR factorisation makes of it."""


@dataclass(frozen=True, slots=True)
class Change:
    """τ of one source, or of the result. `rounding`: the relative root mean square of rounding to the dtype that the
    source is stored in, None where that is not known; `is_of_weights`: it is of the full weights W0 + τ, not of τ."""

    computation: Computation
    cut: Extent
    rounding: float | None
    is_of_weights: bool

    @property
    def tile_elements(self) -> int:
        """What is computed at a time: one leaf."""
        return min(self.cut.leaf, self.cut.elements)


@dataclass(frozen=True, slots=True)
class Matrix:
    """One tensor: the changes of its sources, and of the result where one is made. `nbytes`: what a worker takes."""

    place: Place
    rows: int
    columns: int
    sources: tuple[Change, ...]
    result: Change | None
    nbytes: int

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.sources if self.result is None else (*self.sources, self.result)

    @property
    def read_bytes(self) -> int:
        return sum(bytes_read(change.computation) for change in self.changes)


@dataclass(frozen=True, slots=True)
class Spectra:
    """`skipped`: of the tensors that are measured otherwise, those without singular values, and why."""

    matrices: tuple[Matrix, ...]
    skipped: Mapping[Place, str]
    workers: int
    budget_bytes: int

    @property
    def read_bytes(self) -> int:
        return sum(matrix.read_bytes for matrix in self.matrices)

    @property
    def pool_bytes(self) -> int:
        """What all workers together may take: fewer of them work while matrices are large."""
        largest = max((matrix.nbytes for matrix in self.matrices), default=0)
        return min(self.budget_bytes, self.workers * largest)


def plan_spectra(plan: Plan) -> Spectra:
    """Of all tensors that the plan measures."""
    matrices: list[Matrix] = []
    skipped: dict[Place, str] = {}
    kept = sum([record_bytes(len(looked.feed)) for survey in plan.surveys for looked in survey.tensors])
    budget = plan.projection.budget_bytes - kept
    for index, survey in enumerate(plan.surveys):
        for number, looked in enumerate(survey.tensors):
            place = index, number
            if looked.skipped:
                continue
            if reason := _no_matrix(looked.shape):
                skipped[place] = reason
                continue
            matrix = _matrix(place, looked)
            if matrix.nbytes > budget:
                skipped[place] = _too_large(matrix.nbytes, kept, budget)
            else:
                matrices.append(matrix)
    return Spectra(tuple(matrices), skipped, plan.projection.workers, budget)


def _no_matrix(shape: tuple[int, ...]) -> str:
    if len(shape) != 2:
        return "it is no matrix" if len(shape) < 2 else f"it has {len(shape)} dimensions, and is no single matrix"
    return "" if shape[0] and shape[1] else "it has no elements"


def _too_large(nbytes: int, kept: int, budget: int) -> str:
    return (
        f"its singular values take {format_bytes(nbytes)}, and of the budget {format_bytes(max(budget, 0))} are free: "
        f"--budget {-(-(nbytes + kept) // 2**20)}MiB"
    )


def _matrix(place: Place, looked: Looked) -> Matrix:
    rows, columns = looked.shape
    sources = tuple([_change(change, looked) for change in looked.changes])
    matrix = Matrix(place, rows, columns, sources, _result(looked), 0)
    nbytes = matrix_bytes(rows, columns, len(matrix.changes)) + max(map(_tile_bytes, matrix.changes)) + WORKER_BYTES
    return replace(matrix, nbytes=nbytes)


def _tile_bytes(change: Change) -> int:
    """What computing a change takes, one leaf at a time."""
    program = change.computation.program
    shape = tile_shape([program])
    return shape.tile_set_bytes(change.tile_elements) + workspace_bytes(program, change.cut) + histogram_bytes(program)


def _result(looked: Looked) -> Change | None:
    """τ*, before it is rounded. What rounding of the sources is left in it is not known: it depends on the recipe."""
    if looked.result is None:
        return None
    before = [] if looked.base is None else [(-Fraction(1), looked.base)]
    change = linear([(Fraction(1), looked.result), *before], "delta")
    return Change(computation([], [(change,)]), extent(looked.shape, granularity_of(*walk_parts(change))), None, True)


def _change(change: Expr, looked: Looked) -> Change:
    cut = extent(looked.shape, granularity_of(*walk_parts(change)))
    base = set(reads(looked.base)) if looked.base is not None else set[Read]()
    every = list(reads(change))
    own = [read for read in every if read not in base] or every
    if any(isinstance(part, Product) for part in walk_parts(change)):
        # What factors make is rounded by nobody but the product itself.
        return Change(computation([], [(change,)]), cut, ROUNDING["float32"], False)
    known = [ROUNDING.get(BY_CODE[read.dtype].torch_name) if read.scale is None else None for read in own]
    sizes = [each for each in known if each is not None]
    rounding = max(sizes, default=0.0) if len(sizes) == len(known) else None
    return Change(computation([], [(change,)]), cut, rounding, not base or not base.isdisjoint(every))


def matrix_bytes(rows: int, columns: int, sources: int) -> int:
    """The matrix in float32; factors of it, the last of them in float64, with a block; and what is kept of sources."""
    sides = rows + columns
    width, kept = min(SKETCH, rows, columns), min(DIRECTIONS, rows, columns)
    block = max(BLOCK_ELEMENTS, columns) * _DOUBLE + PACKED_BYTES
    return _SINGLE * rows * columns + _DOUBLE * _FACTORS * sides * width + block + _SINGLE * sources * sides * kept
