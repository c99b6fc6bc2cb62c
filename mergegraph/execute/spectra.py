"""The pass that finds singular values, after the other statistics: a matrix a worker, one source after the other.

As many workers have a matrix as fit the budget together. What is found does not depend on how many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from mergegraph.execute.arena import WorkerMemory, new_storage
from mergegraph.execute.control import Control
from mergegraph.execute.evaluate import evaluate
from mergegraph.execute.finished import Finished
from mergegraph.execute.jobs import Job
from mergegraph.execute.memory import give_back
from mergegraph.execute.reduce import Scratch
from mergegraph.execute.singular import Leading, leading, overlap
from mergegraph.execute.views import Source
from mergegraph.plan.memory import tile_shape
from mergegraph.plan.program import Computation
from mergegraph.plan.spectra import Change, Matrix, Spectra
from mergegraph.statistic import Found
from mergegraph.stats import gram
from mergegraph.stats.floors import ROUNDING
from mergegraph.stats.record import Overlap, Record, Spectral, Spectrum, TensorRecord
from mergegraph.stats.spectral import shared_directions

_TICK_SECONDS = 0.1
_ROUNDED_TERMS = 32
"""A change that is a product of factors in float32 was rounded once for each of its terms."""


Shared = Callable[[Computation], tuple[Found, ...]]
"""The statistics of populations that a computation needs."""


class _Stopped(Exception):
    """Somebody asked, or another worker failed."""


def with_spectra(
    records: Sequence[Record],
    planned: Spectra,
    source: Source,
    control: Control,
    advance: Callable[[int], None],
    tick: Callable[[], None],
    shared: Shared = lambda work: (),
) -> tuple[Record, ...]:
    """The records with singular values; those that were found, where `control` stops. `advance` is told of bytes that
    are done, `tick` called ten times a second."""
    found: dict[tuple[int, int], Spectral] = {}
    give_back()
    room = _Room(planned.budget_bytes)

    def perform(matrix: Matrix) -> None:
        if control.stopping:
            return
        try:
            with room.taken(matrix.nbytes, control):
                record = records[matrix.place[0]].tensors[matrix.place[1]]
                found[matrix.place] = _spectral(matrix, record, source, control, shared)
                give_back()
            advance(matrix.read_bytes)
        except _Stopped:
            return
        except BaseException:
            control.fail()
            raise

    _on_threads(perform, planned, control, tick)
    found |= {place: Spectral(skipped=reason) for place, reason in planned.skipped.items()}
    return tuple(
        [
            replace(record, tensors=tuple([_with(found, (n, i), tensor) for i, tensor in enumerate(record.tensors)]))
            for n, record in enumerate(records)
        ]
    )


def _with(found: dict[tuple[int, int], Spectral], place: tuple[int, int], tensor: TensorRecord) -> TensorRecord:
    return replace(tensor, spectral=found[place]) if place in found else tensor


def _on_threads(
    perform: Callable[[Matrix], None], planned: Spectra, control: Control, tick: Callable[[], None]
) -> None:
    """Each worker computes on one thread, as when tiles are computed: bits do not depend on how many there are."""
    with _single_threaded(), ThreadPoolExecutor(planned.workers, "spectra") as pool:
        try:
            pending: set[Future[None]] = {pool.submit(perform, matrix) for matrix in planned.matrices}
            while pending:
                done, pending = wait(pending, _TICK_SECONDS, FIRST_EXCEPTION)
                tick()
                for each in done:
                    each.result()
        except BaseException:
            control.fail()
            raise


@contextmanager
def _single_threaded() -> Generator[None]:
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


class _Room:
    """Bytes that workers share; nobody has to wait for ever, since none wants more than there is."""

    def __init__(self, total_bytes: int) -> None:
        self._free = total_bytes
        self._condition = threading.Condition()

    @contextmanager
    def taken(self, nbytes: int, control: Control) -> Generator[None]:
        with self._condition:
            while self._free < nbytes:
                if control.stopping:
                    raise _Stopped
                self._condition.wait(_TICK_SECONDS)
            self._free -= nbytes
        try:
            yield
        finally:
            with self._condition:
                self._free += nbytes
                self._condition.notify_all()


def _spectral(matrix: Matrix, tensor: TensorRecord, source: Source, control: Control, shared: Shared) -> Spectral:
    def pause() -> None:
        control.wait_while_paused()
        if control.stopping:
            raise _Stopped

    if any(change.nonfinite for change in tensor.changes[: len(matrix.changes)]):
        return Spectral(skipped="a change is not finite")
    values = torch.empty(matrix.rows, matrix.columns, dtype=torch.float32)
    each: list[Leading] = []
    for change in matrix.changes:
        _compute(change, values, source, shared(change.computation), pause)
        found = leading(values, pause)
        if found is None:
            return Spectral(skipped="a change is beyond float32")
        each.append(found)
    spectra = tuple(
        [
            Spectrum(one.values, one.outside, _rounding(change, tensor, number))
            for number, (one, change) in enumerate(zip(each, matrix.changes, strict=True))
        ]
    )
    k = len(matrix.sources)
    overlaps = dict(_overlaps(each[:k], spectra, min(matrix.rows, matrix.columns)))
    return Spectral(spectra[:k], overlaps, spectra[k] if matrix.result is not None else None)


def _compute(
    change: Change, into: Tensor, source: Source, shared: tuple[Found, ...], pause: Callable[[], None]
) -> None:
    """A change as one float32 matrix, in as many passes as its statistics take."""
    work, cut, tile = change.computation, change.cut, change.tile_elements
    storage = new_storage(tile_shape([work.program]).tile_set_bytes(tile))
    arena = WorkerMemory(storage).arena(work, tile)
    job = Job(work, cut, tile, shared=shared, fed=(_Into(into),))
    while not job.is_over:
        pause()
        part = job.take()
        evaluate(
            work, part.start, part.elements, arena, source, _nothing_is_written,
            index=part.index, cut=cut, statistics=job.statistics,
        )  # fmt: skip
        job.done()


def _nothing_is_written(finished: Finished) -> None:
    raise AssertionError(f"root {finished.root} of a computation without any")


class _Into:
    """An accumulator that keeps what it is fed."""

    def __init__(self, matrix: Tensor) -> None:
        self._flat = matrix.view(-1)

    def feed_tile(self, start: int, tiles: tuple[Tensor, ...], leaf: int, scratch: Scratch) -> None:
        self._flat[start : start + tiles[0].numel()].copy_(tiles[0])

    def feed(self, start: int, tiles: tuple[Tensor, ...], scratch: Scratch) -> None:
        self.feed_tile(start, tiles, 0, scratch)

    def end_pass(self) -> None:
        """Nothing that a computation waits for."""


def _rounding(change: Change, tensor: TensorRecord, number: int) -> float | None:
    """The energy that a change would have if it were rounding alone: to the stored dtype, and in float32."""
    if change.rounding is None:
        return None
    own = gram.inner(tensor, number + 1, number + 1)
    rounded = gram.weights_inner(tensor, number + 1, number + 1) if change.is_of_weights else own
    return change.rounding**2 * max(rounded, 0.0) + _ROUNDED_TERMS * ROUNDING["float32"] ** 2 * own


def _overlaps(
    found: Sequence[Leading], spectra: Sequence[Spectrum], short: int
) -> Iterator[tuple[tuple[int, int], Overlap]]:
    for i, one in enumerate(found):
        for j in range(i + 1, len(found)):
            other = found[j]
            k = shared_directions(spectra[i], spectra[j], short)
            if k:
                yield (
                    (i, j),
                    Overlap(k, overlap(one.left, other.left, k), overlap(one.right, other.right, k)),
                )
