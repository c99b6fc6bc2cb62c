"""A run that is followed: a thread of its own looks at it ten times a second, and what it saw last is a plain value.

Whoever draws takes that value and never waits for a disk. The run does not notice.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from mergegraph.errors import MergegraphError, Problem
from mergegraph.recipe.load import load_recipe
from mergegraph.units import format_bytes, format_seconds
from mergegraph_tui.model.graph import DrawnGraph
from mergegraph_tui.model.on_disk import finished_tensors, tensor_bytes
from mergegraph_tui.model.progress import Clock, Follower, Shown
from mergegraph_tui.model.reading import graph_of
from mergegraph_tui.model.runs import (
    Done,
    End,
    Failed,
    Lost,
    Progress,
    RegisteredRun,
    Run,
    Stopped,
    go_on,
    pause,
    stop,
)

_POLL_SECONDS = 0.1
_LIST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RunView:
    """One moment of a run. `shown` is None until it says how far it is, `end` while it lives. `graph` is that of its
    recipe, empty where it could not be read. `finished`: every tensor that is on disk, where it was asked for, and
    at the end."""

    outputs: tuple[Path, ...]
    pid: int
    shown: Shown | None
    end: End | None
    is_stopping: bool
    graph: DrawnGraph
    recipe: Path | None
    finished: tuple[str, ...] = ()
    silent_seconds: float = 0.0
    """Since it published something new."""
    sizes: Mapping[str, int] = field(default_factory=lambda: dict[str, int]())
    """Bytes of each tensor of the outputs, once the headers of their files are written."""

    @property
    def state(self) -> str:
        """One word for it."""
        match self.end:
            case None:
                return "stopping" if self.is_stopping else self.shown.progress.state if self.shown else "starting"
            case Done():
                return "done"
            case Failed():
                return "failed"
            case Stopped():
                return "stopped"
            case Lost():
                return "lost"

    @property
    def share(self) -> float:
        return 1.0 if isinstance(self.end, Done) else self.shown.share if self.shown else 0.0

    @property
    def is_paused(self) -> bool:
        return self.state == "paused"

    @property
    def note(self) -> str:
        """For a line that is about something else: `merging 42 %`."""
        percent = f" {int(100 * self.share)} %" if self.shown and not isinstance(self.end, Done) else ""
        return f"{self.state}{percent}"

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.end.problems if isinstance(self.end, Failed | Stopped) else ()


class Followed:
    """Follows `run` until it has ended. `graph`: where it is known; else that of the recipe that the run names."""

    def __init__(self, run: Run, graph: DrawnGraph | None = None, *, clock: Clock = time.monotonic) -> None:
        self.run = run
        self.recipe = recipe_of_run(run)
        self._graph = graph
        self._follower = Follower(clock)
        self.is_stopping = False
        self._clock, self._news_at = clock, clock()
        self._news: Progress | None = None
        self._closed = threading.Event()
        self._ended: End | None = None
        self._finished: tuple[str, ...] = ()
        self._listed_at = 0.0
        self._sizes: Mapping[str, int] = {}
        self._sized_at = 0.0
        self.view = RunView((), 0, None, None, is_stopping=False, graph=graph or DrawnGraph(), recipe=self.recipe)

    def begin(self) -> None:
        """Look from now on, in a thread."""
        threading.Thread(target=self._watch, name="follow", daemon=True).start()

    def close(self) -> None:
        """Look no more. The run goes on."""
        self._closed.set()

    def look(self) -> RunView:
        """One look."""
        if self._graph is None:
            self._graph = _graph_of(self.recipe)
        # Asked in this order: what a run publishes last is there when it is seen to have ended.
        end = self._ended or self.run.end()
        progress = self.run.progress()
        if end is not None and self._ended is None:
            self._ended = end
            self._finished = finished_tensors(self.run.outputs)
            self._look_for_sizes()
            progress = self._counted(_last(end, progress)) if not isinstance(end, Done) else _last(end, progress)
            for line in end_lines(end):
                self._follower.note(line, progress.seconds if progress else None)
        if progress is not None and progress.tensor:
            self._look_for_sizes()
        shown = self._follower.observe(progress if end is None or self.view.end is None else None)
        self.view = RunView(
            self.run.outputs,
            self.run.pid,
            shown,
            end,
            self.is_stopping and end is None,
            self._graph,
            self.recipe,
            self._finished,
            self._silence(progress),
            self._sizes,
        )
        return self.view

    def _counted(self, progress: Progress | None) -> Progress | None:
        """With what is on disk: a run that ends in the middle publishes no last count."""
        finished = self._finished
        if progress is None or not finished:
            return progress
        bytes_done = sum(self._sizes.get(name, 0) for name in finished)
        if not all(name in self._sizes for name in finished):
            bytes_done = progress.bytes_done
        return replace(progress, tensors_done=len(finished), bytes_done=bytes_done)

    def _look_for_sizes(self) -> None:
        """Once; until there are some, once a second."""
        if not self._sizes and time.monotonic() - self._sized_at >= _LIST_SECONDS:
            self._sized_at = time.monotonic()
            self._sizes = tensor_bytes(self.run.outputs)

    def _silence(self, progress: Progress | None) -> float:
        """Seconds since it published something new."""
        if progress != self._news:
            self._news, self._news_at = progress, self._clock()
        return self._clock() - self._news_at

    def list_finished(self) -> None:
        """Find out which tensors are on disk, in a thread, at most once a second: the view has them then."""
        if time.monotonic() - self._listed_at >= _LIST_SECONDS:
            self._listed_at = time.monotonic()
            threading.Thread(target=self._list, name="tensors", daemon=True).start()

    def _list(self) -> None:
        self._finished = finished_tensors(self.view.outputs)
        self.view = replace(self.view, finished=self._finished)

    def pause_or_go_on(self) -> str:
        """What was asked of the run; "" where it cannot be asked now."""
        if self.view.is_paused:
            go_on(self.run)
            return "going on"
        return "pausing after the tiles it is at" if pause(self.run) else ""

    def stop(self) -> bool:
        """Ask it to stop, once more where it was asked before; False where it lives no more."""
        self.is_stopping = stop(self.run)
        return self.is_stopping

    def _watch(self) -> None:
        while not self._closed.is_set() and self.look().end is None:
            self._closed.wait(_POLL_SECONDS)


def recipe_of_run(run: Run) -> Path | None:
    """The recipe that its command names."""
    if not isinstance(run, RegisteredRun):
        return None
    arguments = run.arguments
    if "--" in arguments[:-1]:
        return run.started_in / arguments[arguments.index("--") + 1]
    files = [each for each in arguments if each.endswith((".yaml", ".yml")) and not each.startswith("-")]
    return run.started_in / files[-1] if files else None


def _graph_of(recipe: Path | None) -> DrawnGraph:
    """As the file is now. A run of an expression has none."""
    try:
        return graph_of(load_recipe(recipe)) if recipe is not None else DrawnGraph()
    except (MergegraphError, OSError):
        return DrawnGraph()


def _last(end: End, seen: Progress | None) -> Progress | None:
    """The record of a run that has ended: its report has one more than it published."""
    if not isinstance(end, Done) or not end.report:
        return seen
    said = end.report
    outputs = said.get("outputs")
    sizes = [int(number(each, "bytes")) for each in cast("list[dict[str, object]]", outputs or [])]
    tensors, pool = int(number(said, "tensors")), int(number(said, "pool_bytes"))
    nodes = cast("dict[str, float]", said.get("node_seconds") or {})
    return Progress(
        "done", sum(sizes), sum(sizes), tensors, tensors, pool, pool, int(number(said, "budget_bytes")), "", "",
        number(said, "seconds"), tuple(nodes.items()), 0.0, int(number(said, "measured_bytes")),
    )  # fmt: skip


def number(said: Mapping[str, object], name: str) -> float:
    """A number of a report; 0 where it has none of that name."""
    value = said.get(name)
    return value if isinstance(value, int | float) else 0


def end_lines(end: End) -> list[str]:
    """What is to be said of an end, in lines: the fact first."""
    match end:
        case Done(report=report):
            return _done_lines(report)
        case Failed(problems=problems) | Stopped(problems=problems):
            said = [line for problem in problems for line in str(problem).splitlines()]
            return said or ["The run was stopped."]
        case Lost(said=said):
            last = said.strip().splitlines()[-3:]
            return ["The run ended without a word; what its journal has is kept.", *last]


def _done_lines(report: Mapping[str, object]) -> list[str]:
    lines: list[str] = []
    for each in cast("list[dict[str, object]]", report.get("outputs") or []):
        lines.append(f"{each.get('node')} -> {each.get('path')}  {format_bytes(number(each, 'bytes'))}")
    if not report:
        return ["complete"]
    if report.get("already_done") and not number(report, "computed") + number(report, "copied"):
        return [*lines, "nothing to do: it was complete before"]
    computed, copied, resumed = (int(number(report, name)) for name in ("computed", "copied", "resumed"))
    counted = f"{computed:,} computed, {copied:,} copied" + (f", {resumed:,} found done" if resumed else "")
    seconds = number(report, "seconds")
    pace = number(report, "write_bytes") / max(seconds, 1e-9) / 1e6
    lines.append(f"{counted}; {format_seconds(seconds)}, {pace:,.0f} MB/s written")
    measured, reserved, budget = (number(report, f"{name}_bytes") for name in ("measured", "reserved", "budget"))
    allowed = f"of {format_bytes(reserved)} reserved + {format_bytes(budget)} budget"
    lines.append(f"memory {format_bytes(measured)} measured, {allowed}")
    return lines


def command(run: RegisteredRun) -> str:
    """What was started, as it would be typed."""
    return shlex.join(["mergegraph", *run.arguments])
