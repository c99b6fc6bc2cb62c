"""What the Run screen says of moments of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mergegraph_tui.model.followed import Followed, RunView, recipe_of_run
from mergegraph_tui.model.graph import DrawnGraph, DrawnNode
from mergegraph_tui.model.run_rows import (
    Room,
    Row,
    end_rows,
    head_rows,
    log_rows,
    memory_rows,
    node_columns,
    pace_rows,
    run_graph,
    tensor_rows,
)
from mergegraph_tui.model.runs import Done, End, Failed, Lost, Progress, Stopped

from mergegraph.errors import Problem

MIB = 1 << 20
GRAPH = DrawnGraph.of([DrawnNode("base", "load", "source"), DrawnNode("m", "scale", "merge"),
                       DrawnNode("out", "save", "sink")])  # fmt: skip
MERGING = Progress(
    "merging", 30 * MIB, 60 * MIB, 3, 7, 20 * MIB, 20 * MIB, 200 * MIB, "layers.2.up", "m", 4.0,
    (("base", 1.0), ("m", 3.0)), 1.0, 300 * MIB,
)  # fmt: skip
REPORT = {
    "kind": "done", "outputs": [{"node": "out", "path": "/x/out", "bytes": 60 * MIB, "files": 1}], "tensors": 7,
    "computed": 5, "copied": 2, "resumed": 0, "seconds": 8.0, "write_bytes": 60 * MIB, "pool_bytes": 20 * MIB,
    "budget_bytes": 200 * MIB, "reserved_bytes": 250 * MIB, "measured_bytes": 310 * MIB,
    "node_seconds": {"base": 2.0, "m": 6.0}, "already_done": [],
}  # fmt: skip
ROOM, NARROW = Room(100, 4), Room(40, 2)
NAN = Problem("w is not finite.", node="m", tensor="w", why="code has NaN", fix="--allow-non-finite")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        Clock.now += 0.1
        return Clock.now


@dataclass
class FakeRun:
    """A run that says what it is told to."""

    says: Progress | None = MERGING
    ended: End | None = None
    pid: int = 4711
    outputs: tuple[Path, ...] = (Path("/x/out"),)

    def is_alive(self) -> bool:
        return self.ended is None

    def progress(self) -> Progress | None:
        return self.says

    def end(self) -> End | None:
        return self.ended


def seen(*moments: Progress | None, end: End | None = None) -> RunView:
    """A run that was looked at in these moments, and ended so after the last."""
    run = FakeRun()
    followed = Followed(run, GRAPH, clock=Clock())
    for run.says in moments:
        followed.look()
    if end is not None:
        run.ended = end
        followed.look()
    return followed.view


def text(rows: list[Row]) -> str:
    return "\n".join("".join(part for part, _ in row).rstrip() for row in rows)


def test_a_run_that_merges() -> None:
    view = seen(replace(MERGING, bytes_done=20 * MIB), MERGING)
    head = text(head_rows(view, ROOM))
    assert head.splitlines()[0].startswith("▸ merging     tensor 3 / 7   written 30.0 / 60.0 MiB")
    assert "elapsed 00:04   left" in head
    narrow = text(head_rows(view, Room(62, 3))).splitlines()[0]
    assert narrow.startswith("▸ merging     tensor 3/7   30.0/60.0 MiB"), "times are told in 80 columns too"
    assert "00:04  left 00:0" in narrow
    assert " 50 %" in head
    assert head.splitlines()[2] == "now  layers.2.up"
    assert "20.0 MiB of 200.0 MiB budget   process 300.0 MiB" in text(memory_rows(view, ROOM))
    assert "  10 %" in text(memory_rows(view, ROOM))
    assert "35.0 MB/s" in text(pace_rows(view, ROOM)), "10 MiB in three tenths of a second"
    assert text(tensor_rows(view, ROOM)) == "▸ layers.2.up"
    columns = node_columns(view, ROOM)
    assert text([columns["m"]]).endswith("  75 %     3.0 s")
    states = {node.name: (node.status, node.progress) for node in run_graph(view).nodes.values()}
    assert states == dict.fromkeys(("base", "m", "out"), ("running", 0.5))
    assert log_rows(view)
    assert end_rows(view, can_go_on=True) == []


@pytest.mark.parametrize(
    ("view", "state", "said"),
    [
        (seen(None), "starting", "reading headers and planning"),
        (seen(replace(MERGING, state="paused")), "paused", "‖ paused"),
        (seen(MERGING, end=Done(REPORT)), "done", "✓ done"),
        (seen(MERGING, end=Stopped((), 130)), "stopped", "■ stopped"),
        (seen(MERGING, end=Failed((NAN,), 1)), "failed", "✗ failed"),
        (seen(MERGING, end=Lost("killed")), "lost", "✗ lost"),
    ],
)
def test_every_state_is_a_word(view: RunView, state: str, said: str) -> None:
    assert view.state == state
    assert said in text(head_rows(view, ROOM))
    assert state in view.note
    plain = Room(100, 4, ascii_only=True)
    for rows in (head_rows(view, plain), pace_rows(view, plain), memory_rows(view, plain), tensor_rows(view, plain)):
        assert text(rows).isascii()


def test_what_is_done_is_told_by_the_report() -> None:
    """The partial folder is gone by then, and a quick run was never seen."""
    view = seen(None, end=Done(REPORT))
    head = text(head_rows(view, ROOM))
    assert "tensor 7 / 7   written 60.0 / 60.0 MiB" in head
    assert "elapsed 00:08" in head
    assert "100 %" in head
    assert "mean 7.9 MB/s" in text(pace_rows(view, ROOM))
    assert text([node_columns(view, ROOM)["m"]]).endswith("  75 %     6.0 s")
    end = text(end_rows(view, can_go_on=True))
    assert "out -> /x/out  60.0 MiB" in end
    assert "5 computed, 2 copied; 8.0 s, 8 MB/s written" in end
    assert "s statistics   V verify every byte   c copy the path" in end


def test_a_run_that_had_nothing_to_do_has_no_pace() -> None:
    view = seen(None, end=Done({**REPORT, "computed": 0, "copied": 0, "write_bytes": 0, "already_done": ["out"]}))
    assert text(pace_rows(view, ROOM)) == "nothing was written"
    assert "it was complete before" in text(end_rows(view, can_go_on=True))


def test_a_run_that_says_nothing_for_long_is_told() -> None:
    """Its disk is full, say: bytes and pace would stand still without a word."""
    view = replace(seen(MERGING), silent_seconds=75.0)
    assert text(head_rows(view, ROOM)).splitlines()[2] == "no news for 01:15  now  layers.2.up"
    assert "no news" not in text(head_rows(replace(view, silent_seconds=2.0), ROOM))
    now = [0.0]
    followed = Followed(FakeRun(), GRAPH, clock=lambda: now[0])
    for now[0] in (5.0, 15.0, 25.0):
        followed.look()
    assert followed.view.silent_seconds == 20.0


def test_a_tensor_has_its_size_beside_it() -> None:
    view = replace(seen(MERGING), sizes={"layers.2.up": 33 * MIB})
    for room in (ROOM, NARROW):
        (row,) = text(tensor_rows(view, room)).splitlines()
        assert row.startswith("▸ layers.2.up ")
        assert row.endswith(" 33.0 MiB")
        assert len(row) == room.width


def test_after_the_end_the_tensors_on_disk_are_listed() -> None:
    """A quick run was seen at none of them."""
    view = replace(seen(None, end=Done(REPORT)), finished=("a", "b"), sizes={"a": MIB, "b": 2 * MIB})
    assert [row.split() for row in text(tensor_rows(view, ROOM)).splitlines()] == [
        ["✓", "b", "2.0", "MiB"], ["✓", "a", "1.0", "MiB"],
    ]  # fmt: skip
    beside_a_scroll_bar = text(tensor_rows(view, Room(40, 1), every=True)).splitlines()
    assert [len(row) for row in beside_a_scroll_bar] == [38, 38]


def test_a_failure_names_node_tensor_and_the_way_out() -> None:
    view = seen(MERGING, end=Failed((NAN,), 1))
    end = text(end_rows(view, can_go_on=True))
    for part in ("w is not finite.", 'node "m"', "tensor w", "code has NaN", "--allow-non-finite", "space goes on"):
        assert part in end
    assert run_graph(view).nodes["m"].status == "error"
    assert run_graph(view).nodes["base"].status == "waiting"


def test_what_is_no_node_of_the_recipe_has_a_row() -> None:
    """A run of an expression has no recipe; and measuring is no node."""
    view = seen(replace(MERGING, node_seconds=(("m", 1.0), ("--stats", 3.0))))
    assert list(run_graph(view).nodes) == ["base", "m", "out", "--stats"]
    assert run_graph(replace(view, graph=DrawnGraph())).nodes.keys() == {"m", "--stats"}


def test_narrow_rows_fit() -> None:
    view = seen(MERGING)
    for rows in (memory_rows(view, NARROW), pace_rows(view, NARROW)):
        assert len(rows) == 2
        assert all(len(line) <= 42 for line in text(rows).splitlines())


def test_a_pause_is_asked_for_and_taken_back(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    run = FakeRun(outputs=(tmp_path / "out",))
    followed = Followed(run, GRAPH, clock=Clock())
    followed.look()
    assert "pausing" in followed.pause_or_go_on()
    assert (tmp_path / "out.partial" / "pause").exists()
    run.says = replace(MERGING, state="paused")
    assert followed.look().is_paused
    assert followed.pause_or_go_on() == "going on"
    assert not (tmp_path / "out.partial" / "pause").exists()
    run.says = MERGING
    followed.look()
    run.says = None
    assert followed.pause_or_go_on() == "", "it is not merging"


def test_a_run_without_a_folder_names_no_recipe() -> None:
    assert recipe_of_run(FakeRun()) is None
