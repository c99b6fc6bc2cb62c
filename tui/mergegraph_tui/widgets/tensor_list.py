"""A table of tensors. Rows are made when the table is shown, not before."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable

from mergegraph_tui.model.tensor_rows import TensorTable


class TensorList(DataTable[str]):
    """`show(table)`; says which tensor is under its cursor, when it is moved by a person."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "cursor_up", "Up", show=False, id="tensors.up"),
        Binding("j", "cursor_down", "Down", show=False, id="tensors.down"),
    ]
    DEFAULT_CSS = """
    TensorList {
        height: 1fr; background: $background; scrollbar-size: 1 1;
        & > .datatable--header { background: $background; color: $text-muted; }
        & > .datatable--cursor { background: $boost; color: $text; }
    }
    """

    class Pointed(Message):
        """The cursor is on another tensor."""

        def __init__(self, tensor: str) -> None:
            self.tensor = tensor
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self._table: TensorTable | None = None

    @property
    def table(self) -> TensorTable | None:
        return self._table

    def show(self, table: TensorTable) -> None:
        if table == self._table:
            return
        self._table = table
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            for head in table.head:
                self.add_column(head)
            for row in table.rows:
                self.add_row(*row.cells)

    @on(DataTable.RowHighlighted)
    def point(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        if self._table is not None and self.has_focus and event.cursor_row < len(self._table.rows):
            self.post_message(self.Pointed(self._table.rows[event.cursor_row].tensor))

    @on(DataTable.RowSelected)
    def select(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if self._table is not None and event.cursor_row < len(self._table.rows):
            self.post_message(self.Pointed(self._table.rows[event.cursor_row].tensor))
