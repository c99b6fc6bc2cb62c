"""What was counted of every tensor, as it is kept beside an output. Sums only: whatever is shown follows from them.

For a tensor with n elements, W0 is the base, τ_i = W_i − W0 the change of source i, and τ* = W* − W0 that of the
result, before it is rounded; all as the merge computes them, sums in float64. Without a base τ_i is W_i itself.

The Gram matrix and the counts of what is not finite and of what overflowed are of every element. All else is of a fixed
sample of a large tensor (`TensorRecord.counted` elements), scaled up to the whole of it. What is not finite counts as
zero in sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mergegraph.naming import Role, role
from mergegraph.stats.adding import added

FORMAT = 1
"""Of the file; a reader refuses any other."""


@dataclass(frozen=True, slots=True)
class Change:
    """One τ: its sums over the finite elements.

    `exponents`: of the elements that are not zero, by the exponent e of the float (2^e ≤ |x| < 2^(e+1)), how many
    there are and their share of Σ x².
    """

    total: float
    """Σ x."""
    absolute: float
    """Σ |x|."""
    third: float
    """Σ x³."""
    fourth: float
    """Σ x⁴."""
    largest: float
    """max |x|."""
    zeros: int
    nonfinite: int
    exponents: Mapping[int, tuple[int, float]]
    """Exponent to (count, Σ x²)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """τ_i against τ_j, i < j: elements where both are not zero, and those of them where the signs differ."""

    both: int
    opposite: int


@dataclass(frozen=True, slots=True)
class Together:
    """All τ_i at once: Σ_n |Σ_i τ_i|, and for each i how often |τ_i| is the largest (the first of equals counts; an
    element where all are zero has no winner)."""

    absolute_of_sum: float
    winners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the result.

    `outside`: elements outside [min_i W_i, max_i W_i] over the sources (and the base).
    `cast_error`: Σ (cast(W*) − W*)².
    `rounded_away`: elements with cast(W*) = cast(W0) although τ* ≠ 0.
    `overflowed`: finite elements of W* that the dtype cannot hold, of all elements. They have no part in `cast_error`
    where they become infinite.
    """

    outside: int
    cast_error: float
    rounded_away: int
    overflowed: int = 0


@dataclass(frozen=True, slots=True)
class Mass:
    """Σ |x| of what comes into the steps of a kind, and of what they leave of it, before it is scaled again."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What dropping elements at random is expected to do to τ. `energy` is ‖τ‖².

    `variance`: (1 − d)/d · ‖τ‖² for the density d, the variance of what is kept where it is scaled to the mean τ.
    `error`: the mean of ‖y − τ‖² for what y is in this recipe, scaled as it says.
    """

    energy: float
    variance: float
    error: float


@dataclass(frozen=True, slots=True)
class Thinned:
    """What the recipe takes from one source on the way to the result; None for each where it has no such step. A step
    on several sources together counts for each of them, several steps are added up."""

    trim: Mass | None = None
    election: Mass | None = None
    drop: Forecast | None = None
    """None also where several steps drop."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The leading singular values of one τ_i, largest first, and what they leave.

    `outside`: Σ σ² of all others. `rounding`: what rounding to the stored dtype alone would have in Σ σ² of all; None
    where that is not known.
    """

    values: tuple[float, ...]
    outside: float
    rounding: float | None

    @property
    def energy(self) -> float:
        """‖τ‖² = Σ σ² of all singular values."""
        return added(value * value for value in self.values) + self.outside


@dataclass(frozen=True, slots=True)
class Overlap:
    """‖U_iᵀ U_j‖² / k of the leading `directions` k left singular vectors of two changes, and of the right ones."""

    directions: int
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Spectral:
    """Singular values of the changes of a matrix, one spectrum a source and one of the result, where one is made; and
    overlaps of sources i < j, where both changed. Nothing but `skipped` where that says why there are none."""

    sources: tuple[Spectrum, ...] = ()
    overlaps: Mapping[tuple[int, int], Overlap] = field(default_factory=dict[tuple[int, int], Overlap])
    result: Spectrum | None = None
    skipped: str = ""

    @property
    def changes(self) -> tuple[Spectrum, ...]:
        """Of the sources, then of the result."""
        return self.sources if self.result is None else (*self.sources, self.result)


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One tensor. `gram` is the upper triangle, row by row, of the inner products of W0, τ_1 … τ_k and, where there
    is a result, τ*; W0's row is zeros where there is no base.

    Of a tensor that was not looked at (integers, another shape) only name, dtype, shape and `skipped` say anything.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    gram: tuple[float, ...] = ()
    changes: tuple[Change, ...] = ()
    """Of the sources, then of the result."""
    pairs: Mapping[tuple[int, int], Pair] | None = None
    together: Together | None = None
    outcome: Outcome | None = None
    counted: int = 0
    """Of how many elements all but `gram` and `nonfinite` were found: of all, or of a sample of a large tensor."""
    skipped: str = ""
    """Why it was not looked at; empty where it was."""
    thinned: tuple[Thinned, ...] = ()
    """One a source; nothing where the recipe neither trims nor elects nor drops, or a sum is not finite."""
    spectral: Spectral | None = None
    """None where singular values were not asked for."""
    stored: tuple[str, ...] = ()
    """Torch's names of the dtypes in which the base and the sources lie on disk; "" for none, and for a change that is
    stored as such."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def role(self) -> Role:
        return role(self.name)


@dataclass(frozen=True, slots=True)
class Record:
    """The statistics of one merge, or of models against a base.

    `sources` are names as the recipe has them, in the order of τ_1 … τ_k. `base` is "" where there is none, and so is
    `result` where nothing is made.
    """

    base: str
    sources: tuple[str, ...]
    result: str
    tensors: tuple[TensorRecord, ...]
    recipe: str = ""
    problems: tuple[str, ...] = ()
    """Tensors that only some models have, or with other shapes or dtypes: one sentence each."""
