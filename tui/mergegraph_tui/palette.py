"""The command palette: every action of where you are, made from the tables of keys and from the state; then nodes,
recipes and themes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from textual.command import DiscoveryHit, Hit, Provider
from textual.content import Content
from textual.dom import DOMNode

from mergegraph_tui.keys import EVERYWHERE, Key, own_bindings
from mergegraph_tui.model.files import from_home
from mergegraph_tui.model.key_map import config_file
from mergegraph_tui.model.recent import recent, short
from mergegraph_tui.screens.base import PlaceScreen
from mergegraph_tui.theme import THEMES, ThemeName

if TYPE_CHECKING:
    from mergegraph_tui.app import MergegraphApp

Act: TypeAlias = Callable[[], "Awaitable[object] | object"]
_MOST_RECENT = 8


@dataclass(frozen=True)
class ThemeAct:
    """Choosing it keeps the theme; the cursor on it shows it."""

    app: MergegraphApp
    name: ThemeName

    def __call__(self) -> None:
        self.app.action_theme(self.name)


@dataclass(frozen=True)
class Command:
    """One line of the palette."""

    title: str
    says: str
    act: Act


class Commands(Provider):
    """What the palette of the app finds."""

    async def discover(self) -> AsyncIterator[DiscoveryHit | Hit]:
        for command in self._commands():
            yield DiscoveryHit(Content(command.title), command.act, text=command.title, help=_plain(command.says))

    async def search(self, query: str) -> AsyncIterator[DiscoveryHit | Hit]:
        matcher = self.matcher(query)
        for command in self._commands():
            score = matcher.match(f"{command.title} {command.says}")
            if score > 0:
                # What is highlighted is read as markup, and a name may have brackets.
                title = Content(command.title) if "[" in command.title else matcher.highlight(command.title)
                yield Hit(score, title, command.act, text=command.title, help=_plain(command.says))

    @property
    def _here(self) -> MergegraphApp:
        return cast("MergegraphApp", self.app)

    def _commands(self) -> Iterator[Command]:
        place = self.screen
        if isinstance(place, PlaceScreen):
            yield from self._of_keys(place.KEYS, place)
        yield from self._of_keys(EVERYWHERE, self._here)
        if self.focused is not None:
            yield from self._of_widget(self.focused)
        yield from self._nodes()
        yield from self._recipes()
        yield Command("Own keys", f"change keys: {from_home(config_file())}", self._here.action_own_keys)
        for name in THEMES:
            yield Command(f"Theme: {name}", "colours on dark ground" if name == "dark" else "colours on paper",
                          ThemeAct(self._here, name))  # fmt: skip

    def _of_keys(self, keys: tuple[Key, ...], node: DOMNode) -> Iterator[Command]:
        for key in keys:
            if key.id == "app.palette" or not self._here.can_do(key, node):
                continue
            shown = self._here.keys_shown(key)
            act = partial(self._here.run_action, key.action, node)
            yield Command(self._title(key), f"{key.says}   {shown}", act)

    def _title(self, key: Key) -> str:
        """With the name of the step that undo or redo is about."""
        document = self._here.workspace.document
        label = {"edit.undo": document.can_undo, "edit.redo": document.can_redo}.get(key.id, "")
        return f"{key.title}: {label}" if label else key.title

    def _of_widget(self, widget: DOMNode) -> Iterator[Command]:
        """What can be done to the view of the widget that has the focus, as `view.larger`."""
        said: set[str] = set()
        for binding in own_bindings(type(widget)):
            if binding.id and binding.id not in said and binding.id.startswith("view."):
                said.add(binding.id)
                act = partial(self._here.run_action, binding.action, widget)
                yield Command(binding.description, self._here.get_key_display(binding), act)

    def _nodes(self) -> Iterator[Command]:
        for name, node in self._here.workspace.drawn.nodes.items():
            yield Command(f"Go to {name}", f"the node {name}, {node.op}", partial(self._here.go_to_node, name))

    def _recipes(self) -> Iterator[Command]:
        folder = self._here.workspace.document.folder
        for path in recent()[:_MOST_RECENT]:
            if path != self._here.workspace.document.path and path.exists():
                yield Command(f"Open {short(path, folder)}", "a recipe that was open before", self._opener(path))

    def _opener(self, path: Path) -> Act:
        return partial(self._here.open_recipe, path)


def _plain(text: str) -> str:
    """A text that Textual takes for markup otherwise; what it makes of a text is let through as it is."""
    return cast("str", Content(text))
