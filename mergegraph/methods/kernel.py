"""What computes tiles: a class with a name, what it takes, and `tile`.

    element  the result at an element depends on the operands there, the parameters, the statistics and the noise
    row      tiles are whole rows, given as [rows, elements a row]; a tensor of one dimension is one row, and the rows
             of a 3-D stack are those of its matrices
    matrix   a tile is a whole matrix [rows, columns]: a slice of a 3-D stack, a convolution as [out, -1]

Methods are such classes, pieces are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Granularity = Literal["element", "row", "matrix"]

Loss = Literal["", "trim", "election", "drop"]
"""What a kernel takes from its operands that `stats` tells of.

trim      the result is the first operand where that is kept, times the parameter `scale`, and 0 elsewhere
election  of each operand only the elements count whose sign is the elected one (see `methods.electing`)
drop      each element of the operand is kept with probability `density`, times `scale`
"""


class Kernel(Protocol):
    """What a tile kernel is given. Tiles are of one shape (1-D for "element") and one dtype: float32, or float64."""

    ops: Any
    """The torch module."""
    out: Tensor
    """Where the result goes; holds nothing yet."""
    p: Any
    """The parameters by name: plain numbers, strings and booleans."""
    stats: Sequence[Any]
    """The statistics that were asked for, in order: sums as floats, thresholds as `statistic.Threshold`."""

    def scratch(self) -> Tensor:
        """One more tile; at most `scratch` of the kernel's class."""
        ...

    def uniform(self, out: Tensor) -> Tensor:
        """`out` filled with random numbers in [0, 1), a multiple of 2^-24 each, that belong to the elements."""
        ...

    def draw_equal(self, operand: Tensor, size: float, share: float) -> None:
        """Copy to `self.out` the elements of magnitude `size` whose random number (see `uniform`) is below `share`."""
        ...


class Piece:
    """A kernel that methods build on and that is no operation by itself. `name` is its name in plans."""

    name: ClassVar[str]
    scratch: ClassVar[int] = 0
    granularity: ClassVar[Granularity] = "element"
    loses: ClassVar[Loss] = ""
    only_counted: ClassVar[bool] = False
    """Whether only statistics look at its result, which is then computed where they do."""
    in_pieces: ClassVar[bool] = False
    """Whether `tile` takes any part of a tile and uses only what `execute.recording` lists: it then runs compiled."""

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        """Compute `k.out` from one tile of each operand. Operands are not written to."""
        raise NotImplementedError

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        """Elements of the compute dtype that a matrix kernel takes beyond its slots and scratch."""
        return 0
