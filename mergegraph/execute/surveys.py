"""The statistics of a run's tensors: an accumulator for each that is looked at, and the records of its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mergegraph.execute.measured import measured_as, unmeasured
from mergegraph.execute.measuring import Measure
from mergegraph.plan.groups import Place, looked_at
from mergegraph.plan.program import Computation
from mergegraph.plan.survey import Survey
from mergegraph.stats.record import Record, TensorRecord


class Surveys:
    """What is counted of the tensors of a plan's `surveys`. `every_element`: no sample of large ones."""

    def __init__(self, surveys: Sequence[Survey], *, every_element: bool) -> None:
        self._surveys, self._every_element = surveys, every_element
        self._measures: dict[Place, Measure] = {}

    def begin(self, places: Iterable[Place], work: Computation) -> tuple[Measure, ...]:
        """New accumulators for tensors that `work` computes."""
        begun = {place: self._measure(place, work) for place in places}
        self._measures |= begun
        return tuple(begun.values())

    def _measure(self, place: Place, work: Computation) -> Measure:
        looked = looked_at(self._surveys, place)
        return Measure(measured_as(looked, is_double=work.program.double, is_sampled=not self._every_element))

    def record(self, output: int) -> Record:
        """The statistics of an output's tensors, as far as this run computed them."""
        survey = self._surveys[output]
        tensors = tuple([self._tensor(output, index) for index in range(len(survey.tensors))])
        return Record(survey.base, survey.sources, survey.result, tensors, survey.recipe, survey.problems)

    def _tensor(self, output: int, index: int) -> TensorRecord:
        if (output, index) in self._measures:
            return self._measures[output, index].record()
        looked = looked_at(self._surveys, (output, index))
        return unmeasured(looked, looked.skipped or "an earlier run wrote it; `mergegraph stats RECIPE` reads it")
