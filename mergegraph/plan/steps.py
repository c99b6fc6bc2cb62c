"""What one tile goes through: reads, arithmetic, kernels and stores on a few numbered slots. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

from mergegraph.expr import Value
from mergegraph.methods.kernel import Granularity


@dataclass(frozen=True, slots=True)
class Fetch:
    """slot = the elements of read number `read`, stored as `dtype` (a safetensors code), in the compute dtype."""

    slot: int
    read: int
    dtype: str


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
class Reduce:
    """The elements of `sources` enter reduction number `stat`."""

    stat: int
    sources: tuple[int, ...]


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


Step = Fetch | Zero | Scaled | Accumulate | Call | Reduce | Store | Copy


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
    """

    passes: tuple[tuple[Step, ...], ...]
    slots: int
    double: bool
    raw_bits: int
    out_bits: int
    reductions: tuple[Reduction, ...] = ()
    granularity: Granularity = "element"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all passes in a row."""
        return tuple(step for each in self.passes for step in each)

    def fed_in(self, index: int) -> tuple[int, ...]:
        """The reductions that pass `index` feeds."""
        return tuple(n for n, r in enumerate(self.reductions) if r.first_pass <= index < r.first_pass + r.passes)
