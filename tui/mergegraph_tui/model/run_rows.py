"""What the Run screen says, as rows of (text, style): progress, pace, memory, nodes, tensors, log, the end. Pure.

Styles are keys of `cells.STYLES`. Every state is a word too, so nothing needs colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mergegraph.runs.ending import Done, Failed, Lost, Stopped
from mergegraph.units import format_bytes
from mergegraph_tui.model.followed import RunView, end_lines, number
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.graph import DrawnGraph, DrawnNode, State
from mergegraph_tui.model.meters import bar, spark
from mergegraph_tui.model.progress import clock_text
from mergegraph_tui.model.rail import Part

Row = Sequence[Part]

_STYLE = {
    "starting": "running", "checking": "running", "merging": "running", "finishing": "running", "paused": "warning",
    "stopping": "warning", "stopped": "warning", "done": "done", "failed": "error", "lost": "error",
}  # fmt: skip
_MARKS = {"paused": "‖", "stopping": "■", "stopped": "■", "done": "✓", "failed": "✗", "lost": "✗"}
_ASCII_MARKS = {"paused": "=", "stopping": "#", "stopped": "#", "done": "*", "failed": "x", "lost": "x"}
_LONG_SILENCE = 15.0
"""Seconds after which it is said that a run publishes nothing: its disk is full, or a step takes long."""
_SIZE_CELLS = 11
"""For `1023.9 MiB`, and a blank before it."""
_SCROLL_BAR = 2
STATISTICS = "--stats"
"""What measuring is called among the nodes."""


@dataclass(frozen=True, slots=True)
class Room:
    """How wide rows may be, and which characters."""

    width: int
    height: int = 1
    ascii_only: bool = False


def head_rows(view: RunView, room: Room) -> list[Row]:
    """State and counts, the bar, and what it is at."""
    style, marks = _STYLE[view.state], _ASCII_MARKS if room.ascii_only else _MARKS
    mark = marks.get(view.state, ">" if room.ascii_only else "▸")
    shown = view.shown
    if shown is None:
        said = "" if view.end is not None else "reading headers and planning"
        return [[(f"{mark} {view.state}", style)], _bar_row(view.share, style, room), [(said, "detail")]]
    progress = shown.progress
    counts = f"tensor {progress.tensors_done:,} / {progress.tensors_total:,}"
    written = f"written {_of(progress.bytes_done, progress.bytes_total)}"
    left = "" if view.end is not None else f"   left {clock_text(shown.seconds_left)}"
    times = f"elapsed {clock_text(progress.seconds)}{left}"
    said = f"  {counts}   {written}"
    if 12 + len(said) + len(times) >= room.width:
        said = said.replace("written ", "").replace(" / ", "/")
        times = times.replace("elapsed ", "").replace("   ", "  ")
    used = 12 + len(said)
    first: Row = [(f"{mark} {view.state:<10}", style), (said, "name"), (times.rjust(room.width - used), "detail")]
    now: Row = [("now  ", "detail"), (progress.tensor, "name")] if progress.tensor and view.end is None else []
    if view.end is None and view.silent_seconds > _LONG_SILENCE and not view.is_paused:
        now = [(f"no news for {clock_text(view.silent_seconds)}  ", "warning"), *now]
    return [first, _bar_row(view.share, style, room), now]


def _of(done: int, total: int) -> str:
    """`1.4 / 2.4 GiB`, each with its unit where they differ."""
    one, other = format_bytes(done), format_bytes(total)
    return f"{one.split()[0]} / {other}" if one.split()[1] == other.split()[1] else f"{one} / {other}"


def _bar_row(share: float, style: str, room: Room) -> Row:
    done, rest = bar(share, max(1, room.width - 7), ascii_only=room.ascii_only)
    return [(done, style), (rest, "waiting"), (f" {int(100 * share):>4} %", "name")]


def pace_rows(view: RunView, room: Room) -> list[Row]:
    """MB/s now, on the whole and at most, and how it went."""
    shown = view.shown
    if shown is None:
        return [[("no bytes yet", "detail")]]
    now, mean, top = (
        x / 1e6 for x in (shown.bytes_per_second, shown.mean_bytes_per_second, shown.top_bytes_per_second)
    )
    if isinstance(view.end, Done) and view.end.report and shown.progress.seconds:
        written = number(view.end.report, "write_bytes")
        if not written:
            return [[("nothing was written", "detail")]]
        mean = written / shown.progress.seconds / 1e6
    parts = [] if view.end is not None else [f"{now:,.1f} MB/s"]
    parts += [f"mean {mean:,.1f} MB/s" if view.end is not None else f"mean {mean:,.1f}"]
    parts += [f"top {top:,.1f}"] if top else []
    first: Row = [(parts[0], "name"), ("".join(f"   {part}" for part in parts[1:]), "detail")]
    lines = spark(shown.rates, room.width, max(1, room.height - 1), ascii_only=room.ascii_only)
    return [first, *[[(line, "running")] for line in lines]]


def memory_rows(view: RunView, room: Room) -> list[Row]:
    """The tiles against the budget, and the process over time."""
    shown = view.shown
    if shown is None:
        return [[("nothing is held yet", "detail")]]
    progress = shown.progress
    tiles = f"tiles {format_bytes(progress.held_bytes)} of {format_bytes(progress.budget_bytes)}"
    process = f"process {format_bytes(progress.resident_bytes)}" if progress.resident_bytes else ""
    is_wide = len(tiles) + len(process) + 10 <= room.width
    first: Row = [(f"{tiles} budget" if is_wide else tiles, "name"), (f"   {process}" if is_wide else "", "detail")]
    if room.height < 3:
        return [first, [(spark(shown.resident, room.width, ascii_only=room.ascii_only)[0], "done")]]
    done, rest = bar(shown.held_share, max(1, room.width - 7), ascii_only=room.ascii_only)
    gauge: Row = [(done, "done"), (rest, "waiting"), (f" {100 * shown.held_share:>4.0f} %", "name")]
    lines = spark(shown.resident, room.width, room.height - 2, ascii_only=room.ascii_only)
    return [first, gauge, *[[(line, "done")] for line in lines]]


def node_columns(view: RunView, room: Room) -> dict[str, Row]:
    """What the rail says of each node: its share of the time, in a bar, per cent and seconds."""
    times = {each.node: each for each in view.shown.nodes} if view.shown else {}
    width = max(4, min(24, room.width - 17))
    columns: dict[str, Row] = {}
    for name, each in times.items():
        done, rest = bar(each.share, width, ascii_only=room.ascii_only)
        numbers = f"{100 * each.share:>4.0f} % {each.seconds:>7.1f} s"
        columns[name] = [(done, "running"), (rest, "waiting"), (numbers, "name")]
    return columns


def run_graph(view: RunView) -> DrawnGraph:
    """The graph with the state of each node; where the run measures, or its recipe is not known, with what else has
    taken time."""
    times = [each.node for each in view.shown.nodes] if view.shown else []
    extra = [DrawnNode(name, "statistics" if name == STATISTICS else "", "one-input") for name in times
             if name not in view.graph.nodes]  # fmt: skip
    graph = DrawnGraph.of([*view.graph.nodes.values(), *extra])
    return graph.with_states(node_states(view, graph))


def node_states(view: RunView, graph: DrawnGraph) -> Mapping[str, State]:
    """Nodes advance together, tile by tile: each is as far as the run is, and a failure has the node it names."""
    failed = {problem.node for problem in view.problems} if isinstance(view.end, Failed) else set[str]()
    match view.state:
        case "starting" | "checking":
            state = State("waiting")
        case "done":
            state = State("done", 1.0)
        case "stopped" | "failed" | "lost":
            state = State("waiting", view.share)
        case _:
            state = State("running", view.share)
    states = {name: State() if node.skipped else state for name, node in graph.nodes.items()}
    return {**states, **{name: State("error") for name in failed & graph.nodes.keys()}}


def tensor_rows(view: RunView, room: Room, *, every: bool = False) -> list[Row]:
    """The tensors it was seen at, the latest first, as many as there is room for; `every`: all that are on disk. Of a
    run that has ended those that are: a quick one was seen at none.

    The former fill their lines, so that the next ones have the same size.
    """
    if view.shown is None:
        return []
    marks = (">", "*") if room.ascii_only else ("▸", "✓")
    is_going_on = view.end is None and view.shown.progress.state in ("merging", "paused")
    now = view.shown.tensors[:1] if is_going_on else ()
    is_listed = every or (view.end is not None and view.finished)
    done = view.finished[::-1] if is_listed else view.shown.tensors[len(now) :]
    named = [
        *((marks[0], "running", "name", name) for name in now),
        *((marks[1], "done", "detail", name) for name in done[: None if every else room.height]),
    ]
    if every and len(named) > room.height:
        room = replace(room, width=room.width - _SCROLL_BAR)
    rows: list[Row] = [
        [(f"{mark} ", style), (_filling(name, room, view.sizes), ink), (_size(name, view.sizes), "detail")]
        for mark, style, ink, name in named
    ]
    return rows if every else rows[: room.height]


def _filling(name: str, room: Room, sizes: Mapping[str, int]) -> str:
    """The end of a name tells more than its beginning."""
    width = max(1, room.width - 2 - (_SIZE_CELLS if sizes else 0))
    cut = "".join(glyphs_of(ascii_only=room.ascii_only).fitted(name, width, keep_end=True))
    return cut.ljust(width)


def _size(name: str, sizes: Mapping[str, int]) -> str:
    said = format_bytes(sizes[name]) if name in sizes else ""
    return said.rjust(_SIZE_CELLS) if sizes else ""


def log_rows(view: RunView) -> list[Row]:
    """What it said, oldest first."""
    if view.shown is None:
        return []
    return [[(f"{clock_text(line.at)} ", "detail"), (line.text, "")] for line in view.shown.log]


def end_rows(view: RunView, *, can_go_on: bool) -> list[Row]:
    """How it ended, and what to do next; nothing while it lives."""
    if view.end is None:
        return []
    first, *rest = end_lines(view.end)
    rows: list[Row] = [[(first, _STYLE[view.state])], *[[(line, "")] for line in rest]]
    next_steps = {
        Done: "s statistics   V verify every byte   c copy the path   p plan again",
        Stopped: "space goes on behind what is on disk" if can_go_on else "",
        Failed: "what is done is kept: mend it, then space goes on   1 edit the recipe" if can_go_on else "",
        Lost: "space goes on behind what is on disk" if can_go_on else "",
    }
    next_step = next_steps[type(view.end)]
    return [*rows, [("next  ", "detail"), (next_step, "cursor")]] if next_step else rows
