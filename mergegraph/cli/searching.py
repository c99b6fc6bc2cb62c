"""`search`: a search is run or gone on with, and its ledger shown while it grows."""

from __future__ import annotations

from pathlib import Path

from mergegraph.cli.terminal import note, say, say_json
from mergegraph.search.document import load_search
from mergegraph.search.ledger import Entry
from mergegraph.search.run import Result, run_search


def show_search(path: Path, output: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Run it and report."""
    loaded = load_search(path)
    result = run_search(loaded, output, (lambda entry: say_json(entry)) if as_json else _telling(quiet=quiet))
    if not as_json:
        say(*_lines(result))


def _telling(*, quiet: bool):
    def tell(entry: Entry) -> None:
        if quiet:
            return
        if entry["event"] == "evaluated":
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in entry["metrics"].items())
            note(f"{entry['split']}  {entry['label']}  {numbers or entry['reason']}")
        elif entry["event"] == "decided":
            note(f"{'accepted' if entry['accepted'] else 'left out'}  {entry['label']}: {entry['why']}")

    return tell


def _lines(result: Result) -> list[str]:
    return [
        f"{result.ended}: {result.label} -> {result.recipe}",
        str(dict(result.selected)),
        str(dict(result.reported)),
    ]
