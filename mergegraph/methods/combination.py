"""Methods that combine several inputs tensor by tensor: which tensors the result has when the inputs differ.

Weights inputs must have the trunk's tensors; `missing` and `extra` say what happens where they have fewer or
more. A tensor that a delta lacks is zero there. Buffers that carry no learning only warn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Literal

from pydantic import Field

from mergegraph.errors import Problem
from mergegraph.expr import Expr, Space, linear
from mergegraph.methods.base import Assembly, NodeTensors, TensorType
from mergegraph.methods.tensorwise import Tensorwise

_BUFFERS = ("rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias")
_SHOWN = 4


class Combination(Tensorwise):
    """A method over several inputs, which may have different tensors."""

    wiring_fields = Tensorwise.wiring_fields | {"missing", "extra"}

    missing: Literal["error", "keep", "drop"] = Field(
        default="error", description="a tensor the trunk has and another model lacks: keep takes it from the trunk"
    )
    extra: Literal["error", "drop"] = Field(
        default="error", description="a tensor another model has and the trunk lacks"
    )

    def passed(self, inputs: Sequence[Expr | None], space: Space) -> Expr:
        """The trunk's tensor; of deltas, their mean."""
        if space == "weights":
            return super().passed(inputs, space)
        deltas = [operand for operand in inputs if operand is not None and operand.space == "delta"]
        return linear([(Fraction(1, len(inputs)), delta) for delta in deltas], space)

    def assemble(self, inputs: Sequence[NodeTensors], space: Space) -> Assembly:
        spaces: list[Space] = [node.space for node in inputs]
        trunk = self.trunk(spaces)
        if spaces[trunk] == "delta":
            tensors = _union(node.tensors for node in inputs)
            found = [*self._shape_problems(tensors, inputs), *self._family_problems(tensors, inputs)]
            return Assembly(tensors, problems=tuple(found))
        problems: list[Problem] = []
        dropped: set[str] = set()
        ours = inputs[trunk].tensors
        for index, node in enumerate(inputs):
            if index == trunk:
                continue
            if ours.keys().isdisjoint(node.tensors):
                problems.append(self._unrelated(index, trunk, list(ours), list(node.tensors)))
                continue
            problems += self._extra(index, trunk, [name for name in node.tensors if name not in ours], node.space)
            if node.space == "weights":
                absent = [name for name in ours if name not in node.tensors]
                problems += self._missing(index, trunk, absent)
                dropped.update(_without_buffers(absent)[0] if self.missing == "drop" else ())
        problems += self._shape_problems(ours, inputs)
        problems += self._family_problems(ours, inputs)
        kept = {
            name: kind
            for name, kind in ours.items()
            if name not in dropped and (space == "weights" or kind.dtype.is_float)
        }
        return Assembly(kept, problems=tuple(problems))

    def _unrelated(self, index: int, trunk: int, ours: list[str], theirs: list[str]) -> Problem:
        return Problem(
            f"{self._label(trunk)} and {self._label(index)} have no tensor in common.",
            tensor=theirs[0],
            why=f"{self._label(trunk)} has {_listed(ours)}; {self._label(index)} has {_listed(theirs)}",
            fix=_renaming(ours, theirs, self._label(index)),
        )

    def _extra(self, index: int, trunk: int, names: list[str], space: Space) -> Iterable[Problem]:
        """Names that the trunk does not have. A delta has no business there at all."""
        names, buffers = _without_buffers(names)
        here, there = self._label(index), self._label(trunk)
        if buffers:
            yield _warning(f"{here} has buffers that {there} lacks; they are left out", buffers)
        if names and (self.extra == "error" or space == "delta"):
            fix = "add `extra: drop` to leave them out" if space == "weights" else f"form the delta against {there}"
            yield _difference(f"{here} has {_tensors(names)} that {there} lacks.", names, fix)
        elif names:
            yield _warning(f"{here} has {_tensors(names)} that {there} lacks; `extra: drop` leaves them out", names)

    def _missing(self, index: int, trunk: int, names: list[str]) -> Iterable[Problem]:
        names, buffers = _without_buffers(names)
        here, there = self._label(index), self._label(trunk)
        if buffers:
            yield _warning(f"{here} lacks buffers that {there} has; they are kept as {there} has them", buffers)
        if names and self.missing == "error":
            fix = f"add `missing: keep` to take them from {there}, or `missing: drop` to leave them out"
            yield _difference(f"{here} lacks {_tensors(names)} that {there} has.", names, fix)
        elif names:
            what = f"kept as {there} has them" if self.missing == "keep" else "left out"
            yield _warning(f"{here} lacks {_tensors(names)} that {there} has; `missing: {self.missing}`: {what}", names)

    def _shape_problems(self, ours: Mapping[str, TensorType], inputs: Sequence[NodeTensors]) -> Iterable[Problem]:
        for index, node in enumerate(inputs):
            differing = [name for name, kind in node.tensors.items() if name in ours and ours[name].shape != kind.shape]
            if differing:
                name = differing[0]
                first = next(i for i, other in enumerate(inputs) if ours[name] is other.tensors.get(name))
                more = f" ({len(differing) - 1} more tensors differ)" if len(differing) > 1 else ""
                yield Problem(
                    f"Tensor {name} has two shapes{more}.",
                    tensor=name,
                    why=f"{self._label(first)} is {list(ours[name].shape)}, "
                    f"{self._label(index)} is {list(node.tensors[name].shape)}",
                    fix=f"where a vocabulary grew or was padded, add `vocab: {{align: NODE}}` to the load node of "
                    f"{self._label(index)}, with the load node of {self._label(first)} as NODE"
                    if len(ours[name].shape) == 2 and ours[name].shape[1:] == node.tensors[name].shape[1:]
                    else "use fine-tunes of one base: their shapes are equal",
                )

    def _family_problems(self, ours: Mapping[str, TensorType], inputs: Sequence[NodeTensors]) -> Iterable[Problem]:
        """A tensor that is floating point in one input and something else in another cannot be combined."""
        for index, node in enumerate(inputs):
            differing = [
                name
                for name, kind in node.tensors.items()
                if name in ours and ours[name].dtype.is_float != kind.dtype.is_float
            ]
            if differing:
                name = differing[0]
                yield Problem(
                    f"Tensor {name} is {_dtype_name(ours[name])} in one input and {_dtype_name(node.tensors[name])} in "
                    f"{self._label(index)}.",
                    tensor=name,
                    why=_listed(differing),
                    fix="convert one of the models, so that both store the tensor as floating point or neither does",
                )

    def _label(self, index: int) -> str:
        edge = self.edges()[index]
        return f'"{edge.node}"'


def _dtype_name(kind: TensorType) -> str:
    return kind.dtype.torch_name or kind.dtype.code


def _union(tables: Iterable[Mapping[str, TensorType]]) -> dict[str, TensorType]:
    union: dict[str, TensorType] = {}
    for table in tables:
        for name, kind in table.items():
            union.setdefault(name, kind)
    return union


def _without_buffers(names: list[str]) -> tuple[list[str], list[str]]:
    buffers = [name for name in names if name.endswith(_BUFFERS)]
    return [name for name in names if not name.endswith(_BUFFERS)], buffers


def _tensors(names: list[str]) -> str:
    return "a tensor" if len(names) == 1 else f"{len(names):,} tensors"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _difference(fact: str, names: list[str], fix: str) -> Problem:
    return Problem(fact, tensor=names[0], why=_listed(names), fix=fix)


def _warning(fact: str, names: list[str]) -> Problem:
    return Problem(fact, why=_listed(names), severity="warning")


def _renaming(ours: Sequence[str], theirs: Sequence[str], label: str) -> str:
    """What to type where no name is the same: the prefix that differs, if all names agree behind it."""
    known = set(ours)
    for old, new in _prefixes(ours[0], theirs):
        if all(name.startswith(old) and new + name.removeprefix(old) in known for name in theirs):
            return f"add `rename: {{{old}: {new}}}` to the load node of {label}"
    return (
        "merge fine-tunes of one base; where only a prefix differs, add `rename: {OLD_PREFIX: NEW_PREFIX}` to its load"
    )


def _prefixes(ours: str, theirs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`transformer.` and `model.`, of `transformer.wte.weight` and `model.wte.weight`: what is before equal ends."""
    words = ours.split(".")
    for start in range(1, len(words)):
        end = ".".join(words[start:])
        for name in theirs:
            if name.endswith("." + end):
                yield name.removesuffix(end), ours.removesuffix(end)
