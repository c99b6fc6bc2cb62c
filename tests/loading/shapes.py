"""Models with random weights in the shapes that people merge, as transformers writes them, and fine-tunes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

_WORDS = ("[PAD]", "[EOS]", "[MASK]", *(f"w{number}" for number in range(40)))
_LLAMA = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
          "num_key_value_heads": 2, "vocab_size": 47, "max_position_embeddings": 32}  # fmt: skip
_SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}


@dataclass(frozen=True)
class Shape:
    """A configuration, and the class that a user loads it with."""

    config: Callable[[], Any]
    loader: Any
    is_tied: bool


SHAPES: Mapping[str, Shape] = {
    "llama": Shape(lambda: LlamaConfig(**_LLAMA, **_SPECIAL), AutoModelForCausalLM, False),
    "llama, head tied": Shape(
        lambda: LlamaConfig(**_LLAMA, **_SPECIAL, tie_word_embeddings=True), AutoModelForCausalLM, True
    ),
    # Biases of query, key and value; the head is tied as in the small Qwen2 models.
    "qwen2": Shape(lambda: Qwen2Config(**_LLAMA, **_SPECIAL, tie_word_embeddings=True), AutoModelForCausalLM, True),
    # Conv1D matrices, learnt positions.
    "gpt2": Shape(
        lambda: GPT2Config(vocab_size=47, n_positions=32, n_embd=24, n_layer=3, n_head=4, **_SPECIAL),
        AutoModelForCausalLM,
        True,
    ),
    # Encoder with token types; the decoder of the head is tied, its bias is not.
    "bert": Shape(
        lambda: BertConfig(
            vocab_size=47, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
            max_position_embeddings=32, pad_token_id=0,
        ),
        AutoModelForMaskedLM,
        True,
    ),
}  # fmt: skip


def make_pair(shape: Shape, folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Path, Path]:
    """Two fine-tunes of one random model, as folders that `save_pretrained` wrote, each with a tokenizer."""
    torch.manual_seed(7)
    model = shape.loader.from_config(shape.config()).to(dtype)
    return tuned(model, folder / "a", seed=1), tuned(model, folder / "b", seed=2)


def tuned(model: Any, folder: Path, *, seed: int) -> Path:
    """`model` plus noise of a hundredth of each tensor's spread, written to `folder`; the model is left as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            noise = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
            tensor.add_(noise * (0.01 * (tensor.float().abs().mean().item() + 0.01)))
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    model.load_state_dict(before)
    return folder


def tokenizer() -> PreTrainedTokenizerFast:
    """Words by number; small, and of the class that a folder of a real model loads as."""
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(_WORDS)}, unk_token="[PAD]"))
    words.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", eos_token="[EOS]", mask_token="[MASK]", unk_token="[PAD]"
    )


def logits(model: Any) -> torch.Tensor:
    """What the model says of a short text, in float32."""
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[3, 14, 15, 9, 26, 5]])).logits.float()
