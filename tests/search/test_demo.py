"""The searches of the repository find what plain torch measured, and the demo shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mergegraph.cli import demo_search, main

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo on copies of the searches, so that what they find goes there."""
    folder = tmp_path_factory.mktemp("clone") / "recipes"
    folder.mkdir()
    for name in ("models", "evaluation", "__init__.py", "uniform-soup.yaml"):
        if (RECIPES / name).exists():
            (folder / name).symlink_to(RECIPES / name)
    (folder / "search" / "templates").mkdir(parents=True)
    for path in [*(RECIPES / "search").glob("*.yaml"), *(RECIPES / "search" / "templates").glob("*.yaml")]:
        (folder / path.relative_to(RECIPES)).write_text(path.read_text())
    with pytest.MonkeyPatch.context() as patch, _captured() as out:
        patch.setattr(demo_search, "recipes_folder", lambda: folder)
        assert main(["demo", "--search"]) == 0
    return out.getvalue()


def _captured():
    import contextlib
    import io

    return contextlib.redirect_stdout(io.StringIO())


@pytest.mark.slow
def test_the_demo_shows_what_was_measured(shown: str) -> None:
    assert "chosen on the select split: soup_5 + soup_4, accuracy 97.50 %" in shown
    assert "(the best single model there: soup_5, 97.25 %)" in shown
    rows = {
        "mean of the ten": "96.90",
        r"best single on select \(soup_5\)": "98.16   0.1236",
        "uniform soup": "98.16   0.0867",
        "greedy soup": "98.66   0.0780",
        "ensemble, probabilities averaged": "97.99",
    }
    for label, numbers in rows.items():
        assert re.search(f"{label} +{numbers.replace('   ', ' +')}", shown), label
    assert re.search(r"two fine-tunes of one base .*: loss barrier 0\.0000", shown)
    assert re.search(r"two initialisations .*: loss barrier 2\.7\d+", shown)
    assert re.search(r"chosen: parameters\.strength=0\.2; on the test split mean 91\.25 %", shown)
