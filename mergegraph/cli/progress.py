"""How far a run is: a line of numbers for programs, a bar for a terminal. Looks at the record when it is asked to."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from mergegraph.errors import on_one_line
from mergegraph.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from mergegraph.runs.progress import Progress

_WINDOW_SECONDS = 5.0


@dataclass
class Pace:
    """Bytes a second over the last 5 seconds of `observe`; what an earlier run left on disk does not count."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def observe(self, seconds: float, bytes_done: int) -> None:
        """The run has been at `bytes_done` when `seconds` had passed."""
        self._seen.append((seconds, bytes_done))
        while self._seen[-1][0] - self._seen[0][0] > _WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def bytes_per_second(self) -> float:
        """0 until there are two moments to compare."""
        if len(self._seen) < 2:
            return 0.0
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        return (now - before) / (last - first) if last > first else 0.0

    def seconds_left(self, bytes_left: int) -> float | None:
        """At this pace; None while it is not known."""
        pace = self.bytes_per_second
        return bytes_left / pace if pace > 0 else None


def observe(pace: Pace, progress: Progress) -> None:
    """Tell `pace` of a record, when it says how many bytes are done."""
    if progress.bytes_total and progress.state == "merging":
        pace.observe(progress.seconds, progress.bytes_done)


def progress_json(progress: Progress, pace: Pace, resident_bytes: int) -> dict[str, object]:
    """The record with what can be told from several of them; `seconds_left` is null while it is not known."""
    return {
        "kind": "progress",
        **asdict(progress),
        "node_seconds": dict(progress.node_seconds),
        "resident_bytes": resident_bytes,
        "bytes_per_second": round(pace.bytes_per_second),
        "seconds_left": pace.seconds_left(progress.bytes_total - progress.bytes_done),
    }


def pace_text(progress: Progress, pace: Pace) -> str:
    """`42 %  1.2 GiB of 2.9 GiB  310 MB/s  5.5 s left`."""
    share = 100 * progress.bytes_done // progress.bytes_total if progress.bytes_total else 0
    parts = [f"{share:>3} %", f"{format_bytes(progress.bytes_done)} of {format_bytes(progress.bytes_total)}"]
    if pace.bytes_per_second:
        parts.append(f"{pace.bytes_per_second / 1e6:,.0f} MB/s")
    left = pace.seconds_left(progress.bytes_total - progress.bytes_done)
    return "  ".join([*parts, f"{format_seconds(left)} left"] if left is not None else parts)


def state_text(progress: Progress, resident_bytes: int) -> str:
    """`merging 12 of 291  pool 21.0 MiB of 2.0 GiB  process 310.2 MiB  model.layers.3.mlp.up_proj.weight`."""
    return (
        f"{progress.state} {progress.tensors_done:,} of {progress.tensors_total:,}  "
        f"pool {format_bytes(progress.held_bytes)} of {format_bytes(progress.budget_bytes)}  "
        f"process {format_bytes(resident_bytes)}  {on_one_line(progress.tensor)}"
    )


class Bar:
    """Two lines on stderr that follow a run and disappear with it: a bar with the pace, and the state."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._pace = Pace()
        # Redrawn by `show` from the run's own thread: a refresh thread would take turns with the workers.
        self._live: Live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Bar:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, progress: Progress, resident_bytes: int) -> None:
        observe(self._pace, progress)
        self._live.update(self._lines(progress, resident_bytes), refresh=True)

    def _lines(self, progress: Progress, resident_bytes: int) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        bar = ProgressBar(total=max(progress.bytes_total, 1), completed=progress.bytes_done)
        line.add_row(bar, Text(pace_text(progress, self._pace)))
        state = Text(state_text(progress, resident_bytes), style="dim", no_wrap=True, overflow="ellipsis")
        return Group(line, state)
