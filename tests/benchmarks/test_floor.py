"""The I/O floor reads and writes what a merge does: every byte, under the same names, and nothing is left behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from benchmarks import floor
from benchmarks.child import REPOSITORY, run_child
from benchmarks.make_inputs import SHAPES, Layout, Tensor, Values, llama, make_family, write_model

SCRIPT = REPOSITORY / "benchmarks" / "floor.py"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base and one fine-tune of the tiny shape, in three shards."""
    folder = tmp_path_factory.mktemp("family")
    list(make_family(folder, llama(SHAPES["tiny"]), 1, 3, seed=0))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of every tensor. numpy has no bf16, so the file is read as it lies."""
    tensors: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.safetensors")):
        whole = path.read_bytes()
        start = 8 + int.from_bytes(whole[:8], "little")
        for name, entry in json.loads(whole[8:start]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = whole[start + begin : start + end]
    return tensors


@pytest.mark.parametrize("options", [(), ("--no-sync",), ("--no-sync", "--threads", "1")], ids=str)
def test_every_byte_is_read_and_the_first_input_is_written(
    family: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    inputs = [family / "base", family / "tune-0"]
    finished = run_child([sys.executable, "-I", "-S", str(SCRIPT), str(tmp_path / "out"), *map(str, inputs), *options])
    tensor_bytes = sum(map(len, content(inputs[0]).values()))
    report = finished.done_report()
    assert (report["read_bytes"], report["write_bytes"]) == (2 * tensor_bytes, tensor_bytes), finished.stderr
    assert finished.traffic.read >= 2 * tensor_bytes
    assert finished.traffic.written >= tensor_bytes
    assert content(tmp_path / "out") == content(inputs[0])
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "model.safetensors"]


def test_the_output_opens_as_any_other(tmp_path: Path) -> None:
    layout = Layout({}, (Tensor("odd", (7, 3)), Tensor("empty", (0, 4)), Tensor("even", (2, 8))))
    write_model(tmp_path / "in", layout, 1, Values(seed=0).base)
    floor.run([tmp_path / "in"], [tmp_path / "out"], threads=2, sync=False)
    text = (tmp_path / "out" / "model.safetensors").read_bytes().replace(b'"BF16"', b'"I16" ')
    (tmp_path / "as-integers.safetensors").write_bytes(text)
    shapes = {name: values.shape for name, values in load_file(tmp_path / "as-integers.safetensors").items()}
    assert shapes == {"odd": (7, 3), "empty": (0, 4), "even": (2, 8)}


def test_tiles_cover_a_tensor_once_and_end_with_it() -> None:
    counts = {"small": 10, "exact": 2 * floor.TILE_BYTES, "over": floor.TILE_BYTES + 6}
    model = {name: floor.Place(3, 1000 * index, count) for index, (name, count) in enumerate(counts.items())}
    found = list(floor.tiles([model, model], {"small": 0, "exact": 10, "over": 10 + 2 * floor.TILE_BYTES}))
    ends = [0, *(tile.target + tile.byte_count for tile in found)]
    assert [tile.target for tile in found] == ends[:-1]
    assert ends[-1] == sum(counts.values())
    assert [tile.last_of for tile in found] == ["small", None, "exact", None, "over"]
    assert all(len(tile.sources) == 2 for tile in found)


def test_inputs_that_are_not_alike_end_it() -> None:
    with pytest.raises(ValueError, match="w has not the same number of bytes"):
        list(floor.tiles([{"w": floor.Place(3, 0, 4)}, {"w": floor.Place(4, 0, 6)}], {"w": 0}))


def test_a_sweep_writes_every_output_and_reads_once(family: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "a", tmp_path / "b"]
    read_bytes, written_bytes = floor.run([family / "base"], outputs, threads=2, sync=False)
    assert read_bytes == written_bytes == sum(map(len, content(family / "base").values()))
    assert content(outputs[0]) == content(outputs[1]) == content(family / "base")


def test_an_error_of_a_thread_is_raised(family: Path, tmp_path: Path) -> None:
    shard = max((family / "tune-0").glob("*.safetensors"))
    cut = tmp_path / "cut"
    cut.mkdir()
    for path in (family / "tune-0").glob("*.safetensors"):
        (cut / path.name).write_bytes(path.read_bytes()[: -1000 if path == shard else None])
    with pytest.raises(EOFError):
        floor.run([cut], [tmp_path / "out"], threads=2, sync=False)
