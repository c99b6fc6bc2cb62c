"""The timed merges: a case's recipe and its configuration of mergekit mean the same, judged by what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

from benchmarks.cases import CASES, DEFAULT, FOLDERS, Call, Case, chosen
from benchmarks.make_inputs import SHAPES, llama, make_family
from benchmarks.peers import PACKAGES
from mergegraph import pipeline
from mergegraph.execute.run import Options
from mergegraph.mergekit.importing import load_configuration
from mergegraph.recipe.load import load_recipe
from tests.golden.cases import VERSIONS

RANDOM = ("ties", "dare", "dare-l1")
"""Which elements are kept depends on the seed: of `ties` where many are equal at the threshold."""


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    list(make_family(folder, llama(SHAPES["tiny"]), 2, 1, seed=0))
    return folder


def merged(case: Case, family: Path, folder: Path, *, as_mergekit: bool) -> torch.Tensor:
    """All elements of the output."""
    path, output = folder / "merge.yaml", folder / "out"
    folder.mkdir()
    text = json.dumps(case.mergekit(family, "bfloat16")) if as_mergekit else case.recipe(family, output)
    path.write_text(text)
    recipe = load_configuration(path) if as_mergekit else load_recipe(path)
    pipeline.execute(pipeline.plan(recipe, output=output), Options(sync=False))
    return elements(output)


def elements(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)]).double()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recipe_and_its_mergekit_configuration_mean_the_same(case: Case, family: Path, tmp_path: Path) -> None:
    base = elements(family / "base")
    ours = merged(case, family, tmp_path / "ours", as_mergekit=False) - base
    theirs = merged(case, family, tmp_path / "theirs", as_mergekit=True) - base
    assert ours.count_nonzero() > 0
    if case.name in RANDOM:
        assert float(theirs.norm()) == pytest.approx(float(ours.norm()), rel=0.02)
    else:
        assert torch.equal(ours, theirs)


def models_of(call: Call) -> set[str]:
    return {call} if isinstance(call, str) else set[str]().union(*map(models_of, call["of"]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sd_mecha_is_asked_for_the_same_models(case: Case, family: Path, tmp_path: Path) -> None:
    request = case.sd_mecha(family, tmp_path / "out")
    assert models_of(request["call"]) == set(case.models) == set(request["models"])
    assert list(request["models"].values()) == [str(family / FOLDERS[name]) for name in case.models]


def test_cases_are_chosen_by_name() -> None:
    assert [case.name for case in chosen(["ties", "soup"])] == ["ties", "soup"]
    assert len(chosen(DEFAULT)) == 5
    with pytest.raises(ValueError, match="no case 'slrp'"):
        chosen(["soup", "slrp"])


def test_the_peers_are_those_whose_numbers_are_known() -> None:
    """What they differ in was found out for these versions."""
    assert set(PACKAGES.values()) == {f"{peer.replace('_', '-')}=={version}" for peer, version in VERSIONS.items()}
