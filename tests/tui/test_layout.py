"""A drawing has one meaning: nothing overlaps, every wire leads from its outlet to its pin, and is drawn the same."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mergegraph_tui.model.cells import Painting
from mergegraph_tui.model.drawing import DIRECTIONS, EAST, NORTH, SIZES, SOUTH, WEST, Direction, Drawing, Size
from mergegraph_tui.model.fit import Fit, Layouts, Room
from mergegraph_tui.model.glyphs import ASCII, BOX_DRAWING
from mergegraph_tui.model.graph import DrawnGraph, DrawnInput, DrawnNode
from mergegraph_tui.model.rail import rail_rows
from mergegraph_tui.model.text import lines_of, painted_lines
from mergegraph_tui.model.tracks import route
from mergegraph_tui.model.wiring import drawable, stubs

from tests.tui.shapes import experts, graphs, load, merge, save, tangle, twelve

STEPS = {NORTH: (0, -1), SOUTH: (0, 1), EAST: (1, 0), WEST: (-1, 0)}


def check(graph: DrawnGraph, drawing: Drawing) -> None:
    """As `check_forward`; and every wire is drawn."""
    for name, pins in drawing.pins.items():
        assert [pin.position for pin in pins] == list(range(len(graph.nodes[name].inputs)))
    check_forward(graph, drawing)


def check_forward(graph: DrawnGraph, drawing: Drawing) -> None:
    """No two things in a cell but two nets that cross, and from every outlet its wires lead to its readers' pins."""
    taken: set[tuple[int, int]] = set()
    for box in drawing.boxes.values():
        cells = {(box.x + x, box.y + y) for x in range(box.width) for y in range(box.height)}
        assert not cells & taken
        taken |= cells
    assert not taken & set(drawing.wires)
    for nets in drawing.wires.values():
        assert len(nets) == 1 or sorted(nets.values()) == [NORTH | SOUTH, EAST | WEST]
    ahead = (0, 1) if drawing.direction == "down" else (1, 0)
    expected: dict[str, set[tuple[int, int]]] = {name: set() for name in graph.nodes}
    for name, pins in drawing.pins.items():
        for pin in pins:
            expected[graph.nodes[name].inputs[pin.position].source].add((pin.x, pin.y))
    for name in graph.nodes:
        assert ends_of(drawing, name, ahead) == expected[name]


def ends_of(drawing: Drawing, net: str, ahead: tuple[int, int]) -> set[tuple[int, int]]:
    """Where the wires of a net arrive, followed cell by cell; every cell of it must be met, and met from both sides."""
    x, y = drawing.outlets[net]
    cells = {cell: nets[net] for cell, nets in drawing.wires.items() if net in nets}
    pending, met, ends = [(x + ahead[0], y + ahead[1])], set[tuple[int, int]](), set[tuple[int, int]]()
    while pending and cells:
        at = pending.pop()
        if at in met or at == (x, y):
            continue
        if at not in cells:
            ends.add(at)
            continue
        met.add(at)
        for side, (dx, dy) in STEPS.items():
            if cells[at] & side:
                pending.append((at[0] + dx, at[1] + dy))
    assert met == set(cells)
    return ends


@settings(max_examples=60, deadline=None)
@given(graphs(), st.sampled_from(SIZES), st.sampled_from(DIRECTIONS))
def test_wires_lead_to_their_pins_and_nothing_overlaps(graph: DrawnGraph, size: Size, direction: Direction) -> None:
    check(graph, Layouts(graph).drawing(size, direction))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("count", [60, 200])
def test_a_large_tangle_has_no_clash(count: int, direction: Direction) -> None:
    graph = tangle(count)
    check(graph, Layouts(graph).drawing("box", direction))


@given(st.lists(st.integers(0, 9), min_size=2, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_nets_that_change_places_are_split(columns: list[int], chance: object) -> None:
    """Each net ends where another starts: no order of tracks would do without a split."""
    ends = [*columns[1:], columns[0]]
    gap = route({f"n{start}": (start, [end]) for start, end in zip(columns, ends, strict=True)})
    for part, track in gap.tracks.items():
        for other, other_track in gap.tracks.items():
            if part is not other and part.precedes(other):
                assert track < other_track
    assert {part.number for part in gap.tracks} >= {0, 1}


def test_the_same_graph_gives_the_same_drawing() -> None:
    for graph in (twelve(), experts(8, 2), tangle(120)):
        assert Layouts(graph).drawing("box", "down") == Layouts(graph).drawing("box", "down")


def test_a_cycle_and_a_name_that_nobody_has_do_not_keep_the_rest_from_being_drawn() -> None:
    a = DrawnNode("a", "sum", "merge", inputs=(DrawnInput("b"), DrawnInput("gone")))
    b = DrawnNode("b", "sum", "merge", inputs=(DrawnInput("a"),))
    lines = painted_lines(DrawnGraph.of([a, b]), fit_of(DrawnGraph.of([a, b]), "box", "down"))
    assert any("a" in line for line in lines)
    assert "▼" in "".join(lines)


def fit_of(graph: DrawnGraph, size: Size, direction: Direction) -> Fit:
    return Fit(size, direction, Layouts(graph).drawing(size, direction), True)


def test_an_empty_graph_is_an_empty_drawing() -> None:
    fit = Layouts(DrawnGraph()).fit(Room(80, 24))
    assert (fit.drawing.width, fit.drawing.height, fit.fits) == (0, 0, True)


@pytest.mark.parametrize(
    ("graph", "room", "size"),
    [
        (twelve(), Room(44, 18), "pill"),  # beside an inspector at 80×24
        (twelve(), Room(80, 24), "pill"),
        (twelve(), Room(82, 33), "box"),  # beside an inspector at 120×40
        (experts(8, 1), Room(120, 50), "box"),
        (experts(8, 1), Room(200, 50), "card"),
        (experts(16, 1), Room(200, 50), "pill"),
    ],
)
def test_the_largest_size_that_fits_is_chosen(graph: DrawnGraph, room: Room, size: Size) -> None:
    fit = Layouts(graph).fit(room)
    assert (fit.size, fit.fits) == (size, True)


def test_what_fits_nowhere_is_drawn_small() -> None:
    fit = Layouts(tangle(120)).fit(Room(80, 24))
    assert (fit.size, fit.fits) == ("pill", False)


@settings(max_examples=20, deadline=None)
@given(graphs(), st.sampled_from(SIZES))
def test_ascii_is_ascii(graph: DrawnGraph, size: Size) -> None:
    fit = fit_of(graph, size, "right")
    for cursor in (None, next(iter(graph.nodes))):
        painting = Painting(graph, fit.drawing, size, ASCII, cursor=cursor)
        assert "\n".join(lines_of(painting)).isascii()


@settings(max_examples=20, deadline=None)
@given(graphs())
def test_wires_that_enter_a_pill_from_the_left_are_joined_before_its_name(graph: DrawnGraph) -> None:
    """In the picture too: what enters in another row than that of the name goes on to it."""
    drawing = fit_of(graph, "pill", "right").drawing
    painting = Painting(graph, drawing, "pill", BOX_DRAWING)
    for name, pins in drawing.pins.items():
        box = painting.box(name)
        rows = [pin.y + painting.origin[1] for pin in pins]
        if len(rows) < 2:
            continue
        for row in range(min(rows), max(rows) + 1):
            sides = BOX_DRAWING.border.index(painting.rows[row][box.x].glyph)
            assert bool(sides & WEST) == (row in rows)
            assert bool(sides & NORTH) == (row > min(rows))
            assert bool(sides & SOUTH) == (row < max(rows))
            assert bool(sides & EAST) == (row == box.y + box.height // 2)


CYCLES = DrawnGraph.of([
    load("a"), merge("z", "scale", ["z2"]), merge("z2", "soup", ["z", "a"]), merge("w", "soup", ["w"]),
    merge("f", "sum", ["z", "a", "f"]), save("out", "f"),
])  # fmt: skip


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_a_wire_that_closes_a_cycle_is_named_at_both_ends_and_hangs_nowhere(size: Size, direction: Direction) -> None:
    fit = fit_of(CYCLES, size, direction)
    text = "\n".join(painted_lines(CYCLES, fit))
    for said, count in (("↺ from z", 1), ("↺ to z2", 1), ("↺ itself", 2)):
        assert text.count(said) == count, text
    check_forward(CYCLES, fit.drawing)
    assert "\n".join(painted_lines(CYCLES, fit, ascii_only=True)).isascii()


def test_a_cycle_through_long_names_is_cut_where_a_box_ends() -> None:
    names = ["n" * 60, "m" * 60]
    graph = DrawnGraph.of([merge(names[0], "soup", names[1:]), merge(names[1], "soup", names[:1])])
    for size in SIZES:
        fit = Layouts(graph).fit(Room(120, 40), size)
        assert fit.fits, size
        text = "\n".join(painted_lines(graph, fit))
        assert "↺ from" in text
        assert "↺ to" in text


def test_the_rail_says_which_wires_close_a_cycle() -> None:
    rows = {name: "".join(cell.glyph for cell in row) for name, row in rail_rows(CYCLES, BOX_DRAWING).items()}
    assert [name for name, row in rows.items() if "↺" in row] == ["z2", "z", "w", "f"]
    assert "↺ from z " in rows["z2"]


@settings(max_examples=40, deadline=None)
@given(graphs(cyclic=True), st.sampled_from(SIZES), st.sampled_from(DIRECTIONS))
def test_a_random_graph_with_cycles_loses_no_wire(graph: DrawnGraph, size: Size, direction: Direction) -> None:
    """Each is drawn, or named at both its ends."""
    check_forward(graph, Layouts(graph).drawing(size, direction))
    ends, kept = stubs(graph.inputs()), drawable(graph.inputs())
    for name, node in graph.nodes.items():
        for position, source in enumerate(node.sources):
            if position not in kept[name]:
                assert ("↺ itself" if source == name else f"↺ from {source}") in ends[name]
                assert source == name or f"↺ to {name}" in ends[source]


def test_a_long_name_is_cut_in_its_box() -> None:
    graph = DrawnGraph.of([load("n" * 110), save("out", "n" * 110)])
    for size in SIZES:
        fit = Layouts(graph).fit(Room(80, 24), size)
        assert fit.fits, size
        assert "n…" in "\n".join(painted_lines(graph, fit))


def test_two_hundred_nodes_are_laid_out_in_half_a_second() -> None:
    graph = tangle(200)
    began = time.process_time()
    Layouts(graph).fit(Room(200, 50))
    traced = sys.gettrace() is not None  # coverage counts every line, which takes most of the time
    assert time.process_time() - began < (2 if traced else 0.5)
