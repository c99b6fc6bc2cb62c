"""Lines on the screen, from `mergegraph_tui.model.plot`."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.strip import Strip

from mergegraph_tui.model.detail import painted_line
from mergegraph_tui.model.plot import Plot, place_and_value, plot_rows
from mergegraph_tui.widgets.stat_paint import StatPaint


class LinePlot(StatPaint):
    """`show(plot)`. A click or a drag says which place and value are meant."""

    DEFAULT_CSS = "LinePlot { height: 1fr; width: 1fr; background: $background; }"

    class Pointed(Message):
        """The mouse is held at a place of the x axis, at the height of `value`."""

        def __init__(self, line_plot: LinePlot, place: int, value: float) -> None:
            self.line_plot, self.place, self.value = line_plot, place, value
            super().__init__()

        @property
        def control(self) -> LinePlot:
            return self.line_plot

    def __init__(self, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ascii = ascii_only
        self._plot = Plot((), ())
        self._strips: list[Strip] | None = None
        self._is_held = False

    @property
    def plot(self) -> Plot:
        return self._plot

    def show(self, plot: Plot) -> None:
        if plot != self._plot:
            self._plot, self._strips = plot, None
            self.refresh()

    def on_resize(self) -> None:
        self._strips = None

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips = None

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._strips is None:
            rows = plot_rows(self._plot, width, height, ascii_only=self._ascii)
            self._strips = [self.strip_of(painted_line(row)) for row in rows]
        if y >= len(self._strips):
            return Strip.blank(width, self.rich_style)
        return self._strips[y].crop_extend(0, width, self.rich_style)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1:
            self._is_held = True
            self.capture_mouse()
            self._point(event.x, event.y)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._is_held:
            self._point(event.x, event.y)

    def on_mouse_up(self) -> None:
        if self._is_held:
            self._is_held = False
            self.release_mouse()

    def _point(self, x: int, y: int) -> None:
        found = place_and_value(self._plot, *self.size, x, y)
        if found is not None:
            self.post_message(self.Pointed(self, *found))
