"""Every configuration that mergekit 0.1.5 was run on, run by mergegraph as it stands: the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from mergegraph import pipeline
from mergegraph.errors import MergegraphError
from mergegraph.execute.run import Options
from mergegraph.mergekit.importing import load_configuration
from tests.golden.cases import CASES, Case
from tests.golden.inputs import Array, write_inputs

MERGEKIT = [case for case in CASES if case.peer == "mergekit"]

KEPT_APART = {
    "sce_light": "mergekit weighs all alike below an absolute 1e-6; here the formula holds at every scale",
    "sce_tiny": "the same",
    "model_stock_tiny": "mergekit divides by max(|d_i||d_j|, 1e-6), so the angle of small tensors comes near 90°",
}
"""Cases whose numbers differ on purpose, with the reason."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def merged(case: Case, inputs: Path, folder: Path, *sets: str) -> dict[str, Array]:
    """All tensors of what mergegraph makes of the configuration."""
    path = folder / "config.yml"
    documents: list[Any] = case.config if isinstance(case.config, list) else [case.config]
    path.write_text(yaml.safe_dump_all(documents))
    for each in case.models:
        if not (folder / each).exists():
            (folder / each).symlink_to(inputs / each)
    recipe = load_configuration(path, sets=sets)
    plan = pipeline.plan(recipe, output=folder / "out", allow_unrelated=True)
    pipeline.execute(plan, Options(sync=False, overwrite=True))
    return dict(_tensors(folder / "out"))


def _tensors(folder: Path) -> Iterator[tuple[str, Array]]:
    for file in sorted(folder.glob("*.safetensors")):
        yield from load_file(file).items()


@pytest.mark.parametrize(
    "case", [case for case in MERGEKIT if not case.random and case.name not in KEPT_APART], ids=lambda case: case.name
)
def test_the_same_configuration_gives_the_same_numbers(case: Case, inputs: Path, tmp_path: Path) -> None:
    ours = merged(case, inputs, tmp_path)
    for name, wanted in case.expected().items():
        apart = np.abs(ours[name].astype(np.float64) - wanted)
        beyond = apart > case.tolerance * np.abs(wanted).max()
        assert beyond.mean() <= case.flips, f"{name}: {apart.max() / np.abs(wanted).max():.3g}"


@pytest.mark.parametrize("name", KEPT_APART)
def test_what_differs_on_purpose_does_differ(name: str, inputs: Path, tmp_path: Path) -> None:
    case = next(case for case in MERGEKIT if case.name == name)
    try:
        ours = merged(case, inputs, tmp_path)
    except MergegraphError:
        return
    changes = [np.abs(ours[tensor] - wanted).max() / np.abs(wanted).max() for tensor, wanted in case.expected().items()]
    assert max(changes) > case.tolerance
