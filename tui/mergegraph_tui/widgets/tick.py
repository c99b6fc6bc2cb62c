"""A box to tick: `[x] statistics`. Textual's own tells by colour alone whether it is ticked."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Tick(Widget, can_focus=True):
    """`value`: whether it is ticked; space, enter or a click changes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space,enter", "change", "Tick", show=False)]
    DEFAULT_CSS = """
    Tick { width: auto; height: 1; color: $text; }
    Tick:focus { text-style: bold reverse; }
    """

    value: reactive[bool] = reactive(False, init=False)

    class Changed(Message):
        """It was ticked, or no more."""

        def __init__(self, tick: Tick, value: bool) -> None:
            self.tick, self.value = tick, value
            super().__init__()

        @property
        def control(self) -> Tick:
            return self.tick

    def __init__(self, label: str, value: bool = False, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._label = label
        self.set_reactive(Tick.value, value)

    def render(self) -> Text:
        return Text(f"[{'x' if self.value else ' '}] {self._label}", no_wrap=True)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return len(self._label) + 4

    def watch_value(self, value: bool) -> None:
        self.post_message(self.Changed(self, value))

    def action_change(self) -> None:
        self.value = not self.value

    def on_click(self) -> None:
        self.focus()
        self.action_change()
