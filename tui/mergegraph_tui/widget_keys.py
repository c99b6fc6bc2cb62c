"""The keys that widgets and dialogs have of their own, beside the tables of `keys.py`, and where each of them counts.

Importing it imports every screen: who needs all keys at once does so, a start without a key map does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from textual.dom import DOMNode

from mergegraph_tui.dialogs.curve import CurveDialog
from mergegraph_tui.dialogs.export import ExportDialog
from mergegraph_tui.dialogs.plan import PlanDialog
from mergegraph_tui.dialogs.rule import RuleDialog
from mergegraph_tui.keys import EVERYWHERE, PLACES, own_bindings
from mergegraph_tui.screens.edit import NodeList
from mergegraph_tui.widgets.form_view import FormView
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from mergegraph_tui.widgets.heat_map import HeatMap
from mergegraph_tui.widgets.inspector import FieldInput
from mergegraph_tui.widgets.rail_view import RailView
from mergegraph_tui.widgets.tensor_list import TensorList
from mergegraph_tui.widgets.yaml_pane import YamlPane

BESIDE: Mapping[str, tuple[type[DOMNode], ...]] = {
    "edit": (GraphCanvas, NodeList, FormView),
    "run": (RailView, GraphCanvas),
    "stats": (HeatMap, TensorList),
    "search": (),
}
"""Widgets of a mode, whose keys count together with those of the mode."""
ALONE: tuple[type[DOMNode], ...] = (FieldInput, YamlPane, PlanDialog, RuleDialog, CurveDialog, ExportDialog)
"""What a mode's keys do not reach: it takes them itself, or lies above the mode."""
TITLES: Mapping[type[DOMNode], str] = {
    GraphCanvas: "The graph", NodeList: "The list of nodes", RailView: "The list of nodes", FormView: "The form",
    FieldInput: "A field of the form", YamlPane: "The text", HeatMap: "The heat map", TensorList: "The list of tensors",
    PlanDialog: "The plan", RuleDialog: "A rule", CurveDialog: "A curve", ExportDialog: "Export",
}  # fmt: skip
"""What they are called in help and in the guide."""


def all_places() -> Iterator[dict[str, str]]:
    """For each place of the interface the keys of every action there, by its id."""
    everywhere = {key.id: key.keys for key in EVERYWHERE}
    for name, keys in PLACES.items():
        place = {**{key.id: key.keys for key in keys}, **everywhere}
        yield place
        yield from ({**keys_of(widget), **place} for widget in BESIDE[name])
    yield from map(keys_of, ALONE)


def all_widgets() -> tuple[type[DOMNode], ...]:
    """Each once, those of a mode in the order of the modes."""
    return tuple(dict.fromkeys((*(each for widgets in BESIDE.values() for each in widgets), *ALONE)))


def all_actions() -> dict[str, tuple[str, str]]:
    """Every action by its id, with its usual keys and what it does."""
    found = {key.id: (key.keys, key.says) for keys in (*PLACES.values(), EVERYWHERE) for key in keys}
    for widget in all_widgets():
        said = {str(binding.id): binding.description.lower() for binding in own_bindings(widget)}
        found.update({name: (keys, said[name]) for name, keys in keys_of(widget).items()})
    return found


def keys_of(widget: type[DOMNode]) -> dict[str, str]:
    """The usual keys of a widget's own actions, by their ids."""
    keys: dict[str, list[str]] = {}
    for each in own_bindings(widget):
        keys.setdefault(str(each.id), []).append(each.key)
    return {name: ",".join(each) for name, each in keys.items()}
