"""A tile in pieces that stay in the cache: everything is read first, then each piece goes through all steps.

The steps are one compiled function (see `script.py`), called once for a tile. What an accumulator looks at by itself
(the samples of quantiles) cuts the steps in parts that are called for one run after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from mergegraph.dtypes import BY_CODE
from mergegraph.execute.arena import Arena
from mergegraph.execute.factors import byte_view
from mergegraph.execute.finished import Finished, Sink, Statistics
from mergegraph.execute.losing import Running
from mergegraph.execute.measuring import Counters, Measure, run_count
from mergegraph.execute.quantile import Counting, Quantile
from mergegraph.execute.recording import Recorder
from mergegraph.execute.reduce import Accumulator, Sum, feed_in_runs
from mergegraph.execute.script import Buffers, Runner, Script, runner
from mergegraph.execute.timing import Lap, TileTimes
from mergegraph.execute.views import TORCH_DTYPES, Source, read_view
from mergegraph.plan.program import Computation
from mergegraph.plan.steps import Fetch, Reduce, Step, Store
from mergegraph.statistic import CHUNK_ELEMENTS

_MAGNITUDE_BITS = 31


@dataclass
class _Part:
    """Steps in a row as a script, the sums and counts that it finds, and what is fed from its slots once it has run."""

    script: Script
    sums: list[Accumulator]
    counted: list[tuple[Quantile, Counting]]
    looking: list[tuple[Measure, Counters]]
    fed: list[tuple[Accumulator, tuple[int, ...]]]
    fed_by: int = 0
    """The step that feeds."""


@dataclass
class _Recorded:
    """The steps of a pass as parts. `laps`: whether each step is timed."""

    recorder: Recorder
    accumulators: dict[int, Accumulator]
    block: int
    laps: bool
    parts: list[_Part] = field(default_factory=list[_Part])
    _sums: list[Accumulator] = field(default_factory=list[Accumulator])
    _counted: list[tuple[Quantile, Counting]] = field(default_factory=list[tuple[Quantile, Counting]])
    _looking: list[tuple[Measure, Counters]] = field(default_factory=list[tuple[Measure, Counters]])
    _fed: list[tuple[Accumulator, tuple[int, ...]]] = field(default_factory=list[tuple[Accumulator, tuple[int, ...]]])

    def all(self, steps: Sequence[Step]) -> list[_Part]:
        for number, step in enumerate(steps):
            if isinstance(step, Reduce):
                self._reduce(step)
            else:
                if self._fed:
                    self._end_part(number - 1)
                self.recorder.record(step)
            if self.laps:
                self.recorder.script.lap(number)
        self._end_part(len(steps) - 1)
        return self.parts

    def _reduce(self, step: Reduce) -> None:
        """What is found before its last planned pass is fed no more."""
        into = self.accumulators.get(step.stat)
        if isinstance(into, Running):
            self.recorder.add_up_some(into.kind, step.sources)
            self._sums.append(into)
        elif isinstance(into, Sum):
            self.recorder.add_up(into.kind, step.sources)
            self._sums.append(into)
        elif isinstance(into, Quantile) and not (counting := into.counting(_MAGNITUDE_BITS)).is_sampling:
            self.recorder.count(counting, step.sources[0])
            self._counted.append((into, counting))
        elif isinstance(into, Measure):
            tile = into.tile(run_count(self.recorder.elements, CHUNK_ELEMENTS))
            self.recorder.look(into, tile, step, self.block)
            self._looking.append((into, tile))
        elif into is not None:
            self._fed.append((into, step.sources))

    def _end_part(self, last: int) -> None:
        script = self.recorder.next_script()
        self.parts.append(_Part(script, self._sums, self._counted, self._looking, self._fed, last))
        self._sums, self._counted, self._looking, self._fed = [], [], [], []


def evaluate_in_pieces(
    work: Computation, start: int, elements: int, arena: Arena, source: Source, sink: Sink, index: int,
    statistics: Statistics, times: TileTimes,
) -> None:  # fmt: skip
    """One tile of pass `index`; as `evaluate.evaluate`, for a program that is computed in pieces."""
    steps, lap = work.program.passes[index], Lap()
    buffers = _buffers(work, start, elements, arena, source, index, times, lap)
    own = work.program.slots_of[index]
    every = max([into.every for into in statistics.fed.values() if isinstance(into, Running)], default=1)
    recorder = Recorder(start, elements, [noise.key for noise in work.noises], statistics.found, own, every)
    block = work.program.piece(index)[0] - work.program.block(index)
    parts = _Recorded(recorder, dict(statistics.fed), block, times.looks).all(steps)
    times.looked = [0.0] * (len(steps) if times.looks else 0)
    counts, step = [[0, 0] for _ in buffers.out], work.program.piece(index)[1]
    runners = [runner(part.script, buffers, start, step) for part in parts]
    for first, last in _runs(start, elements, _longest(parts, elements)):
        stored = 0
        for part, run in zip(parts, runners, strict=True):
            _run(part, run, counts[stored:], start, first, last, times.looked)
            stored += part.script.stores
            if part.fed:
                times.together += lap.seconds()
                feedings = [(into, tuple([buffers.slots[n][: last - first] for n in at])) for into, at in part.fed]
                feed_in_runs(feedings, start + first, CHUNK_ELEMENTS, arena.reduction)
                times.measured[part.fed_by] += lap.seconds()
    for into, tile in chain.from_iterable([part.looking for part in parts]):
        into.end_tile(tile, start // CHUNK_ELEMENTS, elements)
    times.together += lap.seconds()
    roots = [each.root for each in steps if isinstance(each, Store)]
    for root, rounded, (nonfinite, overflowed) in zip(roots, buffers.out, counts, strict=True):
        sink(Finished(root, byte_view(rounded.view(torch.uint8)), nonfinite, overflowed))
        times.measured[len(steps) + root] += lap.seconds()


def _run(
    part: _Part, run: Runner, counts: list[list[int]], start: int, first: int, last: int, step_seconds: list[float]
) -> None:
    """Elements `first … last` of a tile that begins at `start` through one part."""
    script = part.script
    counted, sums, tallies, chosen, looked, laps = run(first, last)
    for index, step in enumerate(script.timed):
        step_seconds[step] += sum(laps[index :: len(script.timed)]) / 1e9
    for index in range(script.stores):
        counts[index][0] += sum(counted[2 * index :: 2 * script.stores])
        counts[index][1] += sum(counted[2 * index + 1 :: 2 * script.stores])
    for index, into in enumerate(part.sums):
        assert isinstance(into, Sum)
        into.add(sums[index :: script.sums])
    _take_in(part, tallies, chosen, last - first)
    _take_looks(part, looked, start + first, last - first)


def _take_in(part: _Part, tallies: list[int], chosen: list[Tensor], elements: int) -> None:
    """What quantiles count, piece after piece."""
    pieces = range(0, elements if part.counted else 0, CHUNK_ELEMENTS)
    numbers, tensors = iter(tallies), iter(chosen)
    for first in pieces:
        for into, counting in part.counted:
            own = [next(numbers) for _ in range(counting.nonzero + counting.over + len(counting.window.heavy))]
            into.add_counted(counting, min(CHUNK_ELEMENTS, elements - first), own, next(tensors))


def _take_looks(part: _Part, looked: list[Tensor], start: int, elements: int) -> None:
    """What measures counted, run after run."""
    found = iter(looked)
    for first in range(0, elements if looked else 0, CHUNK_ELEMENTS):
        for into, _ in part.looking:
            into.take_run((start + first) // CHUNK_ELEMENTS, min(CHUNK_ELEMENTS, elements - first), found)


def _longest(parts: Sequence[_Part], elements: int) -> int:
    """How many elements may go through a part at once: what falls into a quantile's window is held until then, and what
    is fed lies in the slots."""
    return CHUNK_ELEMENTS if any(part.fed or part.counted for part in parts) else max(elements, CHUNK_ELEMENTS + 1)


def _runs(start: int, elements: int, longest: int) -> Iterator[tuple[int, int]]:
    """Parts of a tile that end where a run, or a block of random numbers, does."""
    if longest > CHUNK_ELEMENTS:
        yield 0, elements
        return
    first = 0
    while first < elements:
        last = min(first + longest - (start + first) % CHUNK_ELEMENTS, elements)
        yield first, last
        first = last


def _buffers(
    work: Computation, start: int, elements: int, arena: Arena, source: Source, index: int, times: TileTimes, lap: Lap
) -> Buffers:
    """The memory of the tile, with all that the pass reads in place."""
    steps = work.program.passes[index]
    staged = [(work.reads[step.read], BY_CODE[step.dtype]) for step in steps if isinstance(step, Fetch)]
    fetches = [number for number, step in enumerate(steps) if isinstance(step, Fetch)]
    stored = [BY_CODE[step.dtype] for step in steps if isinstance(step, Store)]
    raw, out = arena.side_by_side([x.bits for _, x in staged], [x.bits for x in stored], elements)
    for (read, dtype), content, number in zip(staged, raw, fetches, strict=True):
        read_view(read, start * dtype.bits // 8, byte_view(content), source)
        times.measured[number] += lap.seconds()
    slots = arena.pieces(*work.program.piece(index))
    doubles: Sequence[Tensor] = ()
    integers: Sequence[Tensor] = ()
    if any(isinstance(step, Reduce) for step in steps):
        scratch = arena.reduction
        doubles = (scratch.first, scratch.second)
        words = [each.view(torch.int32) for each in doubles]
        integers = [part for each in words for part in (each[:CHUNK_ELEMENTS], each[CHUNK_ELEMENTS:])]
    return Buffers(
        slots=slots,
        words=[slot.view(torch.int32) for slot in slots],
        raw=[content.view(TORCH_DTYPES[x.code]) for content, (_, x) in zip(raw, staged, strict=True)],
        out=[content.view(TORCH_DTYPES[x.code]) for content, x in zip(out, stored, strict=True)],
        doubles=doubles,
        integers=integers,
    )
