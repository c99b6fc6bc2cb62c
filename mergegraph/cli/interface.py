"""`tui`: the terminal interface, which is another package. It is found by its entry point, never imported."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from mergegraph.cli.options import THEMES, one_of
from mergegraph.errors import OutputError, Problem


class _Interface(Protocol):
    """What an entry point of `mergegraph.interface` is. Returns the exit code; `attach`: None, an output, or "";
    `theme`: None, or a name."""

    def __call__(
        self, recipe: Path | None, *, attach: str | None, ascii_only: bool, theme: str | None, web: bool
    ) -> int: ...


def show_interface(recipe: Path | None, *, attach: bool, ascii_only: bool, theme: str | None, web: bool) -> int:
    """Show the interface until it is left. With `attach` what stands in the place of the recipe is an output."""
    one_of("--theme", theme, THEMES)
    for point in entry_points(group="mergegraph.interface"):
        interface: _Interface = point.load()
        to = (str(recipe) if recipe else "") if attach else None
        opened = None if attach else recipe
        return interface(opened, attach=to, ascii_only=ascii_only, theme=theme, web=web)
    raise OutputError(Problem("No terminal interface is installed.", fix="pip install mergegraph"))
