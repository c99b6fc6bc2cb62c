"""Llama-shaped checkpoints to measure merges on, made in seconds and in little memory.

    python benchmarks/make_inputs.py DIR --shape 1.1b            DIR/base, DIR/tune-0, DIR/tune-1, DIR/tune-2
    python benchmarks/make_inputs.py DIR --single-tensor 2.5GB   DIR/single/base, DIR/single/tune-0
    python benchmarks/make_inputs.py DIR --many 20000            DIR/many/base, DIR/many/tune-0

Every model is bf16 in the Hugging Face layout. A fine-tune is the base plus noise about the width of one bf16
step, so that many elements stay exactly equal; norms, the embedding and every fourth layer are frozen.
They resemble trained models only in shape, scale and kinship: nothing can be said with them.

The same seed gives the same bytes, whatever the number of shards or fine-tunes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mergegraph.units import format_bytes, parse_bytes

Bits = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]

BLOCK_ELEMENTS: Final = 1 << 18
POOL_ELEMENTS: Final = 1 << 22
STANDARD_DEVIATION: Final = 0.02
# Of one standard deviation. Half a step of bf16 is 2^-9 to 2^-8 of a value: 22 % of the elements stay equal.
TUNING_STEP: Final = 2.0**-7
LAYERS_PER_FROZEN: Final = 4


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's name and shape; all are bf16."""

    name: str
    shape: tuple[int, ...]

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)

    @property
    def byte_count(self) -> int:
        return 2 * self.element_count


@dataclass(frozen=True, slots=True)
class Shape:
    """What sizes a Llama model; head and embedding are separate tensors."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocab: int

    def config(self) -> dict[str, object]:
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocab,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        }

    def tensors(self) -> Iterator[Tensor]:
        yield Tensor("model.embed_tokens.weight", (self.vocab, self.hidden))
        for layer in range(self.layers):
            yield from (replace(part, name=f"model.layers.{layer}.{part.name}.weight") for part in self._layer())
        yield Tensor("model.norm.weight", (self.hidden,))
        yield Tensor("lm_head.weight", (self.vocab, self.hidden))

    def _layer(self) -> Iterator[Tensor]:
        kv = self.hidden // self.heads * self.kv_heads
        yield Tensor("input_layernorm", (self.hidden,))
        yield Tensor("self_attn.q_proj", (self.hidden, self.hidden))
        yield Tensor("self_attn.k_proj", (kv, self.hidden))
        yield Tensor("self_attn.v_proj", (kv, self.hidden))
        yield Tensor("self_attn.o_proj", (self.hidden, self.hidden))
        yield Tensor("post_attention_layernorm", (self.hidden,))
        yield Tensor("mlp.gate_proj", (self.intermediate, self.hidden))
        yield Tensor("mlp.up_proj", (self.intermediate, self.hidden))
        yield Tensor("mlp.down_proj", (self.hidden, self.intermediate))


SHAPES: Final = {
    "tiny": Shape(hidden=64, layers=4, intermediate=176, heads=4, kv_heads=2, vocab=512),
    "0.1b": Shape(hidden=768, layers=12, intermediate=2048, heads=12, kv_heads=4, vocab=16_000),
    "0.3b": Shape(hidden=1024, layers=24, intermediate=2816, heads=16, kv_heads=4, vocab=32_000),
    "1.1b": Shape(hidden=2048, layers=22, intermediate=5632, heads=32, kv_heads=4, vocab=32_000),
    "2.2b": Shape(hidden=2560, layers=30, intermediate=6912, heads=32, kv_heads=8, vocab=32_000),
    "4b": Shape(hidden=3072, layers=40, intermediate=8192, heads=32, kv_heads=8, vocab=32_000),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of model to make: its configuration and its tensors, in the order they are written."""

    config: dict[str, object]
    tensors: tuple[Tensor, ...]


def llama(shape: Shape) -> Layout:
    return Layout(shape.config(), tuple(shape.tensors()))


def single_tensor(byte_count: int) -> Layout:
    """One matrix of `byte_count` bytes (an even number), as wide as it can be up to 4,096 columns."""
    if byte_count < 2 or byte_count % 2:
        raise ValueError(f"--single-tensor {byte_count}: bf16 needs an even number of bytes")
    columns = math.gcd(byte_count // 2, 4096)
    matrix = Tensor("model.layers.0.mlp.down_proj.weight", (byte_count // 2 // columns, columns))
    return Layout({"model_type": "llama", "num_hidden_layers": 1, "torch_dtype": "bfloat16"}, (matrix,))


def many_tensors(tensor_count: int, elements_each: int) -> Layout:
    """`tensor_count` small matrices, 200 to a layer, as in a mixture of experts."""
    if tensor_count < 1 or elements_each < 8 or elements_each % 8:
        raise ValueError("--many needs at least one tensor, and --elements a multiple of 8")
    names = (f"model.layers.{i // 200}.mlp.experts.{i % 200}.up_proj.weight" for i in range(tensor_count))
    layers = math.ceil(tensor_count / 200)
    config: dict[str, object] = {"model_type": "llama", "num_hidden_layers": layers, "torch_dtype": "bfloat16"}
    return Layout(config, tuple(Tensor(name, (elements_each // 8, 8)) for name in names))


class Values:
    """The numbers of every model: slices of one pool of normal noise, at places keyed by what they are for.

    Drawing 4 billion normals takes minutes; slicing takes none of it, and two slices differ unless their keys agree.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        generator = np.random.Generator(np.random.PCG64(seed))
        self._pool = generator.standard_normal(POOL_ELEMENTS + BLOCK_ELEMENTS, dtype=np.float32)

    def base(self, tensor: Tensor) -> Iterator[Bits]:
        """The tensor of the base, block by block, as bf16 bits."""
        mean = np.float32(1.0 if _is_norm(tensor.name) else 0.0)
        for block, count in _blocks(tensor):
            yield to_bfloat16(self._noise(STANDARD_DEVIATION, count, "base", tensor.name, block) + mean)

    def fine_tune(self, tensor: Tensor, tune: int) -> Iterator[Bits]:
        """The same tensor of a fine-tune: the base itself where it is frozen."""
        if is_frozen(tensor.name, tune):
            yield from self.base(tensor)
            return
        step = STANDARD_DEVIATION * TUNING_STEP
        for (block, count), bits in zip(_blocks(tensor), self.base(tensor), strict=True):
            moved = self._noise(step, count, f"tune-{tune}", tensor.name, block)
            moved += from_bfloat16(bits)
            yield to_bfloat16(moved)

    def _noise(self, deviation: float, count: int, model: str, name: str, block: int) -> Floats:
        key = f"{self._seed}/{model}/{name}/{block}".encode()
        offset = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") % POOL_ELEMENTS
        return self._pool[offset : offset + count] * np.float32(deviation)


def is_frozen(name: str, tune: int) -> bool:
    """Whether a fine-tune left this tensor as it was; norms and the embedding are frozen in all of them."""
    layer = re.search(r"layers\.(\d+)\.", name)
    frozen_layer = layer is not None and (int(layer[1]) + tune) % LAYERS_PER_FROZEN == LAYERS_PER_FROZEN - 1
    return frozen_layer or _is_norm(name) or "embed_tokens" in name


def _is_norm(name: str) -> bool:
    return "norm" in name


def _blocks(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """(index, number of elements) of each block of a tensor, taken flat."""
    for index, start in enumerate(range(0, tensor.element_count, BLOCK_ELEMENTS)):
        yield index, min(BLOCK_ELEMENTS, tensor.element_count - start)


def to_bfloat16(values: Floats) -> Bits:
    """The bits of finite float32 values rounded to the nearest bf16, ties to even. `values` is overwritten."""
    bits = values.view(np.uint32)
    odd = bits >> np.uint32(16)
    odd &= np.uint32(1)
    bits += np.uint32(0x7FFF)
    bits += odd
    bits >>= np.uint32(16)
    return bits.astype(np.uint16)


def from_bfloat16(bits: Bits) -> Floats:
    """The float32 values of bf16 bits, exactly."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def write_model(folder: Path, layout: Layout, shard_count: int, blocks: Callable[[Tensor], Iterable[Bits]]) -> None:
    """Write one model into a new `folder`; holds one block at a time. FileExistsError when it is there."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(layout.config, indent=2) + "\n")
    shards = split(layout.tensors, shard_count)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file_name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_shard(folder / file_name, shard, blocks)
        weight_map |= {tensor.name: file_name for tensor in shard}
    if len(shards) > 1:
        total = sum(tensor.byte_count for tensor in layout.tensors)
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def split(tensors: Sequence[Tensor], shard_count: int) -> list[list[Tensor]]:
    """At most `shard_count` runs of tensors of about the same bytes, none of them empty."""
    total = sum(tensor.byte_count for tensor in tensors)
    shards: list[list[Tensor]] = [[] for _ in range(shard_count)]
    written = 0
    for tensor in tensors:
        shards[(written + tensor.byte_count // 2) * shard_count // total].append(tensor)
        written += tensor.byte_count
    return [shard for shard in shards if shard]


def _write_shard(path: Path, tensors: Sequence[Tensor], blocks: Callable[[Tensor], Iterable[Bits]]) -> None:
    with path.open("wb") as file:
        file.write(header(tensors))
        for tensor in tensors:
            for block in blocks(tensor):
                file.write(block.data)


def header(tensors: Sequence[Tensor]) -> bytes:
    """A safetensors header: its length in 8 little-endian bytes, then JSON padded to a multiple of 8."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        end = start + tensor.byte_count
        entries[tensor.name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def make_family(folder: Path, layout: Layout, fine_tunes: int, shard_count: int, seed: int) -> Iterator[Path]:
    """Write `base` and `tune-0`, `tune-1` … into `folder`; the path of each when it is there."""
    values = Values(seed)
    models: list[tuple[Path, Callable[[Tensor], Iterable[Bits]]]] = [(folder / "base", values.base)]
    models += [(folder / f"tune-{tune}", _fine_tune(values, tune)) for tune in range(fine_tunes)]
    for path, blocks in models:
        write_model(path, layout, shard_count, blocks)
        yield path


def _fine_tune(values: Values, tune: int) -> Callable[[Tensor], Iterable[Bits]]:
    return lambda tensor: values.fine_tune(tensor, tune)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make checkpoints to measure merges on.")
    parser.add_argument("folder", metavar="DIR", type=Path)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--shape", choices=SHAPES, default="1.1b", help="a whole Llama model (default 1.1b)")
    kind.add_argument("--single-tensor", nargs="?", const="2.5GB", metavar="BYTES", help="one tensor (default 2.5GB)")
    kind.add_argument("--many", type=int, metavar="N", help="N small tensors")
    parser.add_argument("--elements", type=int, default=1200, help="of each tensor of --many (default 1200)")
    parser.add_argument("--fine-tunes", type=int, help="beside the base (default 3; 1 for --single-tensor and --many)")
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        folder, layout, fine_tunes = _choice(options)
    except ValueError as wrong:
        parser.error(str(wrong))
    if options.shards < 1:
        parser.error(f"--shards {options.shards}: at least 1")
    fine_tunes = fine_tunes if options.fine_tunes is None else options.fine_tunes
    total = sum(tensor.byte_count for tensor in layout.tensors)
    try:
        for path in make_family(folder, layout, fine_tunes, options.shards, options.seed):
            print(f"{path}  {len(layout.tensors):,} tensors, {format_bytes(total)}", flush=True)
    except FileExistsError as existing:
        parser.error(f"{existing.filename} exists; remove it, or choose another DIR")


def _choice(options: argparse.Namespace) -> tuple[Path, Layout, int]:
    """Folder, layout and default number of fine-tunes."""
    if options.single_tensor is not None:
        return options.folder / "single", single_tensor(parse_bytes(options.single_tensor)), 1
    if options.many is not None:
        return options.folder / "many", many_tensors(options.many, options.elements), 1
    return options.folder, llama(SHAPES[options.shape]), 3


if __name__ == "__main__":
    main()
