"""The mapping that evaluators may take: what it holds, what it reads, what it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mergegraph.search.tensors import Kept, Tensors
from tests.tiny_models import llama_tensors, write_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_an_average_is_that_of_its_sources(tmp_path: Path, dtype: torch.dtype) -> None:
    models = [llama_tensors(seed=seed, dtype=dtype) for seed in (1, 2)]
    folders = [write_model(tmp_path / name, m, config={"n": name}) for name, m in zip("ab", models, strict=True)]
    mapping = Tensors([(str(folders[0]), 1), (str(folders[1]), 4)], Kept(1 << 20))
    assert set(mapping) == set(models[0])
    assert len(mapping) == len(models[0])
    assert mapping.config == {"n": "a"}
    for name, tensor in mapping.items():
        wanted = (models[0][name].double() + 4 * models[1][name].double()) / 5
        assert tensor.dtype == dtype
        torch.testing.assert_close(tensor, wanted.to(dtype))
    mapping.close()


def test_what_was_read_is_not_read_again_up_to_a_limit(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((8, 8), float(i)) for i in range(6)}
    folder = write_model(tmp_path / "m", tensors)
    size = 8 * 8 * 4
    for limit, twice in ((6 * size, 6 * size), (0, 12 * size), (6 * size - 1, 12 * size)):
        kept = Kept(limit)
        mapping = Tensors([(str(folder), 1)], kept)
        for _ in range(2):
            assert {name: float(tensor[0, 0]) for name, tensor in mapping.items()} == {f"t{i}": i for i in range(6)}
        assert kept.read_bytes == twice, "oldest first: a limit that is one byte short keeps none of a second round"
        mapping.close()


def test_a_tensor_that_is_changed_in_place_is_read_as_it_is_stored(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", {"t": torch.ones(3)})
    mapping = Tensors([(str(folder), 1)], Kept(1 << 20))
    mapping["t"].zero_()
    assert mapping["t"].tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(KeyError):
        mapping["none"]
    mapping.close()
