"""Strengths are read off the record of a linear merge, and are none for any other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mergegraph.stats.hints import hints
from mergegraph.stats.strengths import strengths_of
from tests.stats.made import record

NAMES = ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight")


def model(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(40, 30, generator=generator) for name in NAMES}


BASE, A, B = model(0), model(1), model(2)


def merged(strengths: dict[str, tuple[float, float]]) -> dict[str, Tensor]:
    return {
        name: BASE[name] + a * (A[name] - BASE[name]) + b * (B[name] - BASE[name])
        for name, (a, b) in zip(NAMES, strengths.values(), strict=True)
    }


def test_each_kind_has_the_strengths_of_the_recipe() -> None:
    given = {"embedding": (0.1, -0.2), "attention": (0.5, 0.5), "mlp": (0.7, 1.25)}
    found = strengths_of(record({"a": A, "b": B}, BASE, merged(given)))
    assert found == {
        "a": {kind: pytest.approx(a) for kind, (a, _) in given.items()},
        "b": {kind: pytest.approx(b) for kind, (_, b) in given.items()},
    }


def test_a_merge_that_is_no_plain_combination_has_none() -> None:
    largest = {name: torch.maximum(A[name], B[name]) for name in NAMES}
    found = strengths_of(record({"a": A, "b": B}, BASE, largest))
    assert found == {name: {"embedding": None, "attention": None, "mlp": None} for name in "ab"}


def test_a_kind_that_no_source_moved_is_left_out() -> None:
    frozen = {**A, NAMES[0]: BASE[NAMES[0]]}
    result = {name: BASE[name] + 0.5 * (frozen[name] - BASE[name]) for name in NAMES}
    assert strengths_of(record({"a": frozen}, BASE, result)) == {"a": pytest.approx({"attention": 0.5, "mlp": 0.5})}


@pytest.mark.parametrize(("base", "result"), [(None, A), (BASE, None)], ids=["without a base", "without a result"])
def test_where_a_combination_cannot_be_told_there_is_none(
    base: dict[str, Tensor] | None, result: dict[str, Tensor] | None
) -> None:
    assert strengths_of(record({"a": A, "b": B}, base, result)) is None


def test_a_lone_pair_at_a_half_gets_its_hint() -> None:
    half = record({"a": A, "b": B}, BASE, merged({"e": (0.5, 0.5), "a": (0.5, 0.5), "m": (0.5, 0.5)}))
    assert any("two changes at 0.5 and 0.5" in hint.says for hint in hints(half, strengths_of(half)))


@pytest.mark.parametrize("count", [5, 6, 7, 12, 14, 15])
def test_an_average_of_many_gets_its_hint_whatever_its_digits(count: int) -> None:
    sources = {f"s{i}": model(i + 1) for i in range(count)}
    mean = {name: sum(source[name].double() for source in sources.values()) / count for name in NAMES}
    found = record(sources, BASE, mean)
    says = [hint.says for hint in hints(found, strengths_of(found))]
    assert f"a plain average of {count} models" in says
