"""What can be told from a run's records one after another: pace, time left, shares, a log. Pure: the clock is given."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mergegraph.runs.progress import Progress
from mergegraph.units import format_bytes

Clock = Callable[[], float]

_WINDOW_SECONDS = 10.0
_SHOWN_AFTER_SECONDS = 3.0
_SHOWN_AFTER_SHARE = 0.02
_LOG_KEPT = 1_000
_TENSORS_KEPT = 200


class Pace:
    """Bytes a second and the time left, from pairs (time, bytes). Of the last ten seconds the latest weigh most: a
    moment counts 1/e of one that is ten seconds younger. Time that was paused is no time."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._rate = 0.0
        self._weight = 0.0
        self._last: tuple[float, int] | None = None
        self._observed_seconds = 0.0
        self._observed_bytes = 0
        self.top_bytes_per_second = 0.0

    def observe(self, bytes_done: int) -> None:
        """So many bytes are done now. Fewer than before begins anew, and so does what an earlier run left on disk."""
        now = self._clock()
        if self._last is None or bytes_done < self._last[1]:
            self._last = (now, bytes_done)
            return
        seconds, count = now - self._last[0], bytes_done - self._last[1]
        if seconds <= 0:
            return
        self._last = (now, bytes_done)
        kept = math.exp(-seconds / _WINDOW_SECONDS)
        self._rate = self._rate * kept + count / seconds * (1 - kept)
        self._weight = self._weight * kept + (1 - kept)
        self._observed_seconds += seconds
        self._observed_bytes += count
        if self._observed_seconds >= 1:
            self.top_bytes_per_second = max(self.top_bytes_per_second, self.bytes_per_second)

    def interrupt(self) -> None:
        """The run waits: the next moment is a first one."""
        self._last = None

    @property
    def bytes_per_second(self) -> float:
        """0 until there are two moments to compare."""
        return self._rate / self._weight if self._weight else 0.0

    @property
    def mean_bytes_per_second(self) -> float:
        """Over all that was observed."""
        return self._observed_bytes / self._observed_seconds if self._observed_seconds else 0.0

    def seconds_left(self, bytes_total: int) -> float | None:
        """At this pace; None in the first 3 seconds unless 2 % were done in them, and while nothing moves."""
        if self._last is None or not self.bytes_per_second:
            return None
        told = self._observed_seconds >= _SHOWN_AFTER_SECONDS
        if not told and self._observed_bytes < _SHOWN_AFTER_SHARE * bytes_total:
            return None
        return max(0, bytes_total - self._last[1]) / self.bytes_per_second


@dataclass(frozen=True, slots=True)
class NodeTime:
    """`share`: of the seconds of all workers, 0 to 1."""

    node: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class LogLine:
    """`at`: seconds since the run began."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One moment of a run, ready to be drawn. Shares are 0 to 1; `seconds_left` is None while it is not known."""

    progress: Progress
    share: float
    bytes_per_second: float
    mean_bytes_per_second: float
    top_bytes_per_second: float
    seconds_left: float | None
    held_share: float
    nodes: tuple[NodeTime, ...]
    tensors: tuple[str, ...]
    log: tuple[LogLine, ...]
    rates: tuple[float, ...]
    held: tuple[int, ...]
    resident: tuple[int, ...]


class Follower:
    """Takes a run's records as they are polled, and says what is to be shown. `tensors`: those it was seen at, the
    latest first; the record names one at a time, so quick ones between two polls are not among them."""

    def __init__(self, clock: Clock = time.monotonic, *, samples: int = 120) -> None:
        self._pace = Pace(clock)
        self._seen: Progress | None = None
        self._tensors: deque[str] = deque(maxlen=_TENSORS_KEPT)
        self._log: deque[LogLine] = deque(maxlen=_LOG_KEPT)
        self._quarters = 0
        self._rates: deque[float] = deque(maxlen=samples)
        self._held: deque[int] = deque(maxlen=samples)
        self._resident: deque[int] = deque(maxlen=samples)

    def note(self, text: str, at: float | None = None) -> None:
        """A line for the log that the record does not tell: a warning, an end."""
        seconds = at if at is not None else self._seen.seconds if self._seen is not None else 0.0
        self._log.append(LogLine(seconds, text))

    def observe(self, progress: Progress | None) -> Shown | None:
        """What is to be shown now; the last record stays while there is none to read. None before the first."""
        if progress is not None and progress != self._seen:
            self._tell(progress, self._seen)
            self._seen = progress
        shown = self._seen
        if shown is None:
            return None
        if shown.state == "merging" and shown.bytes_total:
            self._pace.observe(shown.bytes_done)
        else:
            self._pace.interrupt()
        self._rates.append(self._pace.bytes_per_second if shown.state == "merging" else 0.0)
        self._held.append(shown.held_bytes)
        self._resident.append(shown.resident_bytes)
        return self._shown(shown)

    def _tell(self, now: Progress, before: Progress | None) -> None:
        """What has changed since the last record."""
        if now.tensor and (before is None or now.tensor != before.tensor):
            self._tensors.appendleft(now.tensor)
        if before is None and now.bytes_done and now.bytes_total and now.state != "done":
            done = f"{format_bytes(now.bytes_done)} of {format_bytes(now.bytes_total)}"
            self._log.append(LogLine(now.seconds, f"first seen at {done}"))
        if before is None or now.state != before.state:
            counted = f", tensor {now.tensors_done:,} of {now.tensors_total:,}" if now.tensors_total else ""
            asked = _asked(now) if now.state == "merging" and not self._quarters else ""
            self._log.append(LogLine(now.seconds, f"{now.state}{counted}{asked}"))
            self._quarters = max(self._quarters, _quarters(now) + 1) if now.state == "merging" else self._quarters
        if self._quarters and _quarters(now) >= self._quarters:
            self._quarters = _quarters(now) + 1
            mean = self._pace.mean_bytes_per_second
            pace = f", {mean / 1e6:,.1f} MB/s so far" if mean else ""
            self._log.append(LogLine(now.seconds, f"{25 * _quarters(now)} %{pace}"))

    def _shown(self, progress: Progress) -> Shown:
        pace = self._pace
        return Shown(
            progress,
            share=_share(progress.bytes_done, progress.bytes_total),
            bytes_per_second=pace.bytes_per_second,
            mean_bytes_per_second=pace.mean_bytes_per_second,
            top_bytes_per_second=pace.top_bytes_per_second,
            seconds_left=pace.seconds_left(progress.bytes_total),
            held_share=_share(progress.held_bytes, progress.budget_bytes),
            nodes=node_times(progress),
            tensors=tuple(self._tensors),
            log=tuple(self._log),
            rates=tuple(self._rates),
            held=tuple(self._held),
            resident=tuple(self._resident),
        )


def node_times(progress: Progress) -> tuple[NodeTime, ...]:
    """Seconds by node, in the order the run first came to them."""
    total = sum(seconds for _, seconds in progress.node_seconds)
    return tuple([NodeTime(node, seconds, _share(seconds, total)) for node, seconds in progress.node_seconds])


def _quarters(progress: Progress) -> int:
    return int(4 * _share(progress.bytes_done, progress.bytes_total))


def _asked(progress: Progress) -> str:
    """What there is to write, within what."""
    return f", {format_bytes(progress.bytes_total)} to write, budget {format_bytes(progress.budget_bytes)}"


def clock_text(seconds: float | None) -> str:
    """`01:07`, `2:05:09`; `--:--` while it is not known."""
    if seconds is None:
        return "--:--"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole else 0.0
