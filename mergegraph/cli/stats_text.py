"""Text for `stats` on a terminal that neither the terminal obeys nor rich takes for markup."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mergegraph.errors import Problem, RecipeError, did_you_mean, on_one_line

_LEFT = frozenset(("metric", "of", "what", "tensor"))


def words(text: str, style: str = "") -> Text:
    """One line, as it is."""
    return Text(on_one_line(text), style)


def heading(console: Console, text: str) -> None:
    console.print()
    console.print(words(text, "bold"))


def dim(console: Console, text: str) -> None:
    """Nothing where there is no text."""
    if text:
        console.print(words(text, "dim"))


def columns(titles: Iterable[str]) -> Table:
    """A table without lines; words are on the left, numbers on the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(words(title), justify="left" if title in _LEFT else "right", overflow="fold")
    return table


def add(table: Table, *cells: str) -> None:
    """A row."""
    table.add_row(*map(words, cells))


def known(name: str, names: Iterable[str], one: str, many: str) -> str:
    """`name`, which is one of them. RecipeError with the nearest where it is not."""
    listed = list(names)
    if name not in listed:
        raise RecipeError(Problem(f'There is no {one} "{name}".', fix=did_you_mean(name, listed, many)))
    return name
