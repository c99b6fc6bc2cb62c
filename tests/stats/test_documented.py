"""The page about statistics has every metric, as the table of metrics has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.stats.metrics import METRICS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "statistics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_documented(name: str) -> None:
    metric = METRICS[name]
    (row,) = (line for line in PAGE.split("\n") if line.startswith(f"| {metric.label} (`{name}`)"))
    for said in (metric.formula, metric.reading, metric.noise_text):
        assert said.replace("|", "\\|") in row


def test_the_pictures_are_there_and_small() -> None:
    for name in ("report-light.png", "report-dark.png"):
        assert f"pictures/{name}" in PAGE
        assert (DOCS / "pictures" / name).stat().st_size < 200_000
