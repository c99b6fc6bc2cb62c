"""What is done to nodes on the Edit screen, by key, by mouse and from the palette: each is one step with a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual import work

from mergegraph.errors import Problem
from mergegraph_tui.dialogs.add_node import AddNode
from mergegraph_tui.dialogs.name import NameDialog
from mergegraph_tui.dialogs.pick import Choice, filtered
from mergegraph_tui.model.adding import add_expression, add_model, add_node, free_name
from mergegraph_tui.model.choices import space_of
from mergegraph_tui.model.nodes import bypass_node, delete_node, duplicate_node, rename_node, set_field
from mergegraph_tui.model.offers import Offer, stem_of
from mergegraph_tui.model.outline import Wire, outline
from mergegraph_tui.model.ports import Port
from mergegraph_tui.model.splice import Edited
from mergegraph_tui.model.wires import connect, insert_on_wires, no_wire, ports
from mergegraph_tui.screens.asking import Asking


class NodeActions(Asking):
    """Actions of the keys `node.*` that make or change nodes."""

    @work
    async def action_add_node(self, wired: bool = True) -> None:
        await self.add_after(self.selected if wired else "")

    @work
    async def action_add_model(self) -> None:
        await self._add_a_model()

    @work
    async def action_insert_node(self) -> None:
        """On every wire that leaves the selected node."""
        source = self.selected
        if source:
            await self.add_after(source, list(self.outlined.readers(source)))

    @work
    async def action_rename(self) -> None:
        old = self.selected
        if old:
            new = await self.ask(NameDialog(f"Rename {old}", old, lambda name: _problem(self._renamed(old, name))))
            if new:
                self.edit(self._renamed(old, new), f"rename {old} to {new}", new)

    def action_delete(self) -> None:
        name = self.selected
        if name:
            found = self.outlined
            near = [*found.nodes[name].inputs, *(wire.reader for wire in found.readers(name))]
            self.edit(delete_node(self.text, name), f"delete {name}", near[0] if near else "")

    def action_duplicate(self) -> None:
        name = self.selected
        if name:
            copy = free_name(self.text, name)
            self.edit(duplicate_node(self.text, name, copy), f"duplicate {name}", copy)

    def action_bypass(self) -> None:
        name = self.selected
        if name:
            is_skipped = self.outlined.nodes[name].is_skipped
            self.edit(bypass_node(self.text, name), f"take {name} in again" if is_skipped else f"bypass {name}")

    async def add_after(self, source: str, wires: Sequence[Wire] = ()) -> None:
        """Ask what is to be added, and add it: behind `source`, or on wires that leave it."""
        space = space_of(self.checked, source) if source else ""
        title = f"{'Insert' if wires else 'Add'} a node{f' after {source}' if source else ''}"
        dialog = AddNode(
            self.checked, source, f"{title} ({space})" if space else title,
            ascii_only=self.workspace.ascii_only,
        )  # fmt: skip
        self.give_shelf(dialog)
        offer = await self.ask(dialog)
        if offer is not None:
            await self._add(offer, source, wires)

    async def _add(self, offer: Offer, source: str, wires: Sequence[Wire]) -> None:
        if offer.kind == "model":
            self._add_named_model(offer.label, offer.text)
        elif offer.text == "load" and offer.kind == "op":
            await self._add_a_model()
        elif offer.kind == "formula":
            name = free_name(self.text, "merged")
            self.edit(add_expression(self.text, name, offer.text, after=source), f"add {name}", name)
        else:
            await self._add_operation(offer, source, wires)

    async def _add_a_model(self) -> None:
        model = await self.ask_model("Add a model")
        if model is not None:
            self._add_named_model(model.name, model.reference)

    def _add_named_model(self, name: str, reference: str) -> None:
        stem = name.rpartition("/")[2].removesuffix(".safetensors")
        free = free_name(self.text, stem)
        self.edit(add_model(self.text, free, reference), f"add {free}", free)

    async def _add_operation(self, offer: Offer, source: str, wires: Sequence[Wire]) -> None:
        op = offer.text
        source = source if offer.fits else ""
        name = free_name(self.text, stem_of(op, source))
        edited: Edited = (
            insert_on_wires(self.text, name, op, source, wires)
            if wires and source
            else add_node(self.text, name, op, [source] if source else [], after=source)
        )
        if op == "lora" and not isinstance(edited, Problem):
            adapter = await self.ask_model("The adapter", adapters=True)
            if adapter is None:
                return
            edited = set_field(edited, name, ("adapter",), adapter.reference)
        if source and not isinstance(edited, Problem):
            edited = await self._with_needed_inputs(edited, name)
        self.edit(edited, f"insert {name}" if wires else f"add {name}", name)

    async def _with_needed_inputs(self, text: str, name: str) -> str:
        """With what a new node needs besides the selected one: the only node that fits, else what is picked."""
        for port in ports(text, name):
            if port.is_required and not port.taken:
                fitting = self._fitting(text, name, port)
                source = fitting[0] if len(fitting) == 1 else await self._pick_node(f"{port.field} of {name}", fitting)
                wired = connect(text, source, name, port.field) if source else text
                text = wired if isinstance(wired, str) else text
        return text

    def _fitting(self, text: str, name: str, port: Port) -> list[str]:
        """The nodes that a port may read and that the node does not read yet."""
        found = outline(text)
        if isinstance(found, Problem):
            return []
        return [
            other
            for other in found.nodes
            if other not in found.nodes[name].inputs
            and no_wire(found, other, name) is None
            and (port.accepts == "any" or space_of(self.checked, other) in ("", port.accepts))
        ]

    async def _pick_node(self, title: str, names: Iterable[str]) -> str | None:
        nodes = self.outlined.nodes
        choices = [Choice(name, name, f"{nodes[name].op} {nodes[name].detail}") for name in names if name in nodes]
        if not choices:
            return None
        return await self.pick(title, filtered(choices))

    def _renamed(self, old: str, new: str) -> Edited:
        return rename_node(self.text, old, new)


def _problem(edited: Edited) -> Problem | None:
    return edited if isinstance(edited, Problem) else None
