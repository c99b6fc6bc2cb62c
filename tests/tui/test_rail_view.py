"""The rail lists the nodes with their lanes, their state, and the columns it is given."""

from __future__ import annotations

import asyncio

from mergegraph_tui.model.glyphs import ASCII, BOX_DRAWING
from mergegraph_tui.model.graph import State
from mergegraph_tui.model.rail import rail_rows
from mergegraph_tui.widgets.rail_view import RailView
from textual.app import App, ComposeResult

from tests.tui.shapes import twelve


def texts(ascii_only: bool) -> list[str]:
    rows = rail_rows(twelve().with_states({"ties": State("running")}), ASCII if ascii_only else BOX_DRAWING, "base")
    return ["".join(cell.glyph for cell in row).rstrip() for row in rows.values()]


def test_a_row_has_lanes_state_name_and_operation() -> None:
    rows = texts(ascii_only=False)
    assert len(rows) == 12
    assert rows[0].split() == ["○", "▶", "▤", "base", "load"]
    assert next(row for row in rows if "ties" in row).split()[-4:] == ["▸", "⊕", "ties", "ties"]
    assert "".join(texts(ascii_only=True)).isascii()


class Shown(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.rail = RailView(twelve())
        self.said: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        yield self.rail

    def on_mount(self) -> None:
        self.rail.focus()

    def on_rail_view_selected(self, message: RailView.Selected) -> None:
        self.said.append(("selected", message.node))

    def on_rail_view_activated(self, message: RailView.Activated) -> None:
        self.said.append(("activated", message.node))


def test_keys_and_clicks_move_along_the_rows() -> None:
    async def run() -> None:
        app = Shown()
        async with app.run_test(size=(60, 20)) as pilot:
            await pilot.press("j", "down", "k", "enter")
            assert app.said[-2:] == [("selected", "math"), ("activated", "math")]
            await pilot.click(app.rail, offset=(3, 4), times=2)
            assert app.said[-1] == ("activated", app.rail.cursor)
            assert app.rail.cursor == list(app.rail.graph.nodes)[4]
            app.rail.show(twelve(), {"base": [("12%", "running")]})
            assert "12%" in app.rail.render_line(0).text
            assert "12%" not in app.rail.render_line(1).text

    asyncio.run(run())
