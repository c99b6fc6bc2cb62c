"""Where the time of a run goes, by node: of every tile the reads and writes, and of some tiles each step.

Steps in pieces run as one function (see `script.py`). To look into it for every tile would cost a percent or two, so
that is done for one tile in eight, and the time of the function in all others is divided as it was in those. Everything
else is measured for every tile. Tiles that take less than a quarter of a second together are not looked into, nor are
any in a budget without room for it: then steps count alike.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from time import perf_counter

from mergegraph.plan.makers import Makers
from mergegraph.plan.memory import text_bytes
from mergegraph.plan.plan import Plan
from mergegraph.plan.steps import Call, Copy, Fetch, Join, Program, Reduce, Step, Store

_FIRST_LOOK_SECONDS = 0.25
"""A second function must be compiled for it, which takes 10 to 30 ms."""
_LOOKED_INTO = 8
"""One tile in so many."""


@dataclass(slots=True)
class TileTimes:
    """Seconds of one tile. `measured`: of each step of its pass and then of each root's writing, as far as they were
    measured by themselves; `together`: of all steps that ran as one function; `looked`: of each of them in it, where
    `looks`."""

    measured: list[float]
    looks: bool = False
    together: float = 0.0
    looked: list[float] = field(default_factory=list[float])


def has_room_to_look(plan: Plan) -> bool:
    """Whether the budget has room for every compiled pass once more."""
    works = [*(group.computation for group in plan.groups), *(x for each in plan.gatherings for x, _ in each.members)]
    programs = {id(work.program): work.program for work in works}.values()
    return plan.projection.budget_bytes - plan.projection.pool_bytes >= text_bytes(programs)


def nobodys(program: Program, index: int) -> TileTimes:
    """For a tile of a pass whose times nobody wants."""
    steps = program.passes[index]
    return TileTimes([0.0] * (len(steps) + sum(isinstance(step, Store | Copy | Join) for step in steps)))


class Lap:
    """A watch that is read after each thing that is done."""

    def __init__(self) -> None:
        self._at = perf_counter()

    def seconds(self) -> float:
        """Since it was read last."""
        before, self._at = self._at, perf_counter()
        return self._at - before


@dataclass(slots=True, eq=False)
class Kind:
    """Tiles whose steps are alike, of the same nodes: `names`, of the steps and then of the roots."""

    names: tuple[str, ...]
    measured: list[float]
    looked: list[float]
    together: float = 0.0
    tiles: int = 0


class NodeTimes:
    """Adds up tiles, from any thread. `may_look`: whether there is memory for the functions that look into tiles."""

    def __init__(self, *, may_look: bool) -> None:
        self._may_look = may_look
        self._lock = threading.Lock()
        self._kinds: dict[object, Kind] = {}
        self._known: dict[tuple[int, int], tuple[Makers, Program, tuple[Kind, ...]]] = {}

    def kinds(self, makers: Makers, program: Program) -> tuple[Kind, ...]:
        """The kind of each pass."""
        # Both are kept, so that nothing else can have their ids.
        key = (id(makers), id(program))
        with self._lock:
            if key not in self._known:
                made = [self._kind(makers.of_pass(index), steps) for index, steps in enumerate(program.passes)]
                self._known[key] = (makers, program, tuple(made))
            return self._known[key][2]

    def _kind(self, names: tuple[str, ...], steps: tuple[Step, ...]) -> Kind:
        """Numbers are of no matter, so tensors that differ in them are looked into together."""
        key = (names, tuple(map(_outline, steps)))
        if key not in self._kinds:
            self._kinds[key] = Kind(names, [0.0] * len(names), [0.0] * len(steps))
        return self._kinds[key]

    def begin(self, kind: Kind) -> TileTimes:
        """For one tile."""
        with self._lock:
            is_worth_it = self._may_look and kind.together >= _FIRST_LOOK_SECONDS
            looks = is_worth_it and kind.tiles % _LOOKED_INTO == 0
            kind.tiles += is_worth_it
        return TileTimes([0.0] * len(kind.names), looks)

    def add(self, kind: Kind, tile: TileTimes) -> None:
        """The tile is done."""
        with self._lock:
            kind.together += tile.together
            for number, seconds in enumerate(tile.measured):
                kind.measured[number] += seconds
            for number, seconds in enumerate(tile.looked):
                kind.looked[number] += seconds

    def add_whole(self, name: str, seconds: float) -> None:
        """Time of a node that is not looked into."""
        with self._lock:
            kind = self._kinds.setdefault(name, Kind((name,), [0.0], []))
            kind.measured[0] += seconds

    def by_node(self) -> dict[str, float]:
        """Seconds of all workers together, in the order in which nodes came."""
        found: defaultdict[str, float] = defaultdict(float)
        with self._lock:
            for kind in self._kinds.values():
                for name, seconds in zip(kind.names, kind.measured, strict=True):
                    found[name] += seconds
                total = sum(kind.looked)
                for name, seconds in zip(kind.names, kind.looked, strict=False):
                    share = seconds / total if total else 1 / len(kind.looked)
                    found[name] += kind.together * share
        return dict(found)


def _outline(step: Step) -> object:
    match step:
        case Fetch(dtype=dtype) | Store(dtype=dtype):
            return type(step), dtype
        case Call(kernel=kernel):
            return kernel
        case Reduce(stat=stat):
            return Reduce, stat
        case _:
            return type(step)
