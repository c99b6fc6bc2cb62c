"""The characters of a drawing: box-drawing ones, each one cell wide, or plain ASCII.

A wire's cell is a sum of sides (`drawing.NORTH` and so on), which is its place in a string of sixteen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mergegraph_tui.model.drawing import Direction
from mergegraph_tui.model.graph import DrawnNode, Status

_ICONS = {
    "load": "▤", "lora": "▤", "delta": "Δ", "scale": "×", "negate": "¬", "soup": "∪", "sum": "Σ", "slerp": "∠",
    "expression": "=", "save": "▣", "select": "⊂", "stack": "≡", "dare": "░", "della": "░", "trim": "░",
    "source": "▤", "one-input": "∘", "merge": "⊕", "sink": "▣",
}  # fmt: skip
_ASCII_ICONS = {
    "load": "<", "delta": "d", "scale": "*", "negate": "-", "soup": "u", "sum": "+", "slerp": "/", "expression": "=",
    "source": "<", "one-input": "o", "merge": "&", "sink": ">",
}  # fmt: skip


@dataclass(frozen=True)
class Glyphs:
    """One set of characters. `wires`: for weights and for deltas; `heavy`: the same for what is selected."""

    wires: Mapping[str, str]
    heavy: Mapping[str, str]
    border: str
    heavy_border: str
    pins: Mapping[Direction, str]
    base_pins: Mapping[Direction, str]
    marks: Mapping[Status, str]
    icons: Mapping[str, str]
    bar: str
    cut: str
    rubber: str
    pointer: str
    skipped: str
    is_ascii: bool = False

    def icon(self, node: DrawnNode) -> str:
        """By operation; by family for one that has no icon of its own."""
        return self.icons.get(node.op, self.icons[node.family])

    def mark(self, node: DrawnNode) -> str:
        """By status; a node that is left out has one too."""
        return self.skipped if node.skipped and not node.status else self.marks[node.status]

    def fitted(self, text: str, width: int, *, keep_end: bool = False) -> list[str]:
        """`text` as at most `width` cells, cut where it is longer; "" fills the second cell of a wide character."""
        cells = [cell for character in text for cell in self._cells(character)]
        if len(cells) <= width:
            return cells
        kept = max(0, width - len(self.cut))
        if keep_end:
            end = cells[len(cells) - kept :]
            return [*self.cut, *([" ", *end[1:]] if end and not end[0] else end)][:width]
        begin = cells[:kept]
        # A wide character whose second half is cut off leaves a blank.
        whole = [*begin[:-1], " "] if begin and not cells[kept] and begin[-1] else begin
        return [*whole, *self.cut][:width]

    def _cells(self, character: str) -> list[str]:
        if self.is_ascii and not character.isascii():
            return [_SPELT.get(character, "?")]
        if unicodedata.combining(character) or not character.isprintable():
            return []
        return [character, ""] if unicodedata.east_asian_width(character) in "WF" else [character]


_SPELT = {"×": "x", "·": "-", "−": "-", "–": "-", "…": "~", "±": "~", "↺": "@"}
"""Signs of formulas and lists that ASCII has something like."""
_LIGHT = " ╵╶╰╷│╭├╴╯─┴╮┤┬┼"
_HEAVY = " ╹╺┗╻┃┏┣╸┛━┻┓┫┳╋"
_ASCII = " |-+||++-+-+++++"
_ASCII_HEAVY = " #=####" + "#=#=#####"

BOX_DRAWING = Glyphs(
    wires=MappingProxyType({"weights": _LIGHT, "delta": _LIGHT.replace("│", "┆").replace("─", "╌")}),
    heavy=MappingProxyType({"weights": _HEAVY, "delta": _HEAVY.replace("┃", "┇").replace("━", "╍")}),
    border=_LIGHT,
    heavy_border=_HEAVY,
    pins=MappingProxyType({"down": "▼", "right": "▶"}),
    base_pins=MappingProxyType({"down": "▽", "right": "▷"}),
    marks=MappingProxyType({"": " ", "waiting": "·", "running": "▸", "done": "✓", "error": "✗", "warning": "▲"}),
    icons=MappingProxyType(_ICONS),
    bar="━",
    cut="…",
    rubber="╏╍",
    pointer="◉",
    skipped="»",
)
ASCII = Glyphs(
    wires=MappingProxyType({"weights": _ASCII, "delta": " :.+::++.+.+++++"}),
    heavy=MappingProxyType({"weights": _ASCII_HEAVY, "delta": _ASCII_HEAVY}),
    border=_ASCII,
    heavy_border=_ASCII_HEAVY,
    pins=MappingProxyType({"down": "v", "right": ">"}),
    base_pins=MappingProxyType({"down": "o", "right": "o"}),
    marks=MappingProxyType({"": " ", "waiting": ".", "running": ">", "done": "*", "error": "x", "warning": "!"}),
    icons=MappingProxyType(_ASCII_ICONS),
    bar="=",
    cut="~",
    rubber="!=",
    pointer="@",
    skipped="^",
    is_ascii=True,
)


def glyphs_of(*, ascii_only: bool) -> Glyphs:
    return ASCII if ascii_only else BOX_DRAWING
