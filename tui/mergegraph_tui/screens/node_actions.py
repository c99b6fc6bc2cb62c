"""What is done to nodes and wires on the Edit screen, by key, by mouse and from the palette: each is one step."""

from __future__ import annotations

from mergegraph_tui.model.nodes import delete_node
from mergegraph_tui.screens.base import PlaceScreen


class NodeActions(PlaceScreen):
    """Actions of the keys `node.*`. Every one makes a new text of the document's (`MergegraphApp.apply`)."""

    def action_delete(self) -> None:
        name = self.workspace.selected
        if name is not None:
            self.mergegraph.apply(delete_node(self.workspace.document.text, name), f"delete {name}")
