"""What is done to wires on the Edit screen, and how nodes are found there."""

from __future__ import annotations

from textual import on, work

from mergegraph.errors import Problem
from mergegraph_tui.dialogs.pick import Choice, PickDialog, filtered
from mergegraph_tui.keys import EDIT
from mergegraph_tui.model.choices import sources, space_of, targets
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.offers import fitting_ports
from mergegraph_tui.model.outline import EXPRESSION, Wire
from mergegraph_tui.model.wires import connect, cut, ports
from mergegraph_tui.screens.node_actions import NodeActions
from mergegraph_tui.widgets.graph_canvas import GraphCanvas, Wires

_OF_A_NODE = ("node.add", "node.insert", "node.connect", "node.connect-from", "node.cut", "node.rename",
              "node.duplicate", "node.bypass", "node.delete")  # fmt: skip
_OF_NOTHING = ("node.add-unwired", "node.add-model", "graph.find", "view.rail", "view.yaml")


class WireActions(NodeActions):
    """Connect, cut, find, and the menu of the right button."""

    @property
    def canvas(self) -> GraphCanvas:
        return self.query_one(GraphCanvas)

    @property
    def shows_rail(self) -> bool:
        return self.query_one("#graph").has_class("-rail")

    def go_to(self, name: str) -> None:
        """Select a node."""
        self.workspace.selected = name
        self.sync()

    def action_connect(self) -> None:
        if self.selected and self.shows_rail:
            self._connect_by_list(self.selected, is_backwards=False)
        elif self.selected:
            self.canvas.focus()
            self.canvas.connect_from(self.selected)

    def action_connect_from(self) -> None:
        if self.selected and self.shows_rail:
            self._connect_by_list(self.selected, is_backwards=True)
        elif self.selected:
            self.canvas.focus()
            self.canvas.connect_to(self.selected)

    @work
    async def action_cut(self) -> None:
        """The only wire of the selected node, or one of a list."""
        name, found = self.selected, self.outlined
        if not name:
            return
        wires = [*found.nodes[name].wires, *found.readers(name)]
        if not wires:
            self.notify(f"{name} has no wires", timeout=2, markup=False)
            return
        wire = wires[0] if len(wires) == 1 else await self.pick(f"Cut a wire of {name}", filtered(map(_shown, wires)))
        if wire is not None:
            self._cut(wire)

    @work
    async def action_find(self) -> None:
        """A node by a part of its name; the graph follows what is marked."""
        before = self.workspace.selected
        nodes, glyphs = self.workspace.drawn.nodes, glyphs_of(ascii_only=self.workspace.ascii_only)
        choices = [
            Choice(name, name, " ".join(node.summary), node.op, (glyphs.icon(node), node.family))
            for name, node in nodes.items()
        ]
        dialog = PickDialog(
            "Find a node", filtered(choices), ascii_only=self.workspace.ascii_only, moved=self.go_to
        )  # fmt: skip
        found = await self.ask(dialog)
        if found is None and before is not None:
            self.go_to(before)

    @on(GraphCanvas.Connect)
    def connect_drawn(self, event: GraphCanvas.Connect) -> None:
        if event.refused:
            self.notify(event.refused, severity="error", markup=False)
        else:
            self._connect(event.source, event.target)

    @on(GraphCanvas.AddAt)
    def add_at(self, event: GraphCanvas.AddAt) -> None:
        """Menu is an AddAt too, and has a handler of its own."""
        if not isinstance(event, GraphCanvas.Menu):
            self._add_there(event.source or "", event.wires)

    @on(GraphCanvas.Menu)
    def open_menu(self, event: GraphCanvas.Menu) -> None:
        at = (event.x, event.y)
        if event.wires:
            self._wire_menu(event.wires, at)
        else:
            self._menu(event.source or "", at)

    @work
    async def _add_there(self, source: str, wires: Wires) -> None:
        if wires:
            await self._insert_on(wires)
        else:
            await self.add_after(source)

    async def _insert_on(self, wires: Wires) -> None:
        """A node on these wires, which one node feeds."""
        await self.add_after(wires[0][0], self._written(wires))

    def _written(self, wires: Wires) -> list[Wire]:
        """Wires of the picture as the text has them."""
        source = wires[0][0]
        readers = {reader for _, reader in wires}
        return [wire for wire in self.outlined.readers(source) if wire.reader in readers]

    @work
    async def _wire_menu(self, wires: Wires, at: tuple[int, int]) -> None:
        """What can be done to the wires under the pointer."""
        written = self._written(wires)
        cuts = [
            Choice(index, "Cut", f"{wire.source} > {wire.reader}", refused=_shown(wire).refused)
            for index, wire in enumerate(written)
        ]
        title = f"{wires[0][0]} > {', '.join(reader for _, reader in wires)}"
        picked = await self.pick(title, filtered([Choice(-1, "Insert", "a node here"), *cuts]), at)
        if picked == -1:
            await self._insert_on(wires)
        elif picked is not None:
            self._cut(written[picked])

    def _cut(self, wire: Wire) -> None:
        self.edit(cut(self.text, wire), f"cut {wire.source} from {wire.reader}")

    @work
    async def _menu(self, node: str, at: tuple[int, int]) -> None:
        """The actions on a node, or those without one."""
        if node:
            self.go_to(node)
        keys = {key.id: key for key in EDIT}
        edit = [Choice("edit_node", "Edit", end="enter")] if node else []
        choices = [
            Choice(keys[each].action, keys[each].title, keys[each].says, self.mergegraph.keys_shown(keys[each]))
            for each in (_OF_A_NODE if node else _OF_NOTHING)
        ]
        action = await self.pick(node or "Graph", filtered([*edit, *choices]), at)
        if action is not None:
            await self.run_action(action)

    @work
    async def _connect(self, source: str, target: str) -> None:
        """Ask for the port where several fit."""
        field = ""
        target_node = self.outlined.nodes.get(target)
        if target_node is not None and target_node.op != EXPRESSION:
            fitting = fitting_ports(ports(self.text, target), space_of(self.checked, source))
            choices = [
                Choice(port.field, port.field, port.description, "" if port.is_list or not port.taken else "replaces")
                for port in fitting
            ]
            field = choices[0].value if choices else ""
            if len(choices) > 1:
                field = await self.pick(f"{source}: which input of {target}?", filtered(choices)) or ""
                if not field:
                    return
        space = space_of(self.checked, source)
        self.edit(connect(self.text, source, target, field, space=space), f"connect {source} to {target}", target)

    @work
    async def _connect_by_list(self, node: str, *, is_backwards: bool) -> None:
        """Where the graph is a list, the other end is picked from one: what fits first."""
        ends = (sources if is_backwards else targets)(self.checked, node)
        choices = [Choice(name, name, refused=_reason(problem)) for name, problem in ends.items()]
        choices.sort(key=lambda choice: bool(choice.refused))
        title = f"Connect to {node} from" if is_backwards else f"Connect {node} to"
        other = await self.pick(title, filtered(choices))
        if other is not None:
            self._connect(*((other, node) if is_backwards else (node, other)))


def _shown(wire: Wire) -> Choice[Wire]:
    place = ".".join(str(part) for part in wire.path) or "formula"
    refused = "" if wire.path else "it is in a formula: edit that"
    return Choice(wire, f"{wire.source} > {wire.reader}", f"its {place}", refused=refused)


def _reason(problem: Problem | None) -> str:
    return problem.fact if problem else ""
