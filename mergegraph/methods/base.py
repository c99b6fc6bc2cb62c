"""What a method is: one frozen class that is node, schema, form, documentation and kernel.

Fields annotated as edges (`Weights`, `Delta`, `Either`, alone or nested) are the node's inputs; `Coefficient`
fields become one exact number for each tensor; the rest are plain parameters. Subclasses say which space they
give, which tensors they have, and how one tensor is computed. Kernels get torch as `k.ops`; nothing here
imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from mergegraph.dtypes import DType
from mergegraph.errors import Problem
from mergegraph.expr import Expr, Noise, Population, Space, Value, apply, linear
from mergegraph.fields import Accepts, CoefficientField, Described, EdgeTo, Selector
from mergegraph.methods.kernel import Granularity, Kernel, Loss
from mergegraph.methods.leaves import Path, leaves, replaced

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Edge:
    """One input of a node: the field it is written in, the node it names, the space it accepts."""

    path: Path
    node: str
    accepts: Accepts


@dataclass(frozen=True, slots=True)
class TensorType:
    """What a node's tensor is: the dtype its trunk stores it in, and its shape."""

    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeTensors:
    """The tensors of a node, in storage order, and the space they are in."""

    space: Space
    tensors: Mapping[str, TensorType]


@dataclass(frozen=True)
class Assembly:
    """The tensors a node has. `routes` gives the one input (edge index, name there) of a tensor that is
    taken from elsewhere; a tensor without a route comes from every input that has its name."""

    tensors: Mapping[str, TensorType]
    routes: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    problems: tuple[Problem, ...] = ()


class Parameters(Mapping[Path, Fraction]):
    """One tensor's numbers: `p["inputs", 0, "weight"]`, and `p.by` for a field of the method itself.

    `noises` are the tensor's random numbers, one for each edge of a method that is `random`; `populations` are
    what the method gathered over the whole model (`Method.gathered`).
    """

    __slots__ = ("_numbers", "noises", "populations")

    def __init__(
        self, numbers: Mapping[Path, Fraction], noises: Sequence[Noise] = (), populations: Sequence[Population] = ()
    ) -> None:
        self._numbers, self.noises, self.populations = numbers, noises, populations

    def with_parts(self, noises: Sequence[Noise], populations: Sequence[Population]) -> Parameters:
        """The same numbers with the tensor's noises and the node's populations."""
        return Parameters(self._numbers, noises, populations)

    def __getitem__(self, path: Path) -> Fraction:
        return self._numbers[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getattr__(self, name: str) -> Fraction:
        try:
            return self._numbers[name,]
        except KeyError:
            raise AttributeError(name) from None


class SpaceError(ValueError):
    """The inputs' spaces do not fit the method. `edge` is the index of the input to blame; `fix` can be typed."""

    def __init__(self, fact: str, edge: int, fix: str) -> None:
        super().__init__(fact)
        self.edge, self.fix = edge, fix


class Method(Described):
    """The base of every operation. `op` names it in recipes."""

    gives: ClassVar[Literal["weights", "delta", "same"]] = "same"
    """The space of the result; "same" is the space all inputs share."""
    scratch: ClassVar[int] = 0
    """Tiles a kernel takes from the pool beyond its operands and its result."""
    granularity: ClassVar[Granularity] = "element"
    """What a tile of its kernel is; see `mergegraph.methods.kernel`."""
    in_pieces: ClassVar[bool] = False
    """Whether its kernel works on any part of a tile (see `methods.kernel.Piece`)."""
    only_counted: ClassVar[bool] = False
    """Whether only statistics look at its result; see `mergegraph.methods.kernel`."""
    loses: ClassVar[Loss] = ""
    """What its kernel takes from its operands; see `mergegraph.methods.kernel`."""
    random: ClassVar[bool] = False
    """Whether it draws random numbers: `p.noises` has some for each edge."""
    matrices_only: ClassVar[bool] = False
    """Whether tensors of fewer than two dimensions are left out, as those of `except:` are."""
    wiring_fields: ClassVar[frozenset[str]] = frozenset({"op", "skip"})
    """Fields that say which tensors a node has, not how one is computed: kernels do not see them."""
    op: str
    skip: bool = Field(default=False, description="leave the node out: its first input of its space passes through")

    @classmethod
    def op_name(cls) -> str:
        """The name in recipes, from the class's `op` field."""
        return cls.model_fields["op"].default

    @classmethod
    def has_op(cls) -> bool:
        """Whether this class is an operation, and not a base of some."""
        return isinstance(cls.model_fields["op"].default, str)

    def edges(self) -> tuple[Edge, ...]:
        """The inputs, in the order they are written."""
        return tuple(
            Edge(path, str(value), marker.accepts) for path, value, marker in leaves(self) if isinstance(marker, EdgeTo)
        )

    def coefficients(self) -> tuple[tuple[Path, Any], ...]:
        """Every schedule with the path of its field."""
        return tuple((path, value) for path, value, marker in leaves(self) if isinstance(marker, CoefficientField))

    def rewired(self, new_name: Callable[[str], str]) -> Self:
        """The same method with every edge's node name mapped through `new_name`."""
        rewired = replaced(self, {edge.path: new_name(edge.node) for edge in self.edges()})
        assert isinstance(rewired, type(self))
        return rewired

    def trunk(self, spaces: Sequence[Space]) -> int:
        """The input (edge index) that gives sidecar files, default dtypes and kept tensors."""
        return next((index for index, space in enumerate(spaces) if space == "weights"), 0)

    def space(self, spaces: Sequence[Space]) -> Space:
        """The space of the result. SpaceError when the inputs do not fit."""
        edges = self.edges()
        for index, (edge, space) in enumerate(zip(edges, spaces, strict=True)):
            if edge.accepts not in ("any", space):
                raise SpaceError(
                    f'{self.op} takes {edge.accepts} here, and "{edge.node}" is {space}',
                    index,
                    _conversion(edge, space),
                )
        if self.gives != "same":
            return self.gives
        if len(set(spaces)) > 1:
            index = next(index for index, space in enumerate(spaces) if space != spaces[0])
            raise SpaceError(
                f'{self.op} takes models, or deltas, not both; "{edges[0].node}" is {spaces[0]}, '
                f'"{edges[index].node}" is {spaces[index]}',
                index,
                _conversion(edges[index], spaces[index]),
            )
        return spaces[0]

    def assemble(self, inputs: Sequence[NodeTensors], space: Space) -> Assembly:
        """Which tensors the node has. `inputs` follow `edges()`."""
        return Assembly(inputs[0].tensors)

    def objection(self, p: Parameters) -> Problem | None:
        """What is wrong with one tensor's numbers; looked at for every distinct combination, at check."""
        return None

    def exempts(self) -> Selector | None:
        """The tensors that the method leaves out; `passed` says what they are then."""
        return None

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        """What a tensor is that is left out: as in the trunk."""
        return next((x for x in inputs if x is not None and x.space == space), linear([], space))

    def gathered(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Sequence[Expr]:
        """What of one tensor goes into the populations that the method looks at over the whole model."""
        return ()

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        """How one tensor is computed. `inputs` follow `edges()`; None is a delta without that tensor (zero).

        The default is this class's own kernel on all inputs.
        """
        present = [operand for operand in inputs if operand is not None]
        return apply(self.op, present, self.plain_parameters(p), space)

    def plain_parameters(self, p: Parameters) -> list[tuple[str, Value]]:
        """This tensor's numbers and the method's own options, by field name, as kernels and the plan see them."""
        markers = {path[0] for path, _, _ in leaves(self)}
        options: list[tuple[str, Value]] = [
            (name, value)
            for name, value in self
            if name not in markers and name not in self.wiring_fields and isinstance(value, float | int | str | bool)
        ]
        return options + [(".".join(map(str, path)), float(number)) for path, number in p.items()]

    @classmethod
    def tile(cls, k: Kernel, *operands: Tensor) -> None:
        """Compute `k.out` from one tile of each operand. Operands are not written to."""
        raise NotImplementedError(f"{cls.__name__} has no kernel: it expands to others")

    @classmethod
    def workspace(cls, rows: int, columns: int, operands: int) -> int:
        """Elements of the compute dtype that a matrix kernel takes beyond its slots and scratch."""
        return 0

    def repair_config(self, configs: Sequence[Mapping[str, Any]], trunk: int) -> dict[str, Any]:
        """The trunk's config.json as this node's result needs it. `configs` follow `edges()`."""
        return dict(configs[trunk])


def _conversion(edge: Edge, space: Space) -> str:
    if space == "weights":
        return f"subtract a base first: {{op: delta, model: {edge.node}, base: BASE}}"
    return f"add it to its base first: {{op: sum, inputs: [BASE, {edge.node}]}}"
