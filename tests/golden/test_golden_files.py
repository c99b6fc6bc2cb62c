"""The stored results of the peers belong to these inputs and these configurations, and are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from tests.golden.cases import CASES, VERSIONS, Case, Peer, values_file
from tests.golden.inputs import MODELS, digest, model, size, write_inputs
from tests.golden.sampling import describe

VALUES = [case for case in CASES if not case.random]
SAMPLES = [case for case in CASES if case.random]
TUNED = [name for name in MODELS if not name.endswith("base")]
KINDS = ("embed_tokens", "lm_head", "model.norm", "input_layernorm", "self_attn", "mlp")


def _named(case: Case) -> str:
    return f"{case.peer}-{case.name}"


@pytest.mark.parametrize("peer", get_args(Peer))
def test_results_are_of_these_inputs_configurations_and_versions(peer: Peer) -> None:
    opened: Any = safe_open(values_file(peer), "numpy")
    with opened as stored:
        written = json.loads(stored.metadata()["golden"])
    assert written["inputs"] == digest(), "the inputs are not those that the peer merged: run make_golden"
    assert written["version"] == VERSIONS[peer]
    configs = {case.name: case.fingerprint() for case in CASES if case.peer == peer}
    assert written["configs"] == configs, "a configuration has changed: run make_golden"


@pytest.mark.parametrize("case", VALUES, ids=_named)
def test_expected_tensors_are_finite_float32_and_of_the_inputs_shapes(case: Case) -> None:
    shapes = {name.rpartition(".layers.")[2].lstrip("0123456789"): t.shape for name, t in model("base").items()}
    expected = case.expected()
    for name, values in expected.items():
        assert values.dtype == np.float32
        assert values.shape == shapes[name.rpartition(".layers.")[2].lstrip("0123456789")]
        assert np.isfinite(values).all()
    assert all(any(kind in name for name in expected) for kind in KINDS)


@pytest.mark.parametrize("case", VALUES, ids=_named)
def test_no_case_is_a_copy_of_one_model(case: Case) -> None:
    """A tensor may be: a gradient that starts at 0, a stack. All of them would mean that the peer merged nothing."""
    expected = case.expected()
    for one in case.models:
        tensors = model(one)
        assert not all(name in tensors and np.array_equal(values, tensors[name]) for name, values in expected.items())


@pytest.mark.parametrize("case", SAMPLES, ids=_named)
def test_samples_differ_from_seed_to_seed_by_chance_only(case: Case) -> None:
    for drawn in case.samples().values():
        supports = [sample["support"] for sample in drawn]
        assert 0 < min(supports) <= max(supports) < 1
        assert len({sample["l2"] for sample in drawn}) == len(drawn)
    supports = [sample["support"] for sample in case.samples()["model.embed_tokens.weight"]]
    assert max(supports) - min(supports) < 0.03, "six standard deviations of 16,384 coins, between two draws"


def test_every_case_names_its_models_and_its_reason() -> None:
    for case in CASES:
        assert case.models, case.name
        assert case.why, case.name
    assert len({(case.peer, case.name) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("name", TUNED)
def test_deltas_are_exact_distinct_in_magnitude_and_never_zero(name: str) -> None:
    base = model("large_base" if name.startswith("large") else "base")
    for tensor, values in model(name).items():
        delta = values - base[tensor]
        assert np.array_equal(delta.astype(np.float64), values.astype(np.float64) - base[tensor].astype(np.float64))
        magnitudes = np.unique(np.abs(delta))
        assert magnitudes.size == delta.size
        assert magnitudes[0] > 0


def test_written_inputs_are_the_models(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    for name in MODELS:
        written = load_file(tmp_path / name / "model.safetensors")
        assert written.keys() == model(name).keys()
        assert all(np.array_equal(written[tensor], values) for tensor, values in model(name).items())
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["vocab_size"] == size(name).vocabulary


def test_describe_counts_kept_elements_by_rank_within_a_row() -> None:
    delta = np.array([[1, -2, 3, -4, 5, -6, 7, -8], [80, 70, 60, 50, 40, 30, 20, 10]], dtype=np.float32)
    merged = np.where(np.abs(delta) > [[4], [40]], delta * 2, 0).astype(np.float32)
    sample = describe(merged, [delta])
    assert sample["support"] == 0.5
    assert "bands" in sample
    assert sample["bands"]["kept"] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert sample["bands"]["factor_least"] == sample["bands"]["factor_most"] == [0, 0, 0, 0, 2, 2, 2, 2]
    assert sample["l1"] == 2 * (5 + 6 + 7 + 8 + 80 + 70 + 60 + 50)
