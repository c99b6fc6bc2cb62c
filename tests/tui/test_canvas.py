"""The canvas says what the user does, and shows what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from mergegraph_tui.model.cells import Painting
from mergegraph_tui.model.graph import DrawnGraph, State
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot

from tests.tui.shapes import tangle, twelve


class Shown(App[None]):
    """A canvas and what it said."""

    def __init__(self, graph: DrawnGraph) -> None:
        super().__init__()
        self.canvas = GraphCanvas(graph)
        self.said: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.canvas

    def on_mount(self) -> None:
        self.canvas.focus()

    def on_graph_canvas_selected(self, message: GraphCanvas.Selected) -> None:
        self.said.append(message)

    def on_graph_canvas_activated(self, message: GraphCanvas.Activated) -> None:
        self.said.append(message)

    def on_graph_canvas_connect(self, message: GraphCanvas.Connect) -> None:
        self.said.append(message)

    def on_graph_canvas_add_at(self, message: GraphCanvas.AddAt) -> None:
        self.said.append(message)

    def last(self) -> tuple[object, ...]:
        """The last message, but for the canvas that it comes from."""
        message = self.said[-1]
        return type(message).__name__, *(value for key, value in vars(message).items() if key in KEYS)

    def text(self) -> str:
        return "\n".join("".join(cell.glyph for cell in row).rstrip() for row in self.canvas.painted_rows())


KEYS = ("node", "source", "target", "refused")
Act = Callable[[Shown, Pilot[None]], Awaitable[None]]


def shown(graph: DrawnGraph, act: Act, size: tuple[int, int] = (100, 40)) -> None:
    async def run() -> None:
        app = Shown(graph)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await act(app, pilot)

    asyncio.run(run())


def place(app: Shown, name: str) -> tuple[int, int]:
    """A cell of a node, on the screen."""
    painting = app.canvas._painting
    assert isinstance(painting, Painting)
    box = painting.box(name)
    return box.x + 2 - app.canvas.scroll_offset.x, box.y + box.height // 2 - app.canvas.scroll_offset.y


def test_keys_go_along_wires_and_back() -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        await pilot.press("r")  # downwards
        assert app.canvas.fit is not None
        down = app.canvas.fit.direction == "down"
        app.canvas.cursor = "d_math"
        await pilot.press("j" if down else "l")
        assert app.last() == ("Selected", "dare")
        await pilot.press("up" if down else "left")
        assert app.canvas.cursor == "d_math"
        await pilot.press("tab")
        assert app.canvas.cursor == "d_toxic"
        await pilot.press("shift+tab", "enter")
        assert app.last() == ("Activated", "d_math")

    shown(twelve(), act)


def test_zoom_rotate_and_fit_change_the_picture() -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        assert app.canvas.fit is not None
        first = (app.canvas.fit.size, app.canvas.fit.direction)
        await pilot.press("minus", "minus")
        assert app.canvas.fit.size == "pill"
        await pilot.press("r")
        assert app.canvas.fit.direction != first[1]
        await pilot.press("plus", "plus")
        assert app.canvas.fit.size == "card"
        await pilot.press("0")
        assert (app.canvas.fit.size, app.canvas.fit.direction) == first

    shown(twelve(), act)


@pytest.mark.parametrize(
    ("source", "target", "refused"),
    [
        ("scaled", "ties", "scaled is made from ties: that would be a cycle"),
        ("d_math", "ties", ""),
        ("base", "ties", "ties takes a delta, and base is weights"),
        ("base", "math", "math takes no inputs"),
        ("out", "soup", "out writes to disk, and gives nothing on"),
    ],
)
def test_dragging_from_node_to_node_asks_for_a_wire(source: str, target: str, refused: str) -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        await pilot.mouse_down(app.canvas, offset=place(app, source))
        await pilot.hover(app.canvas, offset=place(app, target))
        painting = app.canvas._painting
        assert painting is not None
        assert painting.marked[target] == ("refused" if refused else "target")
        assert app.canvas._over
        await pilot.mouse_up(app.canvas, offset=place(app, target))
        assert app.last() == ("Connect", source, target, refused)
        assert not app.canvas._over
        assert not painting.marked

    shown(twelve(), act)


def test_a_wire_that_is_let_go_over_nothing_asks_for_a_node() -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        await pilot.mouse_down(app.canvas, offset=place(app, "dare"))
        await pilot.hover(app.canvas, offset=(0, 0))
        await pilot.mouse_up(app.canvas, offset=(0, 0))
        assert app.last() == ("AddAt", "dare")
        await pilot.click(app.canvas, offset=(1, 1), times=2)
        assert app.last() == ("AddAt", None)
        await pilot.click(app.canvas, offset=place(app, "ties"), times=2)
        assert app.last() == ("Activated", "ties")

    shown(twelve(), act)


def test_a_wire_is_found_by_keyboard() -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        app.canvas.cursor = "dare"
        app.canvas.connect_from("dare")
        app.canvas.cursor = "merged"
        await pilot.press("enter")
        assert app.last() == ("Connect", "dare", "merged", "")
        app.canvas.connect_to("ties")
        app.canvas.cursor = "d_toxic"
        await pilot.press("enter")
        assert app.last() == ("Connect", "d_toxic", "ties", "")
        app.canvas.connect_from("dare")
        await pilot.press("escape", "enter")
        assert app.last() == ("Activated", "d_toxic")

    shown(twelve(), act)


def test_a_status_repaints_its_node_alone() -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        before, painting = app.text().split("\n"), app.canvas._painting
        app.canvas.show(twelve().with_states({"ties": State("running", 0.5)}))
        after = app.text().split("\n")
        assert app.canvas._painting is painting
        assert painting is not None
        box = painting.box("ties")
        changed = [row for row, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        assert changed
        assert set(changed) <= set(range(box.y, box.y + box.height))
        assert "⊕ ties ▸" in app.text()

    shown(twelve(), act)


def test_a_node_that_goes_takes_the_cursor_to_another() -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        app.canvas.cursor = "out"
        app.canvas.show(DrawnGraph.of([node for node in twelve().nodes.values() if node.name != "out"]))
        await pilot.pause()
        assert app.canvas.cursor == "base"
        app.canvas.show(DrawnGraph())
        await pilot.pause()
        assert app.canvas.cursor is None
        await pilot.press("j", "enter", "plus", "r", "tab")

    shown(twelve(), act)


def test_a_large_graph_is_laid_out_while_keys_go_on() -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        app.canvas.cursor = "base"
        app.canvas.show(tangle(150))
        assert app.canvas._laying_out is not None
        app.canvas.action_step(1)
        assert app.canvas.cursor == "math"
        app.canvas.show(tangle(150).with_states({"n0": State("error")}))
        await app.workers.wait_for_complete()
        assert app.canvas.cursor == "n0"
        assert "n149" in app.text()
        assert "n0✗" in app.text()

    shown(twelve(), act)


def test_a_theme_gives_the_colours() -> None:
    async def act(app: Shown, pilot: Pilot[None]) -> None:
        def colours() -> set[object]:
            strips = [app.canvas.render_line(row) for row in range(app.canvas.size.height)]
            return {segment.style.color for strip in strips for segment in strip if segment.style}

        dark = colours()
        app.theme = "textual-light"
        await pilot.pause()
        assert len(dark) > 4
        assert colours() != dark

    shown(twelve(), act)
