"""The checkpoints that the peers merged: a base and fine-tunes of it, the same bits on every machine.

They are drawn from SHAKE-256, not from a library's random numbers, so that nothing has to be stored. Every weight is a
multiple of 2⁻²³ below 2, so that every difference to the base is exact in float32. Within a tensor the magnitudes of
a difference are distinct and never zero: no result depends on how ties are broken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

Array = NDArray[np.float32]
Units = NDArray[np.int64]

UNITS = 2**23
"""Units in 1.0: weights are made as integers and divided by this once, at the end."""


@dataclass(frozen=True)
class Size:
    """What of a Llama's config decides its shapes."""

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    key_value: int


@dataclass(frozen=True)
class Tune:
    """How a model differs from its base: `spread` times a noise, of which `shared` is common to all fine-tunes.

    `thin`: half of the elements, other ones in each model, moved a thousandth as far.
    """

    base: str
    spread: float
    shared: float = 0.0
    thin: bool = False


SMALL = Size(layers=4, hidden=12, intermediate=19, vocabulary=23, key_value=6)
LARGE = Size(layers=1, hidden=64, intermediate=160, vocabulary=256, key_value=32)

MODELS: Mapping[str, Size | Tune] = {
    "base": SMALL,
    "a": Tune("base", 0.001, shared=0.6),
    "b": Tune("base", 0.001, shared=0.6),
    "c": Tune("base", 0.001, shared=0.6),
    "d": Tune("base", 0.001, shared=-0.5),
    "far_a": Tune("base", 0.1),
    "far_b": Tune("base", 0.1),
    "thin_a": Tune("base", 0.001, shared=0.6, thin=True),
    "thin_b": Tune("base", 0.001, shared=0.6, thin=True),
    "thin_c": Tune("base", 0.001, shared=0.6, thin=True),
    "tiny_a": Tune("base", 0.000001, shared=0.6),
    "tiny_b": Tune("base", 0.000001, shared=0.6),
    "tiny_c": Tune("base", 0.000001, shared=0.6),
    "large_base": LARGE,
    "large_a": Tune("large_base", 0.02, shared=0.6),
    "large_b": Tune("large_base", 0.02, shared=0.6),
}


@cache
def model(name: str) -> Mapping[str, Array]:
    """The tensors of the model `name` of `MODELS`, by their names in the file."""
    made = MODELS[name]
    if isinstance(made, Size):
        units = {tensor: _base(name, tensor, shape) for tensor, shape in _shapes(made).items()}
    else:
        units = {tensor: _tuned(name, made, tensor, shape) for tensor, shape in _shapes(size(name)).items()}
    return {tensor: (values / UNITS).astype(np.float32) for tensor, values in units.items()}


def size(name: str) -> Size:
    """The size of the model `name` of `MODELS`: its own, or its base's."""
    made = MODELS[name]
    return made if isinstance(made, Size) else size(made.base)


def write_inputs(folder: Path) -> None:
    """Write each model of `MODELS` to `folder`/NAME: config.json and model.safetensors, a Llama in float32."""
    for name in MODELS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(_config(size(name)), indent=2))
        save_file(dict(model(name)), folder / name / "model.safetensors", metadata={"format": "pt"})


def digest() -> str:
    """SHA-256 over the names and bytes of all tensors of all models."""
    total = hashlib.sha256()
    for name in MODELS:
        for tensor, values in model(name).items():
            total.update(f"{name}/{tensor}{values.shape}".encode())
            total.update(values.astype("<f4").tobytes())
    return total.hexdigest()


def _base(name: str, tensor: str, shape: tuple[int, ...]) -> Units:
    """Spread 0.1, about one for a norm and about zero for the rest."""
    around = UNITS if len(shape) == 1 else 0
    return around + np.rint(_bell(f"{name}/{tensor}", shape) * (0.1 * UNITS)).astype(np.int64)


def _tuned(name: str, tune: Tune, tensor: str, shape: tuple[int, ...]) -> Units:
    own, common = _bell(f"{name}/{tensor}", shape), _bell(f"shared/{tune.base}/{tensor}", shape)
    noise = tune.shared * common + np.sqrt(1 - tune.shared**2) * own
    if tune.thin:
        noise = noise * np.where(_bell(f"thin/{name}/{tensor}", shape) < 0, 0.001, 1.0)
    moved = np.rint(noise * (tune.spread * UNITS)).astype(np.int64)
    return _base(tune.base, tensor, shape) + _distinct(moved)


def _bell(key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Noise of mean 0 and spread 1, bell-shaped: four 16-bit numbers added up."""
    drawn = np.frombuffer(hashlib.shake_256(key.encode()).digest(8 * int(np.prod(shape))), dtype="<u2")
    centred = drawn.reshape(*shape, 4).sum(axis=-1, dtype=np.int64) - 2 * 65535
    return centred / (65536 / np.sqrt(3))


def _distinct(moved: Units) -> Units:
    """`moved` with the fewest magnitudes raised such that all are distinct and at least 1; signs and order stay."""
    flat = moved.ravel()
    order = np.argsort(np.abs(flat), kind="stable")
    places = np.arange(flat.size)
    magnitudes = np.empty_like(flat)
    magnitudes[order] = np.maximum.accumulate(np.maximum(np.abs(flat)[order], 1) - places) + places
    return (np.where(flat < 0, -1, 1) * magnitudes).reshape(moved.shape)


def _shapes(size: Size) -> dict[str, tuple[int, ...]]:
    hidden, wide = size.hidden, size.intermediate
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (size.vocabulary, hidden)}
    for layer in range(size.layers):
        prefix = f"model.layers.{layer}"
        shapes |= {f"{prefix}.self_attn.{part}_proj.weight": (hidden, hidden) for part in "qo"}
        shapes |= {f"{prefix}.self_attn.{part}_proj.weight": (size.key_value, hidden) for part in "kv"}
        shapes |= {f"{prefix}.mlp.{part}_proj.weight": (wide, hidden) for part in ("gate", "up")}
        shapes[f"{prefix}.mlp.down_proj.weight"] = (hidden, wide)
        shapes |= {f"{prefix}.{norm}_layernorm.weight": (hidden,) for norm in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (size.vocabulary, hidden)}


def _config(size: Size) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": size.layers,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "vocab_size": size.vocabulary,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": size.key_value,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": "float32",
    }
