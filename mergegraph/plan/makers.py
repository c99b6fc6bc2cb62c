"""Which node each step of a computation is of: where the time of a run is counted.

A read is of the node that loads the file; a value of the node in whose expression it first occurs (what is folded into
another sum is of that sum's node, and costs nothing by itself); rounding and writing are the save's. Found out once for
tensors that are computed alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from mergegraph.expr import Cast, Expr, Part, Read, Stat
from mergegraph.plan.groups import Gathering, OutputTensor, Place, looked_at
from mergegraph.plan.plan import Output, Plan
from mergegraph.plan.program import Computation
from mergegraph.plan.steps import Program
from mergegraph.walking import walk_parts

MEASURING = "--stats"
"""In the place of a node: what statistics take. No node can be called so."""


@dataclass(frozen=True, slots=True)
class Makers:
    """The node of every step, pass by pass, and the save of every root."""

    steps: tuple[tuple[str, ...], ...]
    roots: tuple[str, ...] = ()

    def of_pass(self, index: int) -> tuple[str, ...]:
        """Those of the steps of a pass, then those of the roots."""
        return (*self.steps[index], *self.roots)


class MakersOf:
    """The makers of a plan's computations."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._loads = {file.path: file.label for file in plan.inputs}
        self._known: dict[object, tuple[Program, Makers]] = {}

    def group(self, members: Sequence[Place], measured: Sequence[Place], work: Computation) -> Makers:
        """Of the computation of these members."""
        tensors = [(self._plan.outputs[output], self._tensor((output, tensor))) for output, tensor in members]
        alike = tuple([(output.node, tensor.made_by) for output, tensor in tensors])
        read = tuple([self._loads.get(each.path, "") for each in work.reads])
        # To hash a program takes longer than to find its makers; one that is kept has its id for itself.
        key = (id(work.program), len(measured), alike, read)
        if key not in self._known:
            feeds = [feed for place in measured for feed in looked_at(self._plan.surveys, place).feeds]
            self._known[key] = (work.program, self._of_group(tensors, list(chain.from_iterable(feeds)), work))
        return self._known[key][1]

    def member(self, gathering: Gathering, position: int) -> Makers:
        """Of a member of a population: all but what it reads is the node's that asks for it."""
        assert gathering.stat.population is not None
        asks, (work, _) = self._asks(gathering.stat), gathering.members[position]
        expr, _ = gathering.stat.population.members[position]
        order = [self._loads.get(part.path, asks) if isinstance(part, Read) else asks for part in walk_parts(expr)]
        return Makers(tuple([tuple([asks if n < 0 else order[n] for n in each]) for each in work.program.parts]))

    def _tensor(self, place: Place) -> OutputTensor:
        return self._plan.outputs[place[0]].tensors[place[1]]

    def _of_group(
        self, tensors: Sequence[tuple[Output, OutputTensor]], feeds: Sequence[Expr], work: Computation
    ) -> Makers:
        roots = [tensor.root for _, tensor in tensors]
        names: dict[Part, str] = {}
        for output, tensor in tensors:
            for part, name in _named(output, tensor):
                names.setdefault(part, name)
        order = [self._name(part, names) for part in walk_parts(*roots, *feeds)]
        steps = tuple([tuple([MEASURING if n < 0 else order[n] for n in each]) for each in work.program.parts])
        return Makers(steps, tuple([output.node for output, _ in tensors]))

    def _name(self, part: Part, names: Mapping[Part, str]) -> str:
        if isinstance(part, Read):
            return self._loads.get(part.path, MEASURING)
        return names.get(part, MEASURING)

    def _asks(self, stat: Stat) -> str:
        """The node whose kernel looks at a population."""
        for output in self._plan.outputs:
            for tensor in output.tensors:
                if stat in tensor.shared:
                    return next((name for part, name in _named(output, tensor) if part is stat), output.computed_by)
        return self._plan.outputs[0].computed_by


def _named(output: Output, tensor: OutputTensor) -> list[tuple[Part, str]]:
    """Every part of a tensor with the node that made it."""
    below = tensor.root.operand if isinstance(tensor.root, Cast) else tensor.root
    parts = list(walk_parts(below))
    made_by = tensor.made_by if len(tensor.made_by) == len(parts) else [output.computed_by] * len(parts)
    return [*zip(parts, made_by, strict=True), (tensor.root, output.node)]
