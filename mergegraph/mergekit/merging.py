"""A slice on its way to nodes: its inputs, its parameters, and the forms that several methods share.

Which nodes a method becomes is for `methods`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mergegraph.errors import Location
from mergegraph.mergekit.emitting import Nodes
from mergegraph.mergekit.levels import Level
from mergegraph.mergekit.parameters import Scope, is_one
from mergegraph.mergekit.signatures import SIGNATURES, Signature
from mergegraph.mergekit.writing import Noted, Tree


@dataclass(frozen=True, slots=True)
class Operand:
    """An input: its node, what the configuration calls it, its own parameters, where its layers begin there.

    `tensors` are the names of its tensors, none where they are not known.
    """

    node: str
    model: str
    level: Level
    first_layer: int
    tensors: tuple[str, ...]
    at: Location


@dataclass(frozen=True)
class Merging:
    """A slice on its way to nodes. `inputs` are without the base, unless the base is an input like the others."""

    method: str
    inputs: tuple[Operand, ...]
    base: Operand | None
    scope: Scope
    nodes: Nodes
    prefix: str
    result: str

    @property
    def signature(self) -> Signature:
        return SIGNATURES[self.method]

    def own(self, name: str, operand: Operand) -> Tree:
        """The schedule of a parameter of one input."""
        default = self.signature.per_model[name]
        place = (operand.first_layer, operand.tensors)
        return self.scope.own(name, operand.level, place, default, operand.model, operand.at)

    def shared(self, name: str) -> Tree:
        """The schedule of a parameter of the merge."""
        return self.scope.shared(name, self.signature.shared[name])

    def flag(self, name: str) -> bool:
        default = self.signature.shared[name]
        return self.scope.flag(name, bool(default))

    def number(self, name: str) -> float:
        default = self.signature.shared[name]
        return self.scope.number(name, float(default or 0))

    def weighted(self, nodes: Sequence[str], *more: str) -> list[Tree]:
        """An entry of `inputs:` for each input, with its weight and `more` parameters; `nodes` stand for the inputs."""
        entries: list[Tree] = []
        for node, operand in zip(nodes, self.inputs, strict=True):
            own: dict[str, Tree] = {name: self.own(name, operand) for name in ("weight", *more)}
            entries.append(Noted({"from": node, **own}, "", operand.at))
        return entries

    def add(self, wanted: str, fields: Mapping[str, Tree]) -> str:
        """A node on the way to the result."""
        return self.nodes.add(f"{self.prefix}{wanted}", fields, self.scope.at)

    def finish(self, fields: Mapping[str, Tree]) -> str:
        """The node that is the result."""
        return self.nodes.add(self.result, fields, self.scope.at)

    def models(self) -> list[str]:
        return [operand.node for operand in self.inputs]

    def base_node(self) -> str:
        assert self.base is not None
        return self.base.node

    def deltas(self) -> list[str]:
        return [self.nodes.delta(operand.node, self.base_node(), operand.at) for operand in self.inputs]

    def onto_base(self, delta: str, *, is_scaled: bool = True) -> str:
        """The result: the base with `delta`, times `lambda` where the method has it."""
        strength = self.shared("lambda") if is_scaled and "lambda" in self.signature.shared else 1.0
        if not is_one(strength, 1.0):
            by = (
                Noted(strength.value, strength.note or "lambda", strength.at)
                if isinstance(strength, Noted)
                else strength
            )
            delta = self.add("scaled", {"op": "scale", "input": delta, "by": by})
        return self.finish({"op": "sum", "inputs": [self.base_node(), delta]})
