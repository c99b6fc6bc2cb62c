"""Models of 70 B, 671 B and 1 T parameters that take no disk: whole headers, and weights that are holes.

    python benchmarks/sparse_models.py DIR [--shape 70b|671b|1t]

makes DIR/SHAPE/base and two fine-tunes, bf16, in files of 5 GB, and DIR/SHAPE/merge.yaml. They are for the plan,
which reads headers; a run would read zeros. The file system must allow files with holes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

Shapes = Iterator[tuple[str, tuple[int, ...]]]

_FILE_BYTES: Final = 5_000_000_000
_RECIPE: Final = """mergegraph: 1
name: {shape}
models: {{base: ./base, one: ./tune-0, two: ./tune-1}}
nodes:
  d: {{op: ties, inputs: [one, two], base: base, density: 0.2}}
  m: {{op: sum, inputs: [base, d]}}
  out: {{op: save, input: m, path: out}}
"""


def dense(layers: int, hidden: int, inner: int, heads: int, vocab: int) -> Shapes:
    """A Llama: `heads` of 128 for keys and values."""
    yield "model.embed_tokens.weight", (vocab, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
        for part, rows in (("q", hidden), ("k", heads * 128), ("v", heads * 128)):
            yield f"{at}.self_attn.{part}_proj.weight", (rows, hidden)
        yield f"{at}.self_attn.o_proj.weight", (hidden, hidden)
        yield from ((f"{at}.mlp.{part}_proj.weight", (inner, hidden)) for part in ("gate", "up"))
        yield f"{at}.mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def experts(
    layers: int, hidden: int, inner: int, count: int, dense_layers: int, dense_inner: int, vocab: int
) -> Shapes:
    """A mixture of `count` experts with low-rank attention, shaped as DeepSeek-V3 is."""
    yield "model.embed_tokens.weight", (vocab, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        yield from _low_rank_attention(at, hidden)
        width = dense_inner if layer < dense_layers else inner
        for place in [f"{at}.mlp"] if layer < dense_layers else _experts(at, count):
            yield f"{place}.gate_proj.weight", (width, hidden)
            yield f"{place}.up_proj.weight", (width, hidden)
            yield f"{place}.down_proj.weight", (hidden, width)
        if layer >= dense_layers:
            yield f"{at}.mlp.gate.weight", (count, hidden)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def _experts(at: str, count: int) -> list[str]:
    return [f"{at}.mlp.experts.{expert}" for expert in range(count)] + [f"{at}.mlp.shared_experts"]


def _low_rank_attention(at: str, hidden: int) -> Shapes:
    yield f"{at}.input_layernorm.weight", (hidden,)
    yield f"{at}.post_attention_layernorm.weight", (hidden,)
    yield f"{at}.self_attn.q_a_proj.weight", (1536, hidden)
    yield f"{at}.self_attn.q_b_proj.weight", (24576, 1536)
    yield f"{at}.self_attn.kv_a_proj_with_mqa.weight", (576, hidden)
    yield f"{at}.self_attn.kv_b_proj.weight", (32768, 512)
    yield f"{at}.self_attn.o_proj.weight", (hidden, 16384)


SHAPES: Final = {
    "70b": lambda: dense(80, 8192, 28672, 8, 128256),
    "671b": lambda: experts(61, 7168, 2048, 256, 3, 18432, 129280),
    "1t": lambda: experts(61, 7168, 2048, 384, 1, 18432, 163840),
}


def write(folder: Path, shapes: Shapes) -> int:
    """A model whose weights are holes. How many parameters it has."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[dict[str, tuple[int, ...]]] = [{}]
    held = total = 0
    for name, shape in shapes:
        nbytes = 2 * _count(shape)
        if files[-1] and held + nbytes > _FILE_BYTES:
            files.append({})
            held = 0
        files[-1][name] = shape
        held += nbytes
        total += nbytes // 2
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(files, 1):
        file = f"model-{number:05}-of-{len(files):05}.safetensors"
        weight_map |= dict.fromkeys(tensors, file)
        _write_file(folder / file, tensors)
    index = {"metadata": {"total_size": 2 * total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": False}))
    return total


def _write_file(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    end, header = 0, dict[str, object]()
    for name, shape in tensors.items():
        begin, end = end, end + 2 * _count(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    asked = parser.parse_args()
    for shape in asked.shape or SHAPES:
        place = asked.folder / shape
        counts = [write(place / name, SHAPES[shape]()) for name in ("base", "tune-0", "tune-1")]
        (place / "merge.yaml").write_text(_RECIPE.format(shape=shape))
        print(f"{place}: {counts[0] / 1e9:,.1f} B parameters each")


if __name__ == "__main__":
    main()
