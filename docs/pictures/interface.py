"""The pictures of docs/tui.md, of the real app: `python docs/pictures/interface.py [NAME...]`.

The stops are those of the tests' text pictures (tests/tui/screens). A screen becomes a page of coloured text, which a
headless Chromium (`--browser`) turns into a PNG with DejaVu Sans Mono, the font whose glyphs the interface keeps to.
The dots of plots, which it lacks, are those of DejaVu Sans, each held in its cell as a terminal does. Needs
Pillow, which takes the colours together; it is no part of the project.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tui")]

import pytest  # noqa: E402
from mergegraph_tui.app import MergegraphApp  # noqa: E402
from PIL import Image  # noqa: E402
from rich.segment import Segment  # noqa: E402
from rich.terminal_theme import DIMMED_MONOKAI  # noqa: E402

from tests.tui.conftest import TWO_TUNED, measured  # noqa: E402
from tests.tui.screens import stage  # noqa: E402
from tests.tui.screens.tours import Look, walk  # noqa: E402

FONT_PIXELS, ROW_PIXELS, COLUMN_PIXELS = 15, 17, 9
_COLOURS = 256
STYLE = f"""<style>
body {{ margin: 0; }}
pre {{ margin: 0; font: {FONT_PIXELS}px/{ROW_PIXELS}px "DejaVu Sans Mono"; letter-spacing: -0.031px; }}
pre + pre {{ position: absolute; top: 0; }}
i {{ display: inline-block; width: {COLUMN_PIXELS}px; height: {ROW_PIXELS}px; line-height: {ROW_PIXELS}px;
    vertical-align: top; font: {FONT_PIXELS}px/{ROW_PIXELS}px "DejaVu Sans"; letter-spacing: 0; }}
</style>"""
_DOTS = re.compile("[\u2800-\u28ff]")


@dataclass(frozen=True)
class Shot:
    """A stop of a tour at one size."""

    tour: str
    stop: str
    size: tuple[int, int]
    theme: Literal["dark", "light"] = "dark"

    @property
    def name(self) -> str:
        return f"tui-{self.stop}-{self.size[0]}{'-light' if self.theme == 'light' else ''}"


SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 50)
SHOTS = [
    *(Shot(tour, stop, size) for tour, stop in (("edit", "edit"), ("run", "run"), ("statistics", "stats"))
      for size in (SMALL, MIDDLE, LARGE)),
    *(Shot("edit", stop, MIDDLE) for stop in ("form", "text")),
    *(Shot("adding", stop, MIDDLE) for stop in ("add", "plan")),
    *(Shot("finding", stop, MIDDLE) for stop in ("help", "open")),
    *(Shot("statistics", stop, MIDDLE) for stop in ("rule", "curve", "compare", "foretold")),
    Shot("run", "run-failed", MIDDLE),
    Shot("search", "search", SMALL), Shot("search", "search", MIDDLE), Shot("search", "search-line", MIDDLE),
    Shot("edit", "edit", MIDDLE, "light"),
]  # fmt: skip


def page(app: MergegraphApp) -> str:
    """The screen as a page, a dialog with what lies behind it."""
    compositor = app.screen._compositor
    if app._background_screens:
        update = compositor.render_update(full=True, screen_stack=app._background_screens)
        rows = [[segment for strip in line for segment in strip] for line in update.strips]  # type: ignore[union-attr]
    else:
        rows = [list(strip) for strip in compositor.render_strips()]
    ground = app.theme_variables["background"]
    below, above = ("\n".join("".join(_spans(row, is_ground=is_ground)) for row in rows) for is_ground in (True, False))
    return f'<meta charset="utf-8">{STYLE}<body style="background:{ground}"><pre>{below}</pre><pre>{above}</pre>'


def _spans(row: list[Segment], *, is_ground: bool) -> Iterator[str]:
    """What stands below the letters, or the letters: no ground covers what hangs down from the row above."""
    for text, style, control in row:
        if control or style is None:
            continue
        front, back = (
            each.get_truecolor(DIMMED_MONOKAI).hex if each is not None and not each.is_default else "inherit"
            for each in ((style.bgcolor, style.color) if style.reverse else (style.color, style.bgcolor))
        )
        weight = "bold" if style.bold else "normal"
        line = "underline" if style.underline else "none"
        look = f"color:transparent;background:{back}" if is_ground else f"color:{front};text-decoration:{line}"
        look += f";font-weight:{weight}"
        held = _DOTS.sub(lambda dots: f"<i>{dots[0]}</i>", html.escape(text))
        yield f'<span style="{look}">{held}</span>'


def pages(shots: list[Shot], folder: Path) -> dict[str, str]:
    """The pages of these pictures by name, each walk done once."""
    weaker = measured(folder, "weaker", TWO_TUNED.replace("0.6", "0.3"))
    records = {"stats.json": measured(folder, "stats", TWO_TUNED), "weaker.json": weaker}
    found: dict[str, str] = {}
    for tour, size, theme in dict.fromkeys((shot.tour, shot.size, shot.theme) for shot in shots):
        wanted = {shot.stop: shot.name for shot in shots if (shot.tour, shot.size, shot.theme) == (tour, size, theme)}

        def stop(name: str, app: MergegraphApp, wanted: dict[str, str] = wanted) -> None:
            if name in wanted:
                found[wanted[name]] = page(app)

        with pytest.MonkeyPatch.context() as patch:
            stage.furnish(folder / f"{tour}-{size[0]}-{theme}", patch, records)
            asyncio.run(walk(tour, Look(stop, size, theme)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as tui-edit-120; all where none is named")
    parser.add_argument("--browser", default="chromium")
    given = parser.parse_args()
    shots = [shot for shot in SHOTS if not given.names or shot.name in given.names]
    with tempfile.TemporaryDirectory() as name:
        made = pages(shots, Path(name))
        for shot in shots:
            photograph(made[shot.name], shot, Path(name), given.browser)


def photograph(text: str, shot: Shot, folder: Path, browser: str) -> None:
    """The PNG of a page, beside this file."""
    source, target = folder / "page.html", Path(__file__).with_name(f"{shot.name}.png")
    source.write_text(text)
    width, height = round(shot.size[0] * COLUMN_PIXELS), shot.size[1] * ROW_PIXELS
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--disable-lcd-text",
         f"--window-size={width},{height}", f"--screenshot={target}", source.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip
    Image.open(target).quantize(_COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.name}  {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
