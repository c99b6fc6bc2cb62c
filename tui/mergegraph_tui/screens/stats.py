"""Stats: what a merge does, layer by layer. A heat map, the tensor under its cursor, lines, tables, comparison.

What is shown follows from the record and `StatsView`; every key changes one of them and shows all again.
"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from mergegraph_tui.keys import STATS, bindings
from mergegraph_tui.model.by_layer import layer_plot
from mergegraph_tui.model.detail import detail_lines
from mergegraph_tui.model.heat import Choice, HeatPicture, picture
from mergegraph_tui.model.loaded import LoadedRecord
from mergegraph_tui.model.tensor_rows import by_difference, by_metric, by_rule, comparison_lines
from mergegraph_tui.screens.base import PlaceScreen
from mergegraph_tui.screens.stats_actions import StatsActions
from mergegraph_tui.widgets.heat_map import HeatMap
from mergegraph_tui.widgets.line_plot import LinePlot
from mergegraph_tui.widgets.lines_view import LinesView
from mergegraph_tui.widgets.stat_paint import plain, ramp
from mergegraph_tui.widgets.tensor_list import TensorList


class StatsScreen(StatsActions, PlaceScreen):
    """The statistics of the recipe, or of a record that was chosen."""

    MODE = "stats"
    KEYS = STATS
    BINDINGS = bindings(STATS)
    AUTO_FOCUS = "HeatMap"
    DEFAULT_CSS = """
    StatsScreen {
        & #nothing { height: 1fr; padding: 2 4; display: none; }
        &.-empty #nothing { display: block; }
        &.-empty #upper, &.-empty #lower { display: none; }
        & #upper { height: 11fr; }
        & #lower { height: 9fr; }
        & #heat { width: 3fr; }
        & #detail { width: 2fr; }
        & #plot, & #list { width: 1fr; }
        &.-normal #list, &.-normal.-list #plot { display: none; }
        &.-normal.-list #list { display: block; }
        &.-narrow #detail, &.-narrow #list { display: none; }
        &.-narrow #heat { width: 1fr; }
        &.-narrow.-list #plot, &.-narrow.-one #plot { display: none; }
        &.-narrow.-list #list { display: block; }
        &.-narrow.-one #detail { display: block; width: 1fr; }
        &.-narrow.-one #heat { display: none; }
        &.-narrow.-one #lower { display: none; }
        &.-wide #heat { width: 1fr; }
        &.-wide #detail { width: 1fr; }
    }
    """
    CLASSES_OF: ClassVar[dict[str, str]] = {"plot": "", "tensors": "-list", "standing out": "-list", "one": "-one"}

    def compose_body(self) -> ComposeResult:
        is_ascii = self.workspace.ascii_only
        yield Static(id="nothing", markup=False)
        with Horizontal(id="upper"):
            with Vertical(id="heat", classes="pane"):
                yield HeatMap(ascii_only=is_ascii)
            with Vertical(id="detail", classes="pane"):
                yield LinesView(ascii_only=is_ascii, id="tensor")
        with Horizontal(id="lower"):
            with Vertical(id="plot", classes="pane"):
                yield LinePlot(ascii_only=is_ascii, id="by-layer")
            with Vertical(id="list", classes="pane"):
                yield TensorList()

    def sync(self) -> None:
        super().sync()
        self.find_record()
        self.show_all()

    def show_all(self) -> None:
        """The record as the view has it."""
        loaded, choice = self.loaded, self.choice
        self.set_class(loaded is None, "-empty")
        if loaded is None or choice is None:
            self.query_one("#nothing", Static).update(self.nothing_text())
            return
        with self.mergegraph.batch_update():
            self._show_heat(loaded, choice)
            self._show_around(loaded, choice)
        self.show_bar()

    def show_busy(self) -> None:
        if self.loaded is None or self.choice is None:
            self.query_one("#nothing", Static).update(self.nothing_text())
        else:
            self.query_one("#heat").border_subtitle = self._legend(self.heat.picture)

    def _show_around(self, loaded: LoadedRecord, choice: Choice) -> None:
        """What follows the cursor."""
        for name in ("-list", "-one"):
            self.set_class(self.CLASSES_OF[self.pane] == name, name)
        self._show_detail(loaded, choice)
        self._show_plot(loaded, choice)
        self._show_list(loaded, choice)

    def _show_heat(self, loaded: LoadedRecord, choice: Choice) -> None:
        pane, found = self.query_one("#heat"), picture(loaded, choice, self.other)
        self.heat.show(found)
        # What the map does not need is the tensor's.
        pane.styles.max_width = None if self.has_class("-narrow") else max(40, self.heat.columns_needed + 4)
        before = "A - B   " if self.other is not None else ""
        pane.border_title = Content(f"{before}{self._title(choice)}   layers by kinds")
        pane.border_subtitle = self._legend(found)

    def _title(self, choice: Choice) -> str:
        return plain(choice.title, ascii_only=self.workspace.ascii_only)

    def _legend(self, found: HeatPicture) -> Content:
        if not found.cells:
            return Content("no value" if self.other is None else "no value that both have")
        colours = ramp(has_two_sides=found.has_two_sides, is_dark=self.heat.is_dark)
        swatches = [] if self.workspace.ascii_only else [(" ", f"on {colour}") for colour in colours]
        to = [" to "] if not swatches else [" ", *swatches, " "]
        return Content.assemble(self.busy_text(), found.low, *to, found.high)

    def _show_detail(self, loaded: LoadedRecord, choice: Choice) -> None:
        pane, view = self.query_one("#detail"), self.query_one("#tensor", LinesView)
        if self.other is not None:
            pane.border_title = "Compare"
            pane.border_subtitle = "x swap   v back"
            view.show(comparison_lines(loaded, self.other, choice, max(view.size.width, 40)))
            return
        pane.border_title, pane.border_subtitle = "Tensor", "esc back" if self.pane == "one" else ""
        here = loaded.tensors_in.get(self.heat.cell, ())
        tensor = self.tensor_here(here)
        if tensor is None:
            view.show([(("no tensor here", "dim"),)], from_top=True)
            return
        note = f"{here.index(tensor) + 1} of {len(here)} in this cell; t: next" if len(here) > 1 else ""
        width = max(view.size.width, 40)
        view.show(detail_lines(loaded, tensor, width, ascii_only=self.workspace.ascii_only, note=note), from_top=True)

    def _show_plot(self, loaded: LoadedRecord, choice: Choice) -> None:
        self.query_one("#plot").border_title = Content(f"{self._title(choice)} by layer")
        self.query_one("#by-layer", LinePlot).show(layer_plot(loaded, choice, self.heat.cell[0], self.other))

    def _show_list(self, loaded: LoadedRecord, choice: Choice) -> None:
        pane = self.query_one("#list")
        if not pane.display:
            return
        if self.other is not None:
            table, title = by_difference(loaded, self.other, choice), f"Most different: {self._title(choice)}"
        elif self.pane == "standing out":
            table, title = by_rule(loaded), f"Standing out: {len(loaded.standing_out) or 'no tensor'}"
        else:
            table, title = by_metric(loaded, choice), "Tensors"
        pane.border_title = Content(title)
        pane.border_subtitle = f"and {table.left_out:,} more" if table.left_out else ""
        self.query_one(TensorList).show(table)

    @on(HeatMap.Moved)
    def follow_cursor(self) -> None:
        self.nth_in_cell = 0
        self._follow()

    @on(HeatMap.Activated)
    def open_tensor(self) -> None:
        """The tensor alone where it is narrow; else its pane takes the keys."""
        if self.has_class("-narrow"):
            self.pane = "one"
            self.show_all()
        self.query_one("#tensor").focus()

    @on(TensorList.Pointed)
    def go_to_row(self, event: TensorList.Pointed) -> None:
        self.go_to_tensor(event.tensor)

    @on(LinePlot.Pointed, "#by-layer")
    def go_to_layer(self, event: LinePlot.Pointed) -> None:
        if self.loaded is not None and event.place < len(self.loaded.layers):
            self.heat.go_to((self.loaded.layers[event.place], self.heat.cell[1]))

    def _follow(self) -> None:
        if self.loaded is not None and self.choice is not None:
            with self.mergegraph.batch_update():
                self._show_around(self.loaded, self.choice)

    def on_resize(self) -> None:
        self.call_after_refresh(self._follow)

    def note(self) -> str:
        return self.bar_note()
