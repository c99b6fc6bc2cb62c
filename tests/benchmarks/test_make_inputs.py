"""The made checkpoints load as any other, are related as fine-tunes are, and are the same for the same seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

from benchmarks.make_inputs import (
    BLOCK_ELEMENTS,
    SHAPES,
    Layout,
    Tensor,
    Values,
    is_frozen,
    llama,
    make_family,
    many_tensors,
    single_tensor,
    split,
    to_bfloat16,
)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base and two fine-tunes of the tiny shape, in three shards."""
    folder = tmp_path_factory.mktemp("family")
    assert len(list(make_family(folder, llama(SHAPES["tiny"]), 2, 3, seed=0))) == 3
    return folder


def load(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors


def digest(folder: Path) -> str:
    """Over names, shapes and values: the same however the tensors are sharded."""
    whole = hashlib.sha256()
    for name, tensor in sorted(load(folder).items()):
        whole.update(f"{name}{tuple(tensor.shape)}".encode() + tensor.view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def make(folder: Path, layout: Layout, fine_tunes: int = 1, shards: int = 3, seed: int = 0) -> list[str]:
    return [digest(path) for path in make_family(folder, layout, fine_tunes, shards, seed)]


def test_a_model_loads_with_the_names_shapes_and_dtype_of_its_layout(family: Path) -> None:
    expected = {tensor.name: tensor.shape for tensor in SHAPES["tiny"].tensors()}
    for model in family.iterdir():
        tensors = load(model)
        assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected
        assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_the_index_names_the_shard_of_every_tensor(family: Path) -> None:
    index = json.loads((family / "base" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == 3
    for path in (family / "base").glob("*.safetensors"):
        assert set(load_file(path)) == {name for name, shard in index["weight_map"].items() if shard == path.name}
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in load(family / "base").values())


def test_a_fine_tune_is_frozen_where_it_says_and_near_its_base_elsewhere(family: Path) -> None:
    base = load(family / "base")
    for tune in range(2):
        tuned = load(family / f"tune-{tune}")
        frozen = {name for name, tensor in tuned.items() if torch.equal(tensor, base[name])}
        assert frozen == {name for name in base if is_frozen(name, tune)}
        for name in set(base) - frozen:
            cosine = torch.cosine_similarity(base[name].double().flatten(), tuned[name].double().flatten(), dim=0)
            equal_share = (base[name] == tuned[name]).double().mean()
            assert 0.999 < cosine < 1
            assert 0.15 < equal_share < 0.3, name


def test_fine_tunes_freeze_different_layers_and_move_differently(family: Path) -> None:
    first, second = load(family / "tune-0"), load(family / "tune-1")
    assert {n for n in first if is_frozen(n, 0)} != {n for n in second if is_frozen(n, 1)}
    assert not any(torch.equal(first[name], second[name]) for name in first if name.startswith("model.layers.0.self"))


def test_tensors_of_one_shape_differ(family: Path) -> None:
    matrices = [t for name, t in load(family / "base").items() if name.endswith("q_proj.weight")]
    assert len(matrices) == 4
    assert all(not torch.equal(a, b) for i, a in enumerate(matrices) for b in matrices[:i])


def test_weights_look_trained_in_scale(family: Path) -> None:
    base = load(family / "base")
    assert base["lm_head.weight"].double().std() == pytest.approx(0.02, rel=0.05)
    assert base["model.norm.weight"].double().mean() == pytest.approx(1, rel=0.05)


def test_the_seed_alone_decides_the_values(tmp_path: Path) -> None:
    layout = llama(SHAPES["tiny"])
    first = make(tmp_path / "first", layout, fine_tunes=1, shards=3)
    again = make(tmp_path / "again", layout, fine_tunes=2, shards=1)
    other = make(tmp_path / "other", layout, fine_tunes=1, shards=3, seed=1)
    assert first == again[:2]
    assert len({*first, *again, *other}) == 5


def test_one_shard_has_no_index(tmp_path: Path) -> None:
    make(tmp_path, many_tensors(3, 8), shards=1)
    assert {path.name for path in (tmp_path / "base").iterdir()} == {"config.json", "model.safetensors"}


def test_an_existing_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        make(tmp_path, many_tensors(3, 8))
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == b"precious"


def test_a_tensor_longer_than_a_block_has_every_element(tmp_path: Path) -> None:
    byte_count = 2 * (2 * BLOCK_ELEMENTS + 3 * 4096)  # two blocks and part of a third
    make(tmp_path, single_tensor(byte_count))
    base, tuned = load(tmp_path / "base"), load(tmp_path / "tune-0")
    ((name, matrix),) = base.items()
    assert matrix.nbytes == byte_count
    flat = matrix.flatten()
    assert not torch.equal(flat[:BLOCK_ELEMENTS], flat[BLOCK_ELEMENTS : 2 * BLOCK_ELEMENTS])
    assert flat[2 * BLOCK_ELEMENTS :].count_nonzero() > 3 * 4096 * 0.99
    assert not torch.equal(matrix, tuned[name])


def test_many_tensors_are_many_layers_of_small_matrices(tmp_path: Path) -> None:
    layout = many_tensors(401, 24)
    make(tmp_path, layout, fine_tunes=0)
    tensors = load(tmp_path / "base")
    assert len(tensors) == 401
    assert {tuple(tensor.shape) for tensor in tensors.values()} == {(3, 8)}
    assert json.loads((tmp_path / "base" / "config.json").read_text())["num_hidden_layers"] == 3


@pytest.mark.parametrize(
    ("shape", "low", "high"),
    [("0.1b", 0.09e9, 0.11e9), ("1.1b", 1.1000e9, 1.1001e9), ("4b", 3.9e9, 4.4e9)],
)
def test_a_shape_has_the_parameters_of_its_name(shape: str, low: float, high: float) -> None:
    assert low < sum(tensor.element_count for tensor in SHAPES[shape].tensors()) < high


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (lambda: single_tensor(7), "even number"),
        (lambda: many_tensors(0, 8), "at least one"),
        (lambda: many_tensors(5, 12), "multiple of 8"),
    ],
)
def test_a_size_that_cannot_be_is_refused(layout: Callable[[], Layout], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        layout()


@pytest.mark.parametrize(
    ("counts", "shards"),
    [
        ([7], 3),  # fewer tensors than shards
        ([1, 1, 1, 1, 1, 1, 1], 3),
        ([100, 1, 1, 1], 3),  # one tensor above a shard's share
        ([1, 1, 1, 100], 3),
    ],
)
def test_shards_keep_every_tensor_in_order_and_none_is_empty(counts: list[int], shards: int) -> None:
    tensors = [Tensor(f"t{i}", (count,)) for i, count in enumerate(counts)]
    parts = split(tensors, shards)
    assert [tensor for part in parts for tensor in part] == tensors
    assert all(parts)
    assert len(parts) <= shards


def test_bfloat16_rounding_is_torchs() -> None:
    bits = np.random.default_rng(3).integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    floats = bits.view(np.float32)
    floats = np.concatenate(
        [floats[np.isfinite(floats)], np.array([0.0, -0.0, 1.00390625, 1.01171875], dtype=np.float32)]
    )
    expected = torch.tensor(floats).bfloat16().view(torch.uint16).numpy()
    np.testing.assert_array_equal(to_bfloat16(floats), expected)


def test_blocks_of_one_tensor_do_not_repeat() -> None:
    first, second, third = Values(0).base(Tensor("lm_head.weight", (2 * BLOCK_ELEMENTS + 5,)))
    assert third.size == 5
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[:5], third)
