"""Float8 matrices with scales for their blocks: multiplied when they are read, written as bfloat16."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergegraph.errors import InputError
from mergegraph.execute.executors.for_loop import for_loop
from mergegraph.tensors.checkpoint import open_checkpoint
from tests.execute.merging import merged, planned, tiled
from tests.tiny_models import Tensors, write_model

NAME = "model.layers.0.mlp.up_proj.weight"
SCALE = f"{NAME}_scale_inv"


def stored(rows: int, columns: int, block: tuple[int, int], seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    down, across = -(-rows // block[0]), -(-columns // block[1])
    return {
        NAME: torch.randn(rows, columns, generator=generator).to(torch.float8_e4m3fn),
        SCALE: torch.rand(down, across, generator=generator) + 0.01,
        "model.norm.weight": torch.ones(8).bfloat16(),
    }


def numbers(tensors: Tensors, block: tuple[int, int]) -> torch.Tensor:
    """The matrix by the definition: every element times the scale of its block."""
    value = tensors[NAME].float()
    down, across = (torch.arange(size) // side for size, side in zip(value.shape, block, strict=True))
    return value * tensors[SCALE][down][:, across]


def config(block: tuple[int, int]) -> dict[str, object]:
    quantised = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": list(block)}
    return {"model_type": "deepseek_v3", "quantization_config": quantised}


@pytest.mark.parametrize(
    ("shape", "block"), [((300, 260), (128, 128)), ((5, 7), (2, 3)), ((256, 128), (128, 128)), ((700, 400), (128, 128))]
)
def test_what_is_written_is_the_scaled_matrix_in_bfloat16(
    shape: tuple[int, int], block: tuple[int, int], tmp_path: Path
) -> None:
    """700 x 400 elements are more than a tile: tiles begin and end inside a row, and in the middle of blocks."""
    tensors = stored(*shape, block)
    write_model(tmp_path / "a", tensors, config=config(block))
    nodes = "a: {op: load, model: a}\nout: {op: save, input: a, path: out}"
    plan = tiled(planned(tmp_path, nodes), 2)
    merged(plan)
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == {NAME, "model.norm.weight"}
    assert torch.equal(found[NAME], numbers(tensors, block).bfloat16())
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written == {"model_type": "deepseek_v3", "dtype": "bfloat16"}
    merged(plan, executor=for_loop, overwrite=True)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == content


def test_scaled_matrices_are_merged(tmp_path: Path) -> None:
    block = (128, 128)
    one, two = stored(256, 300, block), stored(256, 300, block, seed=1)
    two[NAME], two[SCALE] = one[NAME], one[SCALE] * 1.25
    for name, tensors in (("a", one), ("b", two)):
        write_model(tmp_path / name, tensors, config=config(block))
    loads = "a: {op: load, model: a}\nb: {op: load, model: b}\n"
    merged(planned(tmp_path, loads + "m: {op: soup, inputs: [a, b]}\nout: {op: save, input: m, path: out}"))
    found = load_file(tmp_path / "out" / "model.safetensors")[NAME]
    wanted = (0.5 * numbers(one, block)).add(numbers(two, block), alpha=0.5)
    assert torch.equal(found, wanted.bfloat16())


def test_float8_is_written_only_when_it_is_asked_for(tmp_path: Path) -> None:
    """Without its scales a float8 matrix is another: it is never copied."""
    tensors = stored(256, 128, (128, 128))
    write_model(tmp_path / "a", tensors, config=config((128, 128)))
    merged(planned(tmp_path, "a: {op: load, model: a}\nout: {op: save, input: a, path: out, dtype: float8_e4m3fn}"))
    found = load_file(tmp_path / "out" / "model.safetensors")[NAME]
    assert torch.equal(found.float(), numbers(tensors, (128, 128)).to(torch.float8_e4m3fn).float())


def test_without_a_config_the_usual_blocks_are_taken(tmp_path: Path) -> None:
    write_model(tmp_path / "a", stored(300, 260, (128, 128)))
    scale = open_checkpoint("a", tmp_path).tensors[NAME].scale
    assert scale is not None
    assert (scale.block, scale.shape) == ((128, 128), (3, 3))


REFUSED = [
    ("scales of other blocks", {SCALE: torch.ones(2, 2)}),
    ("scales without their matrix", {"other.weight_scale_inv": torch.ones(2, 2)}),
    ("one scale for a whole matrix", {SCALE: torch.ones(())}),
    ("a matrix that is not float8", {NAME: torch.ones(300, 260).bfloat16()}),
]


@pytest.mark.parametrize(("why", "change"), REFUSED, ids=[why for why, _ in REFUSED])
def test_scales_that_do_not_fit_are_refused(why: str, change: Tensors, tmp_path: Path) -> None:
    write_model(tmp_path / "a", {**stored(300, 260, (128, 128)), **change}, config=config((128, 128)))
    with pytest.raises(InputError, match=r"is quantised \(fp8\)"):
        open_checkpoint("a", tmp_path)
