"""What is made in docs/tui.md: the keys, from the tables of the interface, and a text picture.
`python -m tests.tui.guide` writes them there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.help import MOUSE
from mergegraph_tui.keys import EVERYWHERE, PLACES, own_bindings
from mergegraph_tui.model.document import Document
from mergegraph_tui.widget_keys import TITLES, all_widgets
from mergegraph_tui.workspace import Workspace
from textual.dom import DOMNode

from tests.tui.screens.pictures import FOLDER

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "tui.md"
_MARKED = re.compile(r"(<!-- (\S+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def guide_as_it_should_be(guide: str) -> str:
    """The text of the guide with what is made in its place."""
    picture = (FOLDER / "edit-80.txt").read_text()
    made = {"keys": keys_in_words(), "edit-80": "".join(f"    {line}\n" for line in picture.splitlines())}
    return _MARKED.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", guide)


def keys_in_words() -> str:
    """A table for each place, as help shows them."""
    app = MergegraphApp(Workspace(Document.new()))
    topics: list[tuple[str, list[tuple[str, str, str]]]] = []
    for title, keys in (("Everywhere", EVERYWHERE), *((name.capitalize(), keys) for name, keys in PLACES.items())):
        topics.append((title, [(app.keys_shown(key), key.says, key.id) for key in keys]))
    of_widgets = {TITLES[widget]: list(_of_widget(app, widget)) for widget in reversed(all_widgets())}
    topics += reversed(of_widgets.items())
    tables = [_table(title, rows) for title, rows in topics]
    mouse = ["### The mouse\n", "| | |", "|---|---|", *(f"| {does} | {says} |" for does, says in MOUSE.rows), ""]
    return "\n".join([*tables, *mouse])


def _of_widget(app: MergegraphApp, widget: type[DOMNode]) -> Iterator[tuple[str, str, str]]:
    shown: dict[str, tuple[list[str], str]] = {}
    for binding in own_bindings(widget):
        name = str(binding.id)
        keys, _ = shown.setdefault(name, ([], binding.description))
        keys.append(app.get_key_display(binding))
    for name, (keys, says) in shown.items():
        yield " ".join(keys), says.lower(), name


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    lines = [f"| {' '.join(f'`{each}`' for each in keys.split())} | {says} | `{name}` |" for keys, says, name in rows]
    return "\n".join([f"### {title}\n", "| key | what it does | id |", "|---|---|---|", *lines, ""])


if __name__ == "__main__":
    GUIDE.write_text(guide_as_it_should_be(GUIDE.read_text()))
