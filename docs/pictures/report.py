"""The pictures of docs/statistics.md, of a real report: `python docs/pictures/report.py`.

Task addition of the language models beside the recipes, as a headless Chromium (`--browser`) draws it for readers of
a light and of a dark page. Needs Pillow, which takes the colours together; it is no part of the project.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from PIL import Image  # noqa: E402

from mergegraph.pipeline import look, plan  # noqa: E402
from mergegraph.plan.outputs import Stats  # noqa: E402
from mergegraph.plan.strengths import strengths_in  # noqa: E402
from mergegraph.recipe.load import parse_recipe  # noqa: E402
from mergegraph.stats.html import report  # noqa: E402

RECIPE = """mergegraph: 1
models: {base: ./base, french: ./french, python: ./python, legal: ./legal}
nodes:
  sum: base + 0.3*(french - base) + 0.3*(python - base) + 0.3*(legal - base)
  merged: {op: save, input: sum, path: merged}
"""
WIDTH, HEIGHT = 980, 1700
SCHEMES = {"dark": 0, "light": 1}
"""As Chromium numbers them."""
_COLOURS = 256


def page() -> str:
    models = REPOSITORY / "recipes/models/tiny-llama"
    planned = plan(parse_recipe(RECIPE, file="merge.yaml", folder=models), stats=Stats(writes=False))
    return report(look(planned).records[0], strengths_in(planned.surveys[0]))


def photograph(source: Path, scheme: str, browser: str) -> None:
    """The PNG of the page, beside this file."""
    target = Path(__file__).with_name(f"report-{scheme}.png")
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu",
         f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
         f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={target}", source.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip
    Image.open(target).quantize(_COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.name}  {target.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", default="chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "page.html"
        source.write_text(page(), encoding="utf-8")
        for scheme in SCHEMES:
            photograph(source, scheme, given.browser)


if __name__ == "__main__":
    main()
