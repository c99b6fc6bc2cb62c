"""How a user finds what there is: help, jump mode, the palette's preview of themes, and keys of the user's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from textual.actions import parse
from textual.app import App
from textual.binding import Binding
from textual.command import Command, CommandPalette
from textual.dom import DOMNode
from textual.keys import KEY_TO_UNICODE_NAME, Keys
from textual.screen import Screen
from textual.widget import Widget

from mergegraph.errors import Problem
from mergegraph_tui.dialogs.help import MOUSE, Help, Topic
from mergegraph_tui.dialogs.jump import Jump, focus_of, panes
from mergegraph_tui.keys import EVERYWHERE, PLACES, Key, own_bindings
from mergegraph_tui.model.chosen_theme import keep_theme
from mergegraph_tui.model.files import from_home, read_text
from mergegraph_tui.model.key_map import KeyMap, begun, config_file, read_key_map, write_own
from mergegraph_tui.palette import ThemeAct
from mergegraph_tui.screens.base import PlaceScreen
from mergegraph_tui.theme import THEMES, ThemeName

if TYPE_CHECKING:
    from mergegraph_tui.app import MergegraphApp

_PALETTE = next(key for key in EVERYWHERE if key.id == "app.palette")
_TITLES = {"edit": "Edit", "run": "Run", "stats": "Stats", "search": "Search"}


class FindingTheWay(App[int]):
    """`key_map`: the user's own keys, read once."""

    key_map: KeyMap = KeyMap()

    @property
    def _self(self) -> MergegraphApp:
        return cast("MergegraphApp", self)

    def read_keys(self) -> None:
        """Give actions the keys of the user's own file."""
        if not config_file().exists():
            return
        from mergegraph_tui.widget_keys import all_places

        places = list(all_places())
        named = {key for place in places for keys in place.values() for key in keys.split(",")}
        known = {each.rpartition("+")[2] for each in {*named, *(key.value for key in Keys), *KEY_TO_UNICODE_NAME}}
        self.key_map = read_key_map(places, frozenset(known - {""}))
        self.set_keymap(dict(self.key_map.keys))

    def keys_shown(self, key: Key) -> str:
        """The keys of an action as they are called on the screen."""
        return self._keys_in_words(self.key_map.keys.get(key.id, key.keys))

    def _keys_in_words(self, keys: str) -> str:
        return " ".join(self.get_key_display(Binding(each, "", "")) for each in keys.split(","))

    def get_key_display(self, binding: Binding) -> str:
        if self._self.workspace.ascii_only and not super().get_key_display(binding).isascii():
            return binding.key
        return super().get_key_display(binding)

    def can_do(self, key: Key, node: DOMNode) -> bool:
        """Whether an action is there, and says that it can be done now."""
        namespace, name, parameters = parse(key.action)
        target = self if namespace == "app" else node
        return hasattr(target, f"action_{name}") and target.check_action(name, parameters) is not False

    def action_own_keys(self) -> None:
        """The key map in `$EDITOR`, begun with every action where there is none; what is saved counts at once."""
        from mergegraph_tui.widget_keys import all_actions

        file = config_file()
        found = read_text(file) if file.exists() else (begun(all_actions()), None)
        edited = found if isinstance(found, Problem) else self._self.edited_outside(found[0], file.name)
        problem = edited if isinstance(edited, Problem) else write_own(file, edited)
        if problem is None:
            self.read_keys()
        for each in (problem,) if problem is not None else self.key_map.problems:
            self._self.say_problem(each)

    def action_command_palette(self) -> None:
        if not CommandPalette.is_open(cast("App[object]", self)):
            self.push_screen(CommandPalette(placeholder="what do you want to do?", id="--command-palette"))

    def action_help(self) -> None:
        """Help for where you are."""
        self.push_screen(Help(list(self._topics())))

    def _topics(self) -> Iterator[Topic]:
        """What has the focus, its place, everywhere; then the rest."""
        from mergegraph_tui.widget_keys import TITLES, all_widgets

        here = self.screen_stack[0]
        mode = here.MODE if isinstance(here, PlaceScreen) else ""
        panes = [Topic(TITLES[widget], tuple(self._rows_of(widget))) for widget in self._widgets_of(here)]
        places = {name: Topic(_TITLES[name], self._rows(keys)) for name, keys in PLACES.items()}
        yield from panes[:1]
        yield from (topic for name, topic in places.items() if name == mode)
        yield Topic("Everywhere", self._rows(EVERYWHERE))
        yield from panes[1:]
        yield from (topic for name, topic in places.items() if name != mode)
        said = {pane.title for pane in panes}
        for widget in all_widgets():
            if TITLES[widget] not in said:
                said.add(TITLES[widget])
                yield Topic(TITLES[widget], tuple(self._rows_of(widget)))
        yield MOUSE
        yield Topic("Keys of your own", ((self.keys_shown(_PALETTE), f"Own keys: {from_home(config_file())}"),))

    def _rows(self, keys: tuple[Key, ...]) -> tuple[tuple[str, str], ...]:
        return tuple((self.keys_shown(key), key.says) for key in keys)

    def _widgets_of(self, here: Screen[object]) -> list[type[Widget]]:
        """The widgets with keys of their own that can be seen, the one with the focus first."""
        seen = [here.focused, *here.query("*")]
        kinds = dict.fromkeys(type(each) for each in seen if each is not None and each.is_on_screen)
        return [kind for kind in kinds if any(True for _ in own_bindings(kind))]

    def _rows_of(self, widget: type[DOMNode]) -> Iterator[tuple[str, str]]:
        """Bindings of one description in one row."""
        rows: dict[str, list[str]] = {}
        for binding in own_bindings(widget):
            mapped = self.key_map.keys.get(binding.id or "")
            if mapped is None or mapped not in rows.get(binding.description, []):
                rows.setdefault(binding.description, []).append(mapped or binding.key)
        for description, keys in rows.items():
            yield " ".join(map(self._keys_in_words, keys)), description.lower()

    def action_jump(self) -> None:
        """A letter on every pane."""
        targets = panes(self.screen)
        if targets:
            self.push_screen(Jump(targets), self._jumped)

    def _jumped(self, pane: Widget | None) -> None:
        target = focus_of(pane) if pane is not None else None
        if target is not None:
            self.screen.set_focus(target)

    def go_to_node(self, name: str) -> None:
        """Select a node on the Edit screen."""
        self._self.workspace.selected = name
        if self.current_mode == "edit":
            self._self.sync()
        else:
            self.switch_mode("edit")

    def action_theme(self, name: ThemeName) -> None:
        """Keep a theme, for the next start too."""
        self._before_preview, self._chosen_theme = None, name
        self.theme = THEMES[name].name
        threading.Thread(target=keep_theme, args=(lambda: self._chosen_theme,), name="theme").start()

    _before_preview: str | None = None
    _chosen_theme: str = ""

    def on_command_palette_option_highlighted(self, event: CommandPalette.OptionHighlighted) -> None:
        """A theme is shown while the cursor of the palette is on it."""
        option = event.highlighted_event.option
        act = option.hit.command if isinstance(option, Command) else None
        if isinstance(act, ThemeAct):
            self._before_preview = self._before_preview or self.theme
            self.theme = THEMES[act.name].name
        else:
            self._end_preview()

    def on_command_palette_closed(self, event: CommandPalette.Closed) -> None:
        if not event.option_selected:
            self._end_preview()

    def _end_preview(self) -> None:
        if self._before_preview is not None:
            self.theme, self._before_preview = self._before_preview, None
