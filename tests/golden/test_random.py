"""Random merges against mergekit's: not the same elements, but as many, as large, and as often by rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import sampling
from tests.golden.cases import Case
from tests.golden.inputs import model
from tests.golden.test_mergekit import MERGEKIT, inputs, merged

__all__ = ["inputs"]


def deviations(share: Any, elements: float) -> Any:
    """Five standard deviations of the difference between one count's share and the mean of three others'."""
    return 5 * np.sqrt(share * (1 - share) / elements * 4 / 3)


@pytest.mark.parametrize("case", [case for case in MERGEKIT if case.random], ids=lambda case: case.name)
def test_a_random_merge_keeps_as_much(case: Case, inputs: Path, tmp_path: Path) -> None:
    ours = merged(case, inputs, tmp_path)
    base = model("large_base")
    tuned = [model(each) for each in case.models if each != "large_base"]
    for name, theirs in case.samples().items():
        found = sampling.describe(ours[name] - base[name], [each[name] - base[name] for each in tuned])
        size = ours[name].size
        wanted = float(np.mean([sample["support"] for sample in theirs]))
        assert found["support"] == pytest.approx(wanted, abs=deviations(wanted, size)), name
        for key in ("l1", "l2") if size >= 2_048 else ():
            assert found[key] == pytest.approx(float(np.mean([sample[key] for sample in theirs])), rel=0.06), name
        if "bands" in found:
            wanted_kept = np.mean([sample["bands"]["kept"] for sample in theirs if "bands" in sample], axis=0)
            apart = np.abs(np.array(found["bands"]["kept"]) - wanted_kept)
            assert (apart <= deviations(wanted_kept, size / sampling.BANDS)).all(), name
            most = [max(sample["bands"]["factor_most"]) for sample in theirs if "bands" in sample]
            assert max(found["bands"]["factor_most"]) == pytest.approx(np.mean(most), rel=0.05 if size > 999 else 0.5)


def test_tensors_of_one_shape_get_other_masks(inputs: Path, tmp_path: Path) -> None:
    case = next(case for case in MERGEKIT if case.name == "dare_linear")
    ours, base = merged(case, inputs, tmp_path), model("large_base")
    dropped = [np.flatnonzero(ours[name] == base[name]) for name in base if base[name].ndim == 2]
    shapes = [base[name].shape for name in base if base[name].ndim == 2]
    pairs = [(a, b) for i, a in enumerate(dropped) for j, b in enumerate(dropped) if i < j and shapes[i] == shapes[j]]
    assert pairs
    for one, other in pairs:
        assert len(np.intersect1d(one, other)) < 0.9 * len(one)
