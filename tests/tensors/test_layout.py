"""The layout of an output: what the safetensors library opens, and where each tensor lies in it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from mergegraph.dtypes import BY_CODE
from mergegraph.errors import OutputError
from mergegraph.tensors import layout as layout_module
from mergegraph.tensors.layout import Layout, TensorSpec, lay_out

WHOLE = [dtype for dtype in BY_CODE.values() if dtype.bits % 8 == 0]


def spec(name: str, code: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, BY_CODE[code], shape)


def header_of(header: bytes) -> dict[str, dict[str, object]]:
    length = int.from_bytes(header[:8], "little")
    assert len(header) == 8 + length
    return json.loads(header[8:])


def write(layout: Layout, contents: dict[str, bytes], folder: Path) -> None:
    for file in layout.files:
        stored = bytearray(file.header.ljust(file.file_bytes, b"\0"))
        for name, offset in file.offsets.items():
            stored[offset : offset + len(contents[name])] = contents[name]
        (folder / file.name).write_bytes(stored)


@pytest.mark.parametrize(
    ("tensor", "nbytes"),
    [
        (spec("matrix", "BF16", 3, 5), 30),
        (spec("scalar", "F32"), 4),
        (spec("empty", "F64", 7, 0), 0),
        (spec("four bits an element", "F4", 6), 3),
        (spec("six bits an element", "F6_E2M3", 4), 3),
    ],
    ids=lambda value: value.name if isinstance(value, TensorSpec) else "",
)
def test_bytes_of_a_tensor(tensor: TensorSpec, nbytes: int) -> None:
    assert tensor.nbytes == nbytes


def shards(layout: Layout) -> list[list[str]]:
    return [[name for name, index in layout.file_of.items() if index == number] for number in range(len(layout.files))]


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [
        pytest.param([3, 5, 7], 15, [["0", "1", "2"]], id="exactly full is not too full"),
        pytest.param([3, 5, 7], 14, [["0", "1"], ["2"]], id="one byte over closes the shard"),
        pytest.param([3, 50, 2], 10, [["0"], ["1"], ["2"]], id="a larger tensor has a shard of its own"),
        pytest.param([50, 2, 3], 10, [["0"], ["1", "2"]], id="the first tensor may be the larger one"),
        pytest.param([9, 3, 9, 3], 12, [["0", "1"], ["2", "3"]], id="order is kept, nothing is packed tighter"),
        pytest.param([10, 0, 0], 10, [["0", "1", "2"]], id="empty tensors fit a full shard"),
        pytest.param([], 10, [[]], id="no tensors are one empty file"),
    ],
)
def test_shards_close_in_order(lengths: list[int], limit: int, expected: list[list[str]]) -> None:
    layout = lay_out([spec(str(n), "U8", length) for n, length in enumerate(lengths)], limit, {})
    assert shards(layout) == expected
    assert layout.total_bytes == sum(lengths)


def test_one_file_has_a_plain_name_and_no_index() -> None:
    layout = lay_out([spec("a", "F32", 3)], 100, {}, stem="diffusion_pytorch_model")
    assert [file.name for file in layout.files] == ["diffusion_pytorch_model.safetensors"]
    assert layout.index_json() is None


def test_shards_are_numbered_and_indexed() -> None:
    layout = lay_out([spec("b", "F32", 3), spec("a", "BF16", 5)], 12, {})
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert [file.name for file in layout.files] == [first, second]
    assert layout.index_name == "model.safetensors.index.json"
    index = layout.index_json()
    assert index is not None
    assert json.loads(index) == {"metadata": {"total_size": 22}, "weight_map": {"b": first, "a": second}}


def test_metadata_always_says_pt() -> None:
    """transformers refuses a file whose metadata does not."""
    for given_metadata in ({}, {"made_by": "mergegraph"}, {"format": "np"}):
        [file] = lay_out([spec("a", "F32", 1)], 9, given_metadata).files
        assert header_of(file.header)["__metadata__"] == {**given_metadata, "format": "pt"}


def test_the_bytes_do_not_depend_on_the_order_of_the_metadata() -> None:
    tensors = [spec("a", "F32", 3)]
    one, other = (lay_out(tensors, 99, metadata) for metadata in ({"x": "1", "y": "2"}, {"y": "2", "x": "1"}))
    assert one.files == other.files
    assert one.digest() == other.digest()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lay_out([spec("b", "F32", 3), spec("c", "F32", 3)], 99, {}), id="a name"),
        pytest.param(lay_out([spec("a", "F32", 3), spec("c", "I32", 3)], 99, {}), id="a dtype"),
        pytest.param(lay_out([spec("c", "F32", 3), spec("a", "F32", 3)], 99, {}), id="the order"),
        pytest.param(lay_out([spec("a", "F32", 3), spec("c", "F32", 3)], 12, {}), id="the shards"),
        pytest.param(lay_out([spec("a", "F32", 3), spec("c", "F32", 3)], 99, {}, "x"), id="the stem"),
        pytest.param(lay_out([spec("a", "F32", 3), spec("c", "F32", 3)], 99, {"k": "v"}), id="the metadata"),
    ],
)
def test_the_digest_changes_with(other: Layout) -> None:
    assert other.digest() != lay_out([spec("a", "F32", 3), spec("c", "F32", 3)], 99, {}).digest()


def test_a_header_no_reader_would_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_module, "_MAX_HEADER_BYTES", 300)
    lay_out([spec("a", "F32", 3)], 99, {})
    with pytest.raises(OutputError, match="max_shard_size"):
        lay_out([spec("a" * 300, "F32", 3)], 99, {})


@st.composite
def tensors_with_bytes(draw: st.DrawFn) -> list[tuple[TensorSpec, bytes]]:
    names = st.text(st.characters(exclude_categories=("Cs",)), max_size=6).filter(lambda name: name != "__metadata__")
    drawn = []
    for name in draw(st.lists(names, unique=True, max_size=9)):
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
        tensor = TensorSpec(name, draw(st.sampled_from(WHOLE)), shape)
        drawn.append((tensor, draw(st.binary(min_size=tensor.nbytes, max_size=tensor.nbytes))))
    return drawn


@given(tensors_with_bytes(), st.integers(1, 300))
def test_every_tensor_is_found_by_the_library_and_aligned(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[TensorSpec, bytes]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("layout")
    layout = lay_out([tensor for tensor, _ in drawn], limit, {})
    contents = {tensor.name: content for tensor, content in drawn}
    write(layout, contents, folder)
    seen: set[str] = set()
    for file in layout.files:
        assert len(file.header) % 64 == 0
        with safe_open(folder / file.name, framework="np") as stored:
            assert set(stored.keys()) == set(file.offsets)
        entries = header_of(file.header)
        for name, offset in file.offsets.items():
            tensor = layout.specs[name]
            begin, end = entries[name]["data_offsets"]
            assert len(file.header) + begin == offset
            assert (folder / file.name).read_bytes()[len(file.header) + begin : len(file.header) + end] == contents[
                name
            ]
            assert entries[name]["dtype"] == tensor.dtype.code
            assert tuple(entries[name]["shape"]) == tensor.shape
            assert offset % tensor.dtype.itemsize == 0
        seen |= set(file.offsets)
    assert seen == set(contents)
    assert list(layout.file_of) == [tensor.name for tensor, _ in drawn]
    assert all(earlier <= later for earlier, later in pairwise(layout.file_of.values()))


def test_values_come_back_through_the_library(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    arrays = {
        "mask": np.array([True, False, True]),
        "w": np.linspace(-2, 3, 15, dtype=np.float32).reshape(3, 5),
        "scale": np.array(0.1),
        "ids": np.arange(7),
    }
    codes = {"mask": "BOOL", "w": "F32", "scale": "F64", "ids": "I64"}
    layout = lay_out([spec(name, codes[name], *array.shape) for name, array in arrays.items()], 10**6, {})
    write(layout, {name: array.tobytes() for name, array in arrays.items()}, tmp_path)
    loaded = load_file(tmp_path / "model.safetensors")
    assert {name: array.tolist() for name, array in loaded.items()} == {k: a.tolist() for k, a in arrays.items()}
