"""What is done on the Stats screen by key and from the palette: metrics, tensors, rules, curves, files."""

from __future__ import annotations

from collections.abc import Sequence

from mergegraph.errors import Problem
from mergegraph.stats.record import TensorRecord
from mergegraph_tui.dialogs.curve import CurveDialog, Drawn
from mergegraph_tui.dialogs.export import ExportDialog
from mergegraph_tui.dialogs.pick import Choice as Line
from mergegraph_tui.dialogs.pick import PickDialog, filtered
from mergegraph_tui.dialogs.rule import About, RuleDialog, Wanted
from mergegraph_tui.model.cell_rules import apply_rules, conditions_for, in_words
from mergegraph_tui.model.curve import curve_fields, write_curve
from mergegraph_tui.model.heat import Choice, choices
from mergegraph_tui.model.rule_targets import Target, targets
from mergegraph_tui.model.tensor_rows import by_difference
from mergegraph_tui.screens.stats_record import StatsRecord
from mergegraph_tui.widgets.heat_map import HeatMap

_PANES = ("plot", "tensors", "standing out")
_NARROW_PANES = ("plot", "one", "tensors", "standing out")
_NO_SCHEDULE = Problem(
    "No node of the recipe has a strength that could differ from layer to layer.",
    fix="add a scale node, or write base + 0.6*(code - base)",
)


class StatsActions(StatsRecord):
    """`pane`: what stands below the heat map (where it is wide, which table)."""

    def __init__(self) -> None:
        super().__init__()
        self.pane: str = "plot"
        self.nth_in_cell = 0
        self._metric = ""
        self._subject = 0
        self._nth_odd = -1

    @property
    def heat(self) -> HeatMap:
        return self.query_one(HeatMap)

    @property
    def choices(self) -> tuple[Choice, ...]:
        return choices(self.loaded) if self.loaded is not None else ()

    @property
    def choice(self) -> Choice | None:
        """The metric that is shown, and what it is about; the first one where the record has no such."""
        every = self.choices
        about = [each for each in every if each.metric.name == self._metric]
        if not about:
            return every[0] if every else None
        return about[min(self._subject, len(about) - 1)]

    def _choose(self, choice: Choice) -> None:
        about = [each for each in self.choices if each.metric is choice.metric]
        self._metric, self._subject = choice.metric.name, about.index(choice)
        self.show_all()

    def action_metric(self, by: int) -> None:
        names = list(dict.fromkeys(each.metric.name for each in self.choices))
        if self.choice is not None:
            self._metric = names[(names.index(self.choice.metric.name) + by) % len(names)]
            self._subject = 0
            self.show_all()

    def action_subject(self) -> None:
        if self.choice is not None:
            about = [each for each in self.choices if each.metric is self.choice.metric]
            self._choose(about[(about.index(self.choice) + 1) % len(about)])

    def action_choose_metric(self) -> None:
        if self.choice is None:
            return

        def chosen(choice: Choice | None) -> None:
            if choice is not None:
                self._choose(choice)

        rows = [
            Line(each, each.metric.label, f"{each.subject.label}: {each.metric.reading}".removeprefix(": "))
            for each in self.choices
        ]
        dialog = PickDialog("Show which metric?", filtered(rows), ascii_only=self.workspace.ascii_only)
        self.mergegraph.push_screen(dialog, chosen)

    def action_view(self) -> None:
        panes = _NARROW_PANES if self.has_class("-narrow") else _PANES[1:] if self.has_class("-wide") else _PANES
        self.pane = panes[(panes.index(self.pane) + 1) % len(panes)] if self.pane in panes else panes[0]
        self.show_all()
        if self.pane != "one":
            self.heat.focus()

    def action_back(self) -> None:
        """From the tensor that has the whole screen, to the map."""
        if self.pane == "one":
            self.pane = "plot"
            self.show_all()
        self.heat.focus()

    # Tensors

    def tensor_here(self, here: Sequence[TensorRecord]) -> TensorRecord | None:
        """The one that is shown of those in the cell under the cursor."""
        return here[self.nth_in_cell % len(here)] if here else None

    def go_to_tensor(self, name: str) -> None:
        """Put the cursor on a tensor's cell, and show it of those there."""
        if self.loaded is None or name not in self.loaded.place_of:
            return
        cell = self.loaded.place_of[name]
        with self.prevent(HeatMap.Moved):
            self.heat.go_to(cell)
        self.nth_in_cell = [tensor.name for tensor in self.loaded.tensors_in[cell]].index(name)
        self.show_all()

    def action_tensor(self) -> None:
        self.nth_in_cell += 1
        self.show_all()

    def action_next_tensor(self, by: int) -> None:
        """The next that stands out; of two records the next that differs most."""
        if self.loaded is None or self.choice is None:
            return
        if self.other is not None:
            names = [row.tensor for row in by_difference(self.loaded, self.other, self.choice).rows]
        else:
            names = list(dict.fromkeys(each.tensor.name for each in self.loaded.standing_out))
        if not names:
            self.notify("nothing differs" if self.other else "no tensor stands out", timeout=2)
            return
        self._nth_odd = (self._nth_odd + by) % len(names) if self._nth_odd >= 0 or by > 0 else len(names) - 1
        self.go_to_tensor(names[self._nth_odd])

    # The recipe

    def action_write_rule(self) -> None:
        """A rule for the chosen cells, in a schedule of the recipe."""
        loaded, checked = self.loaded, self.workspace.checked
        if loaded is None:
            return
        found = targets(checked, self.workspace.selected)
        chosen = tuple(tensor for cell in self.heat.chosen for tensor in loaded.tensors_in.get(cell, ()))
        if not found or not chosen:
            self.mergegraph.say_problem(_NO_SCHEDULE if not found else Problem("No tensor is chosen."))
            return
        conditions = conditions_for([each.name for each in chosen], [each.name for each in loaded.record.tensors])
        about = About(loaded, checked, conditions, chosen)

        def write(wanted: Wanted | None) -> None:
            if wanted is not None:
                words = "; ".join(map(in_words, conditions[:2])) + ("; …" if len(conditions) > 2 else "")
                edited = apply_rules(self.workspace.document.text, checked, wanted.target, conditions, wanted.value)
                if self.mergegraph.apply(edited, f"rule for {words}"):
                    self.notify(f"{wanted.target.node}: {wanted.value:g} for {words}", timeout=3, markup=False)

        self.mergegraph.push_screen(RuleDialog(about, found, ascii_only=self.workspace.ascii_only), write)

    def action_curve(self) -> None:
        """A schedule as a curve."""
        checked = self.workspace.checked
        fields = [field for target in self._curve_targets() for field in curve_fields(checked, target)]
        if not fields:
            self.mergegraph.say_problem(_NO_SCHEDULE)
            return

        def write(drawn: Drawn | None) -> None:
            if drawn is not None:
                edited = write_curve(self.workspace.document.text, checked, drawn.field, drawn.curve)
                self.mergegraph.apply(edited, f"curve of {drawn.field.target.node}")

        self.mergegraph.push_screen(
            CurveDialog(checked, fields, self.loaded, ascii_only=self.workspace.ascii_only), write
        )

    def _curve_targets(self) -> tuple[Target, ...]:
        return targets(self.workspace.checked, self.workspace.selected)

    def action_export(self) -> None:
        loaded, choice = self.loaded, self.choice
        if loaded is None or choice is None:
            return

        def written(path: object) -> None:
            if path is not None:
                self.notify(f"wrote {path}", timeout=3, markup=False)

        dialog = ExportDialog(loaded, choice, self.other, self.workspace.document.folder)
        self.mergegraph.push_screen(dialog, written)
