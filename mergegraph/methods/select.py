"""Whole tensors from different models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from mergegraph.dtypes import DType
from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space
from mergegraph.fields import Case, Either
from mergegraph.methods.base import Assembly, Method, NodeTensors, Parameters, TensorType
from mergegraph.schedule import select


class Select(Method):
    """Each tensor from the first case that matches it, else from `otherwise`.

    y = x_c for the first case c that matches the tensor's name

    Bandarkar et al., "Layer swapping for zero-shot cross-lingual transfer", ICLR 2025, arXiv 2410.01335.
    """

    example = "mix: {op: select, cases: [{kind: attention, from: a}], otherwise: b}"

    op: Literal["select"] = "select"
    cases: Annotated[tuple[Case, ...], Field(min_length=1, description="selections of tensors, each from a node")]
    otherwise: Either | None = Field(default=None, description="gives the tensors that no case matches")

    def trunk(self, spaces: Sequence[Space]) -> int:
        return len(spaces) - 1 if self.otherwise is not None else 0

    def assemble(self, inputs: Sequence[NodeTensors], space: Space) -> Assembly:
        trunk = self.trunk([node.space for node in inputs])
        names = list(inputs[trunk].tensors)
        routes: dict[str, tuple[int, str]] = {}
        problems: list[Problem] = []
        for index, case in enumerate(self.cases):
            matched, found = select(case, names, field=f"case {index + 1}")
            problems += found
            routes |= {name: (index, name) for name in names if name in matched and name not in routes}
        if self.otherwise is not None:
            routes |= {name: (trunk, name) for name in names if name not in routes}
        elif space == "weights":
            problems += self._unmatched([name for name in names if name not in routes])
        problems += self._absent(routes, inputs)
        tensors: dict[str, TensorType] = {name: inputs[trunk].tensors[name] for name in names if name in routes}
        return Assembly(tensors, routes, tuple(problems))

    def _unmatched(self, names: list[str]) -> list[Problem]:
        if not names:
            return []
        return [
            Problem(
                f"No case matches {len(names):,} tensors.",
                tensor=names[0],
                fix="add `otherwise: NODE` for the tensors that no case matches",
            )
        ]

    def _absent(self, routes: dict[str, tuple[int, str]], inputs: Sequence[NodeTensors]) -> list[Problem]:
        """Tensors that the chosen input does not have, or has in another shape."""
        problems: list[Problem] = []
        trunk = inputs[self.trunk([node.space for node in inputs])].tensors
        for name, (index, source) in routes.items():
            kind, node = inputs[index].tensors.get(source), self.edges()[index].node
            if kind is None and (inputs[index].space == "weights" or not trunk[name].dtype.is_float):
                problems.append(
                    Problem(f'"{node}" does not have {name}.', tensor=name, fix="narrow the case that selects it")
                )
            elif kind is not None and kind.shape != trunk[name].shape:
                why = f'"{node}" is {list(kind.shape)}, the trunk is {list(trunk[name].shape)}'
                fix = "narrow the case that selects it"
                problems.append(Problem(f"Tensor {name} has two shapes.", tensor=name, why=why, fix=fix))
            elif kind is not None and not _interchangeable(kind.dtype, trunk[name].dtype):
                why = f'"{node}" stores {kind.dtype.code}, the trunk {trunk[name].dtype.code}'
                fix = "narrow the case that selects it, or convert one of the models"
                problems.append(Problem(f"Tensor {name} has two dtypes.", tensor=name, why=why, fix=fix))
        return problems[:3]

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        return next(operand for operand in inputs if operand is not None)


def _interchangeable(one: DType, other: DType) -> bool:
    """Floating dtypes are rounded to one another; whatever else is copied must be stored alike."""
    return one == other or (one.is_float and other.is_float)
