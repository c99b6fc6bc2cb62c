"""The text pictures of every screen and dialog: `python -m tests.tui.screens.pictures` takes them anew."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from mergegraph_tui.app import MergegraphApp

from tests.tui.conftest import TWO_TUNED, measured
from tests.tui.screens import stage
from tests.tui.screens.tours import WALKS, Look, walk

FOLDER = Path(__file__).parent / "pictures"


def screen_text(app: MergegraphApp) -> str:
    """What the terminal shows, a dialog with what lies behind it."""
    compositor = app.screen._compositor
    if app._background_screens:
        update = compositor.render_update(full=True, screen_stack=app._background_screens)
        lines = ["".join(segment.text for strip in line for segment in strip) for line in update.strips]  # type: ignore[union-attr]
    else:
        lines = [strip.text for strip in compositor.render_strips()]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def take(tour: str, size: tuple[int, int], home: Path, records: Mapping[str, Path]) -> dict[str, str]:
    """The pictures of a tour by name. `home`: a folder that is empty and will hold the stage."""
    taken: dict[str, str] = {}

    def stop(name: str, app: MergegraphApp) -> None:
        taken[f"{name}-{size[0]}"] = screen_text(app)

    with pytest.MonkeyPatch.context() as patch:
        stage.furnish(home, patch, records)
        asyncio.run(walk(tour, Look(stop, size)))
    return taken


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weaker = measured(folder, "weaker", TWO_TUNED.replace("0.6", "0.3"))
        records = {"stats.json": measured(folder, "stats", TWO_TUNED), "weaker.json": weaker}
        for tour, size in WALKS:
            for picture, text in take(tour, size, folder / f"{tour}-{size[0]}", records).items():
                (FOLDER / f"{picture}.txt").write_text(text)


if __name__ == "__main__":
    main()
