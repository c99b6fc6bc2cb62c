"""What one tile goes through: reads, arithmetic, kernels and stores on a few numbered slots. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mergegraph.expr import Value
from mergegraph.methods.kernel import Granularity
from mergegraph.statistic import CHUNK_ELEMENTS


@dataclass(frozen=True, slots=True)
class Fetch:
    """slot = the elements of read number `read`, stored as `dtype` (a safetensors code), in the compute dtype; times
    the numbers of their blocks where `is_scaled`."""

    slot: int
    read: int
    dtype: str
    is_scaled: bool = False


@dataclass(frozen=True, slots=True)
class Zero:
    """slot = 0."""

    slot: int


@dataclass(frozen=True, slots=True)
class Scaled:
    """slot = coefficient · source; slot may be source."""

    slot: int
    source: int
    coefficient: float


@dataclass(frozen=True, slots=True)
class Accumulate:
    """slot += coefficient · source."""

    slot: int
    source: int
    coefficient: float


@dataclass(frozen=True, slots=True)
class Call:
    """slot = the kernel `kernel` on `sources`, with `scratch` slots to use.

    `stats` and `noise` are numbers of the computation's statistics and noises.
    """

    slot: int
    kernel: str
    sources: tuple[int, ...]
    parameters: tuple[tuple[str, Value], ...]
    scratch: tuple[int, ...]
    stats: tuple[int, ...] = ()
    noise: int | None = None


@dataclass(frozen=True, slots=True)
class Multiply:
    """slot = rows of read `left` [n, rank] times read `right` [rank, m], or of the transpose of that.

    `columns` are the elements of a row of the result; `dtypes` those of the reads.
    """

    slot: int
    left: int
    right: int
    dtypes: tuple[str, str]
    rank: int
    columns: int
    is_transposed: bool


@dataclass(frozen=True, slots=True)
class Split:
    """slots `left` and `right` = the factors [rows, rank] and [rank, columns] of what approximates `source` best.

    `source` is a whole matrix of `shape`; the factors stand at the beginning of their slots.
    """

    left: int
    right: int
    source: int
    rank: int
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A matrix of `shape` times a number: a slot's first elements, or a whole read (then `dtype` is its)."""

    number: int
    shape: tuple[int, int]
    coefficient: float
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Join:
    """root number `root` = `pieces` one below the other (`axis` 0) or side by side (1), rounded to `dtype`."""

    root: int
    pieces: tuple[Piece, ...]
    axis: Literal[0, 1]
    dtype: str

    @property
    def shape(self) -> tuple[int, int]:
        """Of the result."""
        rows, columns = (tuple(piece.shape[i] for piece in self.pieces) for i in (0, 1))
        return (sum(rows), columns[0]) if self.axis == 0 else (rows[0], sum(columns))


@dataclass(frozen=True, slots=True)
class Reduce:
    """The elements of `sources` enter reduction number `stat`. `is_block`: the sources follow one another, and nobody
    needs the last afterwards. What is looked at as one matrix is copied where they do not."""

    stat: int
    sources: tuple[int, ...]
    is_block: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """root number `root` = slot, rounded to `dtype` (a safetensors code)."""

    root: int
    slot: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Copy:
    """root number `root` = the bytes of read number `read`, unchanged."""

    root: int
    read: int
    dtype: str


PIECE_ELEMENTS = 32_768
"""A piece of a program with more than a few slots, so that they stay in the second cache together; with few it is twice
as long. Every operation on a piece costs 1.7 microseconds beside its arithmetic: pieces of 16,384 take ties from 8.0 to
9.2 ns an element, of 8,192 to 12.8."""
_FEW_SLOTS = 4

Step = Fetch | Zero | Scaled | Accumulate | Call | Multiply | Split | Join | Reduce | Store | Copy


def reads_of(step: Step) -> tuple[int, ...]:
    """The numbers of the reads that a step reads."""
    match step:
        case Fetch(read=read) | Copy(read=read):
            return (read,)
        case Multiply(left=left, right=right):
            return left, right
        case Join(pieces=pieces):
            return tuple([piece.number for piece in pieces if piece.dtype])
        case _:
            return ()


@dataclass(frozen=True, slots=True)
class Reduction:
    """A statistic of the computation itself: its kind and parameters, and in which passes it is fed."""

    kind: str
    parameters: tuple[tuple[str, Value], ...]
    first_pass: int
    passes: int


@dataclass(frozen=True)
class Program:
    """Steps for one tile of some roots, pass by pass; all passes but the last feed statistics.

    `double`: computed in float64, else float32. `raw_bits` and `out_bits` are the widest element that is staged on
    the way in and out.

    `in_pieces`: a tile is read as a whole (`staged` has the bits of an element of everything that a pass reads) and
    computed in pieces that stay in the cache, then written (`stored`, of every root); slots are as long as a piece, and
    a pass takes `slots_of` it.

    `given`: from this number on reductions are the caller's, one for each of its feeds.

    `parts`: for each step of each pass the place of what it computes in `walk_parts` of the roots and feeds; -1 for a
    feed of the caller's. It follows from the outline, so it is that of every computation with this program.
    """

    passes: tuple[tuple[Step, ...], ...]
    slots: int
    double: bool
    raw_bits: int
    out_bits: int
    reductions: tuple[Reduction, ...] = ()
    granularity: Granularity = "element"
    in_pieces: bool = False
    slots_of: tuple[int, ...] = ()
    staged: tuple[int, ...] = ()
    stored: tuple[int, ...] = ()
    given: int = 0
    parts: tuple[tuple[int, ...], ...] = ()

    def piece(self, index: int) -> tuple[int, int]:
        """(slots, elements) of a piece in pass `index`: the pass's own slots, one where random numbers are drawn, and
        a block. Statistics are found in runs of a fixed length."""
        steps = self.passes[index]
        draws = any(isinstance(step, Call) and step.noise is not None for step in steps)
        reduces = any(isinstance(step, Reduce) for step in steps)
        slots = self.slots_of[index] + draws + self.block(index)
        return slots, CHUNK_ELEMENTS if reduces or slots <= _FEW_SLOTS else PIECE_ELEMENTS

    def block(self, index: int) -> int:
        """Slots of pass `index`, behind all others, that the sources of an accumulator are copied to."""
        wanted = [step for step in self.passes[index] if isinstance(step, Reduce) and step.stat >= self.given]
        return max((len(step.sources) for step in wanted if not step.is_block), default=0)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all passes in a row."""
        return tuple(step for each in self.passes for step in each)

    def fed_in(self, index: int) -> tuple[int, ...]:
        """The reductions that pass `index` feeds."""
        return tuple(n for n, r in enumerate(self.reductions) if r.first_pass <= index < r.first_pass + r.passes)
