"""What a number that is being edited would do to the merge, beside the form or in a dialog.

`show_field` may be called with every key: what it says is found out in a thread, and only the newest question is
answered. Without a record, or where the merge is not linear, it says so in one line. What knows of statistics is
imported with the first question: the interface does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap
from typing import TYPE_CHECKING

from textual.message import Message

from mergegraph.units import format_count
from mergegraph_tui.model.fields import FormField
from mergegraph_tui.model.rail import Part
from mergegraph_tui.widgets.painted_lines import PaintedLines
from mergegraph_tui.workspace import Workspace

if TYPE_CHECKING:
    from mergegraph_tui.model.preview import Preview

_WIDTH, _MOST_LABEL = 46, 28


class PreviewPanel(PaintedLines):
    """A table: what is foretold with the numbers that the recipe has, and with those that are tried.

    `is_short`: only the rows that a strength is chosen for.
    """

    DEFAULT_CSS = "PreviewPanel { height: auto; max-height: 14; scrollbar-gutter: auto; }"

    class Foretold(Message):
        """The answer to the newest question."""

        def __init__(self, found: Preview | str) -> None:
            self.found = found
            super().__init__()

    def __init__(self, *, ascii_only: bool = False, is_short: bool = False, id: str | None = None) -> None:
        super().__init__(ascii_only=ascii_only, id=id)
        self.styles.height = 1
        self._is_short = is_short
        self._found: Preview | str = ""
        self._asked = 0

    def show_field(
        self, workspace: Workspace, node: str, field: FormField, typed: str, *, is_rule: bool = False
    ) -> None:
        """What `typed` in a field of a node (or as a new rule of it) would do. The record of the recipe is read where
        nobody did yet."""
        document, checked = workspace.document, workspace.checked

        def question() -> Preview | str:
            from mergegraph_tui.model.loaded import LoadedRecord, load_record
            from mergegraph_tui.model.preview import preview
            from mergegraph_tui.model.records import own_record

            if workspace.record is None:
                own = own_record(document, checked)
                found = load_record(own) if own is not None else None
                if not isinstance(found, LoadedRecord):
                    return "no statistics yet: F4, then r, measures the recipe"
                workspace.record = found
            return preview(workspace.record, checked, node, field, typed, is_rule=is_rule)

        self.ask(question)

    def ask(self, question: Callable[[], Preview | str]) -> None:
        """Find out in a thread, and show the answer unless there is a newer question by then."""

        self._asked += 1
        number = self._asked

        def answer() -> None:
            found = question()
            if number == self._asked:
                self.post_message(self.Foretold(found))

        self.run_worker(answer, thread=True, exclusive=True, group=f"preview-{id(self)}", exit_on_error=False)

    def on_preview_panel_foretold(self, event: Foretold) -> None:
        self.show_found(event.found)

    def on_resize(self) -> None:
        if self._found:
            self.show_found(self._found)

    def show_found(self, found: Preview | str) -> None:
        self._found = found
        width = self.line_width or _WIDTH
        lines = preview_lines(found, width, is_short=self._is_short)
        self.styles.height = len(lines)
        self.paint([(parts, None) for parts in lines], width)

    @property
    def text(self) -> str:
        """All of it, without styles."""
        return "\n".join("".join(cell.glyph for cell in row) for row in self.painted_rows())


def preview_lines(found: Preview | str, width: int = _WIDTH, *, is_short: bool = False) -> list[list[Part]]:
    """The rows of a preview; a change is strong."""
    if isinstance(found, str):
        return [[(line, "detail")] for line in wrap(f"not foretold: {found}", max(10, width))]
    room = min(max(10, width - 17), _MOST_LABEL)
    head = "foretold" if is_short else f"foretold, {format_count(found.of, 'tensor')}"[:room]
    lines: list[list[Part]] = [[(f"{head:<{room}}{'now':>8} {'then':>8}", "detail")]]
    for label, now, then in found.rows(is_short=is_short):
        style = "name" if now != then else "detail"
        lines.append([(f"{label[:room]:<{room}}", "detail"), (f"{now:>8} ", "detail"), (f"{then:>8}", style)])
    return lines
