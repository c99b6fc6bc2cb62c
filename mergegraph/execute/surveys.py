"""The statistics of a run's tensors: an accumulator for each that is looked at, and the records of its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod

from mergegraph.execute.losing import Running, summed, thinned
from mergegraph.execute.measured import measured_as, unmeasured
from mergegraph.execute.measuring import Measure
from mergegraph.execute.reduce import Accumulator
from mergegraph.plan.groups import Place, looked_at
from mergegraph.plan.program import Computation
from mergegraph.plan.survey import Survey
from mergegraph.stats.record import Record, TensorRecord


class Surveys:
    """What is counted of the tensors of a plan's `surveys`. `every_element`: no sample of large ones."""

    def __init__(self, surveys: Sequence[Survey], *, every_element: bool) -> None:
        self._surveys, self._every_element = surveys, every_element
        self._measures: dict[Place, Measure] = {}
        self._sums: dict[Place, list[Running]] = {}

    def begin(self, places: Iterable[Place], work: Computation) -> tuple[Accumulator, ...]:
        """New accumulators for tensors that `work` computes, in the order of their feeds."""
        begun: list[Accumulator] = []
        for place in places:
            measure = self._measures[place] = self._measure(place, work)
            looked, is_sampled = looked_at(self._surveys, place), work.program.in_pieces and not self._every_element
            every = summed(prod(looked.shape)) if is_sampled else 1
            sums = [Running(kind, every) for kind, _ in looked.losses.sums]
            self._sums[place] = sums
            begun += [measure, *sums]
        return tuple(begun)

    def _measure(self, place: Place, work: Computation) -> Measure:
        looked = looked_at(self._surveys, place)
        return Measure(measured_as(looked, is_double=work.program.double, is_sampled=not self._every_element))

    def record(self, output: int) -> Record:
        """The statistics of an output's tensors, as far as this run computed them."""
        survey = self._surveys[output]
        tensors = tuple([self._tensor(output, index) for index in range(len(survey.tensors))])
        return Record(survey.base, survey.sources, survey.result, tensors, survey.recipe, survey.problems)

    def _tensor(self, output: int, index: int) -> TensorRecord:
        place = output, index
        looked = looked_at(self._surveys, place)
        if place in self._measures:
            record = self._measures[place].record()
            taken = thinned(looked.losses, self._sums[place], record)
            return replace(record, thinned=taken, stored=looked.stored)
        return unmeasured(looked, looked.skipped or "an earlier run wrote it; `mergegraph stats RECIPE` reads it")
