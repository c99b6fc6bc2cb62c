"""Pictures of what `growth.py` measured.

    python benchmarks/plots.py benchmarks/results/growth.json benchmarks/results

One PNG for each series: wall time, CPU time and peak memory, every measurement, the median, its least-squares line and
the I/O floor. Needs matplotlib and nothing of mergegraph, so an environment with matplotlib alone will do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from spread import line, spread

PANELS: Final = (
    ("wall, s", "wall_seconds", 1.0),
    ("CPU, s", "cpu_seconds", 1.0),
    ("VmHWM, MiB", "peak_bytes", 2.0**-20),
)
LOGARITHMIC: Final = ("budget",)
OURS: Final = "#2457a6"
FLOOR: Final = "#8a8a8a"


class MissingLibrary(Exception):
    """matplotlib cannot be imported; the message says what to do."""


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """One picture for each series of the document of `growth.py`; their paths."""
    try:
        import_module("matplotlib").use("Agg")
    except ImportError as error:
        raise MissingLibrary(
            "no plots: matplotlib is not installed here; the numbers are in growth.json. Where it is installed:\n"
            f"    python benchmarks/plots.py {folder / 'growth.json'} {folder}"
        ) from error
    return [_draw(name, series, folder / f"{name}.png") for name, series in document["series"].items()]


def _draw(name: str, series: Mapping[str, Any], path: Path) -> Path:
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(11, 3.4), layout="constrained")
    for panel, (label, key, factor) in zip(panels, PANELS, strict=True):
        _panel(panel, series["points"], key, factor)
        panel.set_xlabel(series["axis"])
        panel.set_title(label, loc="left", fontsize="medium")
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
        if name in LOGARITHMIC:
            panel.set_xscale("log", base=2)
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _panel(panel: Any, points: Sequence[Mapping[str, Any]], key: str, factor: float) -> None:
    x = [point["x"] for point in points]
    for side, colour, name in (("floor", FLOOR, "I/O floor"), ("ours", OURS, "mergegraph")):
        values = [[each[key] * factor for each in point[side]] for point in points]
        medians = [spread(each).median for each in values]
        panel.plot(x, medians, "o", color=colour, label=name, markersize=5)
        for at, each in zip(x, values, strict=True):
            panel.plot([at, at], [min(each), max(each)], color=colour, linewidth=1)
        if side == "ours" and len(x) > 1:
            fit = line(x, medians)
            panel.plot(x, [fit.intercept + fit.slope * at for at in x], "--", color=colour, linewidth=1, label="line")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what growth.py measured.")
    parser.add_argument("document", metavar="growth.json", type=Path)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    options = parser.parse_args()
    for path in draw(json.loads(options.document.read_text()), options.folder):
        print(path)


if __name__ == "__main__":
    main()
