"""Every key of the interface: one table a place. Bindings, help, the palette and key maps are made from it.

A key has an id (`node.add`), so that a key map may give it other keys; an action is `action_NAME` of the screen or of
the app. Widgets and dialogs have keys of their own in their `BINDINGS` (`widget_keys.py` lists them).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType
from textual.dom import DOMNode


@dataclass(frozen=True, slots=True)
class Key:
    """One action. `keys`: as Textual names them, separated by commas; `title`: for footer and palette; `says`: for
    help, one line. `goes_first`: before the same key of a widget."""

    id: str
    keys: str
    action: str
    title: str
    says: str
    in_footer: bool = False
    goes_first: bool = False

    def binding(self) -> Binding:
        # A key that must also work while an Input or TextArea has the focus is one that these do not take.
        return Binding(
            self.keys, self.action, self.title, id=self.id, tooltip=self.says, show=self.in_footer,
            priority=self.goes_first,
        )  # fmt: skip


EVERYWHERE = (
    Key("mode.edit", "f2,1", "show_mode('edit')", "Edit", "edit the recipe"),
    Key("mode.run", "f3,2", "show_mode('run')", "Run", "the run and its progress"),
    Key("mode.stats", "f4,3", "show_mode('stats')", "Stats", "statistics of the merge"),
    Key("mode.search", "f5,4", "show_mode('search')", "Search", "a search and what it has found"),
    Key("app.palette", "ctrl+p", "command_palette", "Commands", "all commands"),
    Key("app.jump", "ctrl+o", "jump", "Jump", "jump: a letter on every pane"),
    Key("app.help", "question_mark,f1", "help", "Help", "help for where you are", in_footer=True),
    Key("file.save", "ctrl+s", "save", "Save", "save the recipe", in_footer=True),
    Key("file.save-as", "S", "save_as", "Save as", "save under another name"),
    Key("file.new", "ctrl+n", "new", "New", "new recipe from a template"),
    Key("file.open", "o", "open", "Open", "open a recipe"),
    Key("edit.undo", "u,ctrl+z", "undo", "Undo", "take the last edit back"),
    Key("edit.redo", "ctrl+r,ctrl+y", "redo", "Redo", "bring it back"),
    Key("app.quit", "ctrl+q", "quit", "Quit", "leave; a run goes on"),
)

EDIT = (
    Key("node.add", "a", "add_node", "Add", "add a node after the selected one", in_footer=True),
    Key("node.add-unwired", "A", "add_node(False)", "Add unwired", "add a node without a wire"),
    Key("node.add-model", "m", "add_model", "Add a model", "add a model of this machine"),
    Key("node.insert", "i", "insert_node", "Insert", "insert a node on the wires that leave here"),
    Key("node.connect", "c", "connect", "Connect", "connect: pick where the wire goes", in_footer=True),
    Key("node.connect-from", "C", "connect_from", "Connect from", "connect: pick where the wire comes from"),
    Key("node.cut", "X", "cut", "Cut", "cut a wire"),
    Key("node.rename", "R", "rename", "Rename", "rename everywhere"),
    Key("node.delete", "d,delete", "delete", "Delete", "delete, joining what is left", in_footer=True),
    Key("node.duplicate", "D", "duplicate", "Duplicate", "duplicate the node"),
    Key("node.bypass", "b", "bypass", "Bypass", "leave the node out, or take it in again"),
    Key("graph.find", "slash", "find", "Find", "find a node by name"),
    Key("view.rail", "g", "rail", "Rail", "graph or rail"),
    Key("view.yaml", "y", "yaml", "YAML", "the text beside the graph", in_footer=True),
    Key("edit.external", "e", "app.external_editor", "$EDITOR", "the text in your editor"),
    Key("problem.next", "n", "next_problem(1)", "Next problem", "next problem"),
    Key("problem.previous", "N", "next_problem(-1)", "Previous problem", "previous problem"),
    Key("run.plan", "p", "app.plan", "Plan", "order, memory and sizes; then start", in_footer=True),
)

RUN = (
    Key("run.toggle", "space", "start_or_pause", "Start, pause", "start, pause, go on", in_footer=True),
    Key("run.cancel", "x", "cancel", "Cancel", "stop; what is done stays", in_footer=True),
    Key("run.log", "l", "log", "Log", "the log on the whole screen", in_footer=True, goes_first=True),
    Key("run.tensors", "t", "tensors", "Tensors", "every tensor", in_footer=True),
    Key("run.attach", "v", "app.attach", "Runs", "show another run of this machine", in_footer=True),
    Key("run.view", "g", "rail", "Graph", "graph or rail"),
    Key("run.plan-again", "p", "app.plan", "Plan", "order, memory and sizes; then start", in_footer=True),
    Key("run.statistics", "s", "statistics", "Statistics", "what the merge did, layer by layer"),
    Key("run.verify", "V", "verify", "Verify", "read every byte of the output again"),
    Key("run.copy", "c", "copy_path", "Copy path", "copy the path of the output"),
)

STATS = (
    Key("stats.metric", "m", "metric(1)", "Metric", "next metric", in_footer=True),
    Key("stats.metric-back", "M", "metric(-1)", "Metric back", "previous metric"),
    Key("stats.subject", "s", "subject", "Source", "the same metric of the next source or pair", in_footer=True),
    Key("stats.choose-metric", "slash", "choose_metric", "All metrics", "choose one of all metrics"),
    Key("stats.view", "g", "view", "View", "plot, table, what stands out (and the tensor where it is narrow)",
        in_footer=True),
    Key("stats.back", "escape", "back", "Back", "from one tensor back to the map"),
    Key("stats.next", "n", "next_tensor(1)", "Next", "next tensor that stands out, or differs most"),
    Key("stats.previous", "N", "next_tensor(-1)", "Back", "the one before"),
    Key("stats.tensor", "t", "tensor", "Tensor", "next tensor of the same cell"),
    Key("stats.rule", "w", "write_rule", "Rule", "write a rule for the chosen cells", in_footer=True),
    Key("stats.curve", "e", "curve", "Curve", "edit a schedule as a curve", in_footer=True),
    Key("stats.compare", "v", "compare", "Diff", "compare with another record; again: back to one", in_footer=True),
    Key("stats.swap", "x", "swap", "Swap", "swap the two that are compared"),
    Key("stats.record", "b", "record", "Record", "show another record"),
    Key("stats.measure", "r", "measure", "Measure", "measure the recipe without writing a model", in_footer=True),
    Key("stats.export", "E", "export", "Export", "write HTML, CSV, JSON or SVG"),
)  # fmt: skip

SEARCH = (
    Key("search.begin", "space", "begin", "Begin", "begin the search, or go on with it", in_footer=True),
    Key("search.stop", "x", "stop", "Stop", "stop; what is evaluated stays", in_footer=True),
    Key("search.open-found", "enter", "open_found", "Open", "the recipe that was found, in Edit", in_footer=True),
    Key("search.plot", "m", "plot(1)", "Plot", "next plot: scores, and each metric along a line", in_footer=True),
    Key("search.plot-back", "M", "plot(-1)", "Plot back", "previous plot"),
    Key("search.view", "g", "view", "View", "all, the result, the candidates", in_footer=True),
    Key("search.order", "s", "order", "Order", "the best first, or as they were evaluated", in_footer=True),
    Key("search.edit", "e", "edit_search", "$EDITOR", "the search in your editor"),
    Key("search.copy", "c", "copy_found", "Copy path", "copy the path of the recipe that was found"),
)

PLACES = {"edit": EDIT, "run": RUN, "stats": STATS, "search": SEARCH}
"""The keys of each mode."""


def bindings(keys: Iterable[Key]) -> list[BindingType]:
    """For a BINDINGS of a screen or the app."""
    return [key.binding() for key in keys]


def own_bindings(widget: type[DOMNode]) -> Iterator[Binding]:
    """Those with an id that a widget's class declares, or one of ours that it comes from; one for each key."""
    for each in widget.__mro__:
        if each.__module__.startswith(__package__ or ""):
            found: list[BindingType] = vars(each).get("BINDINGS", [])
            yield from (binding for binding in Binding.make_bindings(found) if binding.id)
