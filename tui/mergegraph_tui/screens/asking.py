"""What the actions of the Edit screen share: the selected node, one edit as one step, a dialog that is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from textual.screen import ModalScreen

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.missing import find
from mergegraph.tensors.sources.hub_names import looks_like_id
from mergegraph.tensors.sources.location import is_remote
from mergegraph_tui.dialogs.add_node import AddNode
from mergegraph_tui.dialogs.pick import Choices, PickDialog
from mergegraph_tui.dialogs.pick_model import PickModel
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.outline import Outline, outline
from mergegraph_tui.model.shelf import Shelved, one_model, shelf
from mergegraph_tui.model.splice import Edited
from mergegraph_tui.screens.base import PlaceScreen

T = TypeVar("T")


class Asking(PlaceScreen):
    """Nothing here changes the recipe but `edit`."""

    _shelf: Sequence[Shelved] = ()
    _outlined: tuple[str, Outline] = ("", Outline())

    @property
    def text(self) -> str:
        return self.workspace.document.text

    @property
    def outlined(self) -> Outline:
        """The text as it is now, which the check may not have come to yet."""
        text = self.text
        if text != self._outlined[0]:
            found = outline(text)
            self._outlined = text, Outline() if isinstance(found, Problem) else found
        return self._outlined[1]

    @property
    def checked(self) -> Checked:
        """What is known of the text as it is now: of a new node that it is there, before the check has come to it. Of a
        text that cannot be read, what was known before."""
        checked = self.workspace.checked
        is_known = checked.text == self.text or not self.outlined.nodes
        return checked if is_known else replace(checked, outline=self.outlined)

    @property
    def selected(self) -> str:
        """The selected node; "" where there is none."""
        name = self.workspace.selected
        return name if name is not None and name in self.outlined.nodes else ""

    def edit(self, edited: Edited, label: str, select: str = "") -> bool:
        """One step of the document; then `select` is the selected node."""
        before = self.workspace.selected
        if select:
            self.workspace.selected = select
        if self.mergegraph.apply(edited, label):
            return True
        self.workspace.selected = before
        return False

    async def ask(self, dialog: ModalScreen[T | None]) -> T | None:
        return await self.mergegraph.push_screen_wait(dialog)

    async def pick(self, title: str, choices: Choices[T], at: tuple[int, int] | None = None) -> T | None:
        """One of a list that is known already."""
        return await self.ask(PickDialog(title, choices, ascii_only=self.workspace.ascii_only, at=at))

    async def ask_model(self, title: str, *, adapters: bool = False) -> Shelved | None:
        """A model of this machine."""
        dialog = PickModel(
            title,
            self.workspace.document.folder,
            self._models_of_recipe(),
            adapters=adapters,
            ascii_only=self.workspace.ascii_only,
        )
        self.give_shelf(dialog)
        return await self.ask(dialog)

    def give_shelf(self, dialog: AddNode | PickModel) -> None:
        """Let a dialog know the models of the last look, and soon those of a new one."""
        dialog.models, dialog.more_come = self._shelf, True
        self.run_worker(self._look_for(dialog), group="shelf", exclusive=True)

    async def _look_for(self, dialog: AddNode | PickModel) -> None:
        known = [model.path for _, model in self._models_of_recipe()]
        self._shelf = await asyncio.to_thread(shelf, self.workspace.document.folder, known)
        if list(dialog.models) != self._shelf:
            dialog.models = self._shelf
            if dialog in self.mergegraph.screen_stack:
                dialog.refill(stay=True)
        dialog.more_come = False

    def _models_of_recipe(self) -> list[tuple[str, Shelved]]:
        """The models that the recipe loads, as far as they are there."""
        folder, found = self.workspace.document.folder, list[tuple[str, Shelved]]()
        for name, node in self.outlined.nodes.items():
            reference = node.value if node.section == "models" else None
            if node.section == "nodes" and node.op == "load" and isinstance(node.value, dict):
                reference = node.value.get("model")
            path = _place(reference, folder) if isinstance(reference, str) else None
            if path is not None:
                found.append((name, one_model(path, folder)))
        return found


def _place(reference: str, folder: Path) -> Path | None:
    """Where a model lies on this machine; None for any other. Servers are not asked."""
    if is_remote(reference) or looks_like_id(reference):
        return None
    try:
        place = find(reference, folder)
    except InputError:
        return None
    return place if isinstance(place, Path) else None
